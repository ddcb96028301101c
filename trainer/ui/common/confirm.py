"""A button with a confirmation, for actions that cannot be undone."""

from __future__ import annotations

from typing import Any

import gradio as gr

from trainer.markup import render
from trainer.texts import tr
from trainer.ui.common.visibility import seen_if

_QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def with_confirmation(label: str, question: str, yes: str) -> tuple[gr.Button, dict[str, Any]]:
    """Lay out a button and, hidden until it is pressed, a question with two buttons.

    Returns (the button that confirms, the event that hides the question, to run after the action).
    """
    button = gr.Button(label, size="sm")
    with gr.Column(**seen_if(False)) as group:
        gr.HTML(render("common/question.html", text=question))
        with gr.Row():
            confirm = gr.Button(yes, variant="stop", min_width=120)
            dismiss = gr.Button(tr("Keep it"), min_width=120)
    hide = {"fn": lambda: gr.update(**seen_if(False)), "inputs": None, "outputs": group, **_QUIET}
    button.click(lambda: gr.update(**seen_if(True)), None, group, **_QUIET)
    dismiss.click(**hide)
    return confirm, hide
