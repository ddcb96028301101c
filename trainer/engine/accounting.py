"""Live bytes of a training step's tensors, apart by what they hold: weights, gradients, optimiser states and so on.

Every operation that torch dispatches is followed, and each storage that it reads or writes is counted once, whatever
views it has, until torch frees it. Not seen: what a kernel allocates and frees inside (oneDNN's and cuBLAS's work
areas, bitsandbytes' while it unpacks a weight), and what an allocator keeps or rounds up.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.engine.prepare import Prepared

PARTS = ("weights", "gradients", "optimizer_states", "activations", "temporary")


class LiveBytes(TorchDispatchMode):
    """Counts live bytes on a model's device while it is entered, and their parts at the peak.

    `peak` is part -> bytes at the moment with the most bytes in all since the start or the last `restart`. Storages of
    the model and the optimiser that exist before count from the start. Results do not change: nothing is copied, and
    no random number is drawn. Weights include everything that the model holds: frozen weights, a fusion's parents,
    4-bit weights as they are and their constants. A tensor that autograd keeps for the backward pass is an activation,
    also the lower-precision copy of a trained weight that autocast keeps. Temporary is the rest: the batch, gradients
    of activations, the stock of dropout masks.
    """

    def __init__(self, prepared: Prepared, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self._prepared, self._optimizer = prepared, optimizer
        self._device = next(prepared.model.parameters()).device.type
        self._live: dict[int, tuple[weakref.ref, str, int]] = {}
        """Address of a storage -> (a reference that forgets it when torch frees it, its part, its bytes)."""
        self._bytes = dict.fromkeys(PARTS, 0)
        self._open = ExitStack()
        self.peak = dict(self._bytes)

    def __enter__(self) -> LiveBytes:
        model = self._prepared.model
        for tensor in _held(model):
            self._count(tensor, "weights")
        for tensor in tree_leaves(list(self._optimizer.state.values())):
            self._count(tensor, "optimizer_states")
        for tensor in self._prepared.shared():
            self._count(tensor, "temporary")
        for parameter in model.parameters():
            if parameter.requires_grad:
                self._count(parameter.grad, "gradients")
                hook = parameter.register_post_accumulate_grad_hook(lambda p: self._count(p.grad, "gradients"))
                self._open.callback(hook.remove)
        self._open.enter_context(torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor))
        self.restart()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._open.close()
        self._live.clear()

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak = dict(self._bytes)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            if isinstance(value, torch.Tensor):
                self._count(value)
        return result

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        """Called by autograd for each tensor that it keeps for the backward pass."""
        self._count(tensor)
        _, part, _ = self._live.get(address := _address(tensor), (None, "", 0))
        # A mask is a view of the stock, which is there all the time.
        if part == "temporary" and address not in {_address(shared) for shared in self._prepared.shared()}:
            self._count(tensor, "activations")
        return tensor

    def _count(self, tensor: Any, part: str | None = None) -> None:
        """Count a tensor's storage if it is new, as `part` or else as temporary; else move it to `part` if given."""
        if not isinstance(tensor, torch.Tensor) or tensor.device.type != self._device:
            return
        storage, address = tensor.untyped_storage(), _address(tensor)
        reference, old, size = self._live.get(address, (None, None, 0))
        if old is not None:
            if part is not None and part != old:
                self._bytes[old] -= size
                self._bytes[part] += size
                self._live[address] = reference, part, size
            return
        part, size = part or "temporary", storage.nbytes()
        self._live[address] = weakref.ref(storage, lambda _: self._forget(address)), part, size
        self._bytes[part] += size
        if sum(self._bytes.values()) > sum(self.peak.values()):
            self.peak = dict(self._bytes)

    def _forget(self, address: int) -> None:
        _, part, size = self._live.pop(address, (None, "temporary", 0))
        self._bytes[part] -= size


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _held(model: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that a model holds: parameters, buffers, and the constants of 4-bit weights."""
    yield from model.buffers()
    for parameter in model.parameters():
        yield parameter
        yield from _constants(getattr(parameter, "quant_state", None))


def _constants(state: Any) -> Iterable[torch.Tensor]:
    """The tensors of a bitsandbytes QuantState, those of its doubly quantised constants included."""
    if state is None:
        return ()
    own = [value for value in vars(state).values() if isinstance(value, torch.Tensor)]
    return [*own, *_constants(getattr(state, "state2", None))]
