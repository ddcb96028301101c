"""The Live tab: predictions of trained runs for one sentence, in a fixed order, with explanations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from trainer.markup import render
from trainer.runs.store import Run
from trainer.serving import predictor as inference
from trainer.texts import tr
from trainer.ui import static
from trainer.ui.common import arguments
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, endpoint, note
from trainer.ui.live import examples as live_examples
from trainer.ui.live import file as live_file
from trainer.ui.live import link as live_link
from trainer.ui.live import missing as live_missing
from trainer.ui.live import view as live_view
from trainer.ui.live.explain import explain
from trainer.ui.live.guess import reset, tally_html, toggle
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.predict import predict, recalibrate
from trainer.ui.live.selection import NO_RUNS, choices, empty, labels_of, missing, resolve
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
    inputs = live_view.inputs()
    live_missing.build(lab, tab, page)
    live_file.build(lab, page, chosen=inputs["runs"], calibrated=inputs["calibrated"])
    view = View(tabs=tabs, **inputs, **live_view.outputs(tally_html(lab, Session())))
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
        ],
        "outputs": [view.predictions, view.explanations, view.guess, view.tally, view.session],
        "concurrency_limit": 8,
        **NEWEST,
    }
    _connect_predictions(lab, view, predicting)
    _connect_page(lab, view, tab, page, predicting)
    gr.api(endpoint(predict_api, lab), api_name="predict")
    return Live(view.text, predicting)


def _connect_predictions(lab: Lab, view: View, predicting: dict[str, Any]) -> None:
    """Connect the events that draw predictions, explanations and the tally."""
    gr.on([view.predict.click, view.text.submit], **predicting)
    redraw = predicting | {
        "fn": partial(recalibrate, lab, view),
        "inputs": [view.runs, view.untrained, view.session, view.calibrated],
    }
    view.calibrated.input(**redraw)
    view.examples.select(pick, None, view.text, **NEWEST).then(**predicting)
    view.explain.click(partial(explain, lab), view.session, view.explanations, concurrency_limit=4, **NEWEST)
    view.guessing.input(
        isolated(lab, partial(toggle, lab, view)),
        [view.guessing, view.runs, view.session],
        [view.tally_panel, view.guess, view.predict, view.predictions, view.explanations, view.session],
        **NEWEST,
    )
    view.reset.click(partial(reset, lab, view), view.session, [view.tally, view.session], **QUIET).then(
        **view.after_reset
    )


def _connect_page(lab: Lab, view: View, tab: gr.Tab, page: gr.Blocks, predicting: dict[str, Any]) -> None:
    """Connect the events of the page, its tabs and its address."""
    offered = [view.runs, view.examples, view.guess, view.predictions]
    view.runs.input(isolated(lab, partial(suit, lab, view)), view.runs, [view.examples, view.guess], **QUIET)
    tab.select(isolated(lab, partial(offer, lab, view)), [view.runs, view.guess, view.predictions], offered, **QUIET)
    arrived = [view.tabs, view.text, *offered, view.calibrated, view.session]
    page.load(isolated(lab, endpoint(arrive, lab, view)), view.session, arrived, **QUIET).then(
        **{**predicting, "fn": partial(predict_linked, lab, view)}
    )
    linked = [view.text, view.runs, view.calibrated, view.address]
    view.link.click(make_link, linked, view.address, js=static.read("live-address.js"), **QUIET).then(
        None, None, None, js=static.read("live-copy.js"), **QUIET
    )


def offer(lab: Lab, view: View, chosen: list[str] | None, guess: str | None, shown: str | None) -> dict[Any, Any]:
    """The current runs, their examples and labels, when the tab is opened."""
    every = choices(lab)
    known = {run_id for _, run_id in every}
    chosen = [run_id for run_id in chosen or () if run_id in known]
    runs, _ = resolve(lab, chosen)
    labels = labels_of(runs)
    drawn = {
        view.runs: gr.update(choices=every, value=chosen),
        view.examples: live_examples.html(runs),
        view.guess: gr.update(choices=labels, value=guess if guess in labels else None),
    }
    return drawn | {view.predictions: empty(lab)} if tr(NO_RUNS) in (shown or "") else drawn


def suit(lab: Lab, view: View, chosen: list[str] | None) -> dict[Any, Any]:
    """The examples and the labels to guess for the chosen runs."""
    runs, _ = resolve(lab, chosen)
    return {
        view.examples: live_examples.html(runs),
        view.guess: gr.update(choices=labels_of(runs), value=None),
    }


def pick(event: gr.EventData) -> str:
    """The sentence of the example that was pressed."""
    return str(event.value)[:MAX_CHARACTERS]


def arrive(lab: Lab, view: View, session: Session, request: gr.Request) -> dict[Any, Any]:
    """The components of a page when it opens, by its address."""
    link = live_link.parse(str(request.query_params))
    every = choices(lab)
    if link is None:
        return suit(lab, view, None) | {view.runs: gr.update(choices=every), view.predictions: empty(lab)}
    known = {run_id for _, run_id in every}
    chosen = [run_id for run_id in link.runs if run_id in known]
    gone = [run_id for run_id in link.runs if run_id not in known]
    notice = missing(gone, instead="others" if chosen else "every") if gone else ""
    linked = bool(link.text.strip())
    return suit(lab, view, chosen) | {
        view.tabs: gr.Tabs(selected=live_link.TAB),
        view.text: link.text,
        view.runs: gr.update(choices=every, value=chosen),
        view.calibrated: link.calibrated,
        view.predictions: "" if linked else empty(lab),
        view.session: replace(session, notice=notice, linked=linked),
    }


def predict_linked(lab: Lab, view: View, *inputs: Any) -> Iterator[dict[Any, Any]]:
    """Predict the sentence of the page's address, if it has one."""
    if next(value for value in inputs if isinstance(value, Session)).linked:
        yield from predict(lab, view, *inputs)
    else:
        yield gr.skip()


def make_link(text: str | None, chosen: list[str] | None, calibrated: bool, here: str) -> str:
    """The address that opens this page with the sentence and the runs, as HTML; `here` is its current address."""
    if not (text or "").strip():
        return note(tr("Expected a sentence to link to, got nothing; type one."), "warning")
    address = here.partition("?")[0].partition("#")[0] + live_link.build(text, chosen, calibrated=calibrated)
    return render("live/link.html", address=address)


def predict_api(lab: Lab, text: str, runs: list[str] | None = None) -> list[dict]:
    """Predictions of trained runs for one text: one object a run, in a fixed order.

    Parameters:
        text: the sentence.
        runs: ids of runs; every finished run if not given.

    Each object has run_id, label, method, predicted, probabilities (by label), seconds, the run's temperature, and
    calibrated: the probabilities scaled by it. The last two are null for a run without a temperature. cut says whether
    the text is longer than the run's maximum length: the first tokens_read of its tokens were read.
    """
    # No third parameter: Gradio refuses calls that send the first two alone.
    with arguments.sentence_errors(lab):
        chosen = inference.choose(lab.store, None if runs is None else arguments.texts("runs", runs))
        predictions = lab.predictor.predict(arguments.text("text", text, most=arguments.LONGEST), chosen)
        return [_object(prediction, run) for prediction, run in zip(predictions, chosen, strict=True)]


def _object(prediction: inference.Prediction, run: Run) -> dict[str, Any]:
    scaled = prediction.calibrated(run)
    temperature = {"temperature": scaled.temperature, "calibrated": scaled.temperature and scaled.probabilities}
    lengths = {"cut": prediction.cut, "tokens_read": prediction.tokens_read, "tokens": prediction.tokens}
    return {name: value for name, value in vars(prediction).items() if name not in lengths} | temperature | lengths
