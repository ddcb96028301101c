"""Batches: the sampler that chooses their sentences, and the collators that pack or pad them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from trainer.engine import packing
from trainer.engine.forward import PairIds, pad, token_types


class Encoded(Dataset):
    """Tokenised sentences with their labels."""

    def __init__(self, ids: Sequence[Sequence[int]], labels: Sequence[int]) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Sequence[int], int]:
        return self.ids[index], self.labels[index]


class ByLength(Sampler[int]):
    """A sampler by the sentences' lengths: batches of every length (stratified sampling) or of similar lengths.

    `similar` false: the sentences, sorted by length, are divided into as many strata as a batch has sentences, and each
    batch has one from each. Every sentence is equally likely in every batch, and batches have nearly equally many
    tokens. True: each batch is a slice of the sorted sentences; the content of a step then depends on length. Batches,
    ties and strata are shuffled each epoch. `seed` and the epoch alone decide the order, so that a resumed epoch
    continues in the same one.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int, similar: bool = False) -> None:
        self.lengths, self.similar = torch.as_tensor(lengths), similar
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order `__iter__` yields."""
        self.epoch = epoch

    def batches(self, epoch: int) -> list[list[int]]:
        """The indices of each batch of an epoch; the last batch may be smaller."""
        self.set_epoch(epoch)
        order = list(self)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 10_007 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        # A smaller last batch must come last: put that many random sentences aside first.
        rest = len(self.lengths) % self.batch_size
        last, shuffled = shuffled[:rest], shuffled[rest:]
        by_length = shuffled[torch.argsort(self.lengths[shuffled], stable=True)]
        count = len(shuffled) // self.batch_size
        if self.similar:
            batches = by_length.view(count, self.batch_size)
        else:
            strata = by_length.view(self.batch_size, count)
            batches = torch.stack([row[torch.randperm(count, generator=generator)] for row in strata], dim=1)
        for batch in batches[torch.randperm(count, generator=generator)]:
            yield from batch.tolist()
        yield from last.tolist()


class PaddingCollator:
    """A collator that pads a batch to its longest sentence, and counts real and padded tokens."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id, self.real_tokens, self.padded_tokens = pad_id, 0, 0

    def __call__(self, items: list[tuple[Sequence[int], int]]) -> dict[str, torch.Tensor]:
        input_ids, mask = pad([ids for ids, _ in items], self.pad_id)
        self.real_tokens += int(mask.sum())
        self.padded_tokens += mask.numel()
        labels = torch.as_tensor([label for _, label in items])
        types = token_types([ids for ids, _ in items], input_ids.shape)
        own = {} if types is None else {"token_type_ids": types}
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, **own}

    def size(self, lengths: Sequence[int]) -> int:
        """Tokens of a batch of sentences of these lengths, with the padding."""
        return len(lengths) * max(lengths)


class PackingCollator(PaddingCollator):
    """A collator that packs the sentences of a batch into rows of at most `longest` tokens, and pads the rest."""

    def __init__(self, pad_id: int, longest: int) -> None:
        super().__init__(pad_id)
        self.longest = longest

    def __call__(self, items: list[tuple[Sequence[int], int]]) -> dict[str, torch.Tensor]:
        rows = packing.arrange([len(ids) for ids, _ in items], self.longest)
        input_ids = torch.full(rows.sentence.shape, self.pad_id)
        own = {}
        if any(isinstance(ids, PairIds) for ids, _ in items):
            own["token_type_ids"] = torch.zeros_like(input_ids)
        for (ids, _), start in zip(items, rows.start.tolist(), strict=True):
            input_ids.view(-1)[start : start + len(ids)] = torch.as_tensor(ids)
            if isinstance(ids, PairIds):
                own["token_type_ids"].view(-1)[start + ids.second : start + len(ids)] = 1
        self.real_tokens += sum(len(ids) for ids, _ in items)
        self.padded_tokens += input_ids.numel()
        labels = torch.as_tensor([label for _, label in items])
        return {"input_ids": input_ids, "labels": labels, **own, **rows.tensors()}

    def size(self, lengths: Sequence[int]) -> int:
        return packing.arrange(lengths, self.longest).sentence.numel()
