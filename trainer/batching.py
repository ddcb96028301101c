"""Batches of sentences of like length, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from trainer.evaluation import pad


class Encoded(Dataset):
    """Tokenised sentences with their labels."""

    def __init__(self, ids: Sequence[Sequence[int]], labels: Sequence[int]) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> tuple[Sequence[int], int]:
        return self.ids[place], self.labels[place]


class ByLength(Sampler[int]):
    """Places ordered so that each run of `batch_size` has like lengths; batches and ties are shuffled each epoch.

    With `alike` false they are shuffled alone. The order follows from `seed` and the epoch alone: a resumed epoch sees
    what an unbroken one would have seen.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int, alike: bool = True) -> None:
        self.lengths, self.alike = torch.as_tensor(lengths), alike
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer's loader before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 10_007 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        if not self.alike:
            yield from shuffled.tolist()
            return
        # A smaller last batch must be one that the sampler ends with: leave out the same number at random first.
        rest = len(self.lengths) % self.batch_size
        last, shuffled = shuffled[:rest], shuffled[rest:]
        by_length = shuffled[torch.argsort(self.lengths[shuffled], stable=True)]
        batches = by_length.view(-1, self.batch_size)
        for batch in batches[torch.randperm(len(batches), generator=generator)]:
            yield from batch.tolist()
        yield from last.tolist()


class Collator:
    """Pads a batch to its longest sentence, and counts real and padded tokens."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id, self.real_tokens, self.padded_tokens = pad_id, 0, 0

    def __call__(self, items: list[tuple[Sequence[int], int]]) -> dict[str, torch.Tensor]:
        input_ids, mask = pad([ids for ids, _ in items], self.pad_id)
        self.real_tokens += int(mask.sum())
        self.padded_tokens += mask.numel()
        labels = torch.as_tensor([label for _, label in items])
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
