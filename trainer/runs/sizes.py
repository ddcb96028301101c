"""The sentences that a recipe requests and those that it gets, in words. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.config import RunConfig
from trainer.tasks import note_shown
from trainer.texts import mark, tr

SHORT = {
    "train": mark("{requested} training sentences requested, {available} unique ones available."),
    "validation": mark("{requested} validation sentences requested, {available} unique ones available."),
    "test": mark("{requested} test sentences requested, {available} unique ones available."),
}
"""The sentence on a split with fewer sentences than the recipe requests."""


def requested_and_available(recipe: RunConfig, sizes: Mapping[str, int], notes: Sequence[str]) -> str:
    """Sentences on the size of each split, on those that have fewer than requested, and on what was left out.

    `sizes`: sentences by split that the run uses; `notes`: `TaskData.notes` or `DatasetInfo.notes`.
    """
    used = tr(
        "{train} sentences to train on, {validation} to validate, {test} to test.",
        **{split: f"{sizes[split]:,}" for split in SHORT},
    )
    requested = {split: getattr(recipe, f"{split}_size") for split in SHORT}
    short = [
        tr(SHORT[split], requested=f"{count:,}", available=f"{sizes[split]:,}")
        for split, count in requested.items()
        if count is not None and count > sizes[split]
    ]
    return " ".join([used, *short, *(tr("{sentence}.", sentence=note_shown(note)) for note in notes)])
