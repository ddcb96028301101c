"""Dropout on a CPU with masks cut from reused random bits: torch's own slowly draws a number for each element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

LEVELS = 1 << 16
"""16 random bits decide whether an element is dropped: the probability is exact to within 1/131072."""
STOCK = 1 << 22
"""Elements of a stock: enough that two masks seldom overlap, few enough for the processor's cache."""
USES = 16
"""How often, on average, each element of a stock is used before new bits are drawn."""


class MaskStock:
    """Random bits from which dropout masks are cut at random offsets; new ones are drawn after `USES` uses.

    Within a mask the elements are independent; two masks share bits only where they overlap, shifted against each
    other. The bits come from torch's generator, so a seed reproduces a run. `state_dict` is small: the
    generator's state from which the bits were drawn.
    """

    def __init__(self, size: int = STOCK) -> None:
        self._size = size
        self.renew()

    def renew(self) -> None:
        """Discard the bits: the next mask draws new ones."""
        self._bits: torch.Tensor | None = None
        self._drawn_from: torch.Tensor | None = None
        self._scaled: dict[tuple[float, torch.dtype], torch.Tensor] = {}
        self._left = USES * self._size

    def keep(self) -> None:
        """Use the present bits for as long as new ones."""
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
        start = 64 * int(torch.randint(0, (self._size - count) // 64 + 1, ()))  # a cache line's start
        return self._stock(p, dtype)[start : start + count].view(shape)

    def tensors(self) -> list[torch.Tensor]:
        """The tensors in memory: the bits, and the masks of each probability and type."""
        return [*self._scaled.values(), *([] if self._bits is None else [self._bits])]

    def state_dict(self) -> dict[str, Any]:
        """The state for `load_state_dict`, which then cuts the same masks if torch's generator is restored too."""
        return {"size": self._size, "left": self._left, "drawn_from": self._drawn_from}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw the bits of a `state_dict` again. The state of torch's generator does not change."""
        self._size = state["size"]
        self.renew()
        self._left = state["left"]
        if state["drawn_from"] is not None:
            now = torch.get_rng_state()
            torch.set_rng_state(state["drawn_from"])
            self._draw()
            torch.set_rng_state(now)

    def _stock(self, p: float, dtype: torch.dtype) -> torch.Tensor:
        if self._bits is None:
            self._draw()
        if (p, dtype) not in self._scaled:
            dropped = round(p * LEVELS)
            scale = LEVELS / (LEVELS - dropped) if dropped < LEVELS else 0.0
            self._scaled[p, dtype] = (self._bits >= dropped - LEVELS // 2).to(dtype).mul_(scale)
        return self._scaled[p, dtype]

    def _draw(self) -> None:
        self._drawn_from = torch.get_rng_state()
        # From -2^63 without an upper end is the one call that fills all 64 bits; four elements share them.
        bits = torch.empty((self._size + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        self._bits = bits.view(torch.int16)


class StockDropout(nn.Dropout):
    """nn.Dropout for training on a CPU, with masks from a stock."""

    def __init__(self, p: float = 0.5, masks: MaskStock | None = None) -> None:
        super().__init__(p)
        self.masks = masks or MaskStock()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return input
        return input * self.masks.cut(input.shape, input.dtype, self.p)


def use_stock(model: nn.Module) -> MaskStock:
    """Make every plain nn.Dropout of a model on a CPU cut its masks from one stock, which is returned."""
    masks = MaskStock()
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = StockDropout
            module.masks = masks
    return masks
