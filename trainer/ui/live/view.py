"""The components of Live and their layout: the sentence, below it the predictions and ways on; the examples beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.markup import render
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common import confirm, tables
from trainer.ui.common.choice import Dropdown, Radio
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import remark
from trainer.ui.common.visibility import seen_if
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.session import Session

CONFIDENCE = mark(
    "A percentage is the probability that the run gives the label, not how often it is right: trained networks tend to "
    "be too sure (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Scaling by temperature, a number fitted on a "
    "run's validation sentences, corrects for that on the whole; it changes no label."
)
BUTTONS = mark(
    "Explain, or Why in one card: which words moved the prediction (integrated gradients, Sundararajan et al. 2017). "
    "Copy link: an address that opens this sentence and these runs."
)


@dataclass(frozen=True)
class View:
    """The components of the tab. Handlers return dicts keyed by these."""

    tabs: gr.Tabs
    session: gr.State
    task: gr.Dropdown
    text: gr.Textbox
    offered: gr.Textbox
    """The sentence that waits to come into the box; the page puts it there unless something was typed meanwhile."""
    runs: gr.Dropdown
    untrained: gr.Checkbox
    calibrated: gr.Checkbox
    guessing: gr.Checkbox
    guess: gr.Radio
    predict: gr.Button
    explain: gr.Button
    link: gr.Button
    address: gr.HTML
    examples: gr.HTML
    predictions: gr.HTML
    why: gr.State
    """The id of the run whose Why was pressed."""
    status: gr.HTML
    bring: gr.Button
    tally_panel: gr.Column
    tally: gr.HTML
    reset: gr.Button
    after_reset: dict[str, Any]
    """The event that hides the confirmation of a reset."""


def layout(tally: str) -> dict[str, Any]:
    """The tab's components, by the names of `View`; `tally` is the first content of that of the guesses."""
    parts: dict[str, Any] = {"session": gr.State(Session()), "why": gr.State("")}
    with gr.Row(elem_id="live"):
        with gr.Column(scale=5, min_width=320):
            parts |= _sentence() | _options()
            parts["guess"] = Radio([], label=tr("What does the class say?"), value=None, **seen_if(False))
            parts["predictions"] = gr.HTML(js_on_load=tables.PICK, elem_id="live-answers")
            parts["status"] = gr.HTML()
            parts["bring"] = gr.Button(tr("Add the example runs"), variant="primary", min_width=200, **seen_if(False))
            gr.HTML(render("live/ways.html"))
            parts |= _tally(tally)
        with gr.Column(scale=1, min_width=240):
            parts["examples"] = gr.HTML(js_on_load=tables.PICK)
    return parts


def _sentence() -> dict[str, Any]:
    with gr.Row(elem_id="live-ask"):
        text = gr.Textbox(
            **box(()),
            lines=1,  # with more, Gradio would send the sentence with Shift and Enter only
            max_lines=4,
            elem_id="live-text",
            max_length=MAX_CHARACTERS,
            submit_btn=False,
            scale=6,
            min_width=300,
        )
        offered = gr.Textbox(visible=False)
        task = Dropdown([], label=tr("Task"), elem_id="live-task", scale=2, min_width=130, **seen_if(False))
        predict = gr.Button(
            tr("Predict with all runs"), variant="primary", elem_id="live-predict", scale=2, min_width=130
        )
    return {"text": text, "offered": offered, "task": task, "predict": predict}


def box(runs: Sequence[Run]) -> dict[str, str]:
    """The label and the placeholder of the text box: for one sentence, or for a pair where the runs take pairs."""
    if any(run.has_pairs for run in runs):
        return {"label": tr("Two sentences"), "placeholder": tr("First sentence || second sentence")}
    return {"label": tr("A sentence"), "placeholder": tr("Type a sentence and press Enter")}


def _options() -> dict[str, Any]:
    """What is seldom changed, closed at first."""
    with fold(tr("Options: runs, untrained model, guess first, explain, link"), elem_id="live-options"):
        runs = Dropdown([], multiselect=True, label=tr("Runs"), info=tr("One run of each recipe if none is chosen."))
        with gr.Row():
            untrained = gr.Checkbox(
                False, label=tr("Include untrained model"), info=tr("what it says before training"), min_width=220
            )
            guessing = gr.Checkbox(
                False, label=tr("Guess first"), info=tr("the class commits to a label"), min_width=220
            )
            calibrated = gr.Checkbox(
                False,
                label=tr("Scale the probabilities by temperature"),
                info=tr("each run's own, fitted on its validation sentences"),
                min_width=220,
            )
        with gr.Row():
            explain = gr.Button(tr("Explain"), min_width=130)
            link = gr.Button(tr("Copy link"), min_width=130)
        gr.HTML(remark(tr(BUTTONS)))
        address = gr.HTML()
        gr.HTML(remark(tr(CONFIDENCE)))
        gr.HTML(remark(tr("The time on a card is that run's own; runs in memory are computed side by side.")))
    return {
        "runs": runs,
        "untrained": untrained,
        "guessing": guessing,
        "calibrated": calibrated,
        "explain": explain,
        "link": link,
        "address": address,
    }


def _tally(tally: str) -> dict[str, Any]:
    with gr.Column(**seen_if(False)) as panel:
        counted = gr.HTML(tally)
        reset, hide = confirm.with_confirmation(
            tr("Reset the tally"), tr("Begin the tally at zero? It cannot be brought back."), tr("Yes, reset it")
        )
    return {"tally_panel": panel, "tally": counted, "reset": reset, "after_reset": hide}
