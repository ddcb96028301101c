"""Live: what cannot be asked because its weights did not come with the program, and the press that trains it."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.jobs import queue as jobs
from trainer.runs.metrics import METRICS
from trainer.texts import tr
from trainer.ui.common import tables
from trainer.ui.common.access import guarded
from trainer.ui.common.lab import Lab, escape, method_title, note

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def build(lab: Lab, tab: gr.Tab, page: gr.Blocks) -> None:
    """Lay out the note and connect it."""
    missing = gr.HTML(js_on_load=tables.PICK)
    said = gr.HTML()
    asked = gr.State(None)
    look = {"fn": partial(missing_html, lab), "inputs": None, "outputs": missing, **QUIET}
    for listen in (page.load, tab.select):
        listen(**look)
    tab.select(lambda: "", None, said, **QUIET)
    missing.select(pressed, None, asked, **QUIET).then(
        guarded(lab, partial(train_again, lab)), asked, said, **QUIET
    ).then(**look)


def missing_html(lab: Lab) -> str:
    """A line for each run without weights: that it is so, and a button, or that its recipe is being trained."""
    lines = []
    for run, trains in jobs.without_weights(lab.store):
        method, size = method_title(run.recipe.method), METRICS["file_size"]
        if trains:
            text, button = tr("{method} is being trained; it answers here when it has finished.", method=method), ""
        else:
            text = tr(
                "{method} came without its weights ({size} MB), so it cannot be asked yet.",
                method=method,
                size=f"{size.of(run):,.0f}",
            )
            words = tr("Train it here: about {seconds} s of training", seconds=_seconds(run))
            button = f' <button type="button" class="lab-button" data-pick="{escape(run.id)}">{escape(words)}</button>'
        lines.append(f'<div class="lab-note" role="status">{escape(text)}{button}</div>')
    return "".join(lines)


def _seconds(run: Any) -> str:
    """Of the training that came with the program, rounded up: this machine may be another."""
    return f"{-(-run.result.train_info.train_time // 10) * 10:,.0f}"


def pressed(event: gr.EventData) -> str:
    """The id of the run whose button was pressed."""
    return str(event.value)


def train_again(lab: Lab, run_id: str) -> str:
    """Queue the run's recipe; what happened."""
    try:
        jobs.again(lab.store, run_id)
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(tr("It is queued and goes on without this page; the Train tab shows its progress."))
