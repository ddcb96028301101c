"""Frozen weights stored in the type that autocast computes in."""

from __future__ import annotations

from torch import nn

from trainer.machine.device import compute_type
from trainer.sources.backbones import Family, encoder_layers


def cast_frozen(model: nn.Module, family: Family, precision: str) -> int:
    """Store the frozen linear layers of an encoder in the type of `precision`; how many tensors were cast.

    `autocast` casts them to that type in every step, so the numbers are the same; the cast and half of these weights'
    memory are saved. What a method added to the encoder stays as it is, because it is saved, and so do 4-bit weights.
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
