"""Worker process: trains the queued runs, one at a time, independently of the page and the command line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import methods, tasks
from trainer.errors import ArgumentError, Cancelled, UserError, sentence
from trainer.events import Event, State
from trainer.jobs.queue import CANCEL_FILE, end
from trainer.machine.cuda import require_usable_card
from trainer.machine.device import reuse_freed_memory
from trainer.runs import recipes
from trainer.runs.result import Result
from trainer.runs.store import ENDED, INTERRUPTED, Run, Store
from trainer.sources import backbones
from trainer.texts import tr

SECONDS_TO_STOP = 30.0
"""A cancelled run that has not stopped by itself after this time is terminated."""


def work(store: Store) -> bool:
    """Train runs until the queue is empty. False, at once, if another worker holds the queue."""
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
        # A run may have been queued after the last `_next` and before the release; a worker started then saw the lock.
        if _next(store) is None:
            return True


def _next(store: Store) -> Run | None:
    """First run in the queue, or None. Waits while a run is running: a killed worker may have left its process."""
    runs = store.list()
    while any(run.state == "running" for run in runs):
        time.sleep(0.5)
        runs = store.list()
    return next((run for run in runs if run.state == "queued"), None)


def _context() -> Any:
    """Multiprocessing context for the process of each run: separate memory, and a crash ends that run alone.

    On Linux without a GPU the process is forked from a server that has imported the libraries once. With a GPU it is
    spawned: bitsandbytes initialises CUDA on import, and a forked process cannot use CUDA that its parent initialised.
    """
    if sys.platform != "linux" or _has_gpu():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.training.train", "peft", "adapters"])
    return context


def _has_gpu() -> bool:
    """Whether torch can use a GPU. The version number tells a build for CPUs alone, without a slow import."""
    if version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def _supervise(store: Store, run: Run, context: Any) -> None:
    """Train one run in a process of its own, and record a state if the process ends without one."""
    process = context.Process(target=execute, args=(str(store.root), run.id), name=run.id)
    process.start()
    cancel_file, cancelled_at = run.folder / CANCEL_FILE, None
    while process.is_alive():
        process.join(0.2)
        if cancel_file.exists():
            cancelled_at = cancelled_at or time.monotonic()
            if time.monotonic() - cancelled_at > SECONDS_TO_STOP:
                process.terminate()
                process.join(5)
                process.kill()
    try:
        run = store.load(run.id)
    except ArgumentError:
        return  # deleted before its process started
    if run.state not in ENDED or run.error == tr(INTERRUPTED):
        if cancelled_at is not None:
            end(store, run.id, "cancelled", tr("Cancelled on request."))
        else:
            end(store, run.id, "failed", _reason(process.exitcode))


def execute(root: str, run_id: str) -> None:
    """Train one queued run in this process; output goes to the run's log.txt, and every error becomes its state."""
    store = Store(root)
    run = store.load(run_id)
    _log_to(run.folder / "log.txt")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reuse_freed_memory()
    with store.at_work(run_id):
        cancelled = (run.folder / CANCEL_FILE).exists
        if cancelled():
            end(store, run_id, "cancelled", tr("Cancelled before it began."))
            return
        content, resumes = recipes.content(run.recipe), any((run.folder / "checkpoints").glob("step-*"))
        lineage = run.lineage.model_copy(update={"content": content}) if content and not resumes else run.lineage
        store.update(run_id, state="running", error=None, lineage=lineage)
        try:
            if resumes:
                _check_content(run, content)
            result = _train(store, run, cancelled)
        except (Cancelled, KeyboardInterrupt) as error:
            end(store, run_id, "cancelled", sentence(error))
        except UserError as error:
            print(error, file=sys.stderr)
            end(store, run_id, "failed", str(error))
        except Exception as error:
            import traceback

            traceback.print_exc()
            end(store, run_id, "failed", sentence(error))
        else:
            store.update(run_id, state="finished", result=result)
            store.append(run_id, State("finished"))


def _check_content(run: Run, content: dict[str, str]) -> None:
    """Raise `UserError` if a run would resume with other sentences or weights than it began with."""
    then = recipes.content_of(run) or {}
    changed = [
        tr("the way of splitting") if name == tasks.SPLITS_VERSION else Path(getattr(run.recipe, name)).name
        for name, now in content.items()
        if then.get(name, now if name != tasks.SPLITS_VERSION else None) != now
    ]
    if changed:
        raise UserError(
            expected=tr("{files} as it was when the run began", files=", ".join(changed)),
            got=tr("other content"),
            fix=tr("launch a new run instead"),
        )


def _train(store: Store, run: Run, cancelled: Callable[[], bool]) -> Result:
    """Train a run, or evaluate an adopted one, with its events stored and tracked; the result."""
    from trainer.jobs import tracking
    from trainer.training import train as training

    require_usable_card()
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
            label_order=run.adopted.label_order if run.adopted else (),
        )
        return training.evaluate(request) if run.adopted else training.train(request)


def _ready_parents(store: Store, run: Run) -> tuple[tuple[methods.Parent, ...], tuple[Result, ...]]:
    """(finished parents of a run, each with a unique name; their results).

    Raises `UserError` for a parent that cannot predict, or that was trained on other weights of the backbone.
    """
    parents: dict[str, methods.Parent] = {}
    results = []
    backbone = backbones.locate(run.recipe.backbone) if run.recipe.parents else None
    for parent_id in run.recipe.parents:
        parent = store.load(parent_id)
        if not parent.can_predict:
            got = tr("one that is {state}", state=tr(parent.state))
            if parent.error:
                got = tr("one that is {state} ({error})", state=tr(parent.state), error=parent.error)
            raise UserError(
                expected=tr("a finished parent {run}", run=parent.id), got=got, fix=tr("resume it and then this run")
            )
        trained_on = parent.result.meta_info.model_info.sha256
        if backbone.sha256() != trained_on:
            raise UserError(
                expected=tr(
                    "the backbone that {run} was trained on (weights {hash})", run=parent.id, hash=trained_on[:12]
                ),
                got=tr("other weights in {folder} ({hash})", folder=backbone.folder, hash=backbone.sha256()[:12]),
                fix=tr("put the original weights back"),
            )
        stem = Path(parent.recipe.task).stem
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)
        if name in parents:
            name = next(other for i in count(len(parents)) if (other := f"{name}_{i}") not in parents)
        parents[name] = methods.Parent(name, parent.id, parent.model_folder)
        results.append(parent.result)
    return tuple(parents.values()), tuple(results)


def _reason(code: int | None) -> str:
    """Sentence for a process that ended without a state, by its exit code; negative codes are signals."""
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
    """Append this process's output to a file, at the level of file descriptors: libraries in C write there too."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
