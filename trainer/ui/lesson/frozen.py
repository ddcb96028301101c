"""Step 1: what is frozen and what trains, as a drawing that follows the choices."""

from __future__ import annotations

from typing import Any

import gradio as gr

from trainer import methods
from trainer.analysis import lesson
from trainer.errors import UserError, sentence
from trainer.sources import backbones
from trainer.texts import mark, tr
from trainer.ui.common.lab import note
from trainer.ui.lesson import drawing as lesson_drawing
from trainer.ui.lesson.frame import QUIET, Step, question
from trainer.ui.lesson.text import say

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
"""Options that change what is drawn; a method shows those that it has."""
RANKS = (16, 32)
"""The ranks that the question is about."""


def build() -> Step:
    """Lay out the step and connect it."""
    fields = {name: field for method in methods.METHODS.values() for name, field in method.options.model_fields.items()}
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            method = gr.Radio(
                [(tr(found.title), name) for name, found in methods.METHODS.items()],
                value=lesson.LIGHT,
                label=say("frozen.method"),
                info=say("frozen.method_help"),
            )
            backbone = gr.Dropdown(
                [(tr(found.title), name) for name, found in backbones.BACKBONES.items()],
                value="minilm",
                label=say("frozen.backbone"),
                info=say("frozen.backbone_help"),
            )
            options = [_control(name, fields[name], shown=lesson.LIGHT) for name in CHOICES]
        with gr.Column(scale=3, min_width=300):
            drawn = gr.HTML()
    asked = gr.HTML()
    inputs, outputs = [method, backbone, *options], [*options, drawn, asked]
    gr.on([control.change for control in inputs], draw, inputs, outputs, trigger_mode="always_last", **QUIET)
    return Step("frozen", inputs, outputs, draw)


def _control(name: str, field: Any, *, shown: str) -> gr.components.Component:
    kind = gr.CheckboxGroup if isinstance(field.default, tuple) else gr.Radio
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    said = tr(field.description)
    info = tr("{sentence}.", sentence=f"{said[:1].upper()}{said[1:]}")
    return kind(
        [(_choice(choice), choice) for choice in CHOICES[name]],
        value=value,
        label=tr(field.title),
        info=info,
        visible=_seen(shown, name),
    )


def _choice(value: Any) -> str:
    """A choice as the drawing calls it; in another language with the option's own word, which files and papers use."""
    shown = tr(str(value))
    return shown if shown == str(value) else f"{shown} ({value})"


def draw(method: str, backbone: str, *values: Any) -> list[Any]:
    """(the options that the method has, the drawing, the question on the rank)."""
    options = dict(zip(CHOICES, values, strict=True))
    shown = [gr.update(visible=_seen(method, name)) for name in CHOICES]
    try:
        html = lesson_drawing.drawing(lesson.anatomy(method, backbone, options))
    except UserError as error:
        html = note(sentence(error), "warning")
    return [*shown, html, ask_rank(backbone)]


def _seen(method: str, option: str) -> bool | str:
    """Hidden, not absent, where the method lacks the option: see lesson_tab."""
    return True if option in methods.get(method).options.model_fields else "hidden"


def ask_rank(backbone: str) -> str:
    """What doubling the rank does to the count."""
    before, after = (lesson.anatomy(lesson.LIGHT, backbone, {"r": rank}) for rank in RANKS)
    head = sum(part.total for part in before.parts if part.name == "head")
    return question(
        say("frozen.question", low=RANKS[0], high=RANKS[1]),
        say("frozen.answer", before=f"{before.trained:,}", after=f"{after.trained:,}", head=f"{head:,}"),
    )
