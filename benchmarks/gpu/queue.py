"""The whole path as a person uses it: the queue, its worker, failure, cancel, a killed process, resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.steps import METHODS

LONG = 1000
"""Epochs of a run that is ended before it is done."""


def run(kit: Kit) -> None:
    """A suite of every method, then what goes wrong."""
    from trainer.jobs import queue
    from trainer.runs import recipes
    from trainer.runs.run import ENDED
    from trainer.runs.store import Store

    store = Store(kit.folder / "store")
    file, second = kit.file("sentences", kit.scale.sentences), kit.file("second", kit.scale.sentences, seed=1)
    configs = recipes.suite(
        methods_=METHODS, seeds=[0], task=str(file), backbone=str(kit.backbone), epochs=1, batch_size=16,
        **{"adapter_fusion.parent_tasks": [str(file), str(second)]},
    )  # fmt: skip
    runs = queue.launch(store, configs)
    wait(lambda: all(store.load(run.id).state in ENDED for run in runs), 150)
    for run in (store.load(run.id) for run in runs):
        where = run.result and run.result.meta_info.system_info.device_kind
        figure = f"{run.state} on {where}, {run.result.train_info.precision}" if run.result else run.error
        passed = run.state == "finished" and where == kit.device.kind
        kit.check(f"{run.recipe.method} trains through the queue", passed, figure)
    goes_on(kit, store, file)
    cancelled(kit, store, file)
    killed(kit, store, file)


def goes_on(kit: Kit, store: Any, file: Any) -> None:
    """A run that fails says why in one sentence, and the next one trains: out of memory on a GPU, a lost file else."""
    from trainer.jobs import queue

    if kit.device.kind == "cuda":
        large = kit.file("large", 1100, least=510, most=520)
        bad = kit.recipe("full", large, batch_size=1024, max_length=512, epochs=1, precision="fp32")
        reason = "memory"
    else:
        large = kit.file("lost", 60, seed=3)
        bad = kit.recipe("lora", large, epochs=1)
        reason = large.name
    first = store.create(bad)
    if reason == large.name:
        large.unlink()  # lost while its run waits: `launch` refuses a file that is not there
    (second,) = queue.launch(store, [kit.recipe("lora", file, epochs=1, seed=1)])
    wait(lambda: store.load(second.id).state in ("finished", "failed"), 90)
    first, second = store.load(first.id), store.load(second.id)
    named = first.state == "failed" and reason in (first.error or "") and (first.error or "").count("\n") == 0
    kit.check(f"a run without its {reason} fails with one sentence", named, (first.error or first.state)[:160])
    kit.check("the queue goes on after it", second.state == "finished", second.error or second.state)


def cancelled(kit: Kit, store: Any, file: Any) -> None:
    """A run that trains ends soon after it was cancelled."""
    from trainer.jobs import queue

    (run,) = queue.launch(store, [kit.recipe("lora", file, epochs=LONG, seed=2)])
    wait(lambda: has_event(store, run.id, "step"), 60)
    since = time.monotonic()
    queue.cancel(store, run.id)
    passed = wait(lambda: store.load(run.id).state == "cancelled", 20)
    kit.check("cancel ends a run that trains", passed, time.monotonic() - since, goal="10 s or less")


def killed(kit: Kit, store: Any, file: Any) -> None:
    """SIGKILL of a training process: the run says so, and resumed it goes on from its checkpoint to the end."""
    from trainer.jobs import queue

    (run,) = queue.launch(store, [kit.recipe("lora", file, epochs=LONG, seed=3)])
    wait(lambda: has_event(store, run.id, "checkpoint"), 60)
    process = training_process(store.root / run.id)
    if process is None:
        kit.check("a training process is there to be killed", False, store.load(run.id).state)
        return
    process.kill()
    passed = wait(lambda: store.load(run.id).state == "failed", 30)
    kit.check("a killed run says that it was killed", passed, (store.load(run.id).error or "")[:160])
    queue.resume(store, run.id)
    passed = wait(lambda: resumed_at(store, run.id) > 0, 60)
    kit.check("resumed, it goes on from its checkpoint", passed, f"step {resumed_at(store, run.id)}")
    queue.cancel(store, run.id)
    wait(lambda: store.load(run.id).state == "cancelled", 20)


def training_process(folder: Any) -> Any:
    """The process that holds a run's lock file open."""
    import psutil

    for process in psutil.process_iter():
        try:
            if any(file.path.startswith(str(folder)) for file in process.open_files()):
                return process
        except (psutil.Error, OSError):
            continue
    return None


def has_event(store: Any, run_id: str, kind: str) -> bool:
    """Whether a run has reported an event of this kind, or has ended."""
    return any(event["type"] == kind for event in store.events(run_id)[0])


def resumed_at(store: Any, run_id: str) -> int:
    """The step that the run was last resumed at; 0 if it never was."""
    started = [event for event in store.events(run_id)[0] if event["type"] == "started"]
    return started[-1]["resumed_at_step"] if started else 0


def wait(until: Callable[[], bool], seconds: float) -> bool:
    """Whether something came to be true within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if until():
            return True
        time.sleep(0.2)
    return until()
