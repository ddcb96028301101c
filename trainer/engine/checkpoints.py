"""Checkpoints, written atomically: to a temporary folder, synced, renamed; the previous one is deleted last."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

WEIGHTS = "trainable.safetensors"
BEST = "best.safetensors"
TRAINING = "training.pt"
PROGRESS = "progress.json"


def snapshot(model) -> dict[str, Any]:
    """A copy on the CPU of every trainable parameter, by name."""
    return {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters() if p.requires_grad}


def restore(model, state: dict[str, Any]) -> None:
    """Copy a snapshot into the model. Raises `KeyError` for a trainable parameter that the snapshot lacks."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state[name])


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a snapshot as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def load_state(path: Path) -> dict[str, Any]:
    """Read a snapshot from safetensors."""
    from safetensors.torch import load_file

    return load_file(path)


def commit(written: Path, final: Path) -> None:
    """Replace the folder `final` by `written`: sync its files, move the old one away, rename."""
    sync_tree(written)
    old = final.with_name(f".old-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(written, final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def write(
    folder: Path,
    step: int,
    *,
    weights: dict[str, Any],
    best: dict[str, Any] | None,
    training: dict[str, Any],
    progress: dict[str, Any],
) -> int:
    """Write `step-N` into a run's checkpoints folder and delete older ones. Returns its size in bytes.

    `weights` and `best` are snapshots, `training` has tensors and plain values, `progress` plain values alone.
    """
    import torch

    temporary, final = folder / ".writing", folder / f"step-{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_state(temporary / WEIGHTS, weights)
    if best is not None:
        save_state(temporary / BEST, best)
    torch.save(training, temporary / TRAINING)
    (temporary / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
    commit(temporary, final)
    for older in folder.glob("step-*"):
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return sum(path.stat().st_size for path in final.iterdir())


def latest(folder: Path, model) -> Path | None:
    """The newest complete checkpoint in a run's checkpoints folder; None without one whose parameters match the model.

    An earlier version of the program may have written another format: the run then starts from the beginning.
    """
    complete = [path for path in folder.glob("step-*") if (path / PROGRESS).is_file() and (path / TRAINING).is_file()]
    newest = max(complete, key=lambda path: int(path.name.removeprefix("step-")), default=None)
    return newest if newest and _shapes_of(newest / WEIGHTS) == _shapes_in(model) else None


def _shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dictionary


def _shapes_in(model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}


def random_state() -> dict[str, Any]:
    """The state of every random generator of this process: Python's, NumPy's, torch's, and torch's on the GPUs."""
    import numpy as np
    import torch

    numpy = np.random.get_state(legacy=False)
    numpy["state"]["key"] = numpy["state"]["key"].tolist()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state(), "cuda": cuda}


def restore_random(state: dict[str, Any]) -> None:
    """Restore a `random_state`."""
    import numpy as np
    import torch

    random.setstate(state["python"])
    numpy = state["numpy"]
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """The progress of a checkpoint, as `write` got it."""
    return json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))


def read_training(checkpoint: Path) -> dict[str, Any]:
    """The state of optimiser, schedule and generators of a checkpoint. Only tensors and plain values are read."""
    import torch

    return torch.load(checkpoint / TRAINING, map_location="cpu", weights_only=True)


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
