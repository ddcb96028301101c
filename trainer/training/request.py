"""What a run starts from: the request of its caller, and what is loaded for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.config import RunConfig
from trainer.errors import Cancelled
from trainer.events import Event
from trainer.machine.device import Device
from trainer.methods import Method, Parent, Setup
from trainer.runs.result import Result
from trainer.tasks import TaskData
from trainer.texts import tr


@dataclass(frozen=True)
class Request:
    """What `train` needs: the recipe, where to write, whom to tell, when to stop."""

    config: RunConfig
    folder: Path
    emit: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    parents: tuple[Parent, ...] = ()
    parent_results: tuple[Result, ...] = ()
    label_order: tuple[str, ...] = ()
    """For an adapter trained elsewhere: its labels in its own order, where that is not the task's."""

    def raise_if_cancelled(self, _: int = 0) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        if self.should_stop():
            raise Cancelled(tr("Cancelled on request."))


@dataclass(frozen=True)
class Work:
    """What is fixed before the first step."""

    method: Method
    setup: Setup
    data: TaskData
    ids: dict[str, list[list[int]]]
    pad_id: int
    device: Device
