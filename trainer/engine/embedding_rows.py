"""Word embeddings with only the rows of the training split's tokens trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class EmbeddingRows:
    """Makes only those rows of the word embeddings trainable whose tokens occur in the training sentences.

    The other rows would get no gradient, yet each step would clear it and update their moments: of MiniLM's 30,522 rows
    a thousand sentences use about 5,000. The others stay bit-equal to their pretrained values, where weight decay alone
    would have changed them. Frozen embeddings are left as they are. `restore` gives the model its whole table again.
    """

    def __init__(self, model: nn.Module, ids: Iterable[Iterable[int]], pad_id: int) -> None:
        self._model, self._table = model, None
        table = model.get_input_embeddings()
        if type(table) is nn.Embedding and table.weight.requires_grad:
            padding = {pad_id, table.padding_idx} - {None}
            rows = sorted(padding.union(*ids))
            self._table = table
            model.set_input_embeddings(_Rows(table, torch.tensor(rows)))

    @property
    def active(self) -> bool:
        """Whether the model has the smaller table."""
        return self._table is not None

    def restore(self) -> None:
        """Write the trained rows into the whole table and give it back to the model. A second call changes nothing."""
        if self._table is not None:
            trained = self._model.get_input_embeddings()
            with torch.no_grad():
                self._table.weight[trained.rows] = trained.weight
            self._model.set_input_embeddings(self._table)
            self._table = None


class _Rows(nn.Module):
    """Some rows of an embedding table as a trained parameter; the whole table as a buffer, for other tokens."""

    def __init__(self, table: nn.Embedding, rows: torch.Tensor) -> None:
        super().__init__()
        device, count = table.weight.device, table.num_embeddings
        self.register_buffer("rows", rows.to(device), persistent=False)
        self.register_buffer("table", table.weight.detach(), persistent=False)
        self.register_buffer("row_of", torch.full((count,), -1, device=device), persistent=False)
        self.row_of[self.rows] = torch.arange(len(rows), device=device)
        self.weight = nn.Parameter(table.weight.detach()[self.rows])
        self.padding_idx = None if table.padding_idx is None else int(self.row_of[table.padding_idx])
        self.train(table.training)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(..., tokens) to (..., tokens, hidden)."""
        row = self.row_of[ids]
        if self.training:
            return nn.functional.embedding(row, self.weight, self.padding_idx)
        trained = nn.functional.embedding(row.clamp(min=0), self.weight)
        return torch.where((row >= 0)[..., None], trained, nn.functional.embedding(ids, self.table))
