"""The task and the runs that predict: the chosen ones that are still in the store, as many as fit on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainer.analysis.names import short_names
from trainer.markup import render
from trainer.runs.run import Run
from trainer.serving import predictor as inference
from trainer.texts import mark, tr, tr_count
from trainer.ui.common.lab import Lab, task_name
from trainer.ui.live.groups import Group, groups

MAX_CARDS = 24
DEFAULT_TASK = "movies"
"""The task of the example runs that are shown first."""
NO_RUNS = mark("No trained runs yet. Train some in the Train tab, or add the example runs: they predict here.")
MISSING = {
    "others": (
        mark("The run {runs} is no longer in the store; the others predict."),
        mark("{count} runs are no longer in the store ({runs}); the others predict."),
    ),
    "nobody": (
        mark("The run {runs} is no longer in the store; choose another."),
        mark("{count} runs are no longer in the store ({runs}); choose another."),
    ),
    "every": (
        mark("The run {runs} is no longer in the store; all runs of the task predict."),
        mark("{count} runs are no longer in the store ({runs}); all runs of the task predict."),
    ),
}
"""Sentences (for one deleted run, for several), by which runs predict instead."""


def able(lab: Lab) -> list[Run]:
    """The runs that can predict, in the order of the methods and then of the queue."""
    return lab.drawable(inference.choose(lab.store))


# The task


def task_choices(tasks: Sequence[Group]) -> list[tuple[str, str]]:
    """(name, key) of each task that has runs; equal names of files have their labels too."""
    names = [task_name(task.runs[0]) for task in tasks]
    count = Counter(names)
    labels = [", ".join(task.runs[0].label_names[:4]) for task in tasks]
    named = [f"{name} ({own})" if count[name] > 1 else name for name, own in zip(names, labels, strict=True)]
    return [(name, task.key) for name, task in zip(named, tasks, strict=True)]


def task_of(tasks: Sequence[Group], key: str | None = None, chosen: Sequence[str] | None = None) -> Group | None:
    """The task with the key; else that of the first chosen run, of the newest own run, of the example runs.

    None if there are no runs.
    """
    by_run = {run.id: task for task in tasks for run in task.runs}
    chosen_task = next((by_run[name] for name in chosen or () if name in by_run), None)
    own = [run for task in tasks for run in task.runs if not run.bundled]
    newest = by_run[max(own, key=lambda run: run.queue_order).id] if own else None
    named = {task.key: task for task in tasks}.get(key or "")
    examples = next((task for task in tasks if task.runs[0].recipe.task == DEFAULT_TASK), None)
    return named or chosen_task or newest or examples or next(iter(tasks), None)


# The runs


def choices(task: Group | None) -> list[tuple[str, str]]:
    """(name, id) of each run of the task that can predict."""
    return [(name, run_id) for run_id, name in short_names(task.runs).items()] if task else []


def one_each(runs: Sequence[Run]) -> list[Run]:
    """One run of each recipe, in the order of `runs`: an own one before an example, then the first seed, the newest."""
    best: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: (bool(run.bundled), run.recipe.seed, -run.queue_order)):
        recipe = run.recipe.model_copy(update={"seed": 0, "parents": ()}).fingerprint()
        best.setdefault((recipe, run.adopted.source if run.adopted else ""), run)
    kept = {run.id for run in best.values()}
    return [run for run in runs if run.id in kept]


def resolve(
    lab: Lab, chosen: Sequence[str] | None, key: str | None = None, *, most: int | None = None
) -> tuple[list[Run], tuple[str, ...]]:
    """(the runs that predict, sentences about those that do not): deleted ones, of another task, more than fit.

    `key` is the task's; if no run is chosen, one of each recipe of the task predicts. `most` is `MAX_CARDS` if not
    given.
    """
    most = MAX_CARDS if most is None else most
    every = able(lab)
    known, gone = split(every, chosen)
    for run_id in gone:
        lab.predictor.forget(run_id)
    task = task_of(groups(every), key, chosen)
    own = {run.id for run in task.runs} if task else set()
    runs = [run for run in known if run.id in own]
    if not chosen:
        runs = one_each(runs)
    notices = [missing(gone, instead="others" if runs else "nobody")] if gone else []
    if chosen and task and (others := len(known) - len(runs)):
        notices.append(
            tr_count(
                "{count} chosen run is of another task than {task} and does not predict this sentence.",
                "{count} chosen runs are of another task than {task} and do not predict this sentence.",
                others,
                task=task_name(task.runs[0]),
            )
        )
    if len(runs) > most:
        text = tr("{count} of {all} runs predict; choose the runs to see others.", count=most, all=len(runs))
        notices.append(text)
    return runs[:most], tuple(notices)


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
        text = tr("Type a sentence or choose an example, choose what the class says, then press Commit and predict.")
    else:
        text = tr("Type a sentence or choose an example.")
    return render("live/empty.html", text=text)
