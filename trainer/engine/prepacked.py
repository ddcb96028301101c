"""Prepacked linear layers for inference: weights stored in oneDNN's own layout, which halves a short text's time.

torch's float32 BLAS packs the whole weight again for every product, which for a few dozen tokens takes as long as the
product itself. Here a weight is packed once, and stored in that layout alone; inference in bfloat16 stores a second
copy in that type.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

ROWS = 32
"""Rows that the layout is optimised for; of the values from 16 to 512 none was faster at any length."""
SMALLEST = 64
"""The fewest inputs and outputs for which the layout is faster."""
FACTORS = ("lora_A", "lora_B")
"""LoRA's factors are not replaced: PEFT reads the type of their weights at every pass."""


def supported(device: str) -> bool:
    """Whether this machine and this torch have oneDNN's operations; where they do not, models are not changed."""
    return device == "cpu" and _works()


@cache
def _works() -> bool:
    """Whether a trial product works: torch may have the operations without a kernel for this processor."""
    linear = nn.Linear(SMALLEST, SMALLEST)
    try:
        PrepackedLinear(linear, PrepackedWeight(linear.weight)).product(torch.zeros(1, SMALLEST))
    except (AttributeError, RuntimeError):
        return False
    return True


class PrepackedWeight:
    """One weight (outputs, inputs) in oneDNN's own layout. The models of one backbone share it."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = tuple(weight.shape)
        self._by_type = {torch.float32: _pack(weight)}

    @property
    def nbytes(self) -> int:
        """Bytes of all its copies."""
        return sum(packed.numel() * packed.element_size() for packed in self._by_type.values())

    def packed(self, dtype: torch.dtype) -> torch.Tensor:
        """The packed weight for inputs of a type; bfloat16's is made at its first use."""
        if dtype not in self._by_type:
            self._by_type[dtype] = _pack(self.plain().to(dtype))
        return self._by_type[dtype]

    def plain(self) -> torch.Tensor:
        """A copy of the weight in torch's layout, equal to the original to the bit."""
        return self._by_type[torch.float32].to_dense()


class PrepackedLinear(nn.Module):
    """A linear layer for inference with a prepacked weight; only its input gets gradients."""

    def __init__(self, linear: nn.Linear, prepacked: PrepackedWeight) -> None:
        super().__init__()
        self.out_features, self.in_features = prepacked.shape
        self.bias, self.prepacked = linear.bias, prepacked

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight, for code that reads it, such as DoRA's."""
        return self.prepacked.plain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs), in autocast's type where that is bfloat16, else in float32."""
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            x = x.to(torch.bfloat16)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x, self)
        return self.product(x)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """The linear layer itself, without gradients."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        weight = self.prepacked.packed(x.dtype)
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
    """(parent, name, linear) of every linear layer that can be prepacked."""
    linears = []
    for parent_name, parent in model.named_modules():
        if any(factor in parent_name for factor in FACTORS):
            continue
        for name, child in parent.named_children():
            if _is_plain(child) and min(child.weight.shape) >= SMALLEST and child.weight.dtype == torch.float32:
                linears.append((parent, name, child))
    return linears


def replace(parent: nn.Module, name: str, prepacked: PrepackedWeight) -> None:
    """Replace a linear layer by a prepacked one."""
    linear = getattr(parent, name)
    new = PrepackedLinear(linear, prepacked)
    new.eval()
    # Works for a parent that is a ModuleDict or a Sequential too.
    parent._modules[name] = new


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is an nn.Linear, or AdapterHub's subclass of it without a LoRA update."""
    if type(module) is nn.Linear:
        return True
    return isinstance(module, nn.Linear) and hasattr(module, "loras") and len(module.loras) == 0


def _pack(weight: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
