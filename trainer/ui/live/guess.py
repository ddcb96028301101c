"""The class's guesses before the runs predict, and a tally of their agreement with each run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from trainer.analysis.names import short_names
from trainer.markup import render
from trainer.serving.prediction import Prediction
from trainer.tasks.base import normalise
from trainer.texts import mark, tr
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab
from trainer.ui.common.tables import Cell, Column
from trainer.ui.common.visibility import seen_if
from trainer.ui.live.board import Board
from trainer.ui.live.groups import described
from trainer.ui.live.selection import able, empty, labels_of, resolve
from trainer.ui.live.session import Session
from trainer.ui.live.view import View


def count_guess(session: Session, board: Board) -> tuple[Session, bool]:
    """(the session with this guess counted, whether it was). Counts a sentence once, for runs with the label."""
    key = normalise(board.text)
    if board.guess is None or key in session.counted:
        return session, False
    tally = dict(session.tally)
    for run_id, prediction in board.predictions.items():
        counts = isinstance(prediction, Prediction) and not prediction.multi_label
        if counts and board.guess in prediction.probabilities:
            agreed, guessed = tally.get(run_id, (0, 0))
            tally[run_id] = (agreed + (prediction.predicted == board.guess), guessed + 1)
    return replace(session, tally=tally, counted=session.counted | {key}), True


def tally_html(lab: Lab, session: Session) -> str:
    """The class's agreement with each run as a table, in the methods' order."""
    title = tr("The class and the methods")
    if not session.tally:
        return render("live/tally.html", title=title, counted=0, table="")
    runs, rows = [run for run in able(lab) if run.id in session.tally], []
    for run_id, name in short_names(runs).items():
        agreed, guessed = session.tally[run_id]
        rows.append(
            (
                Cell(name),
                Cell(tr("{count} of {all}", count=agreed, all=guessed), float(agreed)),
                Cell(f"{agreed / guessed:.0%}", agreed / guessed),
                Cell(described(next(run for run in runs if run.id == run_id), name)),
            )
        )
    agreement = mark("sentences on which the run said what the class said")
    columns = (
        Column.named(mark("Run"), numeric=False),
        Column.named(mark("Class agreed"), agreement, "descending"),
        Column.named(mark("Share"), first="descending"),
        Column.named(mark("Training"), numeric=False),
    )
    table = tables.table(columns, rows, name="class-and-methods", title=title)
    return render("live/tally.html", title=title, counted=len(session.counted), table=table)


def reset(lab: Lab, view: View, session: Session) -> dict[Any, Any]:
    """Reset the tally to zero; does not change the predictions on the page."""
    session = replace(session, tally={}, counted=frozenset())
    return {view.tally: tally_html(lab, session), view.session: session}


def toggle(
    lab: Lab, view: View, guessing: bool, chosen: list[str] | None, session: Session, task: str | None = None
) -> dict[Any, Any]:
    """Show or hide the controls for guessing, and remove the predictions, which would reveal the labels."""
    runs, _ = resolve(lab, chosen, task)
    return {
        view.tally_panel: gr.update(**seen_if(guessing)),
        view.guess: gr.update(choices=labels_of(runs), value=None, **seen_if(guessing)),
        view.predict: gr.update(value=tr("Commit and predict") if guessing else tr("Predict with all runs")),
        view.predictions: empty(lab, guessing=guessing),
        view.status: "",
        view.session: replace(session, text="", runs=(), turn=session.turns.predict(), waiting="", board=None),
    }
