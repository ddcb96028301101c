"""Asking: answers that come in one by one, and the class that guesses first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.runs.store import Run
from trainer.serving import predictor as inference
from trainer.serving.predictor import Answer
from trainer.tasks.base import normalise
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, method_title, note, task_name
from trainer.ui.common.tables import Cell, Column
from trainer.ui.live.answers import Board, backbone_name, described, groups, spare_key

MAX_CARDS = 24
NOBODY = mark("No trained runs yet. Train some in the Train tab: they answer here.")
GONE = {
    "others": (
        mark("The run {runs} is no longer in the store; the others are asked."),
        mark("{count} runs are no longer in the store ({runs}); the others are asked."),
    ),
    "nobody": (
        mark("The run {runs} is no longer in the store; choose another."),
        mark("{count} runs are no longer in the store ({runs}); choose another."),
    ),
    "every": (
        mark("The run {runs} is no longer in the store; every finished run is asked."),
        mark("{count} runs are no longer in the store ({runs}); every finished run is asked."),
    ),
}
"""Of one run and of several, by who is asked now."""


@dataclass
class Turns:
    """Which question and which explanation a page wants: the newest. All of a page's handlers share this one object.

    Older handlers may still be running; each looks here before it draws, and whoever is not the newest goes silent.
    """

    question: str = ""
    explanation: str = ""

    def ask(self) -> str:
        """From now on only this question is drawn, and no explanation of earlier answers."""
        self.question = mine = uuid4().hex
        return mine

    def explain(self) -> str:
        """From now on only this explanation is drawn."""
        self.explanation = mine = uuid4().hex
        return mine


@dataclass(frozen=True)
class Session:
    """What one person's page remembers.

    `text` and `runs` are those of the answers on the page, `question` their turn; `linked`: its address asks; `tally`:
    (agreed, judged) by run id; `counted`: the sentences that were guessed.
    """

    text: str = ""
    runs: tuple[str, ...] = ()
    question: str = ""
    turns: Turns = field(default_factory=Turns, compare=False)
    notice: str = ""
    linked: bool = False
    tally: dict[str, tuple[int, int]] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()


def empty(lab: Lab, *, guessing: bool = False) -> str:
    """What stands where the answers will be."""
    if not inference.choose(lab.store):
        text = tr(NOBODY)
    elif guessing:
        text = tr("Type a sentence or choose an example, choose what the class says, then press Commit and ask.")
    else:
        text = tr("Type a sentence or choose an example.")
    return f'<div class="lab-empty">{text}</div>'


def resolve(lab: Lab, chosen: Sequence[str] | None) -> tuple[list[Run], tuple[str, ...]]:
    """(the runs to ask, what to say about those that are not): vanished ones, and more than fit on the page."""
    every, said = inference.choose(lab.store), []
    runs = every
    if chosen:
        here = {run.id for run in every}
        # In the methods' order, whatever the order of choosing.
        runs = [run for run in every if run.id in set(chosen)]
        if gone := [name for name in dict.fromkeys(chosen) if name not in here]:
            for name in gone:
                lab.predictor.forget(name)
            said.append(vanished(gone, asked="others" if runs else "nobody"))
    if len(runs) > MAX_CARDS:
        said.append(
            tr("{count} of {all} runs are asked; choose the runs to ask others.", count=MAX_CARDS, all=len(runs))
        )
        runs = runs[:MAX_CARDS]
    return runs, tuple(said)


def vanished(names: Sequence[str], *, asked: str) -> str:
    """One sentence on runs that are no longer here; `asked`: the "others", "every" run or "nobody"."""
    shown = ", ".join(names[:3])
    if len(names) > 3:
        shown = tr("{runs} and {count} more", runs=shown, count=len(names) - 3)
    one, many = GONE[asked]
    return tr(one, runs=shown) if len(names) == 1 else tr(many, runs=shown, count=len(names))


def labels_of(runs: Sequence[Run]) -> list[str]:
    """Every label of these runs' tasks, each once, in the tasks' order: what the class can say."""
    return list(dict.fromkeys(name for run in runs for name in run.label_names))


def ask(
    lab: Lab,
    text: str | None,
    chosen: list[str] | None,
    untrained: bool,
    guessing: bool,
    guess: str | None,
    session: Session,
) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """(answers, why, guess, tally, session) again and again, as the answers come in; the last one is whole.

    Once the page asks something newer, this ends without drawing anything more.
    """
    mine = session.turns.ask()
    nothing = replace(session, notice="", linked=False, text="", runs=(), question=mine)
    try:
        runs, said = resolve(lab, chosen)
    except (UserError, OSError) as error:
        yield note(lab.shown(sentence(error)), "warning"), "", gr.skip(), gr.skip(), nothing
        return
    said = tuple(part for part in (session.notice, *said) if part)
    problem = _problem(runs, text, guessing=guessing, guess=guess)
    if not runs or problem:
        shown = "".join(note(part, "warning") for part in (*said, problem)) if said or problem else empty(lab)
        yield shown, "", gr.skip(), gr.skip(), nothing
        return
    board = Board(text, groups(runs), with_untrained=untrained, guess=guess if guessing else None, said=said)
    why = ""
    for status in fill(lab, board):
        if session.turns.question != mine:
            break
        yield board.html(status), why, gr.skip(), gr.skip(), gr.skip()
        why = gr.skip()
    if session.turns.question != mine:
        # Gradio sends the last drawing of a handler once more when it ends: let that be nothing.
        yield (gr.skip(),) * 5
        return
    answered = tuple(run.id for run in runs if isinstance(board.answers.get(run.id), Answer))
    session, counted = tallied(replace(nothing, text=text, runs=answered), board)
    status = [tr_count("{count} run answered.", "{count} runs answered.", len(answered))]
    if len(answered) > 1:
        status.append(tr("The time on a card is that run's own; runs in memory are computed side by side."))
    if board.guess is not None and not counted:
        status.append(tr("This sentence was guessed before: the tally stays."))
    yield board.html(" ".join(status)), "", None, tally_html(lab, session), session


def _problem(runs: Sequence[Run], text: str | None, *, guessing: bool, guess: str | None) -> str:
    """Why nobody is asked, in one sentence; empty when there is no reason."""
    if not runs:
        return ""
    if not (text or "").strip():
        return tr("Expected a sentence, got nothing; type one or choose an example.")
    if guessing and guess not in labels_of(runs):
        names = labels_of(runs)
        shown = ", ".join([*names[:8], *["…"][: len(names) > 8]])
        return tr("Guess first: choose what the class says ({labels}).", labels=shown)
    return ""


def fill(lab: Lab, board: Board) -> Iterator[str]:
    """Ask the runs into the board: those in memory together, the others one by one, since loading takes seconds.

    Yields what happens whenever it is worth drawing. One run's error is its own.
    """
    runs = [run for group in board.groups for run in group.runs]
    ready = [run for run in runs if lab.predictor.is_loaded(run)]
    if ready:
        yield tr_count("Asking {count} run.", "Asking {count} runs.", len(ready))
        said = lab.predictor.ask_each(board.text, ready)
        board.answers |= {run.id: _or_words(lab, answer) for run, answer in zip(ready, said, strict=True)}
    for run in runs:
        if run.id not in board.answers:
            place = {"place": len(board.answers) + 1, "of": len(runs)}
            yield tr("Loading {method}, {place} of {of}.", method=method_title(run.recipe.method), **place)
            board.answers[run.id] = _said(lab, lab.predictor.ask_one, board.text, run)
    if not board.with_untrained:
        return
    for group in board.groups:
        for run in group.spares:
            named = {"backbone": backbone_name(run), "task": task_name(run)}
            yield tr("Loading the untrained {backbone} for {task}.", **named)
            board.untrained[spare_key(run)] = _said(lab, lab.predictor.untrained, board.text, run)


def _said(lab: Lab, question, text: str, run: Run) -> Answer | str:
    try:
        return question(text, run)
    except Exception as error:
        return _or_words(lab, error)


def _or_words(lab: Lab, answer: Answer | Exception) -> Answer | str:
    """An answer, or the error in one sentence; one that is a mistake in the program is not hidden."""
    if isinstance(answer, (UserError, OSError, RuntimeError, MemoryError, ValueError, KeyError)):
        return lab.shown(sentence(answer))
    if isinstance(answer, Exception):
        raise answer
    return answer


# The class guesses


def tallied(session: Session, board: Board) -> tuple[Session, bool]:
    """(the session with this sentence counted, whether it was): each sentence counts once, only runs with the label."""
    key = normalise(board.text)
    if board.guess is None or key in session.counted:
        return session, False
    tally = dict(session.tally)
    for run_id, answer in board.answers.items():
        if isinstance(answer, Answer) and board.guess in answer.probabilities:
            agreed, judged = tally.get(run_id, (0, 0))
            tally[run_id] = (agreed + (answer.predicted == board.guess), judged + 1)
    return replace(session, tally=tally, counted=session.counted | {key}), True


def tally_html(lab: Lab, session: Session) -> str:
    """How often the class agreed with each run; in the methods' order."""
    name = tr("The class and the methods")
    title = f'<h2 class="lab-heading">{name}</h2>'
    if not session.tally:
        none = tr("No guesses yet.")
        return f'{title}<div class="lab-note">{none}</div>'
    rows = []
    for run in inference.choose(lab.store):
        if run.id in session.tally:
            agreed, judged = session.tally[run.id]
            rows.append(
                (
                    Cell(method_title(run.recipe.method)),
                    Cell(tr("{count} of {all}", count=agreed, all=judged), float(agreed)),
                    Cell(f"{agreed / judged:.0%}", agreed / judged),
                    Cell(described(run)),
                )
            )
    columns = (
        Column(tr("Method"), numeric=False, csv="Method"),
        Column(
            tr("Class agreed"),
            tr("sentences on which the run said what the class said"),
            "descending",
            csv="Class agreed",
        ),
        Column(tr("Share"), first="descending", csv="Share"),
        Column(tr("Run"), numeric=False, csv="Run"),
    )
    counted = tr_count("{count} sentence guessed.", "{count} sentences guessed.", len(session.counted))
    heading = f'<p class="lab-asked">{counted}</p>'
    return title + heading + tables.table(columns, rows, name="class-and-methods", title=name)


def reset(lab: Lab, session: Session) -> tuple[str, Session]:
    """Begin the tally anew; the answers on the page stay."""
    session = replace(session, tally={}, counted=frozenset())
    return tally_html(lab, session), session


def toggle(lab: Lab, guessing: bool, chosen: list[str] | None, session: Session) -> tuple[Any, ...]:
    """(panel, guess, ask button, answers, why, session): what is on the page would give the answers away."""
    runs, _ = resolve(lab, chosen)
    return (
        gr.update(visible=guessing),
        gr.update(choices=labels_of(runs), value=None, visible=guessing),
        gr.update(value=tr("Commit and ask") if guessing else tr("Ask every run")),
        empty(lab, guessing=guessing),
        "",
        replace(session, text="", runs=(), question=session.turns.ask()),
    )
