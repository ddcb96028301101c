"""Models of one backbone hold its frozen weights once: equal tensors share their memory."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable
from typing import Any


class Pool:
    """Knows the weights of the models that it was given, for as long as they live.

    Tensors are compared in full before they are shared, so sharing changes no number. A shared model must not be
    trained: a step would change its neighbours.
    """

    def __init__(self) -> None:
        self._known: dict[tuple, list[weakref.ref]] = defaultdict(list)

    def share(self, model: Any) -> int:
        """Let the model use the memory of equal weights that are known already; the bytes saved.

        Small tensors too: read from one file, each would keep the whole of it in memory.
        """
        import torch

        saved = 0
        for parameter in model.parameters():
            alike = self._known[_fingerprint(parameter)]
            alike[:] = [reference for reference in alike if reference() is not None]
            for reference in alike:
                other = reference()
                if other.data_ptr() == parameter.data_ptr():
                    break
                if torch.equal(other.data, parameter.data):
                    parameter.data = other.data
                    saved += parameter.numel() * parameter.element_size()
                    break
            alike.append(weakref.ref(parameter))
        return saved


def unique_bytes(models: Iterable[Any]) -> int:
    """Bytes of the models' parameters, what they share counted once."""
    places = {p.data_ptr(): p.numel() * p.element_size() for model in models for p in model.parameters()}
    return sum(places.values())


def _fingerprint(parameter: Any) -> tuple:
    """Equal for equal tensors, and quick: shape, type, place, and a sum over a sample of the values."""
    flat = parameter.data.flatten()
    sample = flat[:: max(len(flat) // 256, 1)].double().sum().item()
    return tuple(parameter.shape), parameter.dtype, str(parameter.device), sample
