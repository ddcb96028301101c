"""Weights of adapters from elsewhere, read and checked; pickles only as far as they hold tensors alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from trainer.errors import ArgumentError, UserError
from trainer.sources import weights
from trainer.texts import tr

MOST_BYTES = 2 << 30


def read(source: Path, safe: str, pickled: str) -> dict[str, Any]:
    """The tensors in the safetensors file `safe`, or else in `pickled`. Raises `UserError` for another content."""
    if path := require_weights(source, safe, pickled):
        from safetensors.torch import load_file

        weights.header(path)
        return load_file(path)
    path = source / pickled
    require_small(path)
    import torch

    try:
        # Many older adapters have no other file; weights_only refuses all but tensors, since others could run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        state = None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise UserError(
            expected=tr("an adapter_model.bin with tensors alone"),
            got=tr("one that holds something else or is damaged"),
            fix=tr("save the adapter as safetensors"),
        )
    return state


def require_weights(source: Path, safe: str, pickled: str) -> Path | None:
    """The safetensors file `safe`; None where there is only `pickled`. Raises `UserError` where there is neither."""
    if (source / safe).is_file():
        return source / safe
    if not (source / pickled).is_file():
        raise UserError(expected=safe, got=tr("{name} without it", name=source.name), fix=tr("choose another folder"))
    return None


def require_small(*paths: Path) -> None:
    """Raise `ArgumentError` for files of more than `MOST_BYTES` together."""
    size = sum(path.stat().st_size for path in paths)
    if size > MOST_BYTES:
        raise ArgumentError(
            expected=tr("an adapter of at most {size} GiB", size=f"{MOST_BYTES / 2**30:.0f}"),
            got=f"{size / 2**30:.1f} GiB",
            fix=tr("choose another"),
        )


def check(state: dict[str, Any], expected: weights.Shapes, *, file: str) -> None:
    """Raise `UserError` unless tensors are exactly those expected, of 16 or 32 bits and finite."""
    import torch

    weights.compare({name: tuple(tensor.shape) for name, tensor in state.items()}, expected, file=file)
    for name, tensor in state.items():
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16) or tensor.is_sparse:
            raise weights.not_typed(name, str(tensor.dtype).removeprefix("torch."), file)
        if not tensor.isfinite().all():
            raise weights.not_finite(name, file)
