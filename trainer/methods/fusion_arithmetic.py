"""AdapterFusion's attention with key and value layers computed once a token instead of once an adapter.

Both layers are linear. A score is the query times the key layer's output for an adapter's output (Pfeiffer et al. 2021,
equation 1), which equals the query times the key weight, times the adapter's output. The value layer's outputs,
weighted and summed, equal its output for the weighted sum. Results and gradients differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from adapters.methods.modeling import BertFusion
from torch import nn

SUPPORTED = {"query": True, "key": True, "value": True, "value_before_softmax": True, "residual_before": False}
"""The supported configuration, the library's default."""


class TokenwiseFusion(BertFusion):
    """A fusion whose layers compute each token once. It reuses the library module's layers, and is saved like it."""

    def __init__(self, fusion: BertFusion) -> None:
        super().__init__(fusion.config, fusion.dense_size, fusion.dropout.p)
        self.T, self.reduction = fusion.T, fusion.reduction
        self.dropout, self.query, self.key, self.value = fusion.dropout, fusion.query, fusion.key, fusion.value
        self.train(fusion.training)

    def forward(self, query: Any, key: Any, value: Any, residual: Any, output_attentions: bool = False) -> Any:
        """`query` and `residual`: (batch, tokens, hidden); `key` and `value`: (batch, tokens, adapters, hidden)."""
        scores = self.scores(query, key)
        weights = torch.softmax(self.dropout(scores) / self.T, dim=-1)
        self.T = max(self.T - self.reduction, 1.0)
        output = self.value((weights.unsqueeze(2) @ value).squeeze(2)) + residual
        return (output, weights.detach().cpu().numpy()) if output_attentions else output

    def scores(self, query: Any, key: Any) -> Any:
        """Attention scores (batch, tokens, adapters). The key layer's bias adds the same to all scores of a token."""
        projected = self.query(query)
        shared = projected @ self.key.bias.to(projected.dtype)
        return _product(key, projected @ self.key.weight.to(projected.dtype)) + shared.unsqueeze(-1)


class MergedFusion(TokenwiseFusion):
    """A fusion for inference alone: query and key layers are merged, without the constant that softmax ignores."""

    def __init__(self, fusion: TokenwiseFusion) -> None:
        super().__init__(fusion)
        query, key = fusion.query, fusion.key
        with torch.no_grad():
            merged = nn.Linear(query.in_features, key.in_features, device=query.weight.device)
            merged.weight.copy_(key.weight.T @ query.weight)
            merged.bias.copy_(query.bias @ key.weight)
        self.query = merged.requires_grad_(False).eval()
        del self.key

    def scores(self, query: Any, key: Any) -> Any:
        """Attention scores (batch, tokens, adapters), up to a constant a token, which softmax ignores."""
        return _product(key, self.query(query))


def _product(key: Any, projected: Any) -> Any:
    return (key @ projected.unsqueeze(-1)).squeeze(-1)


def use_tokenwise(model: nn.Module) -> None:
    """Replace every fusion of a model that has the supported configuration, for training too."""
    _replace(model, BertFusion, lambda fusion: TokenwiseFusion(fusion) if _supported(fusion) else fusion)


def merge_query_and_key(model: nn.Module) -> None:
    """Replace every tokenwise fusion by a merged one; the model can then no longer be trained or saved."""
    _replace(model, TokenwiseFusion, MergedFusion)


def _supported(fusion: BertFusion) -> bool:
    return all(fusion.config[name] == value for name, value in SUPPORTED.items())


def _replace(model: nn.Module, kind: type, replacement: Callable[[Any], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is kind:
                parent.add_module(name, replacement(child))
