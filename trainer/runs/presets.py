"""Presets: named suites of runs that can be compared with each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer import methods
from trainer.texts import mark


@dataclass(frozen=True)
class Preset:
    """A named suite; `title` and `summary` are marked for `tr`.

    `settings` are fields of the recipe; fields that are not in it keep their defaults.
    """

    name: str
    title: str
    summary: str
    task: str
    backbone: str
    methods: tuple[str, ...] = methods.DEFAULT
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "quick",
            mark("Quick"),
            mark("All five methods on 1,000 embedded film-review sentences: minutes on two cores, no Hub."),
            task="movies",
            backbone="minilm",
            settings={"train_size": 1000, "validation_size": 300, "epochs": 3, "batch_size": 32},
        ),
        Preset(
            "report",
            mark("Report"),
            mark("The published recipe: BERT base on SST-2, 15,000 training sentences, 15 epochs. For a GPU."),
            task="sst2",
            backbone="bert-base",
            settings={"epochs": 15, "batch_size": 32, "max_length": 128},
        ),
        Preset(
            "best",
            mark("Best"),
            mark("Each method's own learning rate on all embedded film-review sentences, three epochs."),
            task="movies",
            backbone="minilm",
            settings={"epochs": 3, "batch_size": 32},
        ),
    )
}
