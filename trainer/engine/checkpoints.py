"""Checkpoints: written atomically, with a manifest of hashes; the last two are kept, and only a whole one is read.

A folder is written under a temporary name, synced and renamed. The manifest is its last file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.texts import tr

WEIGHTS = "trainable.safetensors"
BEST = "best.safetensors"
TRAINING = "training.pt"
PROGRESS = "progress.json"
MANIFEST = "manifest.json"
NO_MANIFEST = f"{MANIFEST} is missing, as in what an earlier version wrote"
KEPT = 2
"""Most checkpoints on the disk, one that is being written among them. Where the newest is damaged the other is used."""


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


@contextmanager
def replacing(final: Path, temporary: Path) -> Iterator[Path]:
    """An empty folder `temporary` to write into, which replaces the folder `final` at the end; gone after an error.

    Raises `OSError` (ENOSPC) where the disk was full, whatever error the library that wrote has for it.
    """
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        commit(temporary, final)
    except Exception as error:
        if _is_full(temporary):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for a megabyte. torch's error for it does not say so."""
    try:
        with (folder / ".probe").open("wb") as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quotas
    return False


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
    identity: str = "",
) -> int:
    """Write `step-N` into a run's checkpoints folder, beside the newest one before. Returns its size in bytes.

    `weights` and `best` are snapshots, `training` has tensors and plain values, `progress` plain values alone.
    `identity` names what else the training depends on: a run of another one does not resume from this.
    """
    import torch

    final = folder / f"step-{step}"
    for older in [path for path in _newest_first(folder) if path != final][KEPT - 1 :]:
        shutil.rmtree(older, ignore_errors=True)
    with replacing(final, folder / ".writing") as temporary:
        save_state(temporary / WEIGHTS, weights)
        if best is not None:
            save_state(temporary / BEST, best)
        torch.save(training, temporary / TRAINING)
        (temporary / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
        _write_manifest(temporary, step, identity)
    return sum(path.stat().st_size for path in final.iterdir())


def _write_manifest(folder: Path, step: int, identity: str) -> None:
    """Write the size and hash of every file, once all of them are on the disk, and a hash of that itself."""
    sync_tree(folder)
    files = {path.name: [path.stat().st_size, _sha256(path)] for path in sorted(folder.iterdir())}
    content = {"step": step, "identity": identity, "files": files}
    signed = {"content": content, "sha256": _hash_of(content)}
    (folder / MANIFEST).write_text(json.dumps(signed), encoding="utf-8")


def _hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    """The folders `step-N` of a run's checkpoints folder, whole or not."""
    steps = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{1,15}", path.name) and path.is_dir()]
    return sorted(steps, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


@dataclass(frozen=True)
class Unusable:
    """A checkpoint that a run cannot resume from, and why, in words; `damaged` is False for an earlier version's."""

    folder: Path
    reason: str
    damaged: bool = True

    def put_away(self) -> None:
        """Delete it; rename an earlier version's, which that version may still use until this run has finished."""
        if self.damaged:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        with suppress(OSError):
            os.replace(self.folder, self.folder.with_name(f"unused-{self.folder.name}"))


def newest_sound(folder: Path, model, identity: str = "") -> tuple[Path | None, list[Unusable]]:
    """(the newest checkpoint that is whole and of this model and identity, or None; newer ones, which are not).

    Every file is read and hashed. A checkpoint without a manifest, as an earlier version wrote it, cannot be checked.
    Raises `UserError` for one that the disk cannot read now: it may be sound.
    """
    unusable = []
    for path in _newest_first(folder):
        reason = _problem(path, model, identity)
        if reason is None:
            return path, unusable
        unusable.append(Unusable(path, reason, damaged=reason != NO_MANIFEST))
    return None, unusable


def _problem(checkpoint: Path, model, identity: str) -> str | None:
    """Why a checkpoint cannot be used; None if it can."""
    try:
        signed = json.loads((checkpoint / MANIFEST).read_bytes())
        manifest = signed["content"]
        if signed["sha256"] != _hash_of(manifest):
            return f"{MANIFEST} is damaged"
        files = {str(name): (size, digest) for name, (size, digest) in manifest["files"].items()}
        step, belongs_to = manifest["step"], manifest["identity"]
    except FileNotFoundError:
        return NO_MANIFEST
    except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    except OSError as error:
        raise _unreadable(checkpoint, error) from None
    if step != int(checkpoint.name.removeprefix("step-")):
        return f"{MANIFEST} is that of another step"
    if belongs_to != identity:
        return "it belongs to another recipe or other parents"
    try:
        if reason := _damage(checkpoint, files):
            return reason
        same = _shapes_of(checkpoint / WEIGHTS) == _shapes_in(model)
    except OSError as error:
        raise _unreadable(checkpoint, error) from None
    return None if same else "its parameters are not those of the model"


def _unreadable(checkpoint: Path, error: OSError) -> UserError:
    return UserError(
        expected=tr("a checkpoint that can be read"),
        got=f"{error.strerror or type(error).__name__} ({checkpoint.name})",
        fix=tr("resume the run later"),
    )


def _damage(checkpoint: Path, files: dict[str, tuple[int, str]]) -> str | None:
    """Which file of a checkpoint is not as the manifest has it, and how; None if all are."""
    if missing := {WEIGHTS, TRAINING, PROGRESS} - files.keys():
        return f"{MANIFEST} lacks {min(missing)}"
    for name, (size, digest) in files.items():
        path = checkpoint / Path(name).name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes, not {size:,}"
        if _sha256(path) != digest:
            return f"{name} has changed"
    if more := {path.name for path in checkpoint.iterdir()} - files.keys() - {MANIFEST}:
        return f"{min(more)} is none of its files"
    return None


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
