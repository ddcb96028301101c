"""Worker process: trains the queued runs, one at a time, independently of the page and the command line."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer import methods, tasks
from trainer.errors import Cancelled, UserError, sentence
from trainer.events import Event, State
from trainer.jobs import causes, heartbeat, leftovers, processes, room
from trainer.jobs.guard import Guard
from trainer.jobs.heartbeat import Heartbeat
from trainer.jobs.queue import CANCEL_FILE, RESERVE, WORKER_FILE, end
from trainer.machine.cuda import require_usable_card
from trainer.machine.device import reuse_freed_memory
from trainer.runs import recipes
from trainer.runs.result import Result
from trainer.runs.run import ENDED, INTERRUPTED, Run
from trainer.runs.store import Store
from trainer.sources import backbones
from trainer.texts import tr

RESERVED = 1 << 18
"""Bytes of the reserve: more than run.json with its result."""
LOST = 255
"""multiprocessing's exit code of a process whose fork server has ended."""


def work(store: Store) -> bool:
    """Train runs until the queue is empty. False, at once, if another worker holds the queue."""
    lock = FileLock(store.root / ".worker.lock")
    context = _context()
    while True:
        try:
            lock.acquire(timeout=1.0)  # who looks whether there is a worker holds it for a moment
        except Timeout:
            return False
        try:
            with suppress(OSError):  # a full disk
                (store.root / WORKER_FILE).write_text(processes.record(), encoding="utf-8")
            leftovers.remove_of_store(store)
            while run := _next(store):
                _supervise(store, run, context)
        finally:
            (store.root / WORKER_FILE).unlink(missing_ok=True)
            lock.release()
        # A run may have been queued after the last `_next` and before the release; a worker started then saw the lock.
        if not any(run.state == "queued" for run in store.list()):
            return True


def _next(store: Store) -> Run | None:
    """First run in the queue, or None. Waits while a run is running: a killed worker may have left its process.

    That process is guarded as this worker's own are.
    """
    guards: dict[str, tuple[Run, Guard]] = {}
    while True:
        runs = store.list()
        running = [run for run in runs if run.state == "running"]
        for run in running:
            pid = partial(processes.recorded, run.folder / heartbeat.FILE)
            guards.setdefault(run.id, (run, Guard(run.folder, pid)))[1].look()
        if all(guards[run.id][1].gave_up for run in running):  # none is left
            break
        time.sleep(0.2)
    for run, guard in guards.values():
        if guard.cause or guard.cancelled:
            guard.sweep()
            _settle(store, run, guard, None)
    return next((run for run in (store.list() if guards else runs) if run.state == "queued"), None)


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


def _supervise(store: Store, run: Run, context: Any, *, target: Callable[[str, str], None] | None = None) -> None:
    """Train one run in a process of its own, and record a state if the process ends without one.

    `target` is what the process does, `execute` if not given: a function of the store's folder and the run's id.
    """
    with suppress(OSError):  # it was deleted
        (run.folder / heartbeat.FILE).touch()
    kills = causes.MemoryKills()
    process = context.Process(target=target or execute, args=(str(store.root), run.id), name=run.id)
    process.start()
    guard = Guard(run.folder, lambda: process.pid)
    while process.is_alive() and not guard.gave_up:
        process.join(0.2)
        guard.look()
        kills.look()
    if process.exitcode == LOST and store.is_at_work(run.folder):
        return  # the server that forked it is gone, and it goes on: `_next` waits for it
    if process.exitcode != 0:
        guard.sweep()
    _settle(store, run, guard, causes.of_exit(process.exitcode, memory_kill=kills.any()))


def _settle(store: Store, attempt: Run, guard: Guard, reason: str | None) -> None:
    """Record the state of a run whose process is gone and left none, and remove what it left.

    `attempt` is the run as the process took it: one that was resumed while the process ended waits for another, and
    its state is not this one's.
    """
    run_id = attempt.id
    try:
        run = store.load(run_id)
    except UserError:
        return  # deleted before its process started
    if run.queue_order != attempt.queue_order:
        return
    if run.state not in ENDED or run.error == tr(INTERRUPTED):
        if guard.cause == "hung":
            end(store, run_id, "failed", causes.of_hang(guard.limit))
        elif guard.cancelled:
            end(store, run_id, "cancelled", tr("Cancelled on request."))
        elif reason is not None:
            end(store, run_id, "failed", reason)
    if not store.is_at_work(run.folder):
        leftovers.remove_of_run(run.folder)


Train = Callable[[Store, Run, Heartbeat], Result]
"""What trains a run: it reports its progress to the heartbeat."""


def execute(root: str, run_id: str, *, train: Train | None = None) -> None:
    """Train one queued run in this process; output goes to the run's log.txt, and every error becomes its state."""
    processes.lead_group()
    store = Store(root)
    run = store.load(run_id)
    _log_to(run.folder / "log.txt")
    _trace_to_log()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reuse_freed_memory()
    with store.at_work(run_id), Heartbeat(run.folder) as beating:
        if (run.folder / CANCEL_FILE).exists():
            end(store, run_id, "cancelled", tr("Cancelled before it began."))
            return
        try:
            _reserve(run.folder)
            run = _begin(store, run)
            result = (train or _train)(store, run, beating)
            store.update(run_id, state="finished", result=result)
            with suppress(OSError):  # a full disk: the run has finished all the same
                store.append(run_id, State("finished"))
        except (Cancelled, KeyboardInterrupt) as error:
            end(store, run_id, "cancelled", sentence(error))
        except UserError as error:
            print(error, file=sys.stderr)
            end(store, run_id, "failed", str(error))
        except Exception as error:
            import traceback

            traceback.print_exc()
            end(store, run_id, "failed", sentence(error))
        finally:
            (run.folder / RESERVE).unlink(missing_ok=True)


def _begin(store: Store, run: Run) -> Run:
    """Record that a run is running, and on what; the run.

    Raises `UserError` if it would resume with other content, or does not fit on the disk.
    """
    content, resumes = recipes.content(run.recipe), any((run.folder / "checkpoints").glob("step-*"))
    lineage = run.lineage.model_copy(update={"content": content}) if content and not resumes else run.lineage
    store.update(run.id, state="running", error=None, lineage=lineage)
    if resumes:
        _check_content(run, content)
    elif not run.adopted:
        room.check_disk(store, [run.recipe], earlier=store.list())
    return run


def _reserve(folder: Path) -> None:
    """Take a little of the disk, which `end` frees: a run that fills the disk can then record that."""
    (folder / RESERVE).write_bytes(os.urandom(RESERVED))


def _trace_to_log() -> None:
    """Write the Python stack of every thread to the log after a crash, and when a guard asks for it (SIGUSR1)."""
    faulthandler.enable(file=2)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


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


def _train(store: Store, run: Run, beating: Heartbeat) -> Result:
    """Train a run, or evaluate an adopted one, with its events stored and tracked; the result."""
    from trainer.jobs import tracking
    from trainer.training import train as training

    require_usable_card()
    parents, results = _ready_parents(store, run)
    with tracking.tracker(run) as track:

        def emit(event: Event) -> None:
            beating.beat()
            store.append(run.id, event)
            track(event)

        def cancelled() -> bool:  # it is called at each step and batch
            beating.step()
            return (run.folder / CANCEL_FILE).exists()

        request = training.Request(
            config=run.recipe,
            folder=run.folder,
            emit=emit,
            should_stop=cancelled,
            progressed=beating.step,
            parents=parents,
            parent_results=results,
            label_order=run.adopted.label_order if run.adopted else (),
        )
        result = training.evaluate(request) if run.adopted else training.train(request)
        # Here, for the tracker's end may wait for the network without end, and the guard then ends the process.
        store.update(run.id, state="finished", result=result)
        return result


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


def _log_to(path: Path) -> None:
    """Append this process's output to a file, at the level of file descriptors: libraries in C write there too."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
