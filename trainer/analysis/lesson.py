"""What a lesson on fine-tuning needs besides its words: counts of a model's parts, runs to show, curves read."""

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
from trainer.runs.store import Run
from trainer.sources import backbones
from trainer.sources.backbones import Part

if TYPE_CHECKING:
    import pandas as pd

PRESET = "quick"
LABELS = 2
REFERENCE, LIGHT = "full", "lora"
"""The two methods whose costs the class guesses, and the second is trained live."""
COSTS = ("trainable", "peak_memory", "train_minutes", "file_size")
RISE, STILL, FALL = 0.03, 0.01, 0.05
"""Shares of the validation loss: a rise above its lowest value, a move that is none, a fall that goes on."""


@dataclass(frozen=True)
class Anatomy:
    """A backbone under a method: every parameter in exactly one part, in the order in which a sentence passes."""

    method: str
    backbone: str
    layers: int
    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        return sum(part.total for part in self.parts)

    @property
    def trained(self) -> int:
        return sum(part.total for part in self.parts if part.trains)


def anatomy(method: str, backbone: str, options: dict[str, Any] | None = None, *, labels: int = LABELS) -> Anatomy:
    """The parts of a model on the lesson's task. `options` of other methods are left out.

    Raises `UserError` for what does not fit.
    """
    found, shape = methods.get(method), backbones.shape_of(backbone)
    own = check(found.options, {n: value for n, value in (options or {}).items() if n in found.options.model_fields})
    fused = recipes.options_of_parents(found, PRESETS[PRESET].task, own)
    parts = found.parts(shape, own, labels, parents=fused)
    return Anatomy(method, backbone, shape.layers, parts)


def recipe(method: str, *, seed: int = 0) -> RunConfig:
    """What the lesson trains, and what it estimates where nothing was trained: the quick preset's recipe."""
    preset = PRESETS[PRESET]
    return recipes.make(method=method, task=preset.task, backbone=preset.backbone, seed=seed, **preset.settings)


def members(runs: Sequence[Run]) -> dict[str, Run]:
    """Method -> the run that the lesson shows, in the order of the methods: runs on the same sentences.

    Of the groups that share sentences and a backbone, one of the lesson's own task and backbone goes first, then the
    one with the most methods, of equals the earliest; of a method the earliest run there. So what a class trains beside
    the runs that come with the program changes no figure of the lesson.
    """
    groups: dict[tuple, dict[str, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.queue_order):
        if run.state == "finished" and run.result and not run.adopted:
            key = run.split_fingerprint, run.recipe.backbone
            groups[key].setdefault(run.recipe.method, run)
    if not groups:
        return {}
    best = max(groups.values(), key=_fitness)
    return {name: best[name] for name in methods.METHODS if name in best}


def _fitness(group: dict[str, Run]) -> tuple[bool, int, int]:
    preset, first = PRESETS[PRESET], min(group.values(), key=lambda run: run.queue_order)
    own = (first.recipe.task, first.recipe.backbone) == (preset.task, preset.backbone)
    return own and len(group) > 1, len(group), -first.queue_order


@dataclass(frozen=True)
class Cost:
    """What a method costs, by metric in the metric's unit; `measured` is the run, or None where it is estimated
    from `basis`."""

    method: str
    figures: dict[str, float]
    measured: Run | None
    basis: str = ""


def cost(method: str, runs: dict[str, Run], *, device: Device | None = None) -> Cost:
    """The figures of the lesson's run, else the estimate of its recipe."""
    run = runs.get(method)
    found = {key: METRICS[key].of(run) for key in COSTS} if run else {}
    if run and None not in found.values():
        return Cost(method, found, run)
    earlier = list(runs.values())
    guess = estimate.estimate(recipe(method), earlier=earlier, device=device)
    return Cost(
        method,
        {
            "trainable": guess.trainable_parameters,
            "peak_memory": guess.memory * METRICS["peak_memory"].scale,
            "train_minutes": guess.seconds * METRICS["train_minutes"].scale,
            # What is trained is saved, at 4 bytes a parameter.
            "file_size": 4 * guess.trainable_parameters * METRICS["file_size"].scale,
        },
        None,
        guess.based_on,
    )


def pair(runs: dict[str, Run]) -> tuple[Run, Run] | None:
    """The two runs to be compared first: those furthest apart in test accuracy, the better one first."""
    ranked = sorted(runs.values(), key=lambda run: -METRICS["test_accuracy"].of(run))
    return (ranked[0], ranked[-1]) if len(ranked) > 1 else None


def reading(points: pd.DataFrame) -> str:
    """How one run learnt, of its training and validation loss by epoch (`analysis.curves`'s rows of one run).

    "still": nothing moved. "rises": the validation loss ended above its lowest value. "gap": it hardly falls any more
    while the training loss goes on down. "falls": both were still falling at the end. "flat": none of these. "short":
    under two epochs, which tell nothing. The bounds are rules of thumb for a lesson, not a test.
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
    """(training loss, validation loss) of one run, an entry an epoch."""
    ordered = points.sort_values("epoch")
    training, validation = (
        list(ordered[ordered["curve"] == curve]["value"]) for curve in ("training loss", "validation loss")
    )
    return training, validation
