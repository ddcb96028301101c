"""Step 6: whether the difference between two runs is more than the luck of the test sentences."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis import disputes, lesson, paired
from trainer.analysis.disputes import Answers
from trainer.analysis.paired import Paired
from trainer.runs.store import Run
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.lesson.frame import QUIET, Step, heading_of, members, question, shut, words
from trainer.ui.lesson.text import say

SIZES = (50, 100, 250)
ALL = 0
WIDTH, HEIGHT = 340, 96

CSS = """
.lab-interval { max-width: 620px; margin: 8px 0; }
.lab-interval svg { width: 100%; height: auto; display: block; }
.lab-interval text { fill: var(--body-text-color); font-size: 14px; font-family: inherit; }
.lab-interval line { stroke: var(--body-text-color-subdued); }
.lab-interval .lab-span { stroke: #0072B2; stroke-width: 5; }
.dark .lab-interval .lab-span { stroke: #56B4E9; }
.lab-interval circle { fill: var(--body-text-color); }
"""


def build(lab: Lab) -> Step:
    """Lay out the step and connect it."""
    with gr.Row():
        first, second = (
            gr.Dropdown([], label=say(f"real.{key}"), info=say("real.runs_help"), min_width=220)
            for key in ("first", "second")
        )
        size = gr.Radio(
            [(str(count), count) for count in SIZES],
            label=say("real.sentences"),
            info=say("real.sentences_help"),
            min_width=260,
        )
    shown = gr.HTML()
    asked = gr.HTML()
    inputs = [first, second, size]
    gr.on([control.input for control in inputs], partial(redraw, lab), inputs, [shown, asked], **QUIET)
    return Step("real", inputs, [*inputs, shown, asked], partial(draw, lab))


def draw(lab: Lab, first: str | None, second: str | None, size: int | None) -> list[Any]:
    """(the two runs, how many sentences, the comparison, the question)."""
    runs = members(lab)
    answers = disputes.collect(lab.store, list(runs.values())) if len(runs) > 1 else None
    if answers is None or len(answers.runs) < 2 or not answers.texts:
        key = "lesson.missing_two" if len(runs) < 2 else "lesson.no_predictions"
        return [gr.skip(), gr.skip(), gr.skip(), note(say(key), "warning"), ""]
    here = {run.id: run for run in answers.runs}
    best = lesson.pair({run.recipe.method: run for run in answers.runs})
    first = first if first in here else best[0].id
    second = second if second in here else best[1].id
    choices = [(method_title(run.recipe.method), run.id) for run in answers.runs]
    total = len(answers.texts)
    sizes = [(str(count), count) for count in SIZES if count < total]
    sizes.append((say("real.all", count=f"{total:,}"), ALL))
    size = size if size in [count for _, count in sizes] else ALL
    return [
        gr.update(choices=choices, value=first),
        gr.update(choices=choices, value=second),
        gr.update(choices=sizes, value=size),
        *compare(answers, here[first], here[second], size=size),
    ]


def redraw(lab: Lab, first: str | None, second: str | None, size: int | None) -> list[str]:
    """(the comparison, the question) of other runs or another number of sentences."""
    return draw(lab, first, second, size)[3:]


def compare(answers: Answers, first: Run, second: Run, *, size: int = ALL) -> list[str]:
    """(the accuracies with the interval behind a press, the question with its answer)."""
    if first.id == second.id:
        return [note(say("real.same"), "warning"), ""]
    places = [answers.runs.index(run) for run in (first, second)]
    every = answers.right[: size or len(answers.texts)]
    found = paired.compare(*every[:, places].T)
    adjusted = next(pair.p for pair in paired.pairs(every) if {pair.first, pair.second} == set(places))
    named = _named(found, method_title(first.recipe.method), method_title(second.recipe.method))
    inside = (
        interval_svg(found, alternative=say("real.interval", **named))
        + words(*(say(f"real.{key}", **named) for key in ("interval", "counts", "chance")))
        + _counts(found, named)
        + f'<p class="lab-small">{escape(say("real.source"))}</p>'
    )
    shown = words(say("real.accuracies", **named)) + shut(say("real.chart"), inside)
    counted = {"pairs": math.comb(len(answers.runs), 2), "adjusted": f"{adjusted:.1%}"}
    kind = judge(found, adjusted)
    verdict = say(f"real.verdict.{kind}", **named, **counted)
    answer = "real.answer_searched" if kind == "searched" else "real.answer"
    return [shown, question(say("real.question"), say(answer, verdict=verdict, **counted))]


def judge(found: Paired, adjusted: float) -> str:
    """ "real" or "open" where the interval and the test agree, "border" where they do not.

    "searched" where they agree that there is a difference, but not once all pairs are counted: `adjusted` is the
    chance by Holm's method.
    """
    if found.differs != (found.p < paired.BOUND):
        return "border"
    if not found.differs:
        return "open"
    return "real" if adjusted < paired.BOUND else "searched"


def _named(found: Paired, first: str, second: str) -> dict[str, str]:
    total = found.sentences
    return {
        "first": first,
        "second": second,
        "sentences": f"{total:,}",
        "first_accuracy": f"{(found.both + found.only_a) / total:.1%}",
        "second_accuracy": f"{(found.both + found.only_b) / total:.1%}",
        "difference": f"{100 * found.difference:+.1f}",
        "low": f"{100 * found.low:+.1f}",
        "high": f"{100 * found.high:+.1f}",
        "both": f"{found.both:,}",
        "neither": f"{found.neither:,}",
        "only": f"{found.only_a + found.only_b:,}",
        "only_first": f"{found.only_a:,}",
        "only_second": f"{found.only_b:,}",
        "level": "95%",
        "p": f"{found.p:.1%}" if found.p >= 0.001 else say("real.least"),
    }


def _counts(found: Paired, named: dict[str, str]) -> str:
    columns = [
        heading_of("real.column.first", numeric=False),
        Column(say("real.column.right", run=named["second"])),
        Column(say("real.column.wrong", run=named["second"])),
    ]
    rows = [
        [Cell(say("real.column.right", run=named["first"])), *_cells(found.both, found.only_a)],
        [Cell(say("real.column.wrong", run=named["first"])), *_cells(found.only_b, found.neither)],
    ]
    return table(columns, rows, name="who-is-right", title=say("real.table"), sortable=False)


def _cells(*counts: int) -> list[Cell]:
    return [Cell(f"{count:,}", count) for count in counts]


def interval_svg(found: Paired, *, alternative: str) -> str:
    """The difference as a dot on its interval, against 0. `alternative` is what a screen reader says."""
    reach = max(abs(found.low), abs(found.high), 0.01)

    def x(value: float) -> float:
        return WIDTH / 2 + value / reach * (WIDTH / 2 - 46)

    low, high, middle = x(found.low), x(found.high), x(found.difference)
    ends = "".join(
        f'<text x="{place:.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{100 * value:+.1f}</text>'
        for place, value, anchor in ((low, found.low, "end"), (high, found.high, "start"))
        if abs(high - low) > 1
    )
    return (
        f'<div class="lab-interval"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alternative)}">'
        f'<text x="{x(0):.1f}" y="16" text-anchor="middle">{escape(say("real.zero"))}</text>'
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="22" y2="{HEIGHT - 32}" stroke-width="1.5" stroke-dasharray="4 3"/>'
        f'<line class="lab-span" x1="{low:.1f}" x2="{high:.1f}" y1="52" y2="52"/>'
        f'<circle cx="{middle:.1f}" cy="52" r="7"/>{ends}'
        f'<text x="{middle:.1f}" y="40" text-anchor="middle">{100 * found.difference:+.1f}</text></svg></div>'
    )
