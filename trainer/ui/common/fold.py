"""Content that is folded away until its heading is pressed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from trainer.markup import render
from trainer.ui import static


@contextmanager
def fold(label: str, *, elem_id: str | None = None, wide: bool = False) -> Iterator[gr.HTML]:
    """Lay out a heading, and what the block lays out as its content, closed at first; gives the heading.

    `wide`: open at first, but on a phone's narrow page or a projector's low one.

    Gradio's accordion makes its content when it is opened, and loses it where an event changes the page at that moment;
    this content is there from the start. Another `heading` may replace the heading; an empty one hides all.
    """
    with gr.Column(elem_classes=["lab-fold", *(["lab-fold-wide"] if wide else [])], elem_id=elem_id):
        head = gr.HTML(heading(label), js_on_load=static.read("fold.js"), elem_classes="lab-fold-head", padding=False)
        with gr.Column(elem_classes="lab-fold-content"):
            yield head


def heading(label: str) -> str:
    """The heading's HTML; empty for an empty label."""
    return render("common/fold.html", label=label) if label else ""
