"""Frozen weights stored in the type that autocast computes in."""

from __future__ import annotations

from torch import nn

from trainer.machine.device import compute_type
from trainer.sources.backbones import Family, encoder_layers


def cast_frozen(model: nn.Module, family: Family, precision: str) -> int:
    """Store the frozen linear layers of an encoder in the type of `precision`. Returns how many tensors were cast.

    `autocast` would cast them to that type in every step, so results are the same, without that cast and with half the
    memory. A method's own layers stay in float32, because they are saved; 4-bit weights do not change either.
    """
    import torch

    count = 0
    for layer in encoder_layers(model, family):
        for path in family.linears.values():
            module = layer.get_submodule(path)
            linear = getattr(module, "base_layer", module)
            if linear.weight.dtype != torch.float32:
                continue
            for parameter in (linear.weight, linear.bias):
                if parameter is not None and not parameter.requires_grad:
                    parameter.data = parameter.data.to(compute_type(precision))
                    count += 1
    return count
