"""Step 2: the room guesses what LoRA costs as a share of full fine-tuning, then sees it."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer import methods
from trainer.analysis import lesson
from trainer.analysis.lesson import COSTS, LIGHT, REFERENCE, Cost
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run
from trainer.texts import tr
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.common.theme import COLOURS
from trainer.ui.lesson.drawing import share
from trainer.ui.lesson.frame import QUIET, Step, heading_of, members, question, shut
from trainer.ui.lesson.text import say

SHARES = {"under1": 0.01, "under10": 0.1, "under50": 0.5, "under90": 0.9, "same": 1.1, "more": float("inf")}
"""What can be guessed, each up to its bound."""

CSS = """
.lab-costs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 12px;
  margin: 10px 0; }
.lab-cost { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; font-size: 18px; }
.lab-cost h3 { font-size: 18px; font-weight: 700; margin: 0 0 6px; }
.lab-cost p { margin: 6px 0 0; }
.lab-cost-line { margin: 6px 0; }
.lab-cost-line .lab-track { height: 16px; }
"""


def build(lab: Lab, kept: gr.BrowserState) -> Step:
    """Lay out the step and connect it; `kept` holds what the room guessed."""
    choices = [(say(f"cost.share.{key}"), key) for key in SHARES]
    guesses = []
    for start in (0, 2):
        with gr.Row():
            guesses += [
                gr.Radio(
                    choices,
                    label=say(f"cost.guess.{key}"),
                    info=say("cost.help"),
                    min_width=300,
                )
                for key in COSTS[start : start + 2]
            ]
    reveal = gr.Button(say("cost.reveal"), variant="primary")
    result = gr.HTML()
    asked = gr.HTML()
    gr.on([guess.input for guess in guesses], keep_guesses, guesses, kept, **QUIET)
    reveal.click(partial(show, lab), guesses, result, **QUIET)
    return Step("cost", [kept], [*guesses, asked], draw)


def keep_guesses(*guesses: str | None) -> list[str | None]:
    """The guesses as the browser keeps them."""
    return list(guesses)


def draw(kept: list[str | None] | None) -> list[Any]:
    """(the guesses that the browser kept, the question); what was revealed stays as it is."""
    known = [guess if guess in SHARES else None for guess in kept or []]
    known = (known + [None] * len(COSTS))[: len(COSTS)]
    return [*known, question(say("cost.question"), say("cost.answer"))]


def show(lab: Lab, *guesses: str | None) -> str:
    """The four costs of both methods, measured or estimated, against what the room said."""
    light, reference = _costs(lab)
    cards, rows = "", []
    for key, guess in zip(COSTS, guesses, strict=True):
        part = light.figures[key] / reference.figures[key]
        cards += _card(key, light, reference, guess=guess)
        said = say(f"cost.share.{guess}") if guess else "–"
        shown = [METRICS[key].show(found.figures[key]) for found in (reference, light)]
        values = [found.figures[key] for found in (reference, light)]
        cells = [Cell(text, value) for text, value in zip(shown, values, strict=True)]
        rows.append([Cell(tr(METRICS[key].title)), *cells, Cell(share(part), 100 * part), Cell(said)])
    columns = [
        heading_of("cost.column.cost", numeric=False),
        Column(method_title(REFERENCE), csv=methods.get(REFERENCE).title),
        Column(method_title(LIGHT), csv=methods.get(LIGHT).title),
        heading_of("cost.column.share"),
        heading_of("cost.column.guess", numeric=False),
    ]
    title = say("cost.table")
    grid = table(columns, rows, name="guesses-and-costs", title=title, sortable=False)
    return f'<div class="lab-costs">{cards}</div>{_sources(light, reference)}{shut(title, grid)}'


def verdict(part: float, guess: str | None) -> str:
    """Whether the room's guess holds the share."""
    if not guess:
        return say("cost.none")
    right = next(key for key, bound in SHARES.items() if part <= bound) == guess
    return say("cost.right" if right else "cost.wrong", guess=say(f"cost.share.{guess}"))


def _costs(lab: Lab) -> tuple[Cost, Cost]:
    runs = members(lab)
    light, reference = (lesson.cost(name, runs, device=lab.device) for name in (LIGHT, REFERENCE))
    return light, reference


def _card(key: str, light: Cost, reference: Cost, *, guess: str | None) -> str:
    metric, longest = METRICS[key], max(light.figures[key], reference.figures[key])
    lines = ""
    for cost in (reference, light):
        mark = "" if cost.measured else "≈ "
        width = 100 * cost.figures[key] / longest
        lines += (
            f'<div class="lab-cost-line" style="--lab-colour:{COLOURS[cost.method]}">'
            f"{escape(method_title(cost.method))}: <strong>{mark}{escape(metric.show(cost.figures[key]))}</strong>"
            f'<div class="lab-track"><div class="lab-fill" style="width:{width:.2f}%"></div></div></div>'
        )
    part = light.figures[key] / reference.figures[key]
    result = say("cost.result", share=share(part))
    return (
        f'<article class="lab-cost"><h3>{escape(tr(metric.title))}</h3>{lines}<p>{escape(result)}</p>'
        f"<p>{escape(verdict(part, guess))}</p></article>"
    )


def _sources(*costs: Cost) -> str:
    return "".join(note(_source(cost.method, cost.measured, cost.basis)) for cost in costs)


def _source(method: str, run: Run | None, basis: str) -> str:
    if run is None:
        return say("cost.estimated", method=method_title(method), basis=basis)
    return say(
        "cost.measured",
        run=run.id,
        sentences=f"{run.result.meta_info.dataset_info.sizes.train:,}",
        epochs=run.recipe.epochs,
        device=run.device_name,
    )
