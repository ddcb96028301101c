"""What a run will cost, before it starts: from the shapes, and from earlier runs on this machine if there are any."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainer import backbones, methods, recipes
from trainer.config import RunConfig
from trainer.store import Run

TOKENS_PER_SENTENCE = 28
"""Mean over the embedded sentences with the BERT vocabulary; longer ones are cut at max_length."""
FLOPS_PER_SECOND = 1.5e11
"""What two cores of a current server do in training (see benchmarks/); only used with no earlier run to go by."""


@dataclass(frozen=True)
class Estimate:
    """Parameters are exact; bytes and seconds are estimates, `based_on` says on what. Parents are counted apart."""

    method: str
    trainable_parameters: int
    total_parameters: int
    memory: int
    seconds: float
    based_on: str
    parents_seconds: float = 0.0


def estimate(config: RunConfig, *, sentences: int, labels: int = 2, earlier: Sequence[Run] = ()) -> Estimate:
    """The cost of a recipe on so many sentences and labels, calibrated by `earlier` finished runs of this machine."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    options = method.options(**config.options)
    trainable = method.trainable_parameters(shape, options, labels)
    total = shape.encoder_parameters + method.added_parameters(shape, options, labels)
    speed, based_on = _speed(config, earlier)
    parents = sum(
        estimate(parent, sentences=sentences, earlier=earlier).seconds for parent in recipes.parents_of(config)
    )
    return Estimate(
        method=config.method,
        trainable_parameters=trainable,
        total_parameters=total,
        memory=_memory(config, earlier) or round(_theoretical_memory(config, trainable)),
        seconds=sentences * config.epochs / speed,
        based_on=based_on,
        parents_seconds=parents,
    )


def _alike(config: RunConfig, earlier: Sequence[Run]) -> list[Run]:
    """Finished runs of the same method and backbone on a machine like this one."""
    return [
        run
        for run in earlier
        if run.result
        and run.recipe.method == config.method
        and run.recipe.backbone == config.backbone
        and run.result["meta_info"]["system_info"]["machine"] == platform.machine()
    ]


def _speed(config: RunConfig, earlier: Sequence[Run]) -> tuple[float, str]:
    alike = _alike(config, earlier)
    if alike:
        speed = statistics.median(run.result["train_info"]["sentences_per_second"] for run in alike)
        return speed, f"{len(alike)} earlier run{'s' if len(alike) > 1 else ''}"
    shape = backbones.shape_of(config.backbone)
    layer = sum(i * o for i, o in map(shape.linear, backbones.FAMILIES[shape.family].linears))
    # Forward 2 operations a weight and token, backward twice that (Kaplan et al. 2020, section 2.1).
    operations = 6 * shape.layers * layer * min(TOKENS_PER_SENTENCE, config.max_length)
    return FLOPS_PER_SECOND / operations, "the shapes alone"


def _memory(config: RunConfig, earlier: Sequence[Run]) -> int | None:
    from trainer.analysis import peak_memory

    same = [run for run in _alike(config, earlier) if run.recipe.batch_size == config.batch_size]
    return round(statistics.median(peak_memory(run.result) for run in same)) if same else None


def _theoretical_memory(config: RunConfig, trainable: int) -> float:
    """Weights, gradients and AdamW's two moments, and activations of a batch of the longest sentences."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    length = min(config.max_length, 2 * TOKENS_PER_SENTENCE)
    # Korthikanti et al. 2022, equation 1, at 16 bits; about 12 heads in every encoder here.
    activations = length * config.batch_size * shape.hidden * (34 + 5 * 12 * length / shape.hidden) * shape.layers
    return method.weight_bytes(shape) + 12.0 * trainable + activations
