"""Step 2: LoRA's costs as a share of full fine-tuning, guessed by the room and then revealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer import methods
from trainer.analysis import figures, lesson
from trainer.analysis.colours import COLOURS
from trainer.analysis.lesson import COSTS, LIGHT, REFERENCE, Cost
from trainer.markup import render
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common import charts
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, method_title
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.lesson.frame import QUIET, SHOW_RESULTS, Step, controls, members, question, results
from trainer.ui.lesson.parts import share

SHARES = {
    "under1": (0.01, mark("under 1%")),
    "under10": (0.1, mark("1 to 10%")),
    "under50": (0.5, mark("10 to 50%")),
    "under90": (0.9, mark("50 to 90%")),
    "same": (1.1, mark("90 to 110%")),
    "more": (float("inf"), mark("over 110%")),
}
"""The choices of a guess: key -> (upper bound of the share, text)."""
GUESSES = {
    "trainable": mark("Trained parameters of LoRA"),
    "peak_memory": mark("Peak memory of LoRA"),
    "train_minutes": mark("Training time of LoRA"),
    "file_size": mark("Saved file of LoRA"),
}
"""The labels of the guesses, one for each of `COSTS`."""
QUESTION = mark(
    "After the reveal: LoRA trains very few parameters. Why does it not save time and memory in the same measure?"
)
ANSWER = mark(
    "A training step multiplies three times by every weight: forward, backward for the error, and for the gradient of "
    "the weight itself (Kaplan et al. 2020, section 2.1). Frozen weights save only the third, so about two thirds of "
    "the time remain. Gradients and the optimiser's state of the frozen weights are saved too, but most of the memory "
    "here is activations of the batch, and these stay. The file falls with the trained parameters, for only these are "
    "saved."
)


@dataclass(frozen=True)
class View:
    """The components that the step fills: the guesses, named after `COSTS`, and the question."""

    trainable: gr.Radio
    peak_memory: gr.Radio
    train_minutes: gr.Radio
    file_size: gr.Radio
    question: gr.HTML


def build(lab: Lab, stored: gr.BrowserState) -> Step:
    """Lay out the step and connect it; `stored` has the room's guesses."""
    choices = [(tr(text), key) for key, (_, text) in SHARES.items()]
    with controls() as heading:
        shares = tr("As a share of what full fine-tuning needs.")
        guesses = {
            key: gr.Radio(choices, label=tr(GUESSES[key]), info=shares if key == COSTS[0] else None) for key in COSTS
        }
        reveal = gr.Button(tr("Reveal"), variant="primary")
        question_html = gr.HTML()
    with results():
        result = gr.HTML()
    view = View(**guesses, question=question_html)
    inputs = [guesses[key] for key in COSTS]
    gr.on([guess.input for guess in inputs], keep_guesses, inputs, stored, **QUIET)
    reveal.click(isolated(lab, partial(show, lab)), inputs, result, **QUIET).then(**SHOW_RESULTS)
    return Step("cost", [stored], [*inputs, view.question], partial(draw, view), heading)


def keep_guesses(*guesses: str | None) -> list[str | None]:
    """The guesses as the browser stores them."""
    return list(guesses)


def draw(view: View, stored: list[str | None] | None) -> dict[Any, Any]:
    """The guesses that the browser stored, and the question; does not change revealed costs."""
    guesses = [guess if guess in SHARES else None for guess in stored or []]
    guesses = (guesses + [None] * len(COSTS))[: len(COSTS)]
    drawn = {getattr(view, key): guess for key, guess in zip(COSTS, guesses, strict=True)}
    return drawn | {view.question: question(tr(QUESTION), tr(ANSWER))}


def show(lab: Lab, *guesses: str | None) -> str:
    """The four costs of both methods, measured or estimated, with the room's guesses, as HTML."""
    costs = _costs(lab)
    cards = [_card(key, costs, guess=guess) for key, guess in zip(COSTS, guesses, strict=True)]
    sources = [_source(cost.method, cost.measured, cost.basis) for cost in reversed(costs)]
    return render("lesson/costs.html", cards=cards, sources=sources, table=_table(costs, guesses))


def _costs(lab: Lab) -> tuple[Cost, Cost]:
    """(the costs of full fine-tuning, of LoRA)."""
    runs = members(lab)
    reference, light = (lesson.cost(name, runs, device=lab.device) for name in (REFERENCE, LIGHT))
    return reference, light


def _card(key: str, costs: tuple[Cost, Cost], *, guess: str | None) -> dict[str, Any]:
    """The values of one cost in the template: a line a method, the share, and the verdict on the guess."""
    metric, longest = METRICS[key], max(cost.figures[key] for cost in costs)
    reference, light = costs
    part = light.figures[key] / reference.figures[key]
    return {
        "title": charts.title(metric),
        "lines": [
            {
                "colour": COLOURS[cost.method],
                "method": method_title(cost.method),
                "figure": ("" if cost.measured else "≈ ") + figures.show(metric, cost.figures[key]),
                "width": 100 * cost.figures[key] / longest,
            }
            for cost in costs
        ],
        "share": share(part),
        "verdict": verdict(part, guess),
    }


def _table(costs: tuple[Cost, Cost], guesses: Sequence[str | None]) -> str:
    """The cards' numbers as a table."""
    reference, light = costs
    rows = []
    for key, guess in zip(COSTS, guesses, strict=True):
        part = light.figures[key] / reference.figures[key]
        rows.append(
            [
                Cell(charts.title(METRICS[key])),
                *(Cell(figures.show(METRICS[key], cost.figures[key]), cost.figures[key]) for cost in costs),
                Cell(share(part), 100 * part),
                Cell(tr(SHARES[guess][1]) if guess else "–"),
            ]
        )
    columns = [
        Column.named(mark("Cost"), numeric=False),
        *(Column.named(methods.get(cost.method).title) for cost in costs),
        Column.named(mark("LoRA, share of full fine-tuning")),
        Column.named(mark("The room's guess"), numeric=False),
    ]
    return table(columns, rows, name="guesses-and-costs", title=tr("Guesses and costs"), sortable=False)


def verdict(part: float, guess: str | None) -> str:
    """A sentence on whether the share `part` is in the guessed range."""
    if not guess:
        return tr("The room made no guess.")
    text = tr(SHARES[guess][1])
    if next(key for key, (bound, _) in SHARES.items() if part <= bound) == guess:
        return tr("✓ The room said {guess}: right.", guess=text)
    return tr("✗ The room said {guess}.", guess=text)


def _source(method: str, run: Run | None, basis: str) -> str:
    if run is None:
        return tr(
            "≈ marks an estimate: no finished run of {method} is in the store. Parameters are exact; time and "
            "memory come from {basis}, the file from 4 bytes a trained parameter.",
            method=method_title(method),
            basis=basis,
        )
    meta = run.result.meta_info
    return tr(
        "Measured in the run {run}: {sentences} sentences, {epochs} epochs, on {device}.",
        run=run.id,
        sentences=f"{meta.dataset_info.sizes.train:,}",
        epochs=run.recipe.epochs,
        device=meta.system_info.device,
    )
