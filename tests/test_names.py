"""Short names of runs: what tells them apart, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.analysis.names import short_names
from trainer.runs import recipes
from trainer.runs.result import SCHEMA_VERSION
from trainer.runs.run import Run

BUNDLED = {"bundled": {"command": "", "weights": True}}


def run(
    number: int, *, label: str = "", task: str = "movies", lineage: dict[str, Any] | None = None, **settings: Any
) -> Run:
    """A run as far as its recipe, label and origin go."""
    config = recipes.make(**{"method": "lora", "task": "movies", "backbone": "minilm", **settings})
    config = config.model_copy(update={"task": task})
    return Run(
        schema_version=SCHEMA_VERSION, id=f"r{number}", folder=Path("nowhere"), label=label, state="failed",
        created_at="2026-11-26T12:00:00Z", queue_order=number, suite="", recipe=config,
        lineage={"parents": [], "learning_rate": "tuned", **(lineage or {})}, owner=None, result=None, error="-",
    )  # fmt: skip


OWN = {"learning_rate": "chosen"}
ELSEWHERE = {"adopted": {"source": "teacher/their-lora", "label_order": []}}


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        # One run a method: the method says it all, whatever the label of the suite and the seed
        ([run(0, label="mine", seed=4), run(1, label="mine", method="full")], ["LoRA", "Full fine-tuning"]),
        # What differs, where it is not the default; the rate that a person chose
        ([run(0), run(1, r=4), run(2, seed=1)], ["LoRA, seed 0", "LoRA r=4", "LoRA, seed 1"]),
        ([run(0), run(1, learning_rate=0.01, lineage=OWN)], ["LoRA", "LoRA learning_rate=0.01"]),
        ([run(0), run(1, backbone="bert-tiny")], ["LoRA, minilm", "LoRA, bert-tiny"]),
        ([run(0, task="/home/a/tickets.csv"), run(1)], ["LoRA, tickets.csv", "LoRA, movies"]),
        # The own label first; the method after it where several have it
        ([run(0, label="first try"), run(1)], ["first try", "LoRA"]),
        (
            [run(0, label="a", seed=1), run(1, label="a", seed=2), run(2, label="b"), run(3, label="b", method="full")],
            ["a, seed 1", "a, seed 2", "b, LoRA", "b, Full fine-tuning"],
        ),
        # Equal recipes: those that came along are called so, others have a number
        ([run(0, lineage=BUNDLED), run(1), run(2)], ["LoRA, example run", "LoRA", "LoRA (2)"]),
        ([run(0, label="LoRA"), run(1)], ["LoRA", "LoRA (2)"]),
        ([run(0), run(1, lineage=ELSEWHERE)], ["LoRA", "LoRA, trained elsewhere"]),
        # An older run, whose rate's origin was not recorded, has the same rate
        ([run(0), run(1, seed=1, lineage={"learning_rate": None})], ["LoRA, seed 0", "LoRA, seed 1"]),
        ([run(0, label="only")], ["only"]),
        ([], []),
    ],
)
def test_a_name_has_what_tells_a_run_apart(runs, names):
    assert list(short_names(runs).values()) == names
    assert list(short_names(runs)) == [one.id for one in runs], "the order of the runs"
