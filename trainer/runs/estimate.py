"""Estimated cost of a run before it starts, from the model's shapes and from earlier runs on this machine."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import UserError
from trainer.machine.device import Device
from trainer.runs import recipes
from trainer.runs.store import Run
from trainer.sources import backbones
from trainer.texts import tr, tr_count

TOKENS_PER_SENTENCE = 28
"""Mean length of the embedded sentences, in tokens of the BERT vocabulary."""
OPERATIONS_PER_SECOND = {"cpu": 1.5e11, "cuda": 1.5e13}
"""Training speed where no earlier run tells it: measured on two cores of a current server (see benchmarks/); for CUDA a
quarter of a T4's 65 Tflop/s in fp16 (NVIDIA T4 data sheet), not measured."""

SCALE = 10.0
"""Largest ratio of operations a sentence at which one run's speed predicts another's. Beyond it the prediction fails: a
tiny encoder spends most of its time outside matrix multiplication."""


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one run: exact counts of parameters, `memory` in bytes, `seconds` of training.

    `based_on` names the basis of the estimate, for people. The time of parents that are trained with the run is not in
    `seconds` but in `parents_seconds`.
    """

    method: str
    trainable_parameters: int
    total_parameters: int
    memory: int
    seconds: float
    based_on: str
    parents_seconds: float = 0.0


def estimate(
    config: RunConfig, *, earlier: Sequence[Run] = (), beside: Sequence[RunConfig] = (), device: Device | None = None
) -> Estimate:
    """Estimated cost of a recipe, calibrated by `earlier` finished runs on this machine.

    If `device` is given, only earlier runs on the same device count. `beside` are the other recipes of the suite: a
    parent that is among them, or is trained already, adds no cost.
    """
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    options = method.options(**config.options)
    sentences, labels = tasks.extent(config)
    fused = recipes.fused_options(config, earlier)
    trainable = method.trainable_parameters(shape, options, labels, parents=fused)
    total = shape.encoder_parameters + method.added_parameters(shape, options, labels, parents=fused)
    on_this_machine = [run for run in earlier if _trained_here(run, device)]
    speed, based_on = _speed(config, on_this_machine, device)
    parents = recipes.parents_of(config)
    available = {recipes.identity_of(run) for run in earlier if parents and run.can_predict and not run.adopted}
    available |= {recipes.identity(other) for other in beside if parents}
    missing = [parent for parent in parents if recipes.identity(parent) not in available]
    return Estimate(
        method=config.method,
        trainable_parameters=trainable,
        total_parameters=total,
        memory=_memory(config, on_this_machine) or round(_theoretical_memory(config, trainable)),
        seconds=sentences * config.epochs / speed,
        based_on=based_on,
        parents_seconds=sum(estimate(parent, earlier=earlier, device=device).seconds for parent in missing),
    )


def too_large(cost: Estimate, *, free: int | None) -> str | None:
    """Warning that a run needs more than the `free` bytes of memory; None if it fits or `free` is None."""
    if free is None or cost.memory <= free:
        return None
    return tr(
        "{method} needs about {needed} GB and {free} GB are free: "
        "choose a smaller batch size, maximum length or backbone.",
        method=tr(methods.get(cost.method).title),
        needed=f"{cost.memory / 1e9:.1f}",
        free=f"{free / 1e9:.1f}",
    )


def _trained_here(run: Run, device: Device | None) -> bool:
    """Whether a run was trained, not only evaluated, on this type of processor and on `device` if that is given."""
    if not run.result or not run.result.train_info.sentences_per_second:
        return False
    machine = run.result.meta_info.system_info.machine
    return machine == platform.machine() and (device is None or run.device_name == device.name)


def _speed(config: RunConfig, earlier: Sequence[Run], device: Device | None) -> tuple[float, str]:
    """(sentences a second, its basis in words), from the best source there is.

    Runs of the same method and backbone; else other runs, scaled by their operations; else the shapes alone.
    """
    similar = [run for run in earlier if _is_similar(config, run)]
    if similar:
        rate = statistics.median(
            run.result.train_info.sentences_per_second * _operations(run.recipe) for run in similar
        )
        return rate / _operations(config), tr_count("{count} earlier run", "{count} earlier runs", len(similar))
    rates = [
        run.result.train_info.sentences_per_second * _operations(run.recipe)
        for run in _with_known_backbone(earlier)
        if 1 / SCALE <= _operations(run.recipe) / _operations(config) <= SCALE
    ]
    if rates:
        return statistics.median(rates) / _operations(config), tr("earlier runs of other methods or backbones")
    rate = OPERATIONS_PER_SECOND["cuda" if device and device.kind == "cuda" else "cpu"]
    return rate / _operations(config), tr("the shapes alone")


def _is_similar(config: RunConfig, run: Run) -> bool:
    """Whether a run has the recipe's method and backbone."""
    return run.recipe.method == config.method and run.recipe.backbone == config.backbone


def _with_known_backbone(runs: Sequence[Run]) -> list[Run]:
    """Runs whose backbone can still be read; a local folder may have been deleted."""
    known = []
    for run in runs:
        try:
            backbones.shape_of(run.recipe.backbone)
        except UserError:
            continue
        known.append(run)
    return known


def _operations(config: RunConfig) -> float:
    """Floating-point operations of training on one sentence."""
    shape = backbones.shape_of(config.backbone)
    layer = sum(i * o for i, o in map(shape.linear, backbones.FAMILIES[shape.family].linears))
    # Forward 2 operations a weight and token, backward twice that (Kaplan et al. 2020, section 2.1).
    return 6 * shape.layers * layer * min(TOKENS_PER_SENTENCE, config.max_length)


def _memory(config: RunConfig, earlier: Sequence[Run]) -> int | None:
    """Median peak memory, in bytes, of earlier runs with the same method, backbone and sizes; None without any."""
    shape = (config.batch_size, config.max_length, config.precision)
    same = [
        run
        for run in earlier
        if _is_similar(config, run) and (run.recipe.batch_size, run.recipe.max_length, run.recipe.precision) == shape
    ]
    peaks = [peak for run in same if (peak := run.result.train_info.peak) is not None]
    return round(statistics.median(peaks)) if peaks else None


def _theoretical_memory(config: RunConfig, trainable: int) -> float:
    """Bytes for the weights, the gradients, AdamW's two moments, and the activations of a batch of long sentences."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    length = min(config.max_length, 2 * TOKENS_PER_SENTENCE)
    # Korthikanti et al. 2022, equation 1, at 16 bits; about 12 heads in every encoder here.
    activations = length * config.batch_size * shape.hidden * (34 + 5 * 12 * length / shape.hidden) * shape.layers
    return method.weight_bytes(shape) + 12.0 * trainable + activations
