"""The inputs of a run: the request of its caller, and the data and method loaded for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.config import RunConfig
from trainer.errors import Cancelled
from trainer.events import Event
from trainer.machine.device import Device
from trainer.machine.measure import sha256
from trainer.methods import Method, Parent, Setup
from trainer.runs.result import Result
from trainer.tasks import TaskData
from trainer.texts import tr


@dataclass(frozen=True)
class Request:
    """The arguments of `train`: the recipe, the run's folder, the receiver of events, the cancel test, the parents."""

    config: RunConfig
    folder: Path
    emit: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    parents: tuple[Parent, ...] = ()
    parent_results: tuple[Result, ...] = ()
    label_order: tuple[str, ...] = ()
    """For an adapter trained elsewhere: its labels in its own order, if that differs from the task's."""
    progressed: Callable[[], None] = lambda: None
    """Called before each batch, and thereby often: whoever watches the run sees that it is not stuck."""
    costs: bool = True
    """Whether to measure a step's memory and the speed of predicting, which takes seconds after the training."""

    def identity(self) -> str:
        """Hash of what a checkpoint belongs to: the recipe, and the weights of the parents that are fused."""
        weights = (sha256(path) for one in self.parents for path in sorted(one.folder.rglob("*.safetensors")))
        return hashlib.sha256(" ".join((self.config.fingerprint(), *weights)).encode()).hexdigest()

    def raise_if_cancelled(self, _: int = 0) -> None:
        """Raise `Cancelled` if the run was cancelled."""
        if self.should_stop():
            raise Cancelled(tr("Cancelled on request."))


@dataclass(frozen=True)
class Work:
    """The method, the data and the device of a run, fixed before the first step. `ids`: split -> token ids."""

    method: Method
    setup: Setup
    data: TaskData
    ids: dict[str, list[list[int]]]
    pad_id: int
    device: Device
