"""Sharing of equal weights in memory: models of one backbone store its frozen weights once."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable
from typing import Any


class Pool:
    """Weak references to the weights of the models that were added, so that later models share equal ones.

    Tensors are compared in full before they are shared, so predictions do not change. A model in a pool must not be
    trained: a step would change the others too.
    """

    def __init__(self) -> None:
        self._weights: dict[tuple, list[weakref.ref]] = defaultdict(list)

    def add(self, model: Any, *, prepack: bool = False) -> None:
        """Make the model use the memory of equal weights in the pool; `prepack` replaces its linear layers first.

        Small tensors are shared too: each is a view of its file's memory, which it would keep loaded.
        """
        from trainer.engine import prepacked

        if prepack:
            for parent, name, linear in prepacked.prepackable(model):
                prepacked.replace(parent, name, self._prepacked(linear.weight.data))
        for parameter in model.parameters():
            for other in self._candidates(_fingerprint(parameter.data)):
                if other.data_ptr() == parameter.data_ptr():
                    break
                if _equal(other, parameter):
                    parameter.data = other.data
                    break
            self._remember(_fingerprint(parameter.data), parameter)

    def _prepacked(self, weight: Any) -> Any:
        from trainer.engine.prepacked import PrepackedWeight

        key = ("prepacked", *_fingerprint(weight))
        for other in self._candidates(key):
            if _equal(other.plain(), weight):
                return other
        packed = PrepackedWeight(weight)
        self._remember(key, packed)
        return packed

    def _candidates(self, key: tuple) -> list[Any]:
        """The weights with this fingerprint that are still in use."""
        in_use = [(reference, weight) for reference in self._weights[key] if (weight := reference()) is not None]
        self._weights[key] = [reference for reference, _ in in_use]
        return [weight for _, weight in in_use]

    def _remember(self, key: tuple, weight: Any) -> None:
        self._weights[key].append(weakref.ref(weight))


def unique_bytes(models: Iterable[Any]) -> int:
    """Bytes of the models' weights, shared ones counted once."""
    sizes = {}
    for model in models:
        sizes.update({p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()})
        packed = (module.prepacked for module in model.modules() if hasattr(module, "prepacked"))
        sizes.update({id(weight): weight.nbytes for weight in packed})
    return sum(sizes.values())


def _equal(one: Any, other: Any) -> bool:
    import torch

    return torch.equal(one, other)


def _fingerprint(values: Any) -> tuple:
    """(shape, type, device, sum of a sample of the values): the same for equal tensors, and fast to compute."""
    flat = values.flatten()
    sample = flat[:: max(len(flat) // 256, 1)].double().sum().item()
    return tuple(values.shape), values.dtype, str(values.device), sample
