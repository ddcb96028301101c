"""A training step's memory and work as simulated, and this machine's speed, stored for estimates. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.config import RunConfig, Strict
from trainer.machine.measure import package_info
from trainer.runs.lengths import Lengths
from trainer.runs.result import StepMemory
from trainer.sources import assets, backbones

VERSION = 1
"""Changes with what is simulated: older files are then not read."""


class Step(Strict):
    """One simulated step: its memory, and the work that `Speed` turns into seconds. `tokens`: with their padding."""

    memory: StepMemory
    tokens: int
    products: float
    moved: float
    operations: int


class Speed(Strict):
    """Seconds of a machine: for the call of an operation, for a floating-point operation of a matrix product, and for a
    byte that other operations read or write."""

    operation: float
    product: float
    byte: float

    def seconds(self, step: Step, *, share: float = 1.0) -> float:
        """Seconds of a step whose batch has `share` of the simulated batch's tokens."""
        return step.operations * self.operation + share * (step.products * self.product + step.moved * self.byte)


@dataclass(frozen=True)
class Key:
    """What a simulated step depends on. `device` is torch's type of the device."""

    method: str
    options: str
    fused: str
    shape: str
    config: str
    labels: int
    batch: tuple[int, int, int]
    group_by_length: bool
    device: str
    precision: str
    lengths: Lengths
    versions: str


def key_of(
    config: RunConfig, *, fused: tuple[Any, ...], labels: int, lengths: Lengths, device: str, precision: str
) -> Key:
    """The key of a recipe's step; two recipes that differ in what no shape depends on have the same."""
    shape = backbones.shape_of(config.backbone)
    return Key(
        method=config.method,
        options=json.dumps(config.options, sort_keys=True, default=list),
        fused=json.dumps([one.model_dump(mode="json") for one in fused], sort_keys=True),
        shape=json.dumps(asdict(shape), sort_keys=True),
        config="" if config.backbone in backbones.BACKBONES else _config(config.backbone),
        labels=labels,
        batch=(config.batch_size, config.gradient_accumulation_steps, config.max_length),
        group_by_length=config.group_by_length,
        device=device,
        precision=precision,
        lengths=lengths,
        versions=_versions(),
    )


def _config(folder: str) -> str:
    """A hash of a local backbone's config.json, which has more than its shape: heads, dropout, kind of positions."""
    return hashlib.sha256((Path(folder).expanduser() / "config.json").read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _versions() -> str:
    return f"{VERSION} {json.dumps(package_info(), sort_keys=True)}"


_steps: dict[Key, Step] = {}


def stored(key: Key) -> Step | None:
    """The simulated step of a key; None before it was simulated on this machine."""
    if key not in _steps and (step := _read(_path("step", asdict(key)), Step)) is not None:
        _steps[key] = step
    return _steps.get(key)


def store(key: Key, step: Step) -> None:
    """Keep a simulated step, in this process and for the next ones."""
    _steps[key] = step
    _write(_path("step", asdict(key)), step)


def stored_speed(device: str, precision: str) -> Speed | None:
    """This machine's speed on a device, by its name, at a precision; None before it was probed."""
    return _read(_path("speed", _machine(device, precision)), Speed)


def store_speed(device: str, precision: str, speed: Speed) -> None:
    """Keep this machine's speed."""
    _write(_path("speed", _machine(device, precision)), speed)


def _machine(device: str, precision: str) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "node": platform.node(), "machine": platform.machine(), "cores": cores, "device": device,
        "precision": precision, "versions": _versions(),
    }  # fmt: skip


def _path(kind: str, content: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
    return assets.cache_folder() / "estimates" / f"{kind}-{digest}.json"


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _write(path: Path, content: Strict) -> None:
    with suppress(OSError):  # a folder that cannot be written: estimated again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(content.model_dump_json(), encoding="utf-8")
        os.replace(temporary, path)
