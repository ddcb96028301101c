"""Events of a run, in the order of its work. The worker, the command line, the app and the tests read them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Difference = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**63 - 1)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(allow_inf_nan=True)]
"""Cross-entropy; NaN in an epoch that diverged."""
Time = Annotated[float, Field(ge=0, lt=2**40)]
"""Seconds since 1970."""
CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


@dataclass(frozen=True)
class Event:
    """Base class of the events of a run. `parse` reads them as lines of a file."""

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
    total_steps: Positive
    epochs: Annotated[float, Field(gt=0, le=1e6)]
    train_sentences: Count
    trainable_parameters: Count
    total_parameters: Count
    device: str
    precision: str
    resumed_at_step: Count = 0


@dataclass(frozen=True)
class Step(Event):
    """Progress of training: mean training loss since the previous `Step`; times in seconds, memory in bytes."""

    kind = "step"
    step: Count
    total_steps: Positive
    epoch: Amount
    loss: Loss
    learning_rate: Amount
    sentences_per_second: Amount
    seconds: Amount
    seconds_left: float
    memory: Difference


@dataclass(frozen=True)
class Evaluated(Event):
    """Evaluation of a split. `train_loss` is the mean over the epoch that ended (validation only)."""

    kind = "evaluation"
    split: str
    epoch: Amount
    step: Count
    loss: Loss
    accuracy: Share
    seconds: Amount
    train_loss: Loss | None = None
    memory: Difference | None = None
    utilisation: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint or model written to disk; `bytes` is its size."""

    kind = "checkpoint"
    step: Count
    what: str
    bytes: Count


@dataclass(frozen=True)
class Finished(Event):
    """End of a successful run; `result` is a `runs.result.Result`."""

    kind = "finished"
    result: Any

    def as_dict(self) -> dict[str, Any]:
        """The line of events.jsonl: test accuracy alone, for run.json holds the result."""
        return {"type": self.kind, "test_accuracy": self.result.test.accuracy}


@dataclass(frozen=True)
class _FinishedLine(Event):
    """`Finished` as it is written."""

    kind = "finished"
    test_accuracy: Share


LINES: dict[str, type[Event]] = {line.kind: line for line in (State, Started, Step, Evaluated, Saved, _FinishedLine)}
"""Type of a line of events.jsonl -> class with its fields."""


def parse(line: bytes) -> dict[str, Any]:
    """A line of events.jsonl: `time`, `type` and the fields of that type of event.

    Raises `ValueError`, which pydantic's error is, unless the line is such an object, with every field of its type.
    """
    try:
        event = _lines().validate_json(line).__dict__
    except ValidationError as error:
        if error.errors(include_url=False)[0]["type"].startswith("union_tag"):
            raise ValueError("type: an event's is expected") from None
        raise
    if event["type"] == Evaluated.kind and event["split"] == "validation" and event["train_loss"] is None:
        raise ValueError("train_loss: a number is expected")
    return event


@cache
def _lines() -> TypeAdapter[Any]:
    """Validator of a line: a model for each type of event, made of the fields of its class."""
    models = []
    for kind, line in LINES.items():
        hints = get_type_hints(line, include_extras=True)
        fields = {
            field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
            for field in dataclasses.fields(line)
        }
        about = {"time": (Time, ...), "type": (Literal[kind], ...)}
        models.append(create_model(kind, __config__=CONFIG, **about, **fields))
    return TypeAdapter(Annotated[Union[tuple(models)], Field(discriminator="type")])
