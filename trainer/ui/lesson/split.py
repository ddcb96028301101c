"""Step 5: the room looks for a sentence on which the runs disagree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis import disputes
from trainer.runs.store import Run
from trainer.serving.predictor import Answer
from trainer.tasks.base import normalise
from trainer.ui.common import confirm, tables
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.tables import Cell
from trainer.ui.lesson.frame import QUIET, Step, heading_of, members, question, shut
from trainer.ui.lesson.text import say
from trainer.ui.live.board import Board
from trainer.ui.live.groups import groups
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.predict import fill

HINTS, UNSURE = 6, 0.6
KEPT = 200
"""Sentences that a browser keeps, the newest: a class of thirty writes fewer."""


def build(lab: Lab, room: gr.BrowserState) -> tuple[Step, gr.Button, gr.Textbox]:
    """Lay out the step and connect it; (the step, the button that leads to Live, the sentence that goes there)."""
    text = gr.Textbox(
        label=say("split.text"),
        info=say("split.text_help"),
        placeholder=say("split.placeholder"),
        max_lines=4,
        max_length=MAX_CHARACTERS,
        elem_classes="lab-sentence-box",
    )
    who = gr.Textbox(label=say("split.who"), info=say("split.who_help"), max_length=60)
    with gr.Row():
        ask_button = gr.Button(say("split.ask"), variant="primary", min_width=150)
        live = gr.Button(say("split.live"), min_width=150)
    score = gr.HTML()
    answers = gr.HTML()
    hints = gr.HTML(js_on_load=tables.PICK)
    reset, away = confirm.ask_twice(say("split.reset"), say("split.sure"), say("split.yes_clear"))
    asked = gr.HTML()
    asking = {
        "fn": partial(ask, lab),
        "inputs": [text, who, room],
        "outputs": [answers, score, room],
        "trigger_mode": "multiple",
        "concurrency_limit": 8,
        **QUIET,
    }
    gr.on([ask_button.click, text.submit, who.submit], **asking)
    hints.select(pick, None, text, **QUIET).then(**asking)
    reset.click(clear, None, [room, score], **QUIET).then(**away)
    return Step("split", [room], [score, answers, hints, asked], partial(draw, lab)), live, text


def draw(lab: Lab, room: list[dict[str, Any]] | None) -> list[Any]:
    """(the room's score, what cannot be asked, test sentences as hints, the question); answers that stand there go."""
    runs = members(lab)
    here, silent = able(runs)
    said = ""
    if len(here) < 2:
        said = note(say("lesson.missing_two"), "warning")
    elif silent:
        said = note(say("split.not_asked", runs=", ".join(method_title(run.recipe.method) for run in silent)))
    return [score_html(room), said, *_disputed(lab, here)]


def able(runs: dict[str, Run]) -> tuple[list[Run], list[Run]]:
    """(the lesson's runs that can be asked, those without their weights)."""
    every = list(runs.values())
    return [run for run in every if run.answers], [run for run in every if not run.answers]


def ask(lab: Lab, text: str | None, who: str | None, room: list[dict[str, Any]] | None) -> Iterator[tuple]:
    """(answers, score, the room's sentences) as the answers come in; a sentence counts once."""
    runs, _ = able(members(lab))
    room = list(room or [])
    if len(runs) < 2:
        yield note(say("lesson.missing_two"), "warning"), gr.skip(), gr.skip()
        return
    if not (text or "").strip():
        yield note(say("split.empty"), "warning"), gr.skip(), gr.skip()
        return
    board = Board(text, groups(runs))
    for status in fill(lab, board):
        yield board.html(status), gr.skip(), gr.skip()
    said: dict[str, list[str]] = {}
    for run in runs:
        answer = board.predictions.get(run.id)
        if isinstance(answer, Answer):
            said.setdefault(answer.predicted, []).append(run.recipe.method)
    if said and normalise(text) not in {normalise(entry["text"]) for entry in room}:
        room = [*room, {"text": text, "who": (who or "").strip()[:60], "said": said}][-KEPT:]
    yield board.html(""), score_html(room), room


def score_html(room: list[dict[str, Any]] | None) -> str:
    """How many sentences split the runs, and all of them with what was said, newest first, as a table with a CSV."""
    if not room:
        return note(say("split.nobody"))
    found = [entry for entry in room if len(entry["said"]) > 1]
    columns = [heading_of(f"split.column.{key}", numeric=False) for key in ("text", "who", "splits", "said")]
    rows = [
        [
            Cell(entry["text"]),
            Cell(entry["who"]),
            Cell(say("split.yes" if len(entry["said"]) > 1 else "split.no")),
            Cell(_said(entry["said"])),
        ]
        for entry in reversed(room)
    ]  # fmt: skip
    score = say("split.score", found=len(found), tried=len(room))
    grid = tables.table(columns, rows, name="sentences-of-the-room", title=say("split.table"), sortable=False)
    return (
        f'<p class="lab-summary" role="status">{escape(score)}</p>'
        f'<div class="lab-room-table">{shut(say("split.table"), grid)}</div>'
    )


def clear() -> tuple[list[dict[str, Any]], str]:
    """(no sentences of the room, their score)."""
    return [], score_html([])


def _said(said: dict[str, list[str]]) -> str:
    """What the runs say, by label; methods are kept by their names, for the page's language may change."""
    named = {label: ", ".join(map(method_title, methods)) for label, methods in said.items()}
    return "; ".join(say("split.said", label=label, runs=methods) for label, methods in named.items())


def pick(event: gr.EventData) -> str:
    """The hint that was pressed."""
    return str(event.value)[:MAX_CHARACTERS]


def _disputed(lab: Lab, runs: list[Run]) -> tuple[str, str]:
    """(hints, the question with the figures of the test set, where the runs kept predictions)."""
    answers = disputes.collect(lab.store, runs) if len(runs) > 1 else None
    if answers is None or not answers.texts:
        return "", question(say("split.question"), say("split.answer_alone"))
    places, unsure = disputes.find(answers)["split"], answers.probability.min(axis=1) < UNSURE
    items = "".join(f"<li>{tables.pick(answers.texts[i], answers.texts[i])}</li>" for i in places[:HINTS])
    listed = f'<p class="lab-small">{escape(say("split.hint_help"))}</p><ul class="lab-hints">{items}</ul>'
    said = say(
        "split.answer",
        sentences=f"{len(answers.texts):,}",
        runs=len(answers.runs),
        agreed=f"{int(answers.right.all(axis=1).sum()):,}",
        disputed=f"{len(places):,}",
        near=f"{int(unsure[places].sum()):,}",
        near_share=f"{unsure.mean():.0%}",
        bound=f"{UNSURE:.0%}",
    )
    return shut(say("split.hint"), listed) if items else "", question(say("split.question"), said)


CSS = """
.lab-sentence-box textarea { min-height: 4em !important; }
.lab-hints { list-style: none; padding: 0 !important; margin: 6px 0 !important; display: grid; gap: 6px; }
.lab-hints li { margin: 0 !important; }
.lab-hints .lab-pick { white-space: normal; overflow-wrap: anywhere; }
.lab-room-table .lab-table th:first-child { min-width: 14em; white-space: normal; text-align: left; }
@media (max-width: 600px) { .lab-room-table .lab-table th:first-child { position: static; } }
"""
