"""Step 5: a sentence on which the runs disagree, searched for by the room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import gradio as gr
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from trainer.analysis import disputes
from trainer.markup import render
from trainer.runs.run import Run
from trainer.serving.prediction import Prediction
from trainer.tasks.base import normalise
from trainer.texts import mark, tr
from trainer.ui.common import confirm, tables
from trainer.ui.common.lab import Lab, method_title, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.lesson.frame import (
    NEEDS_TWO_RUNS,
    OWN,
    QUIET,
    SHOW_RESULTS,
    Step,
    controls,
    members_with_own,
    question,
    results,
)
from trainer.ui.live.board import Board
from trainer.ui.live.groups import groups
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.predict import fill

HINTS, UNSURE = 6, 0.6
ANSWER = mark(
    "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips it. "
    "Negation, contrast, irony, mixed feelings and rare words bring a sentence there. On the {sentences} test "
    "sentences all {runs} runs are right on {agreed} and split on {disputed}; on {near} of these some run is less than "
    "{bound} sure, on {near_share} of all sentences."
)
ANSWER_ALONE = mark(
    "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips it. "
    "Negation, contrast, irony, mixed feelings and rare words bring a sentence there."
)
NO_SENTENCE = mark("Expected a sentence, got nothing; type one or choose a hint.")
MOST_SENTENCES = 200
"""The most sentences that a browser stores, the newest ones: a class of thirty writes fewer."""


class Entry(BaseModel):
    """A sentence of the room as the browser stores it, with the keys of the runs that predict each label."""

    text: str = Field(max_length=MAX_CHARACTERS)
    who: str = Field("", max_length=60)
    # "said" is the name under which older versions stored it.
    labels: dict[str, Annotated[list[str], Field(max_length=100)]] = Field(
        max_length=100, validation_alias=AliasChoices("labels", "said")
    )


@dataclass(frozen=True)
class View:
    """The components that the step fills; `room` has the room's sentences."""

    room: gr.BrowserState
    score: gr.HTML
    predictions: gr.HTML
    hints: gr.HTML
    question: gr.HTML


def build(lab: Lab, room: gr.BrowserState, own: gr.BrowserState) -> tuple[Step, gr.Button, gr.Textbox]:
    """Lay out the step and connect it; returns (the step, the button that opens Live, the sentence).

    `own` has the id of the run that the class trained.
    """
    with controls() as heading:
        text = gr.Textbox(
            label=tr("A sentence about a film"),
            info=tr("Every run with its weights here predicts it."),
            placeholder=tr("Type a sentence and press Enter"),
            max_lines=4,
            max_length=MAX_CHARACTERS,
            elem_classes="lab-sentence-box",
        )
        with gr.Row():
            go = gr.Button(tr("Predict with all runs"), variant="primary", min_width=150)
            live = gr.Button(tr("Look closer in Live"), min_width=150)
        who = gr.Textbox(
            label=tr("Whose sentence"),
            info=tr("A name, a pair or a row; may stay empty. It stays in this browser."),
            max_length=60,
        )
        hints, question_html = gr.HTML(js_on_load=tables.PICK), gr.HTML()
    with results():
        predictions, score = gr.HTML(), gr.HTML()
        reset, hide = confirm.with_confirmation(
            tr("Clear the room's sentences"),
            tr("Clear every sentence of the room in this browser? They cannot be brought back."),
            tr("Yes, clear them"),
        )
    view = View(room, score, predictions, hints, question_html)
    predicting = {
        "fn": partial(predict, lab, view),
        "inputs": [text, who, room, own],
        "outputs": [view.predictions, view.score, view.room],
        "trigger_mode": "multiple",
        "concurrency_limit": 8,
        **QUIET,
    }
    gr.on([go.click, text.submit, who.submit], **predicting).then(**SHOW_RESULTS)
    view.hints.select(pick, None, text, **QUIET).then(**predicting).then(**SHOW_RESULTS)
    reset.click(partial(clear, view), None, [view.room, view.score], **QUIET).then(**hide)
    outputs = [view.score, view.predictions, view.hints, view.question]
    return Step("split", [room, own], outputs, partial(draw, lab, view), heading), live, text


def draw(lab: Lab, view: View, room: Any, own: str | None = None) -> dict[Any, Any]:
    """The room's score, the runs without weights, test sentences as hints, the question; removes predictions."""
    with_weights, without = by_weights(members_with_own(lab, own))
    notice = ""
    if len(with_weights) < 2:
        notice = note(tr(NEEDS_TWO_RUNS), "warning")
    elif without:
        notice = note(
            tr(
                "Without its weights a run cannot predict: {runs}. Its figures stand in the other steps.",
                runs=", ".join(method_title(run.recipe.method) for run in without),
            )
        )
    hints, test_set_question = _hints_and_question(lab, with_weights)
    return {
        view.score: score_html(room),
        view.predictions: notice,
        view.hints: hints,
        view.question: test_set_question,
    }


def by_weights(runs: dict[str, Run]) -> tuple[list[Run], list[Run]]:
    """(the lesson's runs with their weights, those without)."""
    every = list(runs.values())
    return [run for run in every if run.can_predict], [run for run in every if not run.can_predict]


def predict(
    lab: Lab,
    view: View,
    text: str | None,
    who: str | None,
    room: Any,
    own: str | None = None,
) -> Iterator[dict[Any, Any]]:
    """Yield the runs' predictions one after another, then the room's sentences with this one, which counts once."""
    every = members_with_own(lab, own)
    keys = {run.id: key for key, run in every.items()}
    runs, _ = by_weights(every)
    entries = stored(room)
    if len(runs) < 2 or not (text or "").strip():
        problem = NEEDS_TWO_RUNS if len(runs) < 2 else NO_SENTENCE
        yield {view.predictions: note(tr(problem), "warning")}
        return
    board = Board(text or "", groups(runs))
    for status in fill(lab, board):
        yield {view.predictions: board.html(status)}
    by_label: dict[str, list[str]] = {}
    for run in runs:
        prediction = board.predictions.get(run.id)
        if isinstance(prediction, Prediction):
            by_label.setdefault(prediction.predicted, []).append(keys[run.id])
    if by_label and normalise(board.text) not in {normalise(entry.text) for entry in entries}:
        entry = Entry(text=board.text[:MAX_CHARACTERS], who=(who or "").strip()[:60], labels=by_label)
        entries = [*entries, entry][-MOST_SENTENCES:]
    room = [entry.model_dump() for entry in entries]
    yield {view.predictions: board.html(""), view.score: score_html(room), view.room: room}


def stored(room: Any) -> list[Entry]:
    """The room's sentences as a browser stored them; what is none, of another version or changed, is left out."""
    entries = []
    for entry in room[-MOST_SENTENCES:] if isinstance(room, list) else ():
        with suppress(ValidationError):
            entries.append(Entry.model_validate(entry))
    return entries


def score_html(room: Any) -> str:
    """The number of sentences that split the runs, and a table of all, newest first, as HTML."""
    entries = stored(room)
    if not entries:
        return note(tr("No sentence predicted yet."))
    columns = [
        Column.named(mark("Sentence"), numeric=False),
        Column.named(mark("Whose"), numeric=False),
        Column.named(mark("Splits the runs"), numeric=False),
        Column.named(mark("What the runs say"), numeric=False),
    ]
    rows = [
        [
            Cell(entry.text),
            Cell(entry.who),
            Cell(tr("yes") if len(entry.labels) > 1 else tr("no")),
            Cell(_labels(entry.labels)),
        ]
        for entry in reversed(entries)
    ]
    splits = sum(len(entry.labels) > 1 for entry in entries)
    grid = tables.table(columns, rows, name="sentences-of-the-room", title=tr("Sentences of the room"), sortable=False)
    return render("lesson/score.html", splits=splits, count=len(entries), table=grid)


def clear(view: View) -> dict[Any, Any]:
    """Delete the room's sentences; the empty score."""
    return {view.room: [], view.score: score_html([])}


def _labels(by_label: dict[str, list[str]]) -> str:
    """The runs by predicted label, as text. The browser stores the keys of runs, because the language may change."""
    names = {label: ", ".join(map(_name, keys)) for label, keys in by_label.items()}
    return "; ".join(tr("{label}: {runs}", label=label, runs=runs) for label, runs in names.items())


def _name(key: str) -> str:
    return tr("the class's run") if key == OWN else method_title(key)


def pick(event: gr.EventData) -> str:
    """The hint that was pressed."""
    return str(event.value)[:MAX_CHARACTERS]


def _hints_and_question(lab: Lab, runs: list[Run]) -> tuple[str, str]:
    """(hints, the question, with figures of the test split if the runs have predictions of it)."""
    text = tr("What do the sentences that split the runs have in common?")
    outcomes = disputes.collect(lab.store, runs) if len(runs) > 1 else None
    if outcomes is None or not outcomes.texts:
        return "", question(text, tr(ANSWER_ALONE))
    disputed, unsure = disputes.find(outcomes)["split"], outcomes.probability.min(axis=1) < UNSURE
    answer = tr(
        ANSWER,
        sentences=f"{len(outcomes.texts):,}",
        runs=len(outcomes.runs),
        agreed=f"{int(outcomes.correct.all(axis=1).sum()):,}",
        disputed=f"{len(disputed):,}",
        near=f"{int(unsure[disputed].sum()):,}",
        near_share=f"{unsure.mean():.0%}",
        bound=f"{UNSURE:.0%}",
    )
    hints = [outcomes.texts[i] for i in disputed[:HINTS]]
    return render("lesson/hints.html", hints=hints), question(text, answer)
