"""Events of a run, in the order of its work. The worker, the command line, the app and the tests read them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base class of the events of a run."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """The event as a line of events.jsonl, without the time."""
        return {"type": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class State(Event):
    """A change of state: queued, running, finished, failed or cancelled. `note` is the reason or the activity."""

    kind = "state"
    state: str
    note: str = ""


@dataclass(frozen=True)
class Started(Event):
    """Start of training. Counts of sentences and parameters."""

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
    """Progress of training: mean training loss since the previous `Step`; times in seconds, memory in bytes."""

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
    """Evaluation of a split. `train_loss` is the mean over the epoch that ended (validation only)."""

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
    """A checkpoint or model written to disk; `bytes` is its size."""

    kind = "checkpoint"
    step: int
    what: str
    bytes: int


@dataclass(frozen=True)
class Finished(Event):
    """End of a successful run; `result` is a `runs.result.Result`."""

    kind = "finished"
    result: Any

    def as_dict(self) -> dict[str, Any]:
        """The line of events.jsonl: test accuracy alone, for run.json holds the result."""
        return {"type": self.kind, "test_accuracy": self.result.test.accuracy}
