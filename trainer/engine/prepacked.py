"""Linear maps of models that are only asked, held as oneDNN reads them: on a CPU a short text takes half the time.

torch multiplies float32 with a BLAS that arranges the whole weight anew for every product, which for a few dozen tokens
takes as long as the product. Here that is done once, in the weight's own memory; who asks in bfloat16 too holds a copy
in that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

ROWS = 32
"""Rows that the arrangement is made for; of those tried, from 16 to 512, none was quicker at any length."""
SMALLEST = 64
"""Inputs and outputs from which it pays."""
FACTORS = ("lora_A", "lora_B")
"""PEFT reads the type of these small weights at every pass."""


def possible(device: str) -> bool:
    """Whether this machine and this torch can do it; where they cannot, models stay as they are."""
    return device == "cpu" and _works()


@cache
def _works() -> bool:
    """Tried once: the operations are torch's own, and may be there without a kernel for this processor."""
    linear = nn.Linear(SMALLEST, SMALLEST)
    try:
        PrepackedLinear(linear, PrepackedWeight(linear.weight)).product(torch.zeros(1, SMALLEST))
    except (AttributeError, RuntimeError):
        return False
    return True


class PrepackedWeight:
    """One weight (outputs, inputs) in oneDNN's own order. The models of one backbone share it."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = tuple(weight.shape)
        self._by_type = {torch.float32: _arrange(weight)}

    @property
    def nbytes(self) -> int:
        """Bytes that it takes now."""
        return sum(held.numel() * held.element_size() for held in self._by_type.values())

    def arranged(self, kind: torch.dtype) -> torch.Tensor:
        """The weight for inputs of a type; bfloat16's is made when first asked for."""
        if kind not in self._by_type:
            self._by_type[kind] = _arrange(self.plain().to(kind))
        return self._by_type[kind]

    def plain(self) -> torch.Tensor:
        """The weight as it was, to the bit."""
        return self._by_type[torch.float32].to_dense()


class PrepackedLinear(nn.Module):
    """In the place of an nn.Linear; gradients flow to its input alone."""

    def __init__(self, linear: nn.Linear, prepacked: PrepackedWeight) -> None:
        super().__init__()
        self.out_features, self.in_features = prepacked.shape
        self.bias, self.prepacked = linear.bias, prepacked

    @property
    def weight(self) -> torch.Tensor:
        """A copy, for code that reads it, such as DoRA's."""
        return self.prepacked.plain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs), in autocast's type where that is bfloat16, else in float32."""
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            x = x.to(torch.bfloat16)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x, self)
        return self.product(x)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """The map itself, without gradients."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        weight = self.prepacked.arranged(x.dtype)
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, linear: PrepackedLinear) -> torch.Tensor:
        context.linear = linear
        return linear.product(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ context.linear.prepacked.plain().to(gradient.dtype), None


def prepackable(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """(parent, name, linear) of every map that can be held so."""
    found = []
    for parent_name, parent in model.named_modules():
        if any(factor in parent_name for factor in FACTORS):
            continue
        for name, child in parent.named_children():
            if _is_plain(child) and min(child.weight.shape) >= SMALLEST and child.weight.dtype == torch.float32:
                found.append((parent, name, child))
    return found


def replace(parent: nn.Module, name: str, prepacked: PrepackedWeight) -> None:
    """Put a prepacked map in the place of a linear one."""
    linear = getattr(parent, name)
    new = PrepackedLinear(linear, prepacked)
    new.eval()
    # A parent that is a ModuleDict or a Sequential holds its children by name too.
    parent._modules[name] = new


def _is_plain(module: nn.Module) -> bool:
    """An nn.Linear, or AdapterHub's in its place when it carries no update of its own."""
    if type(module) is nn.Linear:
        return True
    return isinstance(module, nn.Linear) and hasattr(module, "loras") and len(module.loras) == 0


def _arrange(weight: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
