"""Step 4: loss and accuracy by epoch, and how to read them."""

from __future__ import annotations

from functools import partial
from typing import Any

import altair as alt
import gradio as gr
import pandas as pd

from trainer.analysis import lesson, published
from trainer.analysis import tables as analysis
from trainer.texts import tr
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.theme import COLOURS
from trainer.ui.lesson.frame import QUIET, Step, members, question, shut, words
from trainer.ui.lesson.text import say

ELSEWHERE = ("full", "adapter_fusion")
"""Of the published report: fifteen epochs that over-fit, and fifteen in which nothing moves."""


def build(lab: Lab) -> Step:
    """Lay out the step and connect it."""
    run = gr.Radio([], label=say("curves.run"), info=say("curves.run_help"))
    with gr.Row():
        losses = gr.Plot(label=say("curves.validation"), show_label=False, min_width=300, elem_classes="lab-chart")
        accuracy = gr.Plot(label=tr("Validation accuracy"), show_label=False, min_width=300, elem_classes="lab-chart")
    reading = gr.HTML()
    asked = gr.HTML()
    run.input(partial(pick, lab), run, [losses, reading], **QUIET)
    return Step("curves", [run], [run, losses, accuracy, reading, asked], partial(draw, lab))


def draw(lab: Lab, chosen: str | None) -> list[Any]:
    """(the runs to choose from, the chosen one's losses, every run's accuracy, the reading, the question)."""
    here, every = _points(lab)
    choices = [(name, run) for run, name in every.groupby("run", sort=False)["name"].first().items()]
    values = [run for _, run in choices]
    chosen = chosen if chosen in values else values[0]
    losses, reading = _one(every, chosen)
    readings = [read(group) for run, group in here.groupby("run", sort=False)]
    items = "".join(f"<li>{escape(text)}</li>" for text in readings)
    more = f"<ul>{items}</ul>" if items else note(say("lesson.missing_two"), "warning")
    asked = question(say("curves.question"), say("curves.answer"), more=more)
    accuracy = (
        gr.update(visible=True, value=charts.curves(here, "validation accuracy"))
        if len(here)
        else gr.update(visible=False)
    )
    return [gr.update(choices=choices, value=chosen), losses, accuracy, reading, asked]


def pick(lab: Lab, chosen: str | None) -> list[Any]:
    """(the losses, the reading) of another run."""
    _, every = _points(lab)
    return _one(every, chosen)


def _one(every: pd.DataFrame, chosen: str | None) -> list[Any]:
    points = every[every["run"] == chosen]
    if points.empty:
        return [gr.update(visible=False), ""]
    hidden = shut(say("curves.reading"), words(read(points), say("curves.rule")))
    return [gr.update(visible=True, value=losses_chart(points)), hidden]


def _points(lab: Lab) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(curves of the lesson's runs, these and the published ones): both named by their method."""
    runs = members(lab)
    here = analysis.curves(lab.store, list(runs.values()))
    here = here.assign(name=[method_title(name) for name in here["method"]])
    other = published.curves()
    other = other[other["method"].isin(ELSEWHERE)]
    return here, pd.concat([here, other]) if len(here) else other


def read(points: pd.DataFrame) -> str:
    """How one run learnt, in a sentence with its figures."""
    training, validation = lesson.losses(points)
    name = points["name"].iloc[0]
    kind = lesson.reading(points)
    if kind == "short":
        return say("curves.reads.short", run=name)
    lowest = min(validation)
    return say(
        f"curves.reads.{kind}",
        run=name,
        last=f"{validation[-1]:.3f}",
        training=f"{training[-1]:.3f}",
        lowest=f"{lowest:.3f}",
        best=validation.index(lowest) + 1,
        epochs=len(validation),
    )


def losses_chart(points: pd.DataFrame) -> alt.Chart:
    """Training and validation loss of one run by epoch, on one axis: `points` is `analysis.curves`' of that run."""
    named = {"training loss": say("curves.training"), "validation loss": say("curves.validation")}
    data = points[points["curve"].isin(named)]
    data = data.assign(loss=[named[curve] for curve in data["curve"]])
    kinds = list(named.values())
    legend = alt.Legend(title=None, orient="top", symbolSize=300, symbolStrokeWidth=2)
    line = alt.Chart(data).encode(
        x=alt.X("epoch:Q", title=say("curves.epoch"), axis=charts.whole_ticks(data["epoch"])),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        detail="loss:N",
        tooltip=[
            alt.Tooltip("loss:N", title=tr("loss")),
            alt.Tooltip("epoch:Q", title=tr("epoch")),
            alt.Tooltip("value:Q", format=".4f", title=tr("value")),
        ],
    )
    colour = COLOURS.get(points["method"].iloc[0], charts.GREY)
    title = say("curves.chart", run=points["name"].iloc[0])
    dashes = alt.StrokeDash("loss:N", scale=alt.Scale(domain=kinds, range=[[6, 4], [1, 0]]), legend=legend)
    marks = alt.layer(
        line.mark_line(strokeWidth=2.5, color=colour).encode(strokeDash=dashes),
        line.mark_point(filled=True, size=60, color=colour, opacity=1),
    )
    return charts.finish(marks, title=title, height=260)
