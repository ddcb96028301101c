"""Step 1: frozen and trained parts, as a drawing that follows the choices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer import methods
from trainer.analysis import lesson
from trainer.errors import UserError, sentence
from trainer.sources import backbones
from trainer.texts import mark, tr
from trainer.ui.common.lab import note
from trainer.ui.common.visibility import seen_if
from trainer.ui.lesson import drawing as lesson_drawing
from trainer.ui.lesson.frame import QUIET, Step, controls, question, results

CHOICES: dict[str, list[Any]] = {
    "r": [1, 2, 4, 8, 16, 32, 64, 128],
    "target_modules": [
        mark("query"),
        mark("key"),
        mark("value"),
        mark("attention_output"),
        mark("intermediate"),
        mark("output"),
    ],
    "reduction_factor": [2, 4, 8, 16, 32, 64],
    "placement": ["pfeiffer", "houlsby"],
}
"""Options that change the drawing, with their choices; only those of the method are visible."""
RANKS = (16, 32)
"""The ranks in the question."""


@dataclass(frozen=True)
class View:
    """The components that the step fills: those named after `CHOICES`, the drawing and the question."""

    r: gr.Radio
    target_modules: gr.CheckboxGroup
    reduction_factor: gr.Radio
    placement: gr.Radio
    drawing: gr.HTML
    question: gr.HTML


def build() -> Step:
    """Lay out the step and connect it."""
    known = [methods.get(name) for name in methods.DEFAULT]
    fields = {name: field for method in known for name, field in method.options.model_fields.items()}
    with controls() as heading:
        method = gr.Radio(
            [(tr(one.title), one.name) for one in known],
            value=lesson.LIGHT,
            label=tr("Method"),
            info=tr("What of the model is trained."),
        )
        other = gr.Dropdown(
            [(tr("none"), ""), *((tr(one.title), name) for name, one in methods.METHODS.items() if one not in known)],
            value="",
            label=tr("Another method"),
            info=tr("Drawn in its place, with its default options."),
        )
        backbone = gr.Dropdown(
            [(tr(one.title), name) for name, one in backbones.BACKBONES.items()],
            value="minilm",
            label=tr("Backbone"),
            info=tr("The pretrained encoder. Its sizes are known without a download."),
        )
        options = {name: _control(name, fields[name], method=lesson.LIGHT) for name in CHOICES}
        question_html = gr.HTML()
    with results():
        drawing = gr.HTML()
    view = View(**options, drawing=drawing, question=question_html)
    inputs, outputs = [method, other, backbone, *options.values()], [*options.values(), view.drawing, view.question]
    redraw = partial(draw, view)
    gr.on([control.change for control in inputs], redraw, inputs, outputs, trigger_mode="always_last", **QUIET)
    return Step("frozen", inputs, outputs, redraw, heading)


def _control(name: str, field: Any, *, method: str) -> gr.components.Component:
    kind = gr.CheckboxGroup if isinstance(field.default, tuple) else gr.Radio
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    help_text = tr(field.description)
    return kind(
        [(_choice(choice), choice) for choice in CHOICES[name]],
        value=value,
        label=tr(field.title),
        info=tr("{sentence}.", sentence=f"{help_text[:1].upper()}{help_text[1:]}"),
        **seen_if(_has(method, name)),
    )


def _choice(value: Any) -> str:
    """A choice as in the drawing; in another language with the option's English word, which files and papers use."""
    shown = tr(str(value))
    return shown if shown == str(value) else f"{shown} ({value})"


def draw(view: View, method: str, other: str, backbone: str, *values: Any) -> dict[Any, Any]:
    """The options that the method has, the drawing, the question on the rank; `values` in the order of `CHOICES`.

    `other`: a method that is drawn in place of `method` with its default options; empty for none.
    """
    options = {} if other else dict(zip(CHOICES, values, strict=True))
    method = other or method
    try:
        methods.get(method).check_options(backbones.shape_of(backbone), methods.get(method).options())
        html = lesson_drawing.drawing(lesson.anatomy(method, backbone, options))
    except UserError as error:
        html = note(sentence(error), "warning")
    seen = {getattr(view, name): gr.update(**seen_if(not other and _has(method, name))) for name in CHOICES}
    return seen | {view.drawing: html, view.question: rank_question(backbone)}


def _has(method: str, option: str) -> bool:
    return option in methods.get(method).options.model_fields


def rank_question(backbone: str) -> str:
    """The question on how doubling the rank changes the number of parameters."""
    before, after = (lesson.anatomy(lesson.LIGHT, backbone, {"r": rank}) for rank in RANKS)
    head = sum(part.total for part in before.parts if part.name == "head")
    return question(
        tr(
            "The rank of LoRA goes from {low} to {high}. Do the trained parameters double?", low=RANKS[0], high=RANKS[1]
        ),
        tr(
            "Almost: from {before} to {after}. Each linear layer with n inputs and m outputs gets two matrices with "
            "r × (n + m) parameters, which double with the rank r. The classification head of {head} trains too and "
            "stays as it is.",
            before=f"{before.trained:,}",
            after=f"{after.trained:,}",
            head=f"{head:,}",
        ),
    )
