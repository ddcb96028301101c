"""Checkpoints that a crash cannot spoil: written beside, synced, renamed; the previous stays until then."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

TRAINABLE = "trainable.safetensors"
BEST = "best.safetensors"
PROGRESS = "progress.json"


def snapshot(model) -> dict[str, Any]:
    """A copy on the CPU of every trainable parameter, by name."""
    return {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters() if p.requires_grad}


def restore(model, state: dict[str, Any]) -> None:
    """Put a snapshot back. Raises `KeyError` where the model has a trainable parameter that it lacks."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state[name])


def save_state(path: Path, state: dict[str, Any]) -> None:
    """A snapshot as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def load_state(path: Path) -> dict[str, Any]:
    """A snapshot from safetensors."""
    from safetensors.torch import load_file

    return load_file(path)


def commit(written: Path, final: Path) -> None:
    """Make a freshly written folder the real one: sync its files, move the old one away, rename."""
    sync_tree(written)
    old = final.with_name(f".old-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(written, final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def latest(folder: Path, model) -> Path | None:
    """The newest whole checkpoint below a run's checkpoints folder; None where it is not of this model's parameters.

    An earlier version of the program may have trained others: the run then begins anew.
    """
    found = [path for path in folder.glob("step-*") if (path / PROGRESS).is_file()]
    newest = max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)
    return newest if newest and _shapes_of(newest / TRAINABLE) == _shapes_in(model) else None


def _shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dictionary


def _shapes_in(model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """What the run knew when the checkpoint was written."""
    return json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
