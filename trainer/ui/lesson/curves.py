"""Step 4: loss and accuracy by epoch, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt
import gradio as gr
import pandas as pd

from trainer.analysis import lesson, published
from trainer.analysis import tables as analysis
from trainer.analysis.colours import COLOURS
from trainer.markup import render
from trainer.texts import mark, tr
from trainer.ui.common import charts
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab
from trainer.ui.common.visibility import seen_if
from trainer.ui.lesson.frame import (
    NEEDS_TWO_RUNS,
    QUIET,
    Step,
    controls,
    members_with_own,
    question,
    results,
    titles,
)
from trainer.ui.lesson.papers import linked

ELSEWHERE = ("full", "adapter_fusion")
"""Published runs that are shown too: one over-fits in fifteen epochs, one does not learn in fifteen."""
READINGS = {
    "falls": mark(
        "{run}: under-fitted. Both losses were still falling at the end, the validation loss to {last} in epoch "
        "{epochs}: another epoch would probably help."
    ),
    "gap": mark(
        "{run}: the gap opens. The training loss went on down to {training}, the validation loss hardly fell any "
        "more and stands at {last} in epoch {epochs}: watch for over-fitting."
    ),
    "rises": mark(
        "{run}: over-fitted. The validation loss was lowest in epoch {best} with {lowest} and ended at {last}, "
        "while the training loss fell to {training}."
    ),
    "flat": mark(
        "{run}: levelled off. The validation loss hardly moves at the end and stands at {last} in epoch "
        "{epochs}, near the training loss of {training}."
    ),
    "still": mark(
        "{run}: nothing moved. The validation loss stayed at {last} through all {epochs} epochs, as if nothing "
        "but the head, or nothing at all, had trained."
    ),
    "short": mark("{run}: too short to tell, for it has fewer than two epochs."),
}
"""Sentences on a run's curves, by the keys of `lesson.reading`."""
ABOUT_READINGS = mark(
    "The training loss is a mean over the epoch, with dropout, while the weights still change; the validation loss "
    "is taken at the epoch's end without dropout, so that it may be the lower one at first. The readings follow "
    "rules of thumb on the last two epochs, not a statistical test. Over-fitting: Goodfellow et al. 2016, Deep "
    "Learning, section 5.2; keeping the best epoch: Prechelt 1998, Early Stopping."
)


@dataclass(frozen=True)
class View:
    """The components that the step fills."""

    run: gr.Radio
    losses: gr.Plot
    accuracy: gr.Plot
    reading: gr.HTML
    question: gr.HTML


def build(lab: Lab, own: gr.BrowserState) -> Step:
    """Lay out the step and connect it; `own` has the id of the run that the class trained."""
    with controls() as heading:
        run = gr.Radio(
            [],
            label=tr("Run"),
            info=tr("The last ones were published elsewhere: another backbone, other sentences, 15 epochs."),
        )
        reading, question_html = gr.HTML(), gr.HTML()
    with results():
        losses = gr.Plot(label=tr("validation"), show_label=False, elem_classes="lab-chart")
        accuracy = gr.Plot(label=tr("Validation accuracy"), show_label=False, elem_classes="lab-chart")
    view = View(run, losses, accuracy, reading, question_html)
    run.input(isolated(lab, partial(pick, lab, view)), [run, own], [view.losses, view.reading], **QUIET)
    outputs = [view.run, view.losses, view.accuracy, view.reading, view.question]
    return Step("curves", [view.run, own], outputs, partial(draw, lab, view), heading)


def draw(lab: Lab, view: View, chosen: str | None, own: str | None = None) -> dict[Any, Any]:
    """The runs to choose from, the chosen one's losses and reading, every run's accuracy, and the question."""
    here, every = _points(lab, own)
    choices = [(name, run) for run, name in every.groupby("run", sort=False)["name"].first().items()]
    values = [run for _, run in choices]
    chosen = chosen if chosen in values else values[0]
    readings = [read(group) for run, group in here.groupby("run", sort=False)]
    more = render("lesson/readings.html", readings=readings, problem=tr(NEEDS_TWO_RUNS))
    return _losses(view, every, chosen) | {
        view.run: gr.update(choices=choices, value=chosen),
        view.accuracy: gr.update(
            value=charts.curves(here, "validation accuracy") if len(here) else None,
            **seen_if(len(here), "lab-chart"),
        ),
        view.question: question(
            tr("Which of these runs would another epoch help, and which would it not?"),
            tr(
                "Another epoch is likely to help while the validation loss falls. Where it rises, the model grows "
                "surer of its errors; accuracy may still gain, for it counts only which label comes first. This app "
                "keeps the epoch with the best validation accuracy. The readings:"
            ),
            more=more,
        ),
    }


def pick(lab: Lab, view: View, chosen: str | None, own: str | None = None) -> dict[Any, Any]:
    """The losses and the reading of another run."""
    _, every = _points(lab, own)
    return _losses(view, every, chosen)


def _losses(view: View, every: pd.DataFrame, chosen: str | None) -> dict[Any, Any]:
    points = every[every["run"] == chosen]
    if points.empty:
        return {view.losses: gr.update(**seen_if(False, "lab-chart")), view.reading: ""}
    return {
        view.losses: gr.update(value=losses_chart(points), **seen_if(True, "lab-chart")),
        view.reading: render("lesson/reading.html", reading=read(points), about=linked(tr(ABOUT_READINGS))),
    }


def _points(lab: Lab, own: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(curves of the lesson's runs, these and published curves), each named as in the step."""
    runs = members_with_own(lab, own)
    here, names = analysis.curves(lab.store, list(runs.values())), titles(runs)
    here = here.assign(name=[names[run] for run in here["run"]])
    other = published.curves()
    other = other[other["method"].isin(ELSEWHERE)]
    return here, pd.concat([here, other]) if len(here) else other


def read(points: pd.DataFrame) -> str:
    """A sentence on how one run learned, with its figures."""
    training, validation = lesson.losses(points)
    name, kind = points["name"].iloc[0], lesson.reading(points)
    if kind == "short":
        return tr(READINGS[kind], run=name)
    lowest = min(validation)
    return tr(
        READINGS[kind],
        run=name,
        last=f"{validation[-1]:.3f}",
        training=f"{training[-1]:.3f}",
        lowest=f"{lowest:.3f}",
        best=validation.index(lowest) + 1,
        epochs=len(validation),
    )


def losses_chart(points: pd.DataFrame) -> alt.Chart:
    """Training and validation loss of one run by epoch, on one axis: `points` is `analysis.curves`' of that run."""
    named = {"training loss": tr("training"), "validation loss": tr("validation")}
    data = points[points["curve"].isin(named)]
    data = data.assign(loss=[named[curve] for curve in data["curve"]])
    kinds = list(named.values())
    legend = alt.Legend(title=None, orient="top", symbolSize=300, symbolStrokeWidth=2)
    line = alt.Chart(data).encode(
        x=alt.X("epoch:Q", title=tr("Epoch"), axis=charts.whole_ticks(data["epoch"])),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        detail="loss:N",
        tooltip=[
            alt.Tooltip("loss:N", title=tr("loss")),
            alt.Tooltip("epoch:Q", title=tr("epoch")),
            alt.Tooltip("value:Q", format=".4f", title=tr("value")),
        ],
    )
    colour = COLOURS.get(points["method"].iloc[0], charts.GREY)
    title = tr("Loss: {run}", run=points["name"].iloc[0])
    dashes = alt.StrokeDash("loss:N", scale=alt.Scale(domain=kinds, range=[[6, 4], [1, 0]]), legend=legend)
    marks = alt.layer(
        line.mark_line(strokeWidth=2.5, color=colour).encode(strokeDash=dashes),
        line.mark_point(filled=True, size=60, color=colour, opacity=1),
    )
    return charts.finish(marks, title=title, height=240)
