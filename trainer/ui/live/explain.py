"""Explanations of the predictions on the page, each drawn in its run's card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from trainer.runs.run import Run
from trainer.texts import tr, tr_count
from trainer.ui.common.lab import Lab, note
from trainer.ui.live.board import Board
from trainer.ui.live.predict import error_of
from trainer.ui.live.session import Session
from trainer.ui.live.view import View
from trainer.ui.live.why import Explanation


def explain(lab: Lab, view: View, session: Session) -> Iterator[dict[Any, Any]]:
    """Explain every prediction on the page, run by run; yields updates of the board, the last of it complete.

    Stops drawing when the page starts a newer prediction.
    """
    board = session.board
    if session.turns.prediction != session.turn or board is None:
        text = tr("Expected predictions to explain, got none; predict first.")
        if session.turns.prediction != session.turn:
            text = tr("The runs are still predicting; explain their predictions once all are there.")
        yield {view.status: note(text, "warning")}
        return
    yield from _explained(lab, view, session, board, session.runs)


def explain_one(lab: Lab, view: View, session: Session, run_id: str) -> Iterator[dict[Any, Any]]:
    """Open the explanation of one run's prediction, or close it; nothing once the predictions are of a newer text."""
    board = session.board
    if board is None or session.turns.prediction != session.turn or run_id not in session.runs:
        yield gr.skip()
    elif run_id in board.explained:
        board.explained.discard(run_id)
        yield {view.predictions: board.html("")}
    else:
        yield from _explained(lab, view, session, board, (run_id,))


def _explained(
    lab: Lab, view: View, session: Session, board: Board, run_ids: tuple[str, ...]
) -> Iterator[dict[Any, Any]]:
    """Compute what is not there yet. The page's handlers share the board: each draws what the others have computed."""
    runs = {run.id: (run, group.names[run.id]) for group in board.groups for run in group.runs}
    board.explained.update(run_ids)
    for number, run_id in enumerate(run_ids, start=1):
        run, name = runs[run_id]
        if run_id not in board.explanations:
            status = tr("Explaining {run}, {number} of {of}.", run=name, number=number, of=len(run_ids))
            yield {view.predictions: board.html(status), view.status: ""}
            board.explanations[run_id] = _computed(lab, board.text, run)
        if session.turns.prediction != session.turn:
            yield gr.skip()  # Gradio sends a handler's last value again when it ends: make that one empty
            return
    done = tr_count("{count} run explained.", "{count} runs explained.", len(run_ids))
    yield {view.predictions: board.html(done), view.status: ""}


def _computed(lab: Lab, text: str, run: Run) -> Explanation | str:
    """A run's explanation, or a sentence on why there is none."""
    try:
        return Explanation(lab.predictor.explain(text, run), lab.predictor.parent_weights(text, run))
    except Exception as error:  # of any kind: the other runs are still explained
        return error_of(lab, run, error)
