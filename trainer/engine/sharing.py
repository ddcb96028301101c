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

    def share(self, model: Any) -> None:
        """Let the model use the memory of equal weights that are known already; arrange the others for asking.

        Small tensors too: read from one file, each would keep the whole of it in memory.
        """
        from trainer.engine import prepacked

        device = next(model.parameters()).device.type
        if prepacked.possible(device):
            for parent, name, linear in prepacked.prepackable(model):
                prepacked.replace(parent, name, self._prepacked(linear.weight.data))
        for parameter in model.parameters():
            alike = self._alike(_fingerprint(parameter.data))
            for other in alike:
                if other.data_ptr() == parameter.data_ptr():
                    break
                if _equal(other, parameter):
                    parameter.data = other.data
                    break
            self._remember(_fingerprint(parameter.data), parameter)

    def _prepacked(self, weight: Any) -> Any:
        from trainer.engine.prepacked import PrepackedWeight

        key = ("prepacked", *_fingerprint(weight))
        for other in self._alike(key):
            if _equal(other.plain(), weight):
                return other
        found = PrepackedWeight(weight)
        self._remember(key, found)
        return found

    def _alike(self, key: tuple) -> list[Any]:
        """What still lives of the weights that may be equal."""
        self._known[key] = [reference for reference in self._known[key] if reference() is not None]
        return [reference() for reference in self._known[key]]

    def _remember(self, key: tuple, weight: Any) -> None:
        self._known[key].append(weakref.ref(weight))


def unique_bytes(models: Iterable[Any]) -> int:
    """Bytes of the models' weights, what they share counted once."""
    places = {}
    for model in models:
        places.update({p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()})
        held = (module.prepacked for module in model.modules() if hasattr(module, "prepacked"))
        places.update({id(weight): weight.nbytes for weight in held})
    return sum(places.values())


def _equal(one: Any, other: Any) -> bool:
    import torch

    return torch.equal(one, other)


def _fingerprint(values: Any) -> tuple:
    """Equal for equal tensors, and quick: shape, type, place, and a sum over a sample of the values."""
    flat = values.flatten()
    sample = flat[:: max(len(flat) // 256, 1)].double().sum().item()
    return tuple(values.shape), values.dtype, str(values.device), sample
