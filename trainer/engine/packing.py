"""Sequence packing: the sentences of a batch lie side by side in rows, so that hardly any padding is computed.

Each sentence keeps its own positions and looks at itself alone, so logits and gradients are those of a padded batch up
to rounding (Krell et al. 2021, https://arxiv.org/abs/2107.02027). Only attention, the positions and what reads the
first token must know of it; all else works on tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainer.engine.attention import attend
from trainer.engine.first_token import FirstToken
from trainer.sources.backbones import Family, encoder_layers

STEP = 8
"""Row lengths are multiples of it: products are quick, and few shapes must be prepared for."""
WIDTH = 32
"""How much longer than the longest sentence, rounded up, a row may be."""
PADDING = -1


@dataclass(frozen=True)
class Rows:
    """Where the sentences of one batch lie.

    Attributes:
        sentence: (rows, length), which sentence a place holds, or PADDING.
        position: (rows, length), the token's place in its sentence.
        start: (sentences,), the place of each sentence's first token in all rows one after another.
        queries: (rows, most sentences of a row), the sentences of each row, its first one again where it has fewer: in
            the last layer their first tokens alone are queries.
        query: (sentences,), the place of each sentence in `queries`, its rows one after another.
    """

    sentence: torch.Tensor
    position: torch.Tensor
    start: torch.Tensor
    queries: torch.Tensor
    query: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, as a batch carries them to the device."""
        return {_PREFIX + name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def take(cls, batch: dict[str, torch.Tensor]) -> Rows | None:
        """Out of a batch, which then holds what a model takes; None where the batch is padded."""
        found = {name: batch.pop(_PREFIX + name) for name in cls.__dataclass_fields__ if _PREFIX + name in batch}
        return cls(**found) if found else None


_PREFIX = "rows_"


def arrange(lengths: Sequence[int], longest: int) -> Rows:
    """Rows for sentences of these lengths, as few places as a few tries find, no row longer than `longest` tokens.

    Of the lengths tried, the one with the fewest places is taken, and of those the shortest: every token has as many
    attention scores as its row has places.
    """
    least, limit = _round_up(max(lengths)), max(longest, *lengths)
    tried = sorted({min(length, limit) for length in range(least, least + WIDTH + 1, STEP)})
    found = [(length, _first_fit(lengths, length)) for length in tried]
    length, rows = min(found, key=lambda one: (one[0] * len(one[1]), one[0]))
    sentence = torch.full((len(rows), length), PADDING)
    position = torch.zeros((len(rows), length), dtype=torch.long)
    most = max(map(len, rows))
    start, query = torch.empty(len(lengths), dtype=torch.long), torch.empty(len(lengths), dtype=torch.long)
    for number, row in enumerate(rows):
        at = 0
        for place, which in enumerate(row):
            sentence[number, at : at + lengths[which]] = which
            position[number, at : at + lengths[which]] = torch.arange(lengths[which])
            start[which], query[which] = number * length + at, number * most + place
            at += lengths[which]
    queries = torch.tensor([row + row[:1] * (most - len(row)) for row in rows])
    return Rows(sentence, position, start, queries, query)


def _round_up(length: int) -> int:
    return -(-length // STEP) * STEP


def _first_fit(lengths: Sequence[int], length: int) -> list[list[int]]:
    """First-fit decreasing: each sentence, the longest first, into the first row that has room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for which in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((i for i, left in enumerate(room) if left >= lengths[which]), None)
        if place is None:
            rows.append([])
            room.append(length)
            place = -1
        rows[place].append(which)
        room[place] -= lengths[which]
    return rows


class Packing:
    """Lets a classifier take packed batches; with padded ones it does as before.

    `possible` is false for an encoder with relative positions or pruned heads, as a local folder may hold: it takes
    padded batches alone. The model's classes stay the library's: what is added lies on its modules, and nothing of it
    is saved.
    """

    def __init__(self, model: nn.Module, family: Family, first: FirstToken) -> None:
        self._rows: Rows | None = None
        self._biases: dict[str, torch.Tensor] = {}
        config = model.config
        self._heads = config.num_attention_heads
        absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
        self.possible = absolute and not getattr(config, "pruned_heads", None)
        if not self.possible:
            return
        first.packing = self
        for layer in encoder_layers(model, family):
            self._replace(layer, family)
        positions = next(m for name, m in model.named_modules() if name.endswith("embeddings.position_embeddings"))
        # RoBERTa's first positions are for padding.
        offset = 0 if positions.padding_idx is None else positions.padding_idx + 1
        positions.register_forward_pre_hook(lambda *_: None if self._rows is None else (self._rows.position + offset,))

    @contextmanager
    def of(self, batch: dict[str, torch.Tensor]) -> Iterator[None]:
        """Within it the model takes this batch, out of which the rows are taken, and gives logits in its order."""
        self._rows, self._biases = Rows.take(batch), {}
        try:
            yield
        finally:
            self._rows, self._biases = None, {}

    @property
    def active(self) -> bool:
        """Whether the model has a packed batch now."""
        return self._rows is not None

    def first(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, length, hidden) to each sentence's first token, (sentences, 1, hidden)."""
        return hidden.flatten(0, 1).index_select(0, self._rows.start)[:, None]

    def _bias(self, which: str, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores of these queries ("sentence" or "queries"): each sees its own sentence.

        Made once a batch, not once a layer.
        """
        if which not in self._biases:
            allowed = getattr(self._rows, which)[:, :, None] == self._rows.sentence[:, None, :]
            bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            self._biases[which] = bias.masked_fill_(~allowed, -math.inf)
        return self._biases[which]

    def _replace(self, layer: nn.Module, family: Family) -> None:
        path = family.linears["query"].rpartition(".")[0]
        module = layer.get_submodule(path)
        query, key, value = (layer.get_submodule(family.linears[name]) for name in ("query", "key", "value"))
        # DistilBERT's attention ends with the output map, which lies beside it in the others.
        output = family.linears["attention_output"].rpartition(".")
        after = layer.get_submodule(family.linears["attention_output"]) if output[0] == path else None
        plain = module.forward

        def forward(*inputs: Any, **named: Any) -> Any:
            if self._rows is None:
                return plain(*inputs, **named)
            hidden = inputs[0] if inputs else named["query"]
            tokens = named.get("encoder_hidden_states")
            queries, rows = query(hidden), self._rows
            if tokens is None:
                bias = self._bias("sentence", queries.dtype)
                found = attend(queries, key(hidden), value(hidden), bias, module.dropout, self._heads)
            else:  # the last layer: first tokens, one a sentence, are laid into the rows that hold their keys
                queries, bias = queries.squeeze(1)[rows.queries], self._bias("queries", queries.dtype)
                found = attend(queries, key(tokens), value(tokens), bias, module.dropout, self._heads)
                found = found.flatten(0, 1).index_select(0, rows.query)[:, None]
            return (found if after is None else after(found), None)

        module.forward = forward
