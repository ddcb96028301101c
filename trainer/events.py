"""What a run says while it works. The worker, the command line, the app and the tests all read these."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """The event as a line of events.jsonl holds it, without its time."""
        return {"type": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class State(Event):
    """The run changed state: queued, running, finished, failed or cancelled; `note` says why, or what it does now."""

    kind = "state"
    state: str
    note: str = ""


@dataclass(frozen=True)
class Started(Event):
    """Training begins. Sizes in sentences and parameters."""

    kind = "started"
    total_steps: int
    epochs: int
    train_sentences: int
    trainable_parameters: int
    total_parameters: int
    device: str
    precision: str
    resumed_at_step: int = 0


@dataclass(frozen=True)
class Step(Event):
    """Progress: mean training loss since the last such event; memory in bytes."""

    kind = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    sentences_per_second: float
    seconds: float
    seconds_left: float
    memory: int


@dataclass(frozen=True)
class Evaluated(Event):
    """A split was evaluated. `train_loss` is the mean over the epoch that ended (validation only)."""

    kind = "evaluation"
    split: str
    epoch: float
    step: int
    loss: float
    accuracy: float
    seconds: float
    train_loss: float | None = None
    memory: int | None = None
    utilisation: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint or the model was written."""

    kind = "checkpoint"
    step: int
    what: str
    bytes: int


@dataclass(frozen=True)
class Finished(Event):
    """The result is complete; `result` is a `runs.result.Result`."""

    kind = "finished"
    result: Any

    def as_dict(self) -> dict[str, Any]:
        """run.json holds the result: the log says only that it is there."""
        return {"type": self.kind, "test_accuracy": self.result.test.accuracy}
