"""Word embeddings in training: only the rows that training reads are stepped."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class ReadRows:
    """Word embeddings of which only the rows that training reads are trained, where a method trains them at all.

    A row that no training sentence has gets no gradient, yet each step would clear its gradient and bring its moments
    up to date: of MiniLM's 30,522 rows a thousand sentences read about 5,000. The others keep their pretrained values
    to the bit, where weight decay alone would have moved them. `restore` gives the model its whole table again.
    """

    def __init__(self, model: nn.Module, ids: Iterable[Iterable[int]], pad_id: int) -> None:
        self._model, self._whole = model, None
        table = model.get_input_embeddings()
        if type(table) is nn.Embedding and table.weight.requires_grad:
            padding = {pad_id, table.padding_idx} - {None}
            rows = sorted(padding.union(*ids))
            self._whole = table
            model.set_input_embeddings(_RowsOf(table, torch.tensor(rows)))

    def restore(self) -> None:
        """Write the trained rows into the whole table and put it back; once is enough, twice does no harm."""
        if self._whole is not None:
            trained = self._model.get_input_embeddings()
            with torch.no_grad():
                self._whole.weight[trained.rows] = trained.weight
            self._model.set_input_embeddings(self._whole)
            self._whole = None


class _RowsOf(nn.Module):
    """Some rows of a table as a parameter of their own, the others as they were."""

    def __init__(self, table: nn.Embedding, rows: torch.Tensor) -> None:
        super().__init__()
        device, count = table.weight.device, table.num_embeddings
        self.register_buffer("rows", rows.to(device), persistent=False)
        self.register_buffer("others", table.weight.detach(), persistent=False)
        self.register_buffer("place", torch.full((count,), -1, device=device), persistent=False)
        self.place[self.rows] = torch.arange(len(rows), device=device)
        self.weight = nn.Parameter(table.weight.detach()[self.rows])
        self.padding_idx = None if table.padding_idx is None else int(self.place[table.padding_idx])
        self.train(table.training)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(..., tokens) to (..., tokens, hidden)."""
        place = self.place[ids]
        if self.training:
            return nn.functional.embedding(place, self.weight, self.padding_idx)
        known = nn.functional.embedding(place.clamp(min=0), self.weight)
        return torch.where((place >= 0)[..., None], known, nn.functional.embedding(ids, self.others))
