"""The last layer with the first token alone as a query: a classifier reads no other token's output."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainer.sources.backbones import Family, encoder_layers

if TYPE_CHECKING:
    from torch import nn


class FirstToken:
    """Skips computation of the last layer that a classifier does not read, in training and evaluation.

    Only the first token is a query there; all tokens are keys and values. The logits are the same up to rounding.
    `every_token` turns this off for a caller that reads the other tokens. A row of a packed batch has several first
    tokens: `Packing` then selects them through `select`.
    """

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model, self._family = model, family
        self.select = first_of_each_row
        self._attach()
        if family.cross_attention:
            inner = encoder_layers(model, family)[-1].attention.self
            if "encoder_attention_mask" in inspect.signature(inner.forward).parameters:
                inner.register_forward_pre_hook(_mask_of_keys, with_kwargs=True)

    def _attach(self) -> None:
        last = encoder_layers(self._model, self._family)[-1]
        if self._family.cross_attention:
            self._hook = last.attention.register_forward_pre_hook(self._one_query, with_kwargs=True)
        else:
            # DistilBERT's attention has as many queries as keys: only what follows it is computed for the first token.
            self._hook = last.sa_layer_norm.register_forward_pre_hook(lambda _, inputs: (self.select(inputs[0]),))

    @contextmanager
    def every_token(self) -> Iterator[None]:
        """A context in which the last layer computes every token, for a caller that reads them all."""
        self._hook.remove()
        try:
            yield
        finally:
            self._attach()

    def _one_query(self, _: Any, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The attention's inputs in the form of cross-attention: one query, the whole row as keys and values."""
        hidden, mask = inputs[0], named.get("attention_mask")
        changed = {"attention_mask": mask if mask is None else mask[..., :1, :], "encoder_hidden_states": hidden}
        return (self.select(hidden),), named | changed


def _mask_of_keys(_: Any, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The inputs of an attention that reads the mask of the keys under a name of its own: ELECTRA's in adapters."""
    if named.get("encoder_hidden_states") is None:
        return inputs, named
    return inputs, named | {"encoder_attention_mask": named["attention_mask"]}


def first_of_each_row(hidden: Any) -> Any:
    """The first token of each row: (batch, tokens, hidden) to (batch, 1, hidden).

    Contiguous: else a linear layer without gradients would multiply each row by a copy of the weight.
    """
    return hidden[:, :1].contiguous()
