"""The on-disk queue and the worker process that trains what is in it, one run at a time, whoever is watching."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import methods, recipes
from trainer.config import RunConfig
from trainer.device import environment_for_training, keep_memory
from trainer.errors import ArgumentError, Cancelled, UserError, sentence
from trainer.events import Event, State
from trainer.store import ENDED, INTERRUPTED, Run, Store
from trainer.texts import tr

CANCEL_FILE = "cancel"
SECONDS_TO_HEED = 30.0
"""A cancelled run that has not stopped by itself after this long is ended."""


def launch(store: Store, configs: Sequence[RunConfig], *, label: str = "", owner: str | None = None) -> list[Run]:
    """Queue runs as one suite, parents before what fuses them, and see that a worker is at work.

    A finished or waiting run with the very recipe of a needed parent is taken instead of training it again.
    Returns the runs asked for; their parents are queued besides. Raises `ArgumentError` for unfit parents.
    """
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
        run = _end(store, run.id, "cancelled", tr("Cancelled before it began."))
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
    (run.folder / CANCEL_FILE).unlink(missing_ok=True)
    run = store.update(run.id, state="queued", error=None, place=time.time_ns())
    store.append(run.id, State("queued", "resumed"))
    ensure_worker(store)
    return run


def again(store: Store, run_id: str, *, owner: str | None = None) -> Run:
    """Queue a new run with the recipe of an ended one, which stays as it is. Parents that are gone are trained too."""
    run = store.load(run_id)
    if run.state not in ENDED or run.adopted:
        raise ArgumentError(
            expected=tr("a run of this lab that has ended"),
            got=tr("{run}, which was trained elsewhere", run=run.id)
            if run.adopted
            else tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("choose another run"),
        )
    here = {other.id for other in store.list() if other.state not in ("failed", "cancelled")}
    recipe = run.recipe if here.issuperset(run.recipe.parents) else run.recipe.model_copy(update={"parents": ()})
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
        if not any(other.answers for other in others):
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
            cwd=Path(__file__).resolve().parent.parent,
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
    return sorted(every.values(), key=lambda run: run.place)


# The worker


def work(store: Store) -> bool:
    """Train what is queued until nothing is left. False, at once, when another worker is at it."""
    lock = FileLock(store.root / ".worker.lock")
    context = _context()
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            while run := _next(store):
                _supervise(store, run, context)
        finally:
            lock.release()
        # Queued between the last look and the release, when another worker would have found this one at it.
        if _next(store) is None:
            return True


def _next(store: Store) -> Run | None:
    """The first run in the queue, once none is at work: one may be left from a worker that was killed."""
    runs = store.list()
    while any(run.state == "running" for run in runs):
        time.sleep(0.5)
        runs = store.list()
    return next((run for run in runs if run.state == "queued"), None)


def _context() -> Any:
    """Each run gets a fresh process, so that its memory is its own and a crash is only its own.

    On Linux without a GPU it is forked from a server that has imported the libraries once. bitsandbytes starts CUDA
    while it is imported, and a fork cannot use what its parent started.
    """
    if sys.platform != "linux" or _has_gpu():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.training", "peft", "adapters"])
    return context


def _has_gpu() -> bool:
    """Whether torch finds a GPU; a build for CPUs alone is known by its version, without the import."""
    if version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def _supervise(store: Store, run: Run, context: Any) -> None:
    """Train one run in a process and see that it ends in a state, however it ends."""
    process = context.Process(target=execute, args=(str(store.root), run.id), name=run.id)
    process.start()
    cancel_file, asked = run.folder / CANCEL_FILE, None
    while process.is_alive():
        process.join(0.2)
        if cancel_file.exists():
            asked = asked or time.monotonic()
            if time.monotonic() - asked > SECONDS_TO_HEED:
                process.terminate()
                process.join(5)
                process.kill()
    try:
        left = store.load(run.id)
    except ArgumentError:
        return  # deleted before its process had begun
    if left.state not in ENDED or left.error == tr(INTERRUPTED):
        if asked is not None:
            _end(store, run.id, "cancelled", tr("Cancelled on request."))
        else:
            _end(store, run.id, "failed", _death(process.exitcode))


def execute(root: str, run_id: str) -> None:
    """Train one run from the queue in this process; its output goes to the run's log.txt."""
    store = Store(root)
    run = store.load(run_id)
    _log_to(run.folder / "log.txt")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_memory()
    with store.at_work(run_id):
        cancelled = (run.folder / CANCEL_FILE).exists
        if cancelled():
            _end(store, run_id, "cancelled", tr("Cancelled before it began."))
            return
        store.update(run_id, state="running", error=None)
        try:
            result = _train(store, run, cancelled)
        except (Cancelled, KeyboardInterrupt) as error:
            _end(store, run_id, "cancelled", sentence(error))
        except UserError as error:
            print(error, file=sys.stderr)
            _end(store, run_id, "failed", str(error))
        except Exception as error:
            import traceback

            traceback.print_exc()
            _end(store, run_id, "failed", sentence(error))
        else:
            store.update(run_id, state="finished", result=result)
            store.append(run_id, State("finished"))


def _train(store: Store, run: Run, cancelled) -> dict[str, Any]:
    from trainer import tracking, training

    parents, results = _ready_parents(store, run)
    with tracking.tracker(run) as track:

        def emit(event: Event) -> None:
            store.append(run.id, event)
            track(event)

        request = training.Request(
            config=run.recipe,
            folder=run.folder,
            emit=emit,
            should_stop=cancelled,
            parents=parents,
            parent_results=results,
            label_order=tuple(run.adopted["label_order"]) if run.adopted else (),
        )
        return training.evaluate(request) if run.adopted else training.train(request)


def _ready_parents(store: Store, run: Run) -> tuple[tuple[methods.Parent, ...], tuple[dict[str, Any], ...]]:
    """The finished parents of a run, each under a name of its own. Raises `UserError` when one is not there."""
    parents: dict[str, methods.Parent] = {}
    results = []
    for parent_id in run.recipe.parents:
        parent = store.load(parent_id)
        if not parent.answers:
            got = tr("one that is {state}", state=tr(parent.state))
            if parent.error:
                got = tr("one that is {state} ({error})", state=tr(parent.state), error=parent.error)
            raise UserError(
                expected=tr("a finished parent {run}", run=parent.id), got=got, fix=tr("resume it and then this run")
            )
        stem = Path(parent.recipe.task).stem
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)
        if name in parents:
            name = f"{name}_{len(parents)}"
        parents[name] = methods.Parent(name, parent.id, parent.model_folder)
        results.append(parent.result)
    return tuple(parents.values()), tuple(results)


def _parent(store: Store, recipe: RunConfig, suite: str, owner: str | None) -> Run:
    """A run with this very recipe that is finished or waiting, else a new one in the queue.

    An adapter trained elsewhere only has the recipe's shape: it is fused when it is named, never on its own.
    """
    fingerprint = recipe.fingerprint()
    for run in reversed(store.list()):
        if (
            run.adopted is None
            and run.recipe.fingerprint() == fingerprint
            and (run.answers or run.state in ("queued", "running"))
        ):
            return run
    return store.create(recipe, suite=suite, owner=owner)


def _end(store: Store, run_id: str, state: str, reason: str) -> Run:
    try:
        store.append(run_id, State(state, reason))
        return store.update(run_id, state=state, error=reason)
    except OSError as error:
        # A full disk: the run's own files stay, and whoever reads it sees that nobody trains it any more.
        print(f"Could not write the state of {run_id}: {error}", file=sys.stderr)
        return store.load(run_id)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return tr(
                "Expected the run to end by itself, got signal {signal}; the system ends what takes too much memory: "
                "choose a smaller batch_size, max_length or backbone, then resume it.",
                signal=name,
            )
        return tr(
            "Expected the run to end by itself, got signal {signal}: "
            "choose a smaller batch_size, max_length or backbone, then resume it.",
            signal=name,
        )
    return tr("Expected the run to end by itself, got exit status {code}; its log has the details.", code=code)


def _log_to(path: Path) -> None:
    """Send this process's output to a file, below Python too: libraries in C write there as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
