"""Optional tracking with Weights & Biases. An error here never stops a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.events import Evaluated, Event, Finished, Started, Step
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run

PROJECT = "peft-lab"


@contextmanager
def tracker(run: Run) -> Iterator[Callable[[Event], None]]:
    """Function that sends events to Weights & Biases; it does nothing unless the recipe has `track`.

    Without an account it writes to the run's folder (wandb/), to be uploaded later with `wandb sync`.
    If Weights & Biases is missing or fails, the run's log has one line about it, and tracking stops.
    """
    tracked = _start(run) if run.recipe.track else None

    def track(event: Event) -> None:
        nonlocal tracked
        if tracked is None:
            return
        try:
            _log(tracked, event)
        except Exception as error:
            _warn(error)
            tracked = None

    try:
        yield track
    finally:
        if tracked is not None:
            try:
                tracked.finish()
            except Exception as error:
                _warn(error)


def has_account() -> bool:
    """Whether an account is set up on this machine: a key in the environment or in .netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "api.wandb.ai" in netrc.read_text(encoding="utf-8")
    except OSError:
        return False


def _start(run: Run) -> Any:
    """The tracked run of Weights & Biases; None if it cannot start."""
    try:
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if has_account() else "offline")
        tracked = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.label or run.id,
            id=run.id,
            group=run.suite or None,
            dir=str(run.folder),
            mode=mode,
            resume="allow",
            config=run.recipe.model_dump(mode="json") | {"run_id": run.id},
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=False, init_timeout=30),
        )
        tracked.define_metric("epoch")
        tracked.define_metric("validation/*", step_metric="epoch")
        return tracked
    except Exception as error:
        _warn(error)
        return None


def _log(tracked: Any, event: Event) -> None:
    if isinstance(event, Started):
        tracked.config.update(
            {"trainable_parameters": event.trainable_parameters, "total_parameters": event.total_parameters,
             "device": event.device, "actual_precision": event.precision},
            allow_val_change=True,
        )  # fmt: skip
    elif isinstance(event, Step):
        tracked.log({"train/step_loss": event.loss, "train/learning_rate": event.learning_rate}, step=event.step)
    elif isinstance(event, Evaluated) and event.split == "validation":
        figures = {
            "epoch": event.epoch,
            "train/loss": event.train_loss,
            "validation/loss": event.loss,
            "validation/accuracy": event.accuracy,
            "memory_bytes": event.memory,
            "gpu_utilisation": event.utilisation,
        }
        tracked.log({name: value for name, value in figures.items() if value is not None}, step=event.step)
    elif isinstance(event, Finished):
        info, test = event.result.train_info, event.result.test
        tracked.summary.update(
            {
                "test/accuracy": test.accuracy,
                "test/macro_f1": test.macro.f1,
                "train_seconds": info.train_time,
                "trainable_parameters": info.num_trainable_params,
                "file_bytes": info.file_size,
                "peak_memory_bytes": info.peak,
            }
        )
        compared = {name: metric.in_result(event.result) for name, metric in METRICS.items()}
        tracked.summary.update({f"compare/{name}": value for name, value in compared.items() if value is not None})


def _warn(error: Exception) -> None:
    print(
        f"Weights & Biases does not track this run any more ({type(error).__name__}: {error}); the run goes on.",
        file=sys.stderr,
    )
