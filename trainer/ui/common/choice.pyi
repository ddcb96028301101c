"""Controls whose choices change while a page is open; their handlers check the values."""

from __future__ import annotations

from typing import Any

import gradio as gr

MOST, LONGEST = 1_000, 4_000
"""The most values of a control, and the most characters of one."""

from gradio.events import Dependency

class Dropdown(gr.Dropdown):
    """A dropdown whose value may have left its choices: an event that follows new choices still sends the old value.

    Gradio would show an error for it. What is no text, or too much, is still refused.
    """

    is_template = True  # for Gradio: drawn as its base class is

    def preprocess(self, payload: Any) -> Any:
        return _checked(payload)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class Radio(gr.Radio):
    """Radio buttons whose value may have left their choices: see `Dropdown`."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return _checked(payload)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def _checked(payload: Any) -> Any:
    values = payload if isinstance(payload, list) else [payload]
    if len(values) > MOST or any(
        not (value is None or (isinstance(value, str | int) and len(str(value)) <= LONGEST)) for value in values
    ):
        raise ValueError("no choice")
    return payload