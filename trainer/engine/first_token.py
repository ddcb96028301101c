"""The last layer computed for the first token alone: a classifier reads no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainer.sources.backbones import Family, encoder_layers

if TYPE_CHECKING:
    from torch import nn


class FirstToken:
    """Skips computation of the last layer that a classifier does not read, in training and evaluation.

    In the last layer only the first token is a query; all tokens are keys and values. The logits are the same up to
    rounding. `every_token` is for what reads the others too. A packed batch has several first tokens a row:
    `Packing` then supplies them through `select`.
    """

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model, self._family = model, family
        self.select = first_of_each_row
        self._attach()

    def _attach(self) -> None:
        last = encoder_layers(self._model, self._family)[-1]
        if self._family.cross_attention:
            self._hook = last.attention.register_forward_pre_hook(self._one_query, with_kwargs=True)
        else:
            # DistilBERT's attention has as many queries as keys: only what follows it is computed for the first token.
            self._hook = last.sa_layer_norm.register_forward_pre_hook(lambda _, inputs: (self.select(inputs[0]),))

    @contextmanager
    def every_token(self) -> Iterator[None]:
        """Within it the last layer computes every token, as attention weights over a whole text need."""
        self._hook.remove()
        try:
            yield
        finally:
            self._attach()

    def _one_query(self, _: Any, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The attention's inputs as those of an encoder that attends to another's output."""
        hidden, mask = inputs[0], named.get("attention_mask")
        changed = {"attention_mask": mask if mask is None else mask[..., :1, :], "encoder_hidden_states": hidden}
        return (self.select(hidden),), named | changed


def first_of_each_row(hidden: Any) -> Any:
    """(batch, tokens, hidden) to (batch, 1, hidden).

    Contiguous, or a linear layer without gradients multiplies each row by its own copy of the weight.
    """
    return hidden[:, :1].contiguous()
