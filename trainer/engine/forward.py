"""Forward passes: from texts to token ids, padded batches and logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trainer.machine.device import Device, autocast

HEAD = 4
"""Of a text whose head and tail are read, one in so many tokens is of its head (128 of 510 in Sun et al. 2019)."""


class PairIds(list[int]):
    """Token ids of two sentences; those from index `second` on have the token type 1, as the encoder learned it."""

    second: int


def tokenise(
    tokeniser, texts: Sequence[str] | Sequence[tuple[str, str]], max_length: int, truncation: str = "head"
) -> list[list[int]]:
    """Token ids of each text, not padded, truncated to `max_length` as `truncation` says (`config.Truncation`).

    Pairs of sentences are joined as the tokenizer joins them, the longer one truncated; `truncation` is then "head".
    """
    texts = list(texts)
    if texts and isinstance(texts[0], tuple):
        return _tokenise_pairs(tokeniser, texts, max_length)
    if truncation == "head":
        return tokeniser(texts, truncation=True, max_length=max_length)["input_ids"]
    # `verbose`: it would warn that the text is longer than the model reads.
    whole = tokeniser(texts, truncation=False, verbose=False, return_special_tokens_mask=True)
    return [
        ids if len(ids) <= max_length else [ids[i] for i in read_positions(special, max_length, truncation)]
        for ids, special in zip(whole["input_ids"], whole["special_tokens_mask"], strict=True)
    ]


def _tokenise_pairs(tokeniser, pairs: Sequence[tuple[str, str]], max_length: int) -> list[list[int]]:
    first, second = zip(*pairs, strict=True)
    encoded = tokeniser(list(first), list(second), truncation="longest_first", max_length=max_length)
    if "token_type_ids" not in encoded:  # RoBERTa and DistilBERT have one type
        return encoded["input_ids"]
    every = []
    for ids, types in zip(encoded["input_ids"], encoded["token_type_ids"], strict=True):
        one = PairIds(ids)
        one.second = types.index(1) if 1 in types else len(ids)
        every.append(one)
    return every


def read_positions(special: Sequence[int], max_length: int, truncation: str) -> list[int]:
    """Positions of a longer text's tokens that are read: the special tokens at both ends, and a part between them.

    `special` is 1 for a special token. A text of at most `max_length` tokens is read whole.
    """
    count = len(special)
    if count <= max_length:
        return list(range(count))
    start = next((i for i, one in enumerate(special) if not one), count)
    end = count - next((i for i, one in enumerate(reversed(special)) if not one), 0)
    room = max(max_length - start - (count - end), 0)
    head = {"head": room, "tail": 0, "head_and_tail": room // HEAD}[truncation]
    return [*range(start + head), *range(end - (room - head), count)]


def count_tokens(tokeniser, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[int]:
    """Number of tokens of each text, or pair of sentences, when it is not truncated."""
    parts = zip(*texts, strict=True) if isinstance(texts[0], tuple) else (texts,)
    # `verbose`: it would warn that the text is longer than the model reads.
    return [len(ids) for ids in tokeniser(*map(list, parts), truncation=False, verbose=False)["input_ids"]]


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


def token_types(ids: Sequence[Sequence[int]], shape: Sequence[int]):
    """Token types of one padded batch of this shape; None where no sentence has a second one."""
    if not any(isinstance(one, PairIds) for one in ids):
        return None
    import torch

    types = torch.zeros(tuple(shape), dtype=torch.long)
    for row, one in enumerate(ids):
        if isinstance(one, PairIds):
            types[row, one.second : len(one)] = 1
    return types


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
                input_ids, mask = pad([ids[i] for i in batch], pad_id)
                inputs = {"input_ids": input_ids, "attention_mask": mask}
                if (types := token_types([ids[i] for i in batch], input_ids.shape)) is not None:
                    inputs["token_type_ids"] = types
                inputs = {name: values.to(device.kind) for name, values in inputs.items()}
                parts.append(model(**inputs).logits.float().cpu())
                if on_batch is not None:
                    on_batch(start + len(batch))
    finally:
        if was_training:
            model.train()
    logits = np.empty((len(ids), parts[0].shape[1]), dtype=np.float32)
    logits[order] = torch.cat(parts).numpy()
    return logits
