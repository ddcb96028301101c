"""Data of the lesson on fine-tuning: parameter counts of a model's parts, the runs to show, readings of curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import methods
from trainer.config import RunConfig, check
from trainer.machine.device import Device
from trainer.runs import estimate, recipes
from trainer.runs.metrics import METRICS
from trainer.runs.presets import PRESETS
from trainer.runs.run import Run
from trainer.sources import backbones
from trainer.sources.backbones import Part

if TYPE_CHECKING:
    import pandas as pd

PRESET = "quick"
LABELS = 2
REFERENCE, LIGHT = "full", "lora"
"""The two methods whose costs the class guesses; the second is also trained live."""
COSTS = ("trainable", "peak_memory", "train_minutes", "file_size")
RISE, STILL, FALL = 0.03, 0.01, 0.05
"""Thresholds as shares of the loss: a rise above its minimum, a negligible change, a continuing fall."""


@dataclass(frozen=True)
class Anatomy:
    """Parts of a backbone with a method. Each parameter is in exactly one part; parts are in order of computation."""

    method: str
    backbone: str
    layers: int
    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """Number of parameters."""
        return sum(part.total for part in self.parts)

    @property
    def trained(self) -> int:
        """Number of parameters that train."""
        return sum(part.total for part in self.parts if part.trains)


def anatomy(method: str, backbone: str, options: dict[str, Any] | None = None, *, labels: int = LABELS) -> Anatomy:
    """Parts of a model on the lesson's task. `options` that the method does not have are ignored.

    Raises `UserError` for an unknown method or backbone, and for wrong options.
    """
    chosen, shape = methods.get(method), backbones.shape_of(backbone)
    own = check(chosen.options, {n: value for n, value in (options or {}).items() if n in chosen.options.model_fields})
    fused = recipes.options_of_parents(chosen, PRESETS[PRESET].task, own)
    parts = chosen.parts(shape, own, labels, parents=fused)
    return Anatomy(method, backbone, shape.layers, parts)


def recipe(method: str, *, seed: int = 0) -> RunConfig:
    """Recipe of a method in the lesson, for live training and for estimates: the quick preset's."""
    preset = PRESETS[PRESET]
    return recipes.make(method=method, task=preset.task, backbone=preset.backbone, seed=seed, **preset.settings)


def members(runs: Sequence[Run]) -> dict[str, Run]:
    """Method -> run that the lesson shows, in the order of the methods; all runs are on the same sentences.

    Multi-label runs are none of them: the lesson speaks of one label a sentence.

    Of the groups of runs with equal sentences and backbone, one of the lesson's own task and backbone is preferred,
    then the one with the most methods, then the earliest; each method's run is the earliest in its group. So the runs
    that a class trains change no figure of the lesson while the runs that come with the program are there.
    """
    groups: dict[tuple, dict[str, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.queue_order):
        if run.state == "finished" and run.result and not run.adopted and not run.multi_label:
            key = run.split_fingerprint, run.recipe.backbone
            groups[key].setdefault(run.recipe.method, run)
    if not groups:
        return {}
    best = max(groups.values(), key=_fitness)
    return {name: best[name] for name in methods.DEFAULT if name in best}


def _fitness(group: dict[str, Run]) -> tuple[bool, int, int]:
    """Sort key of a group of runs for `members`; the group with the highest is shown."""
    preset, first = PRESETS[PRESET], min(group.values(), key=lambda run: run.queue_order)
    own = (first.recipe.task, first.recipe.backbone) == (preset.task, preset.backbone)
    return own and len(group) > 1, len(group), -first.queue_order


@dataclass(frozen=True)
class Cost:
    """Cost of a method: `figures` are metric -> value in the metric's unit.

    `measured` is the run they come from; None for an estimate, whose basis `basis` names.
    """

    method: str
    figures: dict[str, float]
    measured: Run | None
    basis: str = ""


def cost(method: str, runs: dict[str, Run], *, device: Device | None = None) -> Cost:
    """Cost of a method from the lesson's run of it; without one, estimated from its recipe."""
    run = runs.get(method)
    figures = {key: METRICS[key].of(run) for key in COSTS} if run else {}
    if run and None not in figures.values():
        return Cost(method, figures, run)
    earlier = list(runs.values())
    guess = estimate.estimate(recipe(method), earlier=earlier, device=device)
    return Cost(
        method,
        {
            "trainable": guess.trainable_parameters,
            "peak_memory": guess.memory * METRICS["peak_memory"].scale,
            "train_minutes": guess.seconds * METRICS["train_minutes"].scale,
            # Only trained parameters are saved, at 4 bytes each.
            "file_size": 4 * guess.trainable_parameters * METRICS["file_size"].scale,
        },
        None,
        guess.based_on,
    )


def pair(runs: dict[str, Run]) -> tuple[Run, Run] | None:
    """The two runs to compare first, (best, worst) by test accuracy; None for fewer than two."""
    ranked = sorted(runs.values(), key=lambda run: -METRICS["test_accuracy"].of(run))
    return (ranked[0], ranked[-1]) if len(ranked) > 1 else None


def reading(points: pd.DataFrame) -> str:
    """Name for the shape of a run's training and validation loss by epoch (`tables.curves`'s rows of one run).

    "short": fewer than two epochs. "still": the validation loss did not change. "rises": it ended above its minimum.
    "gap": it hardly falls at the end while the training loss still does. "falls": both still fall at the end. "flat":
    none of these. The thresholds are rules of thumb for a lesson, not a test.
    """
    training, validation = losses(points)
    if min(len(training), len(validation)) < 2:
        return "short"
    lowest, last = min(validation), validation[-1]
    if max(validation) - lowest < STILL * lowest:
        return "still"
    if last > (1 + RISE) * lowest:
        return "rises"
    falls = [(curve[-2] - curve[-1]) / curve[-2] for curve in (training, validation)]
    if falls[0] > 3 * FALL and falls[1] < FALL and training[-1] < last:
        return "gap"
    return "falls" if min(falls) > FALL else "flat"


def losses(points: pd.DataFrame) -> tuple[list[float], list[float]]:
    """(training loss, validation loss) of one run, each a list with an entry an epoch."""
    ordered = points.sort_values("epoch")
    training, validation = (
        list(ordered[ordered["curve"] == curve]["value"]) for curve in ("training loss", "validation loss")
    )
    return training, validation
