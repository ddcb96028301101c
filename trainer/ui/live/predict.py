"""Predictions of a typed sentence, drawn run by run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.markup import render
from trainer.runs.run import Run
from trainer.serving.prediction import Prediction
from trainer.texts import tr, tr_count
from trainer.ui.common.lab import Lab, note, task_name
from trainer.ui.live.board import Board, untrained_key
from trainer.ui.live.groups import backbone_name, groups
from trainer.ui.live.guess import count_guess, tally_html
from trainer.ui.live.selection import empty, labels_of, resolve
from trainer.ui.live.session import Session
from trainer.ui.live.view import View

ERRORS = (UserError, OSError, RuntimeError, MemoryError, ValueError, KeyError)
"""Errors that a run's files or its memory can cause, in their own words on its card. Any other is logged too."""


def predict(
    lab: Lab,
    view: View,
    text: str | None,
    chosen: list[str] | None,
    untrained: bool,
    guessing: bool,
    guess: str | None,
    session: Session,
    calibrated: bool = False,
    task: str | None = None,
) -> Iterator[dict[Any, Any]]:
    """Yield updates of the board after each prediction; the last one also clears the guess and has the new session.

    The runs of one task predict, that with the key `task`: the chosen ones, or one of each recipe. `calibrated` shows
    the probabilities scaled by each run's temperature. Stops drawing when the page starts a newer prediction.
    """
    turn = session.turns.predict()
    cleared = replace(session, notice="", waiting="", fresh=False, text="", runs=(), turn=turn, board=None)
    try:
        runs, notices = resolve(lab, chosen, task)
    except (UserError, OSError) as error:
        yield _nothing(view, note(lab.shown(sentence(error)), "warning"), cleared)
        return
    notices = tuple(notice for notice in (session.notice, *notices) if notice)
    problem = _problem(runs, text, guess if guessing else None, guessing=guessing)
    if not runs or problem:
        shown = [text for text in (*notices, problem) if text]
        html = render("live/notes.html", notes=shown, kind="warning") if shown else empty(lab)
        yield _nothing(view, html, cleared)
        return
    board = Board(
        text or "", groups(runs), untrained, guess if guessing else None, notices, calibrated, explainable=True
    )
    for status in fill(lab, board):
        if session.turns.prediction != turn:
            break
        yield {view.predictions: board.html(status, busy=True), view.status: ""}
    if session.turns.prediction != turn:
        yield gr.skip()  # Gradio sends a handler's last value again when it ends: make that one empty
        return
    yield _whole(lab, view, board, replace(cleared, text=board.text, runs=_predicted(board), board=board))


def recalibrate(
    lab: Lab,
    view: View,
    chosen: list[str] | None,
    untrained: bool,
    session: Session,
    calibrated: bool,
    task: str | None = None,
) -> Iterator[dict[Any, Any]]:
    """Draw the page's predictions again, scaled or not; nothing while there are none."""
    if session.text:
        yield from predict(lab, view, session.text, chosen, untrained, False, None, session, calibrated, task)
    else:
        yield gr.skip()


def _nothing(view: View, html: str, session: Session) -> dict[Any, Any]:
    return {view.predictions: html, view.status: "", view.session: session}


def _whole(lab: Lab, view: View, board: Board, session: Session) -> dict[Any, Any]:
    """The last update of the board, with the guess counted and its control cleared."""
    session, counted = count_guess(session, board)
    count = len(session.runs)
    status = [tr_count("{count} run predicted.", "{count} runs predicted.", count)]
    if board.guess is not None and not counted:
        status.append(tr("This sentence was guessed before: the tally stays."))
    return {
        view.predictions: board.html(" ".join(status)),
        view.guess: None,
        view.tally: tally_html(lab, session),
        view.session: session,
    }


def _predicted(board: Board) -> tuple[str, ...]:
    runs = (run for group in board.groups for run in group.runs)
    return tuple(run.id for run in runs if isinstance(board.predictions.get(run.id), Prediction))


def _problem(runs: Sequence[Run], text: str | None, guess: str | None, *, guessing: bool) -> str:
    """A sentence on why nothing can be predicted; empty if everything is there."""
    if not runs:
        return ""
    if not (text or "").strip():
        return tr("Expected a sentence, got nothing; type one or choose an example.")
    names = labels_of(runs)
    if guessing and guess not in names:
        shown = ", ".join([*names[:8], *["…"][: len(names) > 8]])
        return tr("Guess first: choose what the class says ({labels}).", labels=shown)
    return ""


def fill(lab: Lab, board: Board) -> Iterator[str]:
    """Add the predictions to the board: of loaded runs together, of the others one by one, since loading takes seconds.

    Yields a status each time the board should be drawn. An error is shown on the card of its run.
    """
    runs = [run for group in board.groups for run in group.runs]
    names = {run_id: name for group in board.groups for run_id, name in group.names.items()}
    ready = [run for run in runs if lab.predictor.is_loaded(run)]
    if ready:
        yield tr_count("Predicting with {count} run.", "Predicting with {count} runs.", len(ready))
        predictions = lab.predictor.predict_each(board.text, ready)
        for run, prediction in zip(ready, predictions, strict=True):
            failed = isinstance(prediction, Exception)
            board.predictions[run.id] = error_of(lab, run, prediction) if failed else prediction
    for run in runs:
        if run.id not in board.predictions:
            progress = {"number": len(board.predictions) + 1, "of": len(runs)}
            yield tr("Loading {method}, {number} of {of}.", method=names[run.id], **progress)
            board.predictions[run.id] = _attempt(lab, lab.predictor.predict_one, board.text, run)
    if board.with_untrained:
        yield from _fill_untrained(lab, board)


def _fill_untrained(lab: Lab, board: Board) -> Iterator[str]:
    for group in board.groups:
        for run in group.one_per_backbone:
            yield tr("Loading the untrained {backbone} for {task}.", backbone=backbone_name(run), task=task_name(run))
            board.untrained[untrained_key(run)] = _attempt(lab, lab.predictor.untrained, board.text, run)


def _attempt(lab: Lab, predict_one: Callable[[str, Run], Prediction], text: str, run: Run) -> Prediction | str:
    try:
        return predict_one(text, run)
    except Exception as error:
        return error_of(lab, run, error)


def error_of(lab: Lab, run: Run, error: Exception) -> str:
    """The sentence for a run's card on why it cannot predict."""
    return lab.shown(sentence(error) if isinstance(error, ERRORS) else str(lab.log(run, error)))
