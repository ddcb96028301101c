"""Controls whose choices change while a page is open; their handlers check the values."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

MOST, LONGEST = 1_000, 4_000
"""The most values of a control, and the most characters of one."""


def checked(payload: Any) -> Any:
    """A control's value, whatever its choices. Raises `ValueError` for what is no text or number, or too much."""
    values = payload if isinstance(payload, list) else [payload]
    if len(values) > MOST or not all(_is_value(value) for value in values):
        raise ValueError("no choice")
    return payload


def _is_value(value: Any) -> bool:
    return value is None or (isinstance(value, str | int) and len(str(value)) <= LONGEST)


def _with_changing_choices(base: type) -> type:
    """A subclass whose value may have left its choices: an event that follows new choices still sends the old value.

    Gradio's own check would show an error for it. Its metaclass writes a file of types beside the module of a subclass,
    so that one is passed over; `is_template` says that the subclass is drawn as its base.
    """
    own = {"__module__": __name__, "is_template": True, "preprocess": lambda self, payload: checked(payload)}
    return ABCMeta.__new__(ComponentMeta, base.__name__, (base,), own)


Dropdown = _with_changing_choices(gr.Dropdown)
Radio = _with_changing_choices(gr.Radio)
