"""The list of runs in the Train tab, in queue order, and the actions on one chosen run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.jobs import queue as jobs
from trainer.jobs.progress import duration
from trainer.markup import render
from trainer.runs import archive
from trainer.runs.damage import Damage
from trainer.runs.metrics import METRICS
from trainer.runs.store import ENDED, Run
from trainer.texts import mark, tr
from trainer.ui.common import launching
from trainer.ui.common.lab import Lab, note, run_name, task_name

DAMAGED = mark("damaged")
"""State of a run in the list whose run.json cannot be read."""
SHOWN = 12
"""The number of ended runs in the list, newest first; Compare has all of them."""


@dataclass(frozen=True)
class Item:
    """A run in the list. `progress` is the completed share of its steps, None unless it trains."""

    id: str
    name: str
    state: str
    about: str
    text: str
    progress: float | None


def recent(runs: Sequence[Run]) -> list[Run]:
    """The runs of the list: running ones, queued ones in queue order, then the newest ended ones."""
    running = [run for run in runs if run.state == "running"]
    waiting = [run for run in runs if run.state == "queued"]
    return running + waiting + [run for run in reversed(runs) if run.state in ENDED][:SHOWN]


def queue_html(lab: Lab, runs: Sequence[Run] | None = None) -> str:
    """The list of runs as HTML, each with its state, progress and remaining time, or its error.

    A damaged run has its reason; one that is not in the list otherwise is below the others.
    """
    runs = lab.runs() if runs is None else runs
    items, queue_order = [], 0
    for run in recent(runs):
        queue_order += run.state == "queued"
        items.append(_item(lab, run, queue_order))
    damaged = {damage.run_id: damage for damage in lab.damaged()}  # after the items, which read files
    items = [_with_damage(lab, item, damaged.pop(item.id, None)) for item in items]
    items += [_damaged_item(lab, damage) for damage in list(damaged.values())[:SHOWN]]
    older = sum(run.state in ENDED for run in runs) - SHOWN
    return render("train/queue.html", runs=items, older=f"{older:,}" if older > 0 else "")


def _with_damage(lab: Lab, item: Item, damage: Damage | None) -> Item:
    return replace(item, text=f"{item.text.rstrip('.')}. {lab.shown(str(damage))}") if damage else item


def _damaged_item(lab: Lab, damage: Damage) -> Item:
    return Item(damage.run_id, damage.run_id, DAMAGED, "", lab.shown(str(damage)), None)


def _item(lab: Lab, run: Run, queue_order: int) -> Item:
    text, share = describe(lab, run, queue_position=queue_order)
    about = f"{task_name(run)}, {Path(run.recipe.backbone).name}" if run.label else ""
    return Item(run.id, run_name(run), run.state, about, text, share if run.state == "running" else None)


def describe(lab: Lab, run: Run, *, queue_position: int = 1) -> tuple[str, float]:
    """(a sentence on a run's state, the completed share of its steps). `queue_position` counts queued runs from 1."""
    if run.state == "finished":
        metric, time = METRICS["test_accuracy"], METRICS["train_minutes"]
        accuracy = metric.show(metric.of(run))
        if run.adopted:
            return tr("test accuracy {accuracy}%, trained elsewhere, evaluated here", accuracy=accuracy), 1.0
        minutes = time.show(time.of(run))
        if run.bundled:
            whole = tr("test accuracy {accuracy}%, came with the program", accuracy=accuracy)
            bare = tr("test accuracy {accuracy}%, came with the program without its weights", accuracy=accuracy)
            return whole if run.can_predict else bare, 1.0
        return tr("test accuracy {accuracy}%, trained in {minutes} min", accuracy=accuracy, minutes=minutes), 1.0
    if run.state in ENDED:
        error = run.error or ""
        return lab.shown(tr(error)), 0.0
    if run.state == "queued":
        before = queue_position - 1
        return tr("{count} before it in the queue", count=before) if before else tr("comes next"), 0.0
    step = last_step(lab, run)
    if step is None:
        return tr("loading the task and the backbone"), 0.0
    text = tr(
        "epoch {epoch} of {epochs}, step {step} of {steps}, loss {loss}, {speed} sentences/s, {time} left",
        epoch=f"{step['epoch']:.1f}",
        epochs=run.recipe.epochs,
        step=f"{step['step']:,}",
        steps=f"{step['total_steps']:,}",
        loss=f"{step['loss']:.3f}",
        speed=f"{step['sentences_per_second']:,.0f}",
        time=duration(step["seconds_left"]),
    )
    return text, step["step"] / step["total_steps"]


def last_step(lab: Lab, run: Run) -> dict[str, Any] | None:
    """A run's newest "step" event, or None."""
    events, _ = lab.store.events(run.id)
    return next((event for event in reversed(events) if event["type"] == "step"), None)


def choices(runs: Sequence[Run], damaged: Sequence[Damage] = ()) -> list[tuple[str, str]]:
    """(name, id) of every run, in the order of the list and then the older ones; last damaged ones not in `runs`."""
    first = recent(runs)
    listed = {run.id for run in first}
    rest = [run for run in reversed(runs) if run.id not in listed]
    known = [(f"{run_name(run)}: {tr(run.state)} ({run.id[-8:]})", run.id) for run in [*first, *rest]]
    ids = {run.id for run in runs}
    broken = [damage.run_id for damage in damaged if damage.run_id not in ids]
    return known + [(f"{run_id}: {tr(DAMAGED)}", run_id) for run_id in broken]


def find(lab: Lab, run_id: str | None) -> Run | None:
    """The run by its id, or None if none is chosen, or it was deleted, is damaged or could not be drawn."""
    return lab.find(run_id)


# Actions on a run: each returns a sentence for the page


def cancel(lab: Lab, run_id: str | None) -> str:
    """Stop the chosen run."""

    def act(run: Run) -> str:
        return tr("{run} is being cancelled.", run=run_name(jobs.cancel(lab.store, run.id)))

    return _do(lab, run_id, act)


def resume(lab: Lab, run_id: str | None) -> str:
    """Queue the chosen run again."""

    def act(run: Run) -> str:
        launching.resume(lab, run.id)
        return tr("{run} is queued and goes on from its last checkpoint.", run=run_name(run))

    return _do(lab, run_id, act)


def again(lab: Lab, run_id: str | None) -> str:
    """Queue a new run with the chosen run's recipe."""

    def act(run: Run) -> str:
        launching.retrain(lab, run.id)
        return tr("A new run with the recipe of {run} is queued.", run=run_name(run))

    return _do(lab, run_id, act)


def rename(lab: Lab, run_id: str | None, label: str) -> str:
    """Give the chosen run another name; an empty one removes it."""

    def act(run: Run) -> str:
        changed = lab.store.update(run.id, label=" ".join((label or "").split())[:80])
        return tr("The run is called {run} now.", run=run_name(changed))

    return _do(lab, run_id, act)


def delete(lab: Lab, run_id: str | None) -> str:
    """Remove the chosen run and its files; a damaged run too."""
    if run_id and find(lab, run_id) is None and lab.damage(run_id) is not None:
        try:
            lab.store.delete(run_id)
            lab.predictor.forget(run_id)
            return note(tr("{run} is deleted.", run=run_id))
        except (UserError, OSError) as error:
            return note(sentence(error), "warning")

    def act(run: Run) -> str:
        lab.store.delete(run.id)
        lab.predictor.forget(run.id)
        return tr("{run} is deleted.", run=run_name(run))

    return _do(lab, run_id, act)


def as_zip(lab: Lab, run_id: str | None) -> tuple[str, Any]:
    """(a message, the run as a zip file to download)."""
    made: list[str] = []

    def act(run: Run) -> str:
        folder = Path(tempfile.gettempdir()) / "peft-lab-exports"
        folder.mkdir(exist_ok=True)
        path = folder / f"{run.id}.zip"
        path.unlink(missing_ok=True)
        made.append(str(archive.export(lab.store, run.id, path)))
        return tr("{name} is ready to download.", name=path.name)

    message = _do(lab, run_id, act)
    return message, gr.update(value=made[0] if made else None, interactive=bool(made))


def _do(lab: Lab, run_id: str | None, act: Callable[[Run], str]) -> str:
    try:
        run = find(lab, run_id)
        return note(act(run) if run else tr("Choose a run first."))
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
