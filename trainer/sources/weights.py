"""Checks of a safetensors file against the tensors that it must hold, without torch and before any library opens it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import ArgumentError, UserError
from trainer.sources import configs
from trainer.texts import tr

MOST_HEADER = 16 << 20
"""Bytes of a header; an encoder with 128 layers has one of less than a megabyte."""
AT_ONCE = 1 << 22
"""Values that are checked at a time."""
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Types that weights may have -> how numpy reads them; it has no bfloat16."""
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Tensor:
    """An entry of a header: its type, its shape, and the bytes of the file that hold it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises `ArgumentError` for a header that is damaged or too large, and for tensors that do not fill the file one
    after another.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MOST_HEADER:
                raise _damaged(path, f"8 + {length:,}")
            text = file.read(length)
        size = path.stat().st_size
    except OSError as error:
        raise _damaged(path, error.strerror or tr("none")) from None
    content = configs.parse_json(text, path.name, deepest=4) if len(text) == length > 0 else None
    if not isinstance(content, dict):
        raise _damaged(path, tr("a damaged one"))
    content.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in content.items()}
    end = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if tensor.start != end or tensor.stop - tensor.start != math.prod(tensor.shape) * _BYTES[tensor.dtype]:
            raise _damaged(path, _shown(name))
        end = tensor.stop
    if end != size:
        raise _damaged(path, f"{size:,} / {end:,}")
    return tensors


def check(path: Path, expected: Shapes, *, may_have: Callable[[str], bool] = lambda name: False) -> None:
    """Raise `UserError` unless a safetensors file holds exactly these tensors, all of finite values.

    `may_have`: whether a tensor that is not among them may be there all the same.
    """
    found = header(path)
    compare({name: tensor.shape for name, tensor in found.items()}, expected, file=path.name, may_have=may_have)
    finite(path, {name: found[name] for name in expected})


def compare(
    found: Shapes, expected: Shapes, *, file: str, may_have: Callable[[str], bool] = lambda name: False
) -> None:
    """Raise `UserError` unless the tensors are exactly those expected, by name and shape."""
    for name, shape in expected.items():
        if name not in found:
            raise UserError(
                expected=tr("{name} in {file}", name=_shown(name), file=file),
                got=tr("none"),
                fix=tr("save it again"),
            )
        if found[name] != shape:
            raise UserError(
                expected=tr("{name} in {file}", name=f"{_shown(name)} [{_by(shape)}]", file=file),
                got=f"[{_by(found[name])}]",
                fix=tr("choose the backbone it was trained on"),
            )
    extra = [name for name in found if name not in expected and not may_have(name)]
    if extra:
        raise UserError(
            expected=tr("nothing but this model's weights in {file}", file=file),
            got=_shown(extra[0]),
            fix=tr("choose the backbone it was trained on"),
        )


def finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise `UserError` for a type that is none of 16 or 32 bits with a fraction, and for NaN and infinity."""
    import numpy as np

    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise not_typed(name, tensor.dtype, path.name)

    raw = np.memmap(path, dtype=np.uint8, mode="r")
    for name, tensor in tensors.items():
        flat = raw[tensor.start : tensor.stop]
        kind, width = TYPES[tensor.dtype], _BYTES[tensor.dtype]
        for start in range(0, len(flat), AT_ONCE * width):
            # A copy: bytes in a file need not be aligned.
            values = np.frombuffer(flat[start : start + AT_ONCE * width].tobytes(), dtype=kind)
            # bfloat16 has the exponent of float32: all ones for NaN and infinity.
            whole = (values & 0x7F80 != 0x7F80).all() if tensor.dtype == "BF16" else np.isfinite(values).all()
            if not whole:
                raise not_finite(name, path.name)


def not_finite(name: str, file: str) -> UserError:
    """The error for a weight that is no number."""
    return UserError(
        expected=tr("finite weights in {file}", file=file),
        got=tr("NaN or infinity in {tensor}", tensor=_shown(name)),
        fix=tr("choose another"),
    )


def not_typed(name: str, dtype: str, file: str) -> ArgumentError:
    """The error for a weight of another type."""
    return ArgumentError(
        expected=tr("weights of the types {types} in {file}", types=", ".join(TYPES), file=file),
        got=f"{_shown(name)}: {dtype[:20]}",
        fix=tr("save it again"),
    )


def _tensor(path: Path, name: str, entry: object, offset: int) -> Tensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sound = all(type(number) is int and 0 <= number < 1 << 48 for number in (*shape, start, stop))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or len(shape) > 4:
        raise _damaged(path, _shown(name))
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise not_typed(name, str(dtype), path.name)
    return Tensor(dtype, shape, offset + start, offset + stop)


def _damaged(path: Path, got: str) -> ArgumentError:
    return ArgumentError(
        expected=tr("a whole safetensors file {file}", file=path.name), got=got, fix=tr("save it again")
    )


def _shown(name: str) -> str:
    return name[:120]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
