"""Memory of a training step: the live bytes of updates on the largest batches."""

from __future__ import annotations

import heapq
import math

import torch

from trainer.engine import checkpoints
from trainer.engine.accounting import LiveBytes
from trainer.training.loop import Loop

STEPS = 3
"""Updates after training in which the bytes of a step are counted."""

Group = list[list[int]]
"""The sentences' indices of a step's batches, as `Loop.groups` has them."""


def step_memory(loop: Loop, groups: list[Group]) -> dict[str, int] | None:
    """The fields of `result.StepMemory`, from an update on each of these groups. Call after `loop.run`.

    These updates are additional: they change the trained weights, which `loop.best_state` restores, and nothing else.
    None where there was no room for them.
    """
    collator, random, peaks = loop.collator, checkpoints.random_state(), []
    counted = collator.real_tokens, collator.padded_tokens
    loop.model.train()
    try:
        with LiveBytes(loop.prepared, loop.optimizer) as live:
            batches = loop.load(groups)
            for group in groups:
                loop.prepared.keep_masks()
                live.restart()
                loop.update(group, batches)
                peaks.append(live.peak)
    except torch.OutOfMemoryError:  # a run that has trained does not fail by being measured
        return None
    finally:
        collator.real_tokens, collator.padded_tokens = counted
        checkpoints.restore_random(random)
    most = max(peaks, key=lambda parts: sum(parts.values()))
    return {"peak": sum(most.values()), **most, "steps": len(peaks)}


def largest_groups(loop: Loop, count: int) -> list[Group]:
    """The groups, of all epochs, whose largest batch has the most tokens with its padding; the largest first."""
    lengths = [len(ids) for ids in loop.work.ids["train"]]

    def real(group: Group) -> int:
        return max(sum(lengths[i] for i in batch) for batch in group)

    def padded(group: Group) -> int:
        return max(loop.collator.size([lengths[i] for i in batch]) for batch in group)

    groups = (group for epoch in range(math.ceil(loop.config.epochs)) for group in loop.groups(epoch))
    # Padding is compared among few: packing every batch of a large task once more would take long.
    longest = heapq.nlargest(8 * count, groups, key=real)
    return sorted(longest, key=padded, reverse=True)[:count]
