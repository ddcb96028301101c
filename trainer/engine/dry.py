"""Operations run for their shapes alone: results have the memory that they would take, but nothing is computed.

A model built and stepped within `Dry` passes through the same code as one that trains. Small tensors (indices, offsets,
layouts) are computed, since shapes may depend on them; what large ones hold is undefined. Memory that is not written
is not taken from the system.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

SMALL = 1 << 16
"""The most elements of a tensor that is still computed."""
ALIASES = ("aten._unsafe_view", "aten.lift_fresh", "aten.detach", "aten.alias")
"""Operations without a result of their own that torch does not declare as views."""


@dataclass
class Work:
    """The work of operations, counted from their shapes.

    `products`: floating-point operations of matrix products; `moved`: bytes that all other operations read and write;
    `operations`: how many there are, products included.
    """

    products: int = 0
    moved: int = 0
    operations: int = 0


class Dry(TorchDispatchMode):
    """While entered, operations on large tensors are not computed. `work` counts what they would have done."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.is_view or str(function.overloadpacket) in ALIASES:
            return function(*args, **kwargs)
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if all(tensor.numel() <= SMALL for tensor in inputs):
            result = function(*args, **kwargs)
        elif function._schema.is_mutable:
            result = _mutated(function, args, kwargs)
        else:
            result = _shaped(function, args, kwargs, device=inputs[0].device)
        self._count(function, args, kwargs, inputs, result)
        return result

    def _count(self, function: Any, args: Any, kwargs: Any, inputs: list[torch.Tensor], result: Any) -> None:
        self.work.operations += 1
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None:
            self.work.products += formula(*args, **kwargs, out_val=result)
        elif function.namespace == "bitsandbytes" and (shape := kwargs.get("shapeB") or _shape_of_weight(args)):
            self.work.products += 2 * inputs[0].numel() // inputs[0].shape[-1] * math.prod(shape)
            self.work.moved += 2 * math.prod(shape)  # the weight, unpacked
        else:
            results = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
            self.work.moved += sum(tensor.numel() * tensor.element_size() for tensor in (*inputs, *results))


def _shape_of_weight(args: Any) -> list[int] | None:
    """The shape of the 4-bit weight that an operation multiplies by; None for one that only unpacks it."""
    shapes = [value for value in args if isinstance(value, (list, tuple)) and len(value) == 2]
    return list(shapes[0]) if shapes and args[0].is_floating_point() else None


def _mutated(function: Any, args: Any, kwargs: Any) -> Any:
    """What an operation that writes into its inputs returns: those inputs, in order."""
    returned = function._schema.returns
    if not returned:
        return None
    names = [argument.name for argument in function._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    written = [given[a.name] for a in function._schema.arguments if a.alias_info and a.alias_info.is_write]
    return written[0] if len(returned) == 1 else tuple(written[: len(returned)])


def _shaped(function: Any, args: Any, kwargs: Any, *, device: torch.device) -> Any:
    """Results of the right shapes, strides and types, not written."""
    target = kwargs.get("device") or device

    def to_meta(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")

    def to_device(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=target)

    named = kwargs | ({"device": torch.device("meta")} if kwargs.get("device") is not None else {})
    try:
        shapes = function(*tree_map_only(torch.Tensor, to_meta, args), **tree_map_only(torch.Tensor, to_meta, named))
    except (NotImplementedError, RuntimeError):  # a shape that depends on values
        return function(*args, **kwargs)
    if not any(isinstance(value, torch.Tensor) for value in tree_leaves(shapes)):
        return function(*args, **kwargs)
    return tree_map_only(torch.Tensor, to_device, shapes)
