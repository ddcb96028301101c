"""The runs that predict: the chosen ones that are still in the store, as many as fit on the page."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.markup import render
from trainer.runs.store import Run
from trainer.serving import predictor as inference
from trainer.texts import mark, tr
from trainer.ui.common.lab import Lab, run_name

MAX_CARDS = 24
NO_RUNS = mark("No trained runs yet. Train some in the Train tab: they answer here.")
MISSING = {
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
"""Sentences (for one deleted run, for several), by which runs predict instead."""


def choices(lab: Lab) -> list[tuple[str, str]]:
    """(name, id) of each finished run that has its weights."""
    return [(f"{run_name(run)} ({run.id[-8:]})", run.id) for run in able(lab)]


def able(lab: Lab) -> list[Run]:
    """The runs that can predict, in the order of the methods and then of the queue."""
    return lab.drawable(inference.choose(lab.store))


def resolve(lab: Lab, chosen: Sequence[str] | None) -> tuple[list[Run], tuple[str, ...]]:
    """(the runs that predict, sentences about those that do not): deleted ones, and more than fit on the page."""
    every = able(lab)
    runs, gone = split(every, chosen)
    for run_id in gone:
        lab.predictor.forget(run_id)
    notices = [missing(gone, instead="others" if runs else "nobody")] if gone else []
    if len(runs) > MAX_CARDS:
        notices.append(
            tr("{count} of {all} runs are asked; choose the runs to ask others.", count=MAX_CARDS, all=len(runs))
        )
    return runs[:MAX_CARDS], tuple(notices)


def split(every: Sequence[Run], chosen: Sequence[str] | None) -> tuple[list[Run], list[str]]:
    """(the chosen runs in the order of `every`, the chosen ids not in it); all of `every` if none is chosen."""
    if not chosen:
        return list(every), []
    known = {run.id for run in every}
    gone = [name for name in dict.fromkeys(chosen) if name not in known]
    return [run for run in every if run.id in set(chosen)], gone


def missing(names: Sequence[str], *, instead: str) -> str:
    """A sentence about deleted runs; `instead`: which runs predict, a key of `MISSING`."""
    shown = ", ".join(names[:3])
    if len(names) > 3:
        shown = tr("{runs} and {count} more", runs=shown, count=len(names) - 3)
    one, many = MISSING[instead]
    return tr(one, runs=shown) if len(names) == 1 else tr(many, runs=shown, count=len(names))


def labels_of(runs: Sequence[Run]) -> list[str]:
    """The distinct labels of these runs' tasks, in the tasks' order, as choices for a guess."""
    return list(dict.fromkeys(name for run in runs for name in run.label_names))


def empty(lab: Lab, *, guessing: bool = False) -> str:
    """The text before the first prediction, as HTML."""
    if not able(lab):
        text = tr(NO_RUNS)
    elif guessing:
        text = tr("Type a sentence or choose an example, choose what the class says, then press Commit and ask.")
    else:
        text = tr("Type a sentence or choose an example.")
    return render("live/empty.html", text=text)
