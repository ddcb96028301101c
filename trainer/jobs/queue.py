"""Queue of runs on the disk: launch, cancel, resume, retrain and follow runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import ArgumentError
from trainer.events import State
from trainer.jobs import processes, room
from trainer.machine.cuda import require_usable_card
from trainer.machine.device import environment_for_training
from trainer.runs import recipes
from trainer.runs.run import ENDED, Run
from trainer.runs.store import Store
from trainer.sources import backbones
from trainer.texts import tr

CANCEL_FILE = "cancel"
RESERVE = ".reserve"
"""In a run's folder while it trains: room on the disk for the record of how it ended."""
WORKER_FILE = ".worker.json"
"""In the store: the record of the worker's process (`processes.record`)."""


def launch(store: Store, configs: Sequence[RunConfig], *, label: str = "", owner: str | None = None) -> list[Run]:
    """Queue runs as one suite, parents before the runs that fuse them, and start the worker.

    A finished or queued run with the same recipe and files as a missing parent is reused instead of training it again.
    Returns a run for each of `configs`; parents are queued too but not returned.

    Raises `ArgumentError` for parents that do not fit or a file that cannot be trained on, `UnusableCard` if torch
    cannot use the machine's NVIDIA card, `UserError` if the disk or the memory is clearly too small (`room.check`).
    """
    require_usable_card()
    # Check all before queueing any, and queue parents first.
    plan = [(config, recipes.parents_of(config)) for config in configs]
    for one in (one for config, parents in plan for one in (config, *parents)):
        if tasks.is_file(one.task):
            tasks.extent(one)  # raises for a file that cannot be trained on
        backbones.require_sound(one.backbone)
    for config in configs:
        check_parents(store, config)
    room.check(store, configs)
    suite = f"suite-{time.time_ns():x}"
    launched = []
    for config, parent_recipes in sorted(plan, key=lambda step: bool(step[1] or step[0].parents)):
        parents = [_parent(store, recipe, suite, owner).id for recipe in parent_recipes]
        ready = config.model_copy(update={"parents": tuple(parents)}) if parents else config
        lineage = {"learning_rate": recipes.rate_source(config)}
        launched.append(store.create(ready, suite=suite, label=label, owner=owner, lineage=lineage))
    ensure_worker(store)
    return launched


def check_parents(store: Store, config: RunConfig) -> None:
    """Raise `ArgumentError` unless a run of this recipe can fuse the parents that the recipe names."""
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
            fix=tr("choose others, or none to train them as part of the run"),
            option_fix=tr("choose others with --parents, or leave it out to train them as part of the run"),
        )


def cancel(store: Store, run_id: str) -> Run:
    """Cancel a run: at once if queued, within ten seconds if running. Raises `ArgumentError` if it has ended."""
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
    elif not worker_is_alive(store):
        ensure_worker(store)  # who ends a process that does not stop by itself
    return run


def resume(store: Store, run_id: str) -> Run:
    """Queue a failed or cancelled run again, with its failed parents; it continues from its last checkpoint."""
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


def retrain(store: Store, run_id: str, *, owner: str | None = None) -> Run:
    """Queue a new run with the recipe of an ended one, which does not change.

    Deleted parents are trained again. So are parents that were trained as part of the run, if a file of theirs has
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
    usable = {other.id: other for other in store.list() if other.state not in ("failed", "cancelled")}
    recipe, without_parents = run.recipe, run.recipe.model_copy(update={"parents": ()})
    if not recipe.parents or any(name not in usable for name in recipe.parents):
        recipe = without_parents
    elif any(_outdated(usable[name]) for name in recipe.parents):
        own = [parent.fingerprint() for parent in recipes.parents_of(without_parents)]
        if own == [usable[name].recipe.fingerprint() for name in recipe.parents]:
            recipe = without_parents
    return launch(store, [recipe], label=run.label, owner=owner)[0]


def without_weights(store: Store) -> list[tuple[Run, Run | None]]:
    """Finished runs that came without weights, each with the newest queued or running run of its recipe, or None.

    One run for each recipe, whatever the seed: the first. A recipe is left out if any run of it can predict.
    """
    runs, same = store.list(), defaultdict(list)
    for run in runs:
        same[run.recipe.model_copy(update={"seed": 0, "parents": ()}).fingerprint()].append(run)
    missing = []
    for group in same.values():
        without = [run for run in group if run.state == "finished" and run.bundled and not run.model_folder.is_dir()]
        if without and not any(run.can_predict for run in group):
            first = min(without, key=lambda run: run.recipe.seed)
            missing.append((first, next((o for o in reversed(group) if o.state in ("queued", "running")), None)))
    return missing


def ensure_worker(store: Store) -> None:
    """Start a worker process for this store that outlives this one. It exits at once if another worker is at work.

    A worker that is stopped (SIGSTOP), and stays so for a second, is ended first: it would hold the queue.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    end_stopped_worker(store)
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
    """Whether a worker process holds the lock of this store's queue, and is not stopped."""
    lock = FileLock(store.root / ".worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _stopped_worker(store) is None
    lock.release()
    return False


def end_stopped_worker(store: Store, *, patience: float = 1.0) -> None:
    """End a worker that is stopped now and after `patience` seconds. What it trains goes on, guarded by the next."""
    pid = _stopped_worker(store)
    if pid is None:
        return
    time.sleep(patience)
    if _stopped_worker(store) == pid:
        with suppress(OSError):
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        with suppress(Timeout), FileLock(store.root / ".worker.lock", timeout=patience):
            pass  # it is gone once its lock is free


def _stopped_worker(store: Store) -> int | None:
    """The id of this store's worker process if it is stopped."""
    pid = processes.recorded(store.root / WORKER_FILE)
    return pid if pid is not None and pid != os.getpid() and processes.is_stopped(pid) else None


def follow(store: Store, run_ids: Sequence[str], *, pause: float = 0.2) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield (run, event) of these runs as events are written, until all runs have ended.

    Looks every `pause` seconds, and restarts the worker if it has died.
    """
    offsets = dict.fromkeys(run_ids, 0)
    checked = time.monotonic()
    while True:
        runs = [store.load(run_id) for run_id in run_ids]
        for run in runs:
            events, offsets[run.id] = store.events(run.id, after=offsets[run.id])
            yield from ((run, event) for event in events)
        if all(run.state in ENDED for run in runs):
            return
        if time.monotonic() - checked > 5:
            checked = time.monotonic()
            if not worker_is_alive(store):
                ensure_worker(store)
        time.sleep(pause)


def with_parents(store: Store, runs: Sequence[Run]) -> list[Run]:
    """These runs and the parents that they wait for, in the order of the queue."""
    by_id = {run.id: run for run in runs}
    for run in runs:
        for parent_id in run.recipe.parents:
            parent = store.load(parent_id)
            if parent.state not in ENDED:
                by_id.setdefault(parent.id, parent)
    return sorted(by_id.values(), key=lambda run: run.queue_order)


def _outdated(run: Run) -> bool:
    """Whether a file that the run was trained on holds something else now, or its task is split otherwise."""
    now, recorded = recipes.content(run.recipe), recipes.content_of(run) or {}
    otherwise = now.get(tasks.SPLITS_VERSION) != recorded.get(tasks.SPLITS_VERSION)
    return otherwise or any(now.get(name, then) != then for name, then in recorded.items())


def _parent(store: Store, recipe: RunConfig, suite: str, owner: str | None) -> Run:
    """The newest finished or queued run of this recipe on files of the same content, else a new run.

    An adopted adapter is not reused: its recipe does not tell how it was trained. It is fused only where named.
    """
    identity = recipes.identity(recipe)
    for run in reversed(store.list()):
        if (
            run.adopted is None
            and (run.can_predict or run.state in ("queued", "running"))
            and recipes.identity_of(run) == identity
        ):
            return run
    lineage = {"learning_rate": recipes.rate_source(recipe)}
    return store.create(recipe, suite=suite, owner=owner, lineage=lineage)


def end(store: Store, run_id: str, state: str, reason: str) -> Run:
    """Record the state in which a run ended (finished, failed or cancelled) and the reason; the run.

    On a full disk it frees the run's reserve first.
    """
    appended = False
    for last in (False, True):
        try:
            if not appended:  # before the state: who follows the run reads its events until it has ended
                store.append(run_id, State(state, reason))
            appended = True
            return store.update(run_id, state=state, error=reason)
        except OSError as error:
            (store.root / run_id / RESERVE).unlink(missing_ok=True)
            if last:  # the run's files stay, and a reader sees that no process trains it
                print(f"Could not write the state of {run_id}: {error}", file=sys.stderr)
    return store.load(run_id)
