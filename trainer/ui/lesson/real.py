"""Step 6: statistical significance of the difference between two runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis import disputes, lesson, paired
from trainer.analysis.disputes import Outcomes
from trainer.analysis.paired import Paired
from trainer.markup import render
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column, table
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
from trainer.ui.lesson.interval import interval
from trainer.ui.lesson.papers import linked

SIZES = (50, 100, 250)
ALL = 0
VERDICTS = {
    "real": mark(
        "Yes, it is statistically significant: the interval leaves out 0, and chance gives such a split in only {p} of "
        "tests (the p-value)."
    ),
    "searched": mark(
        "Not yet. For two runs chosen before looking it is significant: the interval leaves out 0, and chance gives "
        "such a split in only {p} of tests (the p-value). But {pairs} pairs were there to choose from, and the "
        "adjusted p (Holm 1979) is {adjusted}: of {pairs} differences one may well look like this by luck."
    ),
    "open": mark(
        "It is not significant: the interval holds 0, and chance alone gives such a split in {p} of tests (the "
        "p-value). That is no proof that the two are equal, only that {sentences} sentences do not tell them apart."
    ),
}
"""Sentences by the keys of `significance`."""
ANSWER = mark(
    "{verdict} That is for one pair, chosen before looking: of {pairs} pairs and several sizes a small chance is there "
    "to be found (Holm 1979). Four times as many test sentences would about halve the interval. It speaks of other "
    "sentences only: whether training again with another seed keeps the order takes several seeds a method (Reimers "
    "and Gurevych 2017, https://arxiv.org/abs/1707.09861)."
)
ANSWER_SEARCHED = mark(
    "{verdict} Four times as many test sentences would about halve the interval. It speaks of other sentences only: "
    "whether training again with another seed keeps the order takes several seeds a method (Reimers and Gurevych 2017, "
    "https://arxiv.org/abs/1707.09861)."
)
SOURCES = mark(
    "Coin flips: McNemar 1947, which Dietterich 1998 recommends for two classifiers and one test set; here in its "
    "exact form. Interval: Tango 1998, widened where the coin flips ask for it, so that the two agree."
)
NO_PREDICTIONS = mark(
    "These runs kept no predictions of their test sentences, which this step compares. Train two runs in the Train tab "
    "with the preset Quick."
)


@dataclass(frozen=True)
class View:
    """The components that the step fills."""

    first: gr.Dropdown
    second: gr.Dropdown
    size: gr.Radio
    comparison: gr.HTML
    question: gr.HTML


def build(lab: Lab, own: gr.BrowserState) -> Step:
    """Lay out the step and connect it; `own` has the id of the run that the class trained."""
    with controls() as heading:
        first, second = (
            gr.Dropdown([], label=label, info=tr("The first two are those whose accuracies lie furthest apart."))
            for label in (tr("First run"), tr("Second run"))
        )
        size = gr.Radio(
            [(str(count), count) for count in SIZES],
            label=tr("Test sentences"),
            info=tr("The first so many of the common test set."),
        )
        question_html = gr.HTML()
    with results():
        comparison = gr.HTML()
    view = View(first, second, size, comparison, question_html)
    chosen, outputs = [first, second, size], [view.comparison, view.question]
    inputs = [*chosen, own]
    gr.on([control.input for control in chosen], isolated(lab, partial(redraw, lab, view)), inputs, outputs, **QUIET)
    return Step("real", inputs, [*chosen, *outputs], partial(draw, lab, view), heading)


def draw(
    lab: Lab, view: View, first: str | None, second: str | None, size: int | None, own: str | None = None
) -> dict[Any, Any]:
    """The choices of two runs and of the number of sentences; the comparison and the question."""
    runs = members_with_own(lab, own)
    outcomes = disputes.collect(lab.store, list(runs.values())) if len(runs) > 1 else None
    if outcomes is None or len(outcomes.runs) < 2 or not outcomes.texts:
        text = tr(NEEDS_TWO_RUNS if len(runs) < 2 else NO_PREDICTIONS)
        return {view.comparison: note(text, "warning"), view.question: ""}
    by_id = {run.id: run for run in outcomes.runs}
    furthest, names = lesson.pair(by_id), titles(runs)
    first = first if first in by_id else furthest[0].id
    second = second if second in by_id else furthest[1].id
    choices = [(names[run.id], run.id) for run in outcomes.runs]
    total = len(outcomes.texts)
    sizes = [(str(count), count) for count in SIZES if count < total]
    sizes.append((tr("all {count}", count=f"{total:,}"), ALL))
    size = size if size in [count for _, count in sizes] else ALL
    return {
        view.first: gr.update(choices=choices, value=first),
        view.second: gr.update(choices=choices, value=second),
        view.size: gr.update(choices=sizes, value=size),
        **compare(view, outcomes, by_id[first], by_id[second], names=names, size=size),
    }


def redraw(
    lab: Lab, view: View, first: str | None, second: str | None, size: int | None, own: str | None = None
) -> dict[Any, Any]:
    """The comparison and the question for other runs or another number of sentences."""
    drawn = draw(lab, view, first, second, size, own)
    return {component: drawn[component] for component in (view.comparison, view.question)}


def compare(
    view: View, outcomes: Outcomes, first: Run, second: Run, *, names: Mapping[str, str], size: int = ALL
) -> dict[Any, Any]:
    """The accuracies with an interval that opens on a press, and the question with its answer.

    `names`: run's id -> its name in the step.
    """
    if first.id == second.id:
        return {view.comparison: note(tr("Choose two different runs."), "warning"), view.question: ""}
    columns = [outcomes.runs.index(run) for run in (first, second)]
    every = outcomes.correct[: size or len(outcomes.texts)]
    result = paired.compare(*every[:, columns].T)
    adjusted = next(pair.p for pair in paired.pairs(every) if {pair.first, pair.second} == set(columns))
    values = _values(result, names[first.id], names[second.id])
    comparison = render(
        "lesson/comparison.html",
        values=values,
        interval=interval(result),
        table=_counts(result, values),
        sources=linked(tr(SOURCES)),
    )
    counted = {"pairs": math.comb(len(outcomes.runs), 2), "adjusted": f"{adjusted:.1%}"}
    kind = significance(result, adjusted)
    verdict = tr(VERDICTS[kind], **values, **counted)
    template = ANSWER_SEARCHED if kind == "searched" else ANSWER
    answer = tr(template, verdict=verdict, **counted)
    text = tr("Would you bet that the first run is better on new sentences? What would make you surer?")
    return {view.comparison: comparison, view.question: question(text, answer)}


def significance(result: Paired, adjusted: float) -> str:
    """The key of the verdict on a difference: "real" (significant), "open" (not), or "searched".

    "searched" is significant only without correction for the number of pairs: `adjusted` is the p-value by Holm's
    method. The interval always agrees with the p-value.
    """
    if not result.differs:
        return "open"
    return "real" if adjusted < paired.BOUND else "searched"


def _values(result: Paired, first: str, second: str) -> dict[str, str]:
    """The values of the step's texts, formatted."""
    total = result.sentences
    return {
        "first": first,
        "second": second,
        "sentences": f"{total:,}",
        "first_accuracy": f"{(result.both + result.only_a) / total:.1%}",
        "second_accuracy": f"{(result.both + result.only_b) / total:.1%}",
        "difference": f"{100 * result.difference:+.1f}",
        "low": f"{100 * result.low:+.1f}",
        "high": f"{100 * result.high:+.1f}",
        "both": f"{result.both:,}",
        "neither": f"{result.neither:,}",
        "only": f"{result.only_a + result.only_b:,}",
        "only_first": f"{result.only_a:,}",
        "only_second": f"{result.only_b:,}",
        "level": "95%",
        "p": f"{result.p:.1%}" if result.p >= 0.001 else tr("under 0.1%"),
    }


def _counts(result: Paired, values: dict[str, str]) -> str:
    columns = [
        Column.named(mark("Counts of sentences"), numeric=False),
        Column(tr("{run} right", run=values["second"])),
        Column(tr("{run} wrong", run=values["second"])),
    ]
    rows = [
        [Cell(tr("{run} right", run=values["first"])), *_cells(result.both, result.only_a)],
        [Cell(tr("{run} wrong", run=values["first"])), *_cells(result.only_b, result.neither)],
    ]
    return table(columns, rows, name="who-is-right", title=tr("Who is right on which sentences"), sortable=False)


def _cells(*counts: int) -> list[Cell]:
    return [Cell(f"{count:,}", count) for count in counts]
