"""Dropout on a CPU at the price of a few random numbers: torch draws one, slowly, for every element."""

from __future__ import annotations

import torch
from torch import nn

LEVELS = 1 << 16
"""A mask needs 16 random bits an element: the probability is held to within 1/131072."""


class QuickDropout(nn.Dropout):
    """nn.Dropout for training on a CPU: four elements share one 64-bit random number.

    The numbers come from torch's own generator, so seeds and resumed runs hold. The mask takes a byte an element.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return input
        return _Masked.apply(input, self.p)


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(context, input: torch.Tensor, p: float) -> torch.Tensor:
        cut = round(p * LEVELS)
        count = input.numel()
        # From -2^63 without an upper end is the one call that fills all 64 bits.
        bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[:count].view(input.shape) >= cut - LEVELS // 2
        context.save_for_backward(kept)
        context.scale = LEVELS / (LEVELS - cut) if cut < LEVELS else 0.0
        return input * kept.to(input.dtype).mul_(context.scale)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = context.saved_tensors
        return gradient * kept.to(gradient.dtype).mul_(context.scale), None


def quicken(model: nn.Module) -> None:
    """Let every plain nn.Dropout of a model on a CPU draw its masks quickly; nothing else about the model changes."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = QuickDropout
