"""The components of Live and their layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.texts import mark, tr
from trainer.ui.common import confirm, tables
from trainer.ui.common.lab import note, remark
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.session import Session

CONFIDENCE = mark(
    "A percentage is the probability that the run gives the label, not how often it is right: trained networks tend to "
    "be too sure (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Scaling by temperature, a number fitted on a "
    "run's validation sentences, corrects for that on the whole; it changes no label."
)
BUTTONS = mark(
    "Explain: which words moved each answer (integrated gradients, Sundararajan et al. 2017). Copy link: an address "
    "that opens this sentence and these runs."
)


@dataclass(frozen=True)
class View:
    """The components of the tab. Handlers return dicts keyed by these."""

    tabs: gr.Tabs
    session: gr.State
    text: gr.Textbox
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
    tally_panel: gr.Column
    tally: gr.HTML
    reset: gr.Button
    after_reset: dict[str, Any]
    """The event that hides the confirmation of a reset."""
    explanations: gr.HTML


def inputs() -> dict[str, Any]:
    """The upper part, by the names of `View`: the sentence and the runs at the left, the examples at the right."""
    session = gr.State(Session())
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(
                label=tr("A sentence"),
                placeholder=tr("Type a sentence and press Enter"),
                lines=1,  # with more, Gradio would send the sentence with Shift and Enter only
                max_lines=6,
                elem_id="live-text",
                max_length=MAX_CHARACTERS,
                submit_btn=False,
            )
            runs = gr.Dropdown([], multiselect=True, label=tr("Runs"), info=tr("All finished runs if none is chosen."))
            with gr.Row():
                untrained = gr.Checkbox(
                    False,
                    label=tr("The untrained backbone too"),
                    info=tr("what it says before training"),
                    min_width=220,
                )
                guessing = gr.Checkbox(
                    False, label=tr("Guess first"), info=tr("the class commits to a label"), min_width=220
                )
            calibrated = gr.Checkbox(
                False,
                label=tr("Scale the probabilities by temperature"),
                info=tr("each run's own, fitted on its validation sentences"),
            )
            guess = gr.Radio([], label=tr("What does the class say?"), value=None, visible=False)
            with gr.Row():
                predict = gr.Button(tr("Ask every run"), variant="primary", min_width=150)
                explain = gr.Button(tr("Explain the answers"), min_width=150)
                link = gr.Button(tr("Copy link"), min_width=110)
            gr.HTML(note(tr(BUTTONS)))
            address = gr.HTML()
        with gr.Column(scale=2, min_width=320):
            examples = gr.HTML(js_on_load=tables.PICK)
    return {
        "session": session,
        "text": text,
        "runs": runs,
        "untrained": untrained,
        "calibrated": calibrated,
        "guessing": guessing,
        "guess": guess,
        "predict": predict,
        "explain": explain,
        "link": link,
        "address": address,
        "examples": examples,
    }


def outputs(tally: str) -> dict[str, Any]:
    """The lower part, by the names of `View`: predictions, the tally of guesses (its first HTML), explanations."""
    predictions = gr.HTML()
    gr.HTML(remark(tr(CONFIDENCE)))
    with gr.Column(visible=False) as panel:
        counted = gr.HTML(tally)
        reset, hide = confirm.with_confirmation(
            tr("Reset the tally"), tr("Begin the tally at zero? It cannot be brought back."), tr("Yes, reset it")
        )
    return {
        "predictions": predictions,
        "tally_panel": panel,
        "tally": counted,
        "reset": reset,
        "after_reset": hide,
        "explanations": gr.HTML(),
    }
