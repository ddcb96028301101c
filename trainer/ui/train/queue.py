"""The list of runs in the Train tab, and the actions on one chosen run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.jobs import queue as jobs
from trainer.markup import render
from trainer.runs import archive
from trainer.runs.damage import Damage
from trainer.runs.run import ENDED, Run
from trainer.texts import mark, tr
from trainer.ui.common import launching
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.common.visibility import seen_if
from trainer.ui.train import groups
from trainer.ui.train.status import describe

DAMAGED = mark("damaged")
"""State of a run in the list whose run.json cannot be read."""
SHOWN = 12
"""The number of groups of ended runs in the list, newest first; the others are folded into one."""


@dataclass(frozen=True)
class Item:
    """A run in the list. `progress` is the completed share of its steps, None unless it trains."""

    id: str
    name: str
    state: str
    about: str
    text: str
    progress: float | None = None
    stops: bool = False


@dataclass(frozen=True)
class Fold:
    """A group of the list; `folded` under its title, or a single run without one."""

    key: str
    title: str
    items: list[Item]
    folded: bool
    open: bool


def recent(runs: Sequence[Run]) -> list[Run]:
    """Running runs, queued ones in queue order, then the ended ones, newest first and own ones before examples."""
    running = [run for run in runs if run.state == "running"]
    waiting = [run for run in runs if run.state == "queued"]
    ended = [run for run in reversed(runs) if run.state in ENDED]
    return [*running, *waiting, *sorted(ended, key=lambda run: run.bundled is not None)]


def queue_html(lab: Lab, runs: Sequence[Run] | None = None) -> str:
    """The whole list of runs as HTML: `active_html` and `ended_html`."""
    runs = lab.runs() if runs is None else runs
    return active_html(lab, runs) + ended_html(lab, runs)


def active_html(lab: Lab, runs: Sequence[Run]) -> str:
    """The runs that train or wait as HTML, each with its state, progress, remaining time and a button to stop it."""
    shown, queue_order, items = groups.names(runs), 0, []
    for run in recent(runs):
        if run.state in ENDED:
            break
        queue_order += run.state == "queued"
        text, share = describe(lab, run, queue_position=queue_order)
        progress = share if run.state == "running" else None
        items.append(Item(run.id, shown[run.id], run.state, groups.about(run), text, progress, stops=True))
    return _html(active=_with_damage(lab, items, _damage_of(lab))) if items else ""


def ended_html(lab: Lab, runs: Sequence[Run]) -> str:
    """The ended runs as HTML: a person's own suites, newest first, then the example runs, then damaged ones.

    A damaged run has its reason; one whose run.json cannot be read is below the others.
    """
    shown = groups.names(runs)
    folds = [_fold(lab, group, shown) for group in groups.ended(runs)]
    damaged = _damage_of(lab)  # after the items are made, which read files
    folds = [replace(fold, items=_with_damage(lab, fold.items, damaged)) for fold in folds]
    examples = folds.pop() if folds and folds[-1].key == groups.EXAMPLES else None
    if folds:
        folds[0] = replace(folds[0], open=True)
    known, older = {run.id for run in runs}, folds[SHOWN:]
    broken = [_damaged_item(lab, damage) for run_id, damage in damaged.items() if run_id not in known]
    return _html(
        empty=not runs and not broken,
        groups=folds[:SHOWN],
        older=older,
        older_count=f"{sum(len(fold.items) for fold in older):,}",
        examples=examples,
        damaged=broken[:SHOWN],
    )


def _html(**parts: Any) -> str:
    without = {"empty": False, "active": [], "groups": [], "older": [], "older_count": "", "examples": None}
    return render("train/queue.html", **without | {"damaged": []} | parts)


def _fold(lab: Lab, group: groups.Group, shown: dict[str, str]) -> Fold:
    folded = len(group.runs) > 1 or group.key == groups.EXAMPLES
    # What the runs of a suite share stands in its title.
    alike = folded and len({groups.about(run) for run in group.runs}) == 1
    items = [
        Item(run.id, shown[run.id], run.state, "" if alike else groups.about(run), describe(lab, run)[0])
        for run in group.runs
    ]
    return Fold(group.key, group.title, items, folded, open=False)


def _damage_of(lab: Lab) -> dict[str, Damage]:
    return {damage.run_id: damage for damage in lab.damaged()}


def _with_damage(lab: Lab, items: list[Item], damaged: dict[str, Damage]) -> list[Item]:
    """The items, those of damaged runs with the reason."""
    reasons = {run_id: lab.shown(str(damage)) for run_id, damage in damaged.items()}
    return [
        replace(item, text=f"{item.text.rstrip('.')}. {reasons[item.id]}") if item.id in reasons else item
        for item in items
    ]


def _damaged_item(lab: Lab, damage: Damage) -> Item:
    return Item(damage.run_id, damage.run_id, DAMAGED, "", lab.shown(str(damage)))


def find(lab: Lab, run_id: str | None) -> Run | None:
    """The run by its id, or None if none is chosen, or it was deleted, is damaged or could not be drawn."""
    return lab.find(run_id)


# Actions on a run: each returns a sentence for the page


def cancel(lab: Lab, run_id: str | None) -> str:
    """Stop the chosen run."""

    def act(run: Run) -> str:
        cancelled = jobs.cancel(lab.store, run.id)
        if cancelled.state == "cancelled":
            return tr("{run} is cancelled.", run=run_name(run))
        return tr("{run} is being cancelled; the list says when it has ended.", run=run_name(run))

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
    return message, gr.update(value=made[0] if made else None, **seen_if(made))


def _do(lab: Lab, run_id: str | None, act: Callable[[Run], str]) -> str:
    try:
        run = find(lab, run_id)
        return note(act(run) if run else tr("Choose a run first."))
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
