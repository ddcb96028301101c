"""Dropout on a CPU at the price of a few random numbers: torch draws one, slowly, for every element and every use."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

LEVELS = 1 << 16
"""An element is dropped by 16 random bits: the probability is held to within 1/131072."""
STOCK = 1 << 22
"""Elements of a stock of masks: enough that two uses seldom overlap, small enough to stay near the processor."""
USES = 16
"""How often, on average, each element of a stock is handed out before it is drawn anew."""


class Masks:
    """A stock of random bits from which masks are cut at random places, and which is renewed as it is used.

    Within a mask the elements are independent; two masks share bits only where their places overlap, shifted against
    each other. The numbers come from torch's generator, so a seed gives the same run again; `renew` at the start of
    an epoch lets a resumed run see what an unbroken one would have seen.
    """

    def __init__(self, size: int = STOCK) -> None:
        self._size = size
        self.renew()

    def renew(self) -> None:
        """Forget the stock: the next mask draws a new one."""
        self._bits: torch.Tensor | None = None
        self._scaled: dict[tuple[float, torch.dtype], torch.Tensor] = {}
        self._left = USES * self._size

    def cut(self, shape: Sequence[int], dtype: torch.dtype, p: float) -> torch.Tensor:
        """A mask of this shape and type: 0 with probability `p`, else 1 / (1 - p)."""
        count = math.prod(shape)
        if 2 * count > self._size:
            self._size = 4 * count
            self.renew()
        if self._left < count:
            self.renew()
        self._left -= count
        place = 64 * int(torch.randint(0, (self._size - count) // 64 + 1, ()))  # a cache line's start
        return self._stock(p, dtype)[place : place + count].view(shape)

    def _stock(self, p: float, dtype: torch.dtype) -> torch.Tensor:
        if self._bits is None:
            # From -2^63 without an upper end is the one call that fills all 64 bits; four elements share them.
            bits = torch.empty((self._size + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
            self._bits = bits.view(torch.int16)
        if (p, dtype) not in self._scaled:
            cut = round(p * LEVELS)
            scale = LEVELS / (LEVELS - cut) if cut < LEVELS else 0.0
            self._scaled[p, dtype] = (self._bits >= cut - LEVELS // 2).to(dtype).mul_(scale)
        return self._scaled[p, dtype]


class QuickDropout(nn.Dropout):
    """nn.Dropout for training on a CPU, its masks from a stock."""

    def __init__(self, p: float = 0.5, masks: Masks | None = None) -> None:
        super().__init__(p)
        self.masks = masks or Masks()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return input
        return input * self.masks.cut(input.shape, input.dtype, self.p)


def quicken(model: nn.Module) -> Masks:
    """Let every plain nn.Dropout of a model on a CPU cut its masks from one stock; nothing else about it changes."""
    masks = Masks()
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = QuickDropout
            module.masks = masks
    return masks
