"""A button that asks once more before what cannot be taken back."""

from __future__ import annotations

from typing import Any

import gradio as gr

from trainer.markup import render
from trainer.texts import tr

_QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def ask_twice(label: str, question: str, yes: str) -> tuple[gr.Button, dict[str, Any]]:
    """Lay out the button and, hidden until it is pressed, the question with its two answers.

    Returns (the button that means it, the event that hides the question again, to come after what it does).
    """
    button = gr.Button(label, size="sm")
    with gr.Column(visible=False) as asked:
        gr.HTML(render("common/question.html", text=question))
        with gr.Row():
            sure = gr.Button(yes, variant="stop", min_width=120)
            keep = gr.Button(tr("Keep it"), min_width=120)
    away = {"fn": lambda: gr.update(visible=False), "inputs": None, "outputs": asked, **_QUIET}
    button.click(lambda: gr.update(visible=True), None, asked, **_QUIET)
    keep.click(**away)
    return sure, away
