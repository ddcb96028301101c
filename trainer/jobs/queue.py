"""The on-disk queue: launch, cancel, resume, retrain and follow runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import methods
from trainer.config import RunConfig
from trainer.errors import ArgumentError
from trainer.events import State
from trainer.machine.cuda import require_usable_card
from trainer.machine.device import environment_for_training
from trainer.runs import recipes
from trainer.runs.store import ENDED, Run, Store
from trainer.texts import tr

CANCEL_FILE = "cancel"


def launch(store: Store, configs: Sequence[RunConfig], *, label: str = "", owner: str | None = None) -> list[Run]:
    """Queue runs as one suite, parents before what fuses them, and see that a worker is at work.

    A finished or waiting run with the very recipe and files of a needed parent is taken instead of training it again.
    Returns the runs asked for; their parents are queued besides. Raises `ArgumentError` for unfit parents, and
    `UnusableCard` on a machine whose NVIDIA card torch cannot use.
    """
    require_usable_card()
    # Everything is checked before anything is queued, and what others build on is queued first.
    plan = [(config, recipes.parents_of(config)) for config in configs]
    for config in configs:
        check_parents(store, config)
    suite = f"suite-{time.time_ns():x}"
    launched = []
    for config, needed in sorted(plan, key=lambda step: bool(step[1] or step[0].parents)):
        parents = [_parent(store, recipe, suite, owner).id for recipe in needed]
        ready = config.model_copy(update={"parents": tuple(parents)}) if parents else config
        launched.append(store.create(ready, suite=suite, label=label, owner=owner))
    ensure_worker(store)
    return launched


def check_parents(store: Store, config: RunConfig) -> None:
    """Raise `ArgumentError` unless the named parents are runs that this run can fuse."""
    method = methods.get(config.method)
    if not config.parents:
        return
    if method.parent_method is None:
        raise ArgumentError(
            expected=tr("no parents for {method}", method=method.name),
            got=tr("some"),
            fix=tr("use adapter_fusion or leave them out"),
        )
    parents = [store.load(name) for name in config.parents]
    wrong = [
        run.id
        for run in parents
        if run.recipe.method != method.parent_method
        or run.recipe.backbone != config.backbone
        or run.state in ("failed", "cancelled")
    ]
    if wrong or len({run.id for run in parents}) < method.min_parents:
        raise ArgumentError(
            expected=tr(
                "at least {count} finished {method} runs on {backbone}",
                count=method.min_parents,
                method=method.parent_method,
                backbone=config.backbone,
            ),
            got=", ".join(wrong) or f"{len(set(config.parents))}",
            fix=tr("choose others with --parents, or leave it out to train them as part of the run"),
        )


def cancel(store: Store, run_id: str) -> Run:
    """Ask a run to stop: at once while it waits, within a step while it trains. Raises `ArgumentError` if it ended."""
    run = store.load(run_id)
    if run.state in ENDED:
        raise ArgumentError(
            expected=tr("a run that waits or trains"),
            got=tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("nothing to do"),
        )
    (run.folder / CANCEL_FILE).touch()
    if run.state == "queued":
        run = end(store, run.id, "cancelled", tr("Cancelled before it began."))
    return run


def resume(store: Store, run_id: str) -> Run:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
    run = store.load(run_id)
    if run.state not in ("failed", "cancelled"):
        raise ArgumentError(
            expected=tr("a failed or cancelled run"),
            got=tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("launch a new run instead"),
        )
    for parent in run.recipe.parents:
        if store.load(parent).state in ("failed", "cancelled"):
            resume(store, parent)
    require_usable_card()
    (run.folder / CANCEL_FILE).unlink(missing_ok=True)
    run = store.update(run.id, state="queued", error=None, queue_order=time.time_ns())
    store.append(run.id, State("queued", "resumed"))
    ensure_worker(store)
    return run


def again(store: Store, run_id: str, *, owner: str | None = None) -> Run:
    """Queue a new run with the recipe of an ended one, which stays as it is.

    Parents that are gone are trained too, and so are those that were trained as part of the run if their files have
    changed since.
    """
    run = store.load(run_id)
    if run.state not in ENDED or run.adopted:
        raise ArgumentError(
            expected=tr("a run of this lab that has ended"),
            got=tr("{run}, which was trained elsewhere", run=run.id)
            if run.adopted
            else tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("choose another run"),
        )
    here = {other.id: other for other in store.list() if other.state not in ("failed", "cancelled")}
    recipe, alone = run.recipe, run.recipe.model_copy(update={"parents": ()})
    if not recipe.parents or any(name not in here for name in recipe.parents):
        recipe = alone
    elif any(_outdated(here[name]) for name in recipe.parents):
        own = [parent.fingerprint() for parent in recipes.parents_of(alone)]
        if own == [here[name].recipe.fingerprint() for name in recipe.parents]:
            recipe = alone
    return launch(store, [recipe], label=run.label, owner=owner)[0]


def without_weights(store: Store) -> list[tuple[Run, Run | None]]:
    """Finished runs that came without their weights, each with the newest run that trains its recipe here, if any.

    Those whose recipe has an answering run are left out.
    """
    runs = store.list()
    found = []
    for run in runs:
        if run.state != "finished" or not run.bundled or run.model_folder.is_dir():
            continue
        recipe = run.recipe.fingerprint()
        others = [other for other in runs if other.id != run.id and other.recipe.fingerprint() == recipe]
        if not any(other.can_predict for other in others):
            found.append((run, next((o for o in reversed(others) if o.state in ("queued", "running")), None)))
    return found


def ensure_worker(store: Store) -> None:
    """Start a worker for this store, in a process of its own that outlives this one. One that is there stays alone."""
    store.root.mkdir(parents=True, exist_ok=True)
    with (store.root / ".worker.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "trainer", "worker"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
            env=os.environ | environment_for_training() | {"ADAPTERS_STORE": str(store.root.resolve())},
        )


def worker_is_alive(store: Store) -> bool:
    """Whether a worker holds this store's queue."""
    lock = FileLock(store.root / ".worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def follow(store: Store, run_ids: Sequence[str], *, pause: float = 0.2) -> Iterator[tuple[Run, dict[str, Any]]]:
    """(run, event) of these runs as they come, until all have ended; starts a worker again should it be gone."""
    read = dict.fromkeys(run_ids, 0)
    checked = time.monotonic()
    while True:
        runs = [store.load(run_id) for run_id in run_ids]
        for run in runs:
            events, read[run.id] = store.events(run.id, after=read[run.id])
            yield from ((run, event) for event in events)
        if all(run.state in ENDED for run in runs):
            return
        if time.monotonic() - checked > 5:
            checked = time.monotonic()
            if not worker_is_alive(store):
                ensure_worker(store)
        time.sleep(pause)


def with_parents(store: Store, runs: Sequence[Run]) -> list[Run]:
    """These runs and the parents they wait for, in the order of the queue."""
    every = {run.id: run for run in runs}
    for run in runs:
        for parent in run.recipe.parents:
            found = store.load(parent)
            if found.state not in ENDED:
                every.setdefault(found.id, found)
    return sorted(every.values(), key=lambda run: run.queue_order)


def _outdated(run: Run) -> bool:
    """Whether a file that the run was trained on holds something else now."""
    now = recipes.content(run.recipe)
    return any(now.get(name, then) != then for name, then in (recipes.content_of(run) or {}).items())


def _parent(store: Store, recipe: RunConfig, suite: str, owner: str | None) -> Run:
    """A run with this very recipe, on files of the same content, that is finished or waiting, else a new one.

    An adapter trained elsewhere only has the recipe's shape: it is fused when it is named, never on its own.
    """
    identity = recipes.identity(recipe)
    for run in reversed(store.list()):
        if (
            run.adopted is None
            and (run.can_predict or run.state in ("queued", "running"))
            and recipes.identity_of(run) == identity
        ):
            return run
    return store.create(recipe, suite=suite, owner=owner)


def end(store: Store, run_id: str, state: str, reason: str) -> Run:
    """Record that a run ended (finished, failed or cancelled), and why."""
    try:
        store.append(run_id, State(state, reason))
        return store.update(run_id, state=state, error=reason)
    except OSError as error:
        # A full disk: the run's own files stay, and whoever reads it sees that nobody trains it any more.
        print(f"Could not write the state of {run_id}: {error}", file=sys.stderr)
        return store.load(run_id)
