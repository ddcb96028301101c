"""AdapterFusion's attention over n adapters with the products of one: its key and value maps are linear.

A score is the query times the key map's product with an adapter's output (Pfeiffer et al. 2021, equation 1), which is
the query's product with that map times the output. The value map's product with each output, weighted and summed, is
its product with the weighted sum. So both maps meet each token once instead of once an adapter. What is computed
differs by rounding alone, and so do the gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from adapters.methods.modeling import BertFusion
from torch import nn

NEEDED = {"query": True, "key": True, "value": True, "value_before_softmax": True, "residual_before": False}
"""What of the library's configuration the shorter way is for: its defaults."""


class _OnceAToken(BertFusion):
    """A fusion whose maps meet each token once. It is made of the library's own, and saved as that."""

    def forward(self, query: Any, key: Any, value: Any, residual: Any, output_attentions: bool = False) -> Any:
        """`query` and `residual`: (batch, tokens, hidden); `key` and `value`: (batch, tokens, adapters, hidden)."""
        scores = self.scores(query, key)
        weights = torch.softmax(self.dropout(scores) / self.T, dim=-1)
        self.T = max(self.T - self.reduction, 1.0)
        found = self.value((weights.unsqueeze(2) @ value).squeeze(2)) + residual
        return (found, weights.detach().cpu().numpy()) if output_attentions else found

    def scores(self, query: Any, key: Any) -> Any:
        """(batch, tokens, adapters). The key map's bias adds the same to each of a token's scores."""
        asked = self.query(query)
        same = asked @ self.key.bias.to(asked.dtype)
        return _product(key, asked @ self.key.weight.to(asked.dtype)) + same.unsqueeze(-1)


class _Folded(_OnceAToken):
    """For asking alone: the query and the key map are one, and what is the same for every adapter is left out."""

    def scores(self, query: Any, key: Any) -> Any:
        """(batch, tokens, adapters), up to what is the same for all adapters: their shares are the same."""
        return _product(key, self.query(query))


def _product(key: Any, asked: Any) -> Any:
    return (key @ asked.unsqueeze(-1)).squeeze(-1)


def shorten(model: nn.Module) -> None:
    """Let every fusion of a model that is as the library makes it go the shorter way, in training too."""
    for module in model.modules():
        if type(module) is BertFusion and all(module.config[name] == value for name, value in NEEDED.items()):
            module.__class__ = _OnceAToken


def fold(model: nn.Module) -> None:
    """Make each query and key map of shortened fusions one map; the model is then no longer fit to train or to save."""
    for module in model.modules():
        if type(module) is not _OnceAToken:
            continue
        query, key = module.query, module.key
        with torch.no_grad():
            one = nn.Linear(query.in_features, key.in_features, device=query.weight.device)
            one.weight.copy_(key.weight.T @ query.weight)
            one.bias.copy_(query.bias @ key.weight)
        module.query = one.requires_grad_(False).eval()
        del module.key
        module.__class__ = _Folded
