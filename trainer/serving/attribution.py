"""Word attributions of a prediction: integrated gradients over the word embeddings.

Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks", https://arxiv.org/abs/1703.01365, through
captum's LayerIntegratedGradients. Three choices of this project:

- The target is the log-odds of the predicted label, its logit minus the logsumexp of the others: a shift of all logits
  does not change it, unlike a logit, and it does not saturate near certainty, unlike a log-probability. In a
  multi-label task, where each label has a probability of its own, it is the logit of the most probable label.
- The baseline is the same sentence with [PAD] instead of every word piece; [CLS] and [SEP] (or a family's own
  marks), the positions and the attention mask are the same.
- The integral is a Gauss-Legendre sum. Its number of steps doubles until completeness (section 3) holds within
  `tolerance`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from trainer import pairs
from trainer.engine import forward
from trainer.machine.device import Device

STEPS = (16, 32, 64, 128, 256)
RELATIVE, ABSOLUTE = 0.01, 0.01
AT_ONCE = 32
"""Interpolated copies of the sentence in one forward and backward pass."""


@dataclass(frozen=True)
class Word:
    """A word of the original text, `text[start:end]`. `score` is in log-odds; None after the maximum length."""

    start: int
    end: int
    score: float | None


@dataclass(frozen=True)
class Attribution:
    """The scores of one text. `words` are in the order of the text, `label` is the predicted one, F its log-odds."""

    label: str
    words: tuple[Word, ...]
    total: float
    at_baseline: float
    at_text: float
    steps: int

    @property
    def difference(self) -> float:
        """F(text) - F(baseline), which the words' scores must sum to."""
        return self.at_text - self.at_baseline

    @property
    def gap(self) -> float:
        """The absolute difference between the scores' sum and `difference`."""
        return abs(self.total - self.difference)

    @property
    def tolerance(self) -> float:
        return tolerance(self.difference)

    @property
    def complete(self) -> bool:
        """Whether the completeness axiom holds within the tolerance."""
        return self.gap <= self.tolerance


def tolerance(difference: float) -> float:
    """The largest gap that counts as complete: 1% of the difference, at least 0.01 log-odds."""
    return max(RELATIVE * abs(difference), ABSOLUTE)


def explain(
    model,
    tokeniser,
    text: str,
    *,
    pair: bool = False,
    label_names: Sequence[str],
    multi_label: bool = False,
    max_length: int,
    device: Device,
    truncation: str = "head",
    pad_id: int | None = None,
    steps: Sequence[int] = STEPS,
) -> Attribution:
    """Integrated gradients of one text, summed over the pieces of each word. `model`: evaluation mode, float32.

    A `pair` is a text of two sentences (see `trainer.pairs`); the sign between them is no word.

    The baseline has `pad_id`, by default the tokeniser's own, in place of each piece.
    """
    import torch
    from captum.attr import LayerIntegratedGradients

    also = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    if pair:
        encoded = tokeniser(*pairs.split(text), truncation="longest_first", max_length=max_length, **also)
        read, starts = range(len(encoded["input_ids"])), pairs.starts(text)
        shifts = [starts[sequence or 0] for sequence in encoded.sequence_ids()]
    else:
        encoded = tokeniser(text, verbose=False, **also)
        read = forward.read_positions(encoded["special_tokens_mask"], max_length, truncation)
        shifts = [0] * len(encoded["input_ids"])
    token_ids, spans, specials = (
        [encoded[name][i] for i in read] for name in ("input_ids", "offset_mapping", "special_tokens_mask")
    )
    offsets = [(start + shifts[i], end + shifts[i]) for i, (start, end) in zip(read, spans, strict=True)]
    ids = torch.tensor([token_ids], device=device.kind)
    batch = {"attention_mask": torch.ones_like(ids)}
    if any(encoded.get("token_type_ids", ())):
        batch["token_type_ids"] = torch.tensor([encoded["token_type_ids"]], device=device.kind)
    special = torch.tensor([specials], device=device.kind, dtype=torch.bool)
    pad_id = tokeniser.pad_token_id if pad_id is None else pad_id
    baseline = torch.where(special, ids, torch.full_like(ids, pad_id))
    embedding, log_odds = model.get_input_embeddings(), _own_logit if multi_label else _log_odds
    with torch.no_grad():
        target = int(_logits(model, ids, batch).argmax())
        at_text = float(log_odds(_logits(model, ids, batch), target))
        at_baseline = float(log_odds(_baseline_logits(model, embedding, ids, batch, baseline), target))

    def odds(ids):
        # Interpolated copies of the one text have its mask and types.
        return log_odds(_logits(model, ids, {name: v.expand(len(ids), -1) for name, v in batch.items()}), target)

    gradients = LayerIntegratedGradients(odds, embedding)
    for count in steps:
        scores = gradients.attribute(ids, baselines=baseline, n_steps=count, internal_batch_size=AT_ONCE)[0].sum(dim=-1)
        total = float(scores.detach().sum())
        if abs(total - (at_text - at_baseline)) <= tolerance(at_text - at_baseline):
            break
    pieces = [
        (start, score)
        for (start, end), score, marked in zip(offsets, scores.tolist(), specials, strict=True)
        if not marked and end > start
    ]
    return Attribution(
        label=label_names[target],
        words=_sum_to_words(text, pieces, sign=pairs.MARK if pair else None),
        total=total,
        at_baseline=at_baseline,
        at_text=at_text,
        steps=count,
    )


def words(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word: split at white space; punctuation at its ends and each ideograph are separate."""
    spans, start = [], None
    for index, character in enumerate(text):
        if character.isspace() or _ideograph(character):
            if start is not None:
                spans += _trim(text, start, index)
            start = None
            if not character.isspace():
                spans.append((index, index + 1))
        elif start is None:
            start = index
    return spans + (_trim(text, start, len(text)) if start is not None else [])


def _trim(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The spans of a chunk: opening punctuation, the word (with its own, as in "don't"), closing punctuation."""
    first, last = start, end
    while first < last and _mark(text[first]):
        first += 1
    while last > first and _mark(text[last - 1]):
        last -= 1
    return [(a, b) for a, b in ((start, first), (first, last), (last, end)) if b > a]


def _mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _ideograph(character: str) -> bool:
    # Han and kana: written without spaces, one piece each for these tokenizers.
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"


def _sum_to_words(text: str, pieces: Sequence[tuple[int, float]], *, sign: str | None = None) -> tuple[Word, ...]:
    """The words with their pieces' scores summed. A piece counts for the word in which it starts: none is lost.

    The first `sign`, between two sentences, is left out.
    """
    from bisect import bisect_right

    spans = words(text)
    if sign is not None:
        at = text.index(sign)
        around = [part for start, end in spans for part in ((start, min(end, at)), (max(start, at + len(sign)), end))]
        spans = [(start, end) for start, end in around if start < end]
    starts = [start for start, _ in spans]
    scores: dict[int, float] = {}
    for start, score in pieces:
        index = max(bisect_right(starts, start) - 1, 0)
        scores[index] = scores.get(index, 0.0) + score
    return tuple(Word(start, end, scores.get(index)) for index, (start, end) in enumerate(spans))


def _logits(model, ids, batch):
    return model(input_ids=ids, **batch).logits.float()


def _log_odds(logits, target: int):
    """log(p / (1 - p)) of a label: (sentences, labels) to (sentences,)."""
    import torch

    others = torch.cat((logits[:, :target], logits[:, target + 1 :]), dim=1)
    return logits[:, target] - torch.logsumexp(others, dim=1)


def _own_logit(logits, target: int):
    """log(p / (1 - p)) of a label with a probability of its own: (sentences, labels) to (sentences,)."""
    return logits[:, target]


def _baseline_logits(model, embedding, ids, batch, baseline):
    """Logits of the baseline's embeddings with the text's own positions.

    The baseline's ids as input would change them: RoBERTa counts positions over the ids that are not padding.
    """
    handle = embedding.register_forward_hook(lambda module, _, output: module.weight[baseline].to(output.dtype))
    try:
        return _logits(model, ids, batch)
    finally:
        handle.remove()
