"""Attention over rows of several sentences each; on a CPU with fewer operations, in lower precision."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from trainer.engine.dropout import StockDropout


def attend(query: Any, key: Any, value: Any, bias: Any, dropout: nn.Dropout, heads: int) -> torch.Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2) with a mask of its own for each query.

    `query`: (rows, queries, hidden); `key`, `value`: (rows, keys, hidden); `bias`: (rows, queries, keys), 0 where a
    query attends to a key, at least one for each query, and minus infinity elsewhere. All have the type of the result,
    (rows, queries, hidden); where they differ, as beside a layer whose update is in float32, they get autocast's.
    """
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        kind = torch.get_autocast_dtype(query.device.type)
        query, key, value, bias = (x.to(kind) for x in (query, key, value, bias))
    rows, queries, hidden = query.shape

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.view(rows, -1, heads, hidden // heads).transpose(1, 2)

    query, key, value = by_head(query), by_head(key), by_head(value)
    if isinstance(dropout, StockDropout):
        mask = None
        if dropout.training and dropout.p:
            mask = dropout.masks.cut((rows * heads, queries, key.shape[2]), query.dtype, dropout.p)
        query, key, value = (x.reshape(rows * heads, -1, hidden // heads) for x in (query, key, value))
        context = _Attention.apply(query, key, value, bias, mask).view(rows, heads, queries, -1)
    else:
        p = dropout.p if dropout.training else 0.0
        context = nn.functional.scaled_dot_product_attention(query, key, value, bias[:, None], p)
    return context.transpose(1, 2).reshape(rows, queries, hidden)


class _Attention(torch.autograd.Function):
    """Scaled dot-product attention with its gradient: scores have the type of the queries, and are changed in place.

    The library's plain attention casts bfloat16 scores to float32 in between, and its fused one has no dropout on a
    CPU. `query`, `key`, `value`: (rows x heads, queries or keys, head size); `bias`: (rows, queries, keys); `mask`: a
    dropout mask, or None.
    """

    @staticmethod
    def forward(context: Any, query: Any, key: Any, value: Any, bias: Any, mask: Any) -> torch.Tensor:
        context.scale = 1 / math.sqrt(query.shape[-1])
        with torch.autocast(query.device.type, enabled=False):
            query = query * context.scale
            scores = query @ key.transpose(1, 2)
            scores.view(len(bias), -1, *scores.shape[1:]).add_(bias[:, None])
            weights = torch.softmax(scores, -1)
            masked = weights if mask is None else weights * mask
            context.save_for_backward(query, key, value, weights, masked, mask)
            return masked @ value

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, weights, masked, mask = context.saved_tensors
        gradient = gradient.contiguous()
        of_value = masked.transpose(1, 2) @ gradient
        of_weights = gradient @ value.transpose(1, 2)
        if mask is not None:
            of_weights.mul_(mask)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query = (of_scores @ key).mul_(context.scale)
        return of_query, of_scores.transpose(1, 2) @ query, of_value, None, None
