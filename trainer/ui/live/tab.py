"""The Live tab: predictions of a task's runs for one sentence, in a fixed order, with explanations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer import pairs
from trainer.markup import render
from trainer.publish import bundled
from trainer.runs.run import Run
from trainer.serving import predictor as inference
from trainer.serving.prediction import Prediction
from trainer.texts import tr
from trainer.ui import static
from trainer.ui.common import arguments
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, endpoint, note
from trainer.ui.live import file as live_file
from trainer.ui.live import link as live_link
from trainer.ui.live import missing as live_missing
from trainer.ui.live import view as live_view
from trainer.ui.live.explain import explain, explain_one
from trainer.ui.live.guess import reset, tally_html, toggle
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.offers import arrive, change_task, offer, suit
from trainer.ui.live.predict import predict, recalibrate
from trainer.ui.live.session import Session
from trainer.ui.live.view import View

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
NEWEST = {**QUIET, "trigger_mode": "multiple"}
"""Events that also run while an earlier one does, which Gradio would ignore; `Turns` makes the newest one draw."""


@dataclass(frozen=True)
class Live:
    """The tab's parts for other tabs: the text box, and the event that predicts its sentence."""

    text: gr.Textbox
    predict: dict[str, Any]


def build(lab: Lab, tab: gr.Tab, page: gr.Blocks, tabs: gr.Tabs) -> Live:
    """Lay out the tab and connect it.

    Handlers that draw runs are `isolated`; of predictions and explanations each has its run's error on its own card.
    """
    view = View(tabs=tabs, **live_view.layout(tally_html(lab, Session())))
    missing = live_missing.build(lab, tab, page, view.task)
    live_file.build(lab, page, task=view.task, chosen=view.runs, calibrated=view.calibrated)
    predicting = {
        "fn": partial(predict, lab, view),
        "inputs": [
            view.text,
            view.runs,
            view.untrained,
            view.guessing,
            view.guess,
            view.session,
            view.calibrated,
            view.task,
        ],
        "outputs": [view.predictions, view.status, view.guess, view.tally, view.session],
        "concurrency_limit": 8,
        "js": "(...inputs) => labPredict(inputs)",
        **NEWEST,
    }
    first = predicting | {
        "fn": partial(predict_waiting, lab, view),
        "inputs": [*predicting["inputs"], view.offered],
        "outputs": [*predicting["outputs"], view.offered],
        "js": "(...inputs) => labOffer(inputs)",
    }
    _connect_predictions(lab, view, predicting)
    _connect_page(lab, view, tab, page, first=first, missing=missing)
    gr.api(endpoint(predict_api, lab), api_name="predict")
    return Live(view.text, predicting)


def _connect_predictions(lab: Lab, view: View, predicting: dict[str, Any]) -> None:
    """Connect the events that draw predictions, explanations and the tally."""
    gr.on([view.predict.click, view.text.submit], **predicting)
    redraw = predicting | {
        "fn": partial(recalibrate, lab, view),
        "inputs": [view.runs, view.untrained, view.session, view.calibrated, view.task],
        "js": None,
    }
    view.calibrated.input(**redraw)
    view.examples.select(pick, None, view.text, **NEWEST).then(**predicting)
    explaining = {"outputs": [view.predictions, view.status], "concurrency_limit": 4, **NEWEST}
    view.explain.click(partial(explain, lab, view), view.session, **explaining)
    view.predictions.select(live_missing.pressed, None, view.why, **NEWEST).then(
        partial(explain_one, lab, view), [view.session, view.why], **explaining
    )
    view.guessing.input(
        isolated(lab, partial(toggle, lab, view)),
        [view.guessing, view.runs, view.session, view.task],
        [view.tally_panel, view.guess, view.predict, view.predictions, view.status, view.session],
        **NEWEST,
    )
    view.reset.click(partial(reset, lab, view), view.session, [view.tally, view.session], **QUIET).then(
        **view.after_reset
    )


def _connect_page(
    lab: Lab, view: View, tab: gr.Tab, page: gr.Blocks, *, first: dict[str, Any], missing: dict[str, Any]
) -> None:
    """Connect the events of the page, its tabs and its address.

    `first` predicts the sentence that waits; `missing` draws the runs without weights.
    """
    offered = [
        view.task, view.runs, view.examples, view.guess, view.predictions, view.bring, view.text, view.offered,
        view.session,
    ]  # fmt: skip
    fitting = [view.examples, view.guess]
    view.runs.input(isolated(lab, partial(suit, lab, view)), [view.runs, view.task], fitting, **QUIET)
    offer_now = {
        "fn": isolated(lab, partial(offer, lab, view)),
        "inputs": [view.task, view.runs, view.guess, view.text, view.session],
        "outputs": offered,
        **QUIET,
    }
    tab.select(**offer_now).then(**first)
    changed = isolated(lab, partial(change_task, lab, view))
    choosing = {"js": "(...inputs) => labChooseTask(inputs)", **QUIET}
    view.task.input(changed, [view.task, view.session], offered, **choosing).then(**first)
    added = {"outputs": view.status, "api_visibility": "private", "show_progress": "full"}
    brought = view.bring.click(guarded(lab, partial(bring, lab), adds=True), None, **added)
    brought.then(**offer_now).then(**first).then(**missing)
    arrived = [view.tabs, *offered, view.calibrated]
    page.load(isolated(lab, endpoint(arrive, lab, view)), view.session, arrived, **QUIET).then(**first)
    linked = [view.text, view.runs, view.calibrated, view.task, view.address]
    view.link.click(make_link, linked, view.address, js=static.read("live-address.js"), **QUIET).then(
        None, None, None, js=static.read("live-copy.js"), **QUIET
    )


def pick(event: gr.EventData) -> str:
    """The sentence of the example that was pressed."""
    return str(event.value)[:MAX_CHARACTERS]


def bring(lab: Lab) -> str:
    """Copy the example runs into the store. Returns a message as HTML."""
    count = bundled.bring(lab.store.root, again=True)
    return "" if count else note(tr("The example runs could not be added; the log says why."), "warning")


def predict_waiting(lab: Lab, view: View, *inputs: Any) -> Iterator[dict[Any, Any]]:
    """Predict the sentence of the page's address, or the example, if it waits and has come into the box."""
    *inputs, _ = inputs
    waiting = next(value for value in inputs if isinstance(value, Session)).waiting
    yield {view.offered: ""}
    if waiting and (inputs[0] or "").split() == waiting.split():
        yield from predict(lab, view, *inputs)


def make_link(text: str | None, chosen: list[str] | None, calibrated: bool, task: str | None, here: str) -> str:
    """The address that opens this page with the sentence and the runs, as HTML; `here` is its current address."""
    if not (text or "").strip():
        return note(tr("Expected a sentence to link to, got nothing; type one."), "warning")
    query = live_link.build(text, chosen, calibrated=calibrated, task=task)
    return render("live/link.html", address=here.partition("?")[0].partition("#")[0] + query)


def predict_api(lab: Lab, text: str, runs: list[str] | None = None) -> list[dict]:
    """Predictions of trained runs for one text: one object a run, in a fixed order.

    Parameters:
        text: the sentence, or a pair of sentences with || between them.
        runs: ids of runs; every finished run that has its weights if not given.

    Each object has run_id, label (the run's own name, may be empty), method, predicted, probabilities (by label),
    seconds, the run's temperature, labels (the predicted one alone, of a multi-label run any number, which predicted
    joins as a|b), thresholds (by label, from which probability a multi-label run predicts it; else null), and
    calibrated: the probabilities scaled by the temperature. Both are null for a run without a temperature. cut says
    whether the text is longer than the run's maximum length: tokens_read of its tokens were read, those that
    truncation names (head, tail or head_and_tail).
    """
    # No third parameter: Gradio refuses calls that send the first two alone.
    with arguments.sentence_errors(lab):
        text = arguments.text("text", text, most=arguments.LONGEST)
        named = None if runs is None else arguments.texts("runs", runs)
        chosen = inference.choose(lab.store, named, pair=pairs.split(text) is not None)
        predictions = lab.predictor.predict(text, chosen)
        return [_object(prediction, run) for prediction, run in zip(predictions, chosen, strict=True)]


def _object(prediction: Prediction, run: Run) -> dict[str, Any]:
    scaled = prediction.calibrated(run)
    temperature = {"temperature": scaled.temperature, "calibrated": scaled.temperature and scaled.probabilities}
    lengths = {
        "cut": prediction.cut, "tokens_read": prediction.tokens_read, "tokens": prediction.tokens,
        "truncation": prediction.truncation,
    }  # fmt: skip
    return {name: value for name, value in vars(prediction).items() if name not in lengths} | temperature | lengths
