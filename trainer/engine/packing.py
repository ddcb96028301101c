"""Sequence packing: several sentences of a batch in each row, so that little padding is computed.

Each sentence keeps its own positions and attends to itself alone, so logits and gradients are those of a padded batch
up to rounding (Krell et al. 2021, https://arxiv.org/abs/2107.02027). Only attention, the position embeddings and the
layers that read the first token depend on the layout; all others treat each token alone.
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
from trainer.engine.first_token import FirstToken, first_of_each_row
from trainer.sources.backbones import Family, encoder_layers

STEP = 8
"""Row lengths are multiples of this: matrix products are faster, and there are few different shapes."""
WIDTH = 32
"""The most tokens by which a row may be longer than the longest sentence, rounded up."""
PADDING = -1


@dataclass(frozen=True)
class Rows:
    """The layout of one packed batch.

    Attributes:
        sentence: (rows, length), the index of the sentence that a token belongs to, or PADDING.
        position: (rows, length), the token's position in its sentence.
        start: (sentences,), the index of each sentence's first token in the flattened rows.
        queries: (rows, most sentences of a row), the indices of each row's sentences, filled up with its first one: in
            the last layer their first tokens alone are queries.
        query: (sentences,), the index of each sentence in the flattened `queries`.
    """

    sentence: torch.Tensor
    position: torch.Tensor
    start: torch.Tensor
    queries: torch.Tensor
    query: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by name, as entries of a batch."""
        return {_PREFIX + name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def pop(cls, batch: dict[str, torch.Tensor]) -> Rows | None:
        """The layout, removed from a batch, which then has only the model's inputs; None for a padded batch."""
        tensors = {name: batch.pop(_PREFIX + name) for name in cls.__dataclass_fields__ if _PREFIX + name in batch}
        return cls(**tensors) if tensors else None


_PREFIX = "rows_"


def arrange(lengths: Sequence[int], longest: int) -> Rows:
    """A layout for sentences of these lengths with little padding, no row longer than `longest` tokens.

    Of several row lengths, the one with the fewest tokens in all is chosen, and of equal ones the shortest: every token
    has as many attention scores as its row has tokens.
    """
    least, limit = _round_up(max(lengths)), max(longest, *lengths)
    tried = sorted({min(length, limit) for length in range(least, least + WIDTH + 1, STEP)})
    layouts = [(length, _first_fit(lengths, length)) for length in tried]
    length, rows = min(layouts, key=lambda layout: (layout[0] * len(layout[1]), layout[0]))
    sentence = torch.full((len(rows), length), PADDING)
    position = torch.zeros((len(rows), length), dtype=torch.long)
    most = max(map(len, rows))
    start, query = torch.empty(len(lengths), dtype=torch.long), torch.empty(len(lengths), dtype=torch.long)
    for number, row in enumerate(rows):
        offset = 0
        for column, which in enumerate(row):
            sentence[number, offset : offset + lengths[which]] = which
            position[number, offset : offset + lengths[which]] = torch.arange(lengths[which])
            start[which], query[which] = number * length + offset, number * most + column
            offset += lengths[which]
    queries = torch.tensor([row + row[:1] * (most - len(row)) for row in rows])
    return Rows(sentence, position, start, queries, query)


def _round_up(length: int) -> int:
    return -(-length // STEP) * STEP


def _first_fit(lengths: Sequence[int], length: int) -> list[list[int]]:
    """The sentences of each row, by first-fit decreasing: the longest first, each into the first row with room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for which in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fit = next((i for i, left in enumerate(room) if left >= lengths[which]), None)
        if fit is None:
            rows.append([])
            room.append(length)
            fit = -1
        rows[fit].append(which)
        room[fit] -= lengths[which]
    return rows


def packable(config: Any) -> bool:
    """Whether an encoder can run on packed rows: not with relative positions or pruned heads, which a local folder may
    have."""
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return absolute and not getattr(config, "pruned_heads", None)


class Packing:
    """Hooks that let a classifier run on packed batches as well as on padded ones.

    The modules keep the library's classes and get hooks and a new `forward`, which are not saved. With `first`, the
    last layer computes first tokens alone; without it they are selected after that layer.
    """

    def __init__(self, model: nn.Module, family: Family, first: FirstToken | None) -> None:
        self._rows: Rows | None = None
        self._biases: dict[str, torch.Tensor] = {}
        self._heads = model.config.num_attention_heads
        layers = encoder_layers(model, family)
        for layer in layers:
            self._replace_attention(layer, family)
        if first is None:
            layers[-1].register_forward_hook(
                lambda _, inputs, output: None if self._rows is None else (self._first(output[0]), *output[1:])
            )
        else:
            first.select = self._first
        positions = next(m for name, m in model.named_modules() if name.endswith("embeddings.position_embeddings"))
        # RoBERTa's first positions are for padding.
        offset = 0 if positions.padding_idx is None else positions.padding_idx + 1
        positions.register_forward_pre_hook(lambda *_: None if self._rows is None else (self._rows.position + offset,))

    @contextmanager
    def batch(self, batch: dict[str, torch.Tensor]) -> Iterator[None]:
        """A context in which the model takes this batch, whose layout is removed, and returns logits in its order."""
        self._rows, self._biases = Rows.pop(batch), {}
        try:
            yield
        finally:
            self._rows, self._biases = None, {}

    def _first(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, length, hidden) to the hidden state of each sentence's first token, (sentences, 1, hidden)."""
        if self._rows is None:
            return first_of_each_row(hidden)
        return hidden.flatten(0, 1).index_select(0, self._rows.start)[:, None]

    def _bias(self, which: str, dtype: torch.dtype) -> torch.Tensor:
        """The bias of attention scores for the queries "sentence" or "queries": each attends to its own sentence only.

        Computed once a batch, not once a layer.
        """
        if which not in self._biases:
            allowed = getattr(self._rows, which)[:, :, None] == self._rows.sentence[:, None, :]
            bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            self._biases[which] = bias.masked_fill_(~allowed, -math.inf)
        return self._biases[which]

    def _replace_attention(self, layer: nn.Module, family: Family) -> None:
        """Replace a layer's attention by our own for packed batches; padded ones go through the library's.

        The library's own way, a mask of (rows, length, length) and position ids, made full fine-tuning of MiniLM 4 %
        slower (bfloat16, batches of 32, two cores; LoRA was as fast), and DistilBERT's plain attention takes no such
        mask.
        """
        path = family.linears["query"].rpartition(".")[0]
        module = layer.get_submodule(path)
        query, key, value = (layer.get_submodule(family.linears[name]) for name in ("query", "key", "value"))
        # DistilBERT's attention module includes the output layer, which is a module of its own in the others.
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
                context = attend(queries, key(hidden), value(hidden), bias, module.dropout, self._heads)
            else:  # the last layer: the first token of each sentence is a query in the row that has its keys
                queries, bias = queries.squeeze(1)[rows.queries], self._bias("queries", queries.dtype)
                context = attend(queries, key(tokens), value(tokens), bias, module.dropout, self._heads)
                context = context.flatten(0, 1).index_select(0, rows.query)[:, None]
            return (context if after is None else after(context), None)

        module.forward = forward
