"""Forward passes: from texts to token ids, padded batches and logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trainer.machine.device import Device, autocast


def tokenise(tokeniser, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text, truncated to `max_length`, not padded."""
    return tokeniser(list(texts), truncation=True, max_length=max_length)["input_ids"]


def count_tokens(tokeniser, texts: Sequence[str]) -> list[int]:
    """Number of tokens of each text when it is not truncated."""
    # `verbose`: it would warn that the text is longer than the model reads.
    return [len(ids) for ids in tokeniser(list(texts), truncation=False, verbose=False)["input_ids"]]


def pad(ids: Sequence[Sequence[int]], pad_id: int):
    """(input_ids, attention_mask) of one batch, padded to its longest text; both (batch, tokens)."""
    import torch

    longest = max(map(len, ids))
    input_ids = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = torch.as_tensor(tokens)
        mask[row, : len(tokens)] = 1
    return input_ids, mask


def longest_first(ids: Sequence[Sequence[int]]) -> list[int]:
    """Indices of the sentences by descending number of tokens, equal ones in their order: little padding in batches."""
    return sorted(range(len(ids)), key=lambda i: -len(ids[i]))


def predict_logits(
    model,
    ids: Sequence[Sequence[int]],
    *,
    pad_id: int,
    batch_size: int,
    device: Device,
    precision: str,
    on_batch: Callable[[int], None] | None = None,
    is_sorted: bool = False,
) -> np.ndarray:
    """Logits (sentences, labels) as float32, in the order of `ids`; sentences of similar length share a batch.

    `is_sorted` says that `ids` are `longest_first` already. `on_batch` is called with the number of sentences done so
    far; an error that it raises ends the prediction.
    """
    import torch

    order = range(len(ids)) if is_sorted else longest_first(ids)
    was_training = model.training
    if was_training:  # each switch visits every module: a tenth of the time of one short text
        model.eval()
    parts = []
    try:
        with torch.inference_mode(), autocast(device, precision):
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                input_ids, mask = (t.to(device.kind) for t in pad([ids[i] for i in batch], pad_id))
                parts.append(model(input_ids=input_ids, attention_mask=mask).logits.float().cpu())
                if on_batch is not None:
                    on_batch(start + len(batch))
    finally:
        if was_training:
            model.train()
    logits = np.empty((len(ids), parts[0].shape[1]), dtype=np.float32)
    logits[order] = torch.cat(parts).numpy()
    return logits
