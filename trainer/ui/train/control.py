"""Form controls for fields of the recipe and of methods' options, by the field's type."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

import gradio as gr

from trainer.texts import mark, tr
from trainer.ui.train.form import default

CHOICES = {
    "fairness": [(mark("Own learning rates"), "own_learning_rate"), (mark("Everything the same"), "same")],
    "class_weights": [(mark("None"), "none"), (mark("Balanced"), "balanced")],
    "truncation": [
        (mark("Head"), "head"),
        (mark("Tail"), "tail"),
        (mark("Head and tail"), "head_and_tail"),
    ],
    "best_by": [
        (mark("Accuracy"), "accuracy"),
        (mark("F1, macro"), "macro_f1"),
        (mark("Balanced accuracy"), "balanced_accuracy"),
        (mark("Loss"), "loss"),
    ],
}
WORDS = (mark("auto"), mark("linear"), mark("cosine"), mark("constant"))
"""Values that are words, which are translated; others, such as fp32, are not."""
HELP = {
    "class_weights": mark("Balanced: rare labels count as much as frequent ones."),
    "fairness": mark("Each method with its own learning rate, or one learning rate for all."),
    "precision": mark("Auto takes what the device does well."),
}
"""Help for fields whose values the form shows under other names than the recipe."""
_ALL = mark("all")
PLACEHOLDERS = {
    "learning_rate": mark("each method's own"),
    "train_size": _ALL,
    "validation_size": _ALL,
    "test_size": _ALL,
    "early_stopping": mark("never"),
}


def control(field: Any, value: Any, name: str, *, choices: list | None = None, help: str | None = None) -> Any:
    """The control for a field's type, with its title and its line of help."""
    kind, own = type_of(field), HELP.get(name)
    shared: dict[str, Any] = {
        "label": tr(field.title) if field.title else name,
        "info": help or (tr(own) if own else _sentence(field.description)),
        "min_width": 210,
    }
    if choices is not None:
        return gr.Dropdown(choices, value=value, multiselect=True, **shared)
    if kind is bool:
        return gr.Checkbox(value, **shared)
    if typing.get_origin(kind) is Literal:
        return gr.Dropdown(_choices(name, kind), value=value, **shared)
    if typing.get_origin(kind) is tuple:
        return gr.CheckboxGroup(list(typing.get_args(typing.get_args(kind)[0])), value=value, **shared)
    if default(field) is None:
        # A number field would show an empty value as 0.
        left_out = mark("own") if help else PLACEHOLDERS.get(name)
        return gr.Textbox(str(value), placeholder=left_out and tr(left_out), max_length=20, **shared)
    return gr.Number(value, precision=0 if kind is int else None, **shared)


def _choices(name: str, kind: Any) -> list[tuple[str, Any]]:
    """(title, value) of each choice of a field with fixed values."""
    return [(tr(title), value) for title, value in CHOICES.get(name) or [(str(v), v) for v in typing.get_args(kind)]]


def type_of(field: Any) -> Any:
    """A field's type without None: `int` for the optional `int | None`."""
    kind = field.annotation
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _sentence(text: str | None) -> str | None:
    if not text:
        return None
    text = tr(text)
    return tr("{sentence}.", sentence=f"{text[:1].upper()}{text[1:]}")
