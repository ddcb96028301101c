"""The sentences that a recipe asks for and those that it gets, in words. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.config import RunConfig
from trainer.tasks import note_shown
from trainer.texts import mark, tr

SHORT = {
    "train": mark("{asked} training sentences asked, {had} unique ones there."),
    "validation": mark("{asked} validation sentences asked, {had} unique ones there."),
    "test": mark("{asked} test sentences asked, {had} unique ones there."),
}
"""What is said of a split with fewer sentences than the recipe asks for."""


def asked_and_had(recipe: RunConfig, sizes: Mapping[str, int], notes: Sequence[str]) -> str:
    """Sentences on the size of each split, on those that have fewer than asked, and on what was left out.

    `sizes`: sentences by split that the run uses; `notes`: `TaskData.notes` or `DatasetInfo.notes`.
    """
    used = tr(
        "{train} sentences to train on, {validation} to validate, {test} to test.",
        **{split: f"{sizes[split]:,}" for split in SHORT},
    )
    wanted = {split: getattr(recipe, f"{split}_size") for split in SHORT}
    short = [
        tr(SHORT[split], asked=f"{asked:,}", had=f"{sizes[split]:,}")
        for split, asked in wanted.items()
        if asked is not None and asked > sizes[split]
    ]
    return " ".join([used, *short, *(tr("{sentence}.", sentence=note_shown(note)) for note in notes)])
