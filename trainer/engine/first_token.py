"""What an encoder need not do: compute what no classifier reads, and cast weights that never change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trainer.machine.device import compute_type
from trainer.sources.backbones import Family, encoder_layers

if TYPE_CHECKING:
    from torch import nn


class PackedBatch(Protocol):
    """What packing tells of the batch that a model has now."""

    @property
    def active(self) -> bool:
        """Whether the batch is packed."""

    def first(self, hidden: Any) -> Any:
        """(rows, length, hidden) to each sentence's first token, (sentences, 1, hidden)."""


class FirstToken:
    """The last layer of a classifier at the first token alone, in training and evaluation.

    A classifier reads no other token. In the last layer the others are still keys and values of the first one's
    attention; their own attention and feed-forward block lead nowhere. Left out, the logits stay what they were, up
    to rounding. `whole` computes every token again. `packing` knows where the first tokens of a packed batch are.
    """

    packing: PackedBatch | None = None

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model, self._family = model, family
        self._attach()

    def _attach(self) -> None:
        last = encoder_layers(self._model, self._family)[-1]
        if self._family.cross_attention:
            self._hook = last.attention.register_forward_pre_hook(self._ask_for_first, with_kwargs=True)
        else:
            # Its attention takes no fewer queries than keys: only what follows is computed for the first token.
            self._hook = last.sa_layer_norm.register_forward_pre_hook(lambda _, inputs: (self._first(inputs[0]),))

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it the last layer computes every token, as for attention weights over a whole text."""
        self._hook.remove()
        try:
            yield
        finally:
            self._attach()

    def _first(self, hidden: Any) -> Any:
        if self.packing is not None and self.packing.active:
            return self.packing.first(hidden)
        # Contiguous, or a linear map without gradients multiplies each row by its own copy of the weight.
        return hidden[:, :1].contiguous()

    def _ask_for_first(self, _: Any, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The first token asks, all tokens are asked: the attention of an encoder that looks at another's output."""
        hidden, mask = inputs[0], named.get("attention_mask")
        asked = {"attention_mask": mask if mask is None else mask[..., :1, :], "encoder_hidden_states": hidden}
        return (self._first(hidden),), named | asked


def hold_frozen(model: nn.Module, family: Family, precision: str) -> None:
    """Hold the frozen linear maps of an encoder's layers in the type that `autocast` computes them in.

    A pass sees the same numbers; the cast of every step and half of these weights' memory are saved. What a method
    added to the encoder stays as it is, for it is saved, and so do weights of 4 bits.
    """
    import torch

    for layer in encoder_layers(model, family):
        for path in family.linears.values():
            module = layer.get_submodule(path)
            linear = getattr(module, "base_layer", module)
            if linear.weight.dtype != torch.float32:
                continue
            for parameter in (linear.weight, linear.bias):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(compute_type(precision))
