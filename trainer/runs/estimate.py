"""What a run will cost, before it starts: from the shapes, and from earlier runs on this machine if there are any."""

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
"""Mean over the embedded sentences with the BERT vocabulary; longer ones are cut at max_length."""
OPERATIONS_PER_SECOND = {"cpu": 1.5e11, "cuda": 1.5e13}
"""With no earlier run to go by: what two cores of a current server do in training (see benchmarks/), and a quarter of a
T4's 65 Tflop/s in fp16 (NVIDIA T4 data sheet), which was not measured here."""

SCALE = 10.0
"""A run tells of others whose sentences take up to so many times as much work, or as little: a tiny encoder spends its
time elsewhere than in multiplying."""


@dataclass(frozen=True)
class Estimate:
    """Parameters are exact; bytes and seconds are estimates, `based_on` says on what.

    Parents are counted apart.
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
    """The cost of a recipe, calibrated by `earlier` finished runs of this machine.

    `device` is what it will run on, where that is known: only runs of the same device then count as earlier ones.
    `beside` are the other recipes of the suite: a parent that is among them, or trained already, costs nothing more.
    """
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    options = method.options(**config.options)
    sentences, labels = tasks.extent(config)
    fused = recipes.fused_options(config, earlier)
    trainable = method.trainable_parameters(shape, options, labels, parents=fused)
    total = shape.encoder_parameters + method.added_parameters(shape, options, labels, parents=fused)
    here = [run for run in earlier if _trained_here(run, device)]
    speed, based_on = _speed(config, here, device)
    parents = recipes.parents_of(config)
    there = {recipes.identity_of(run) for run in earlier if parents and run.can_predict and not run.adopted}
    there |= {recipes.identity(other) for other in beside if parents}
    missing = [parent for parent in parents if recipes.identity(parent) not in there]
    return Estimate(
        method=config.method,
        trainable_parameters=trainable,
        total_parameters=total,
        memory=_memory(config, here) or round(_theoretical_memory(config, trainable)),
        seconds=sentences * config.epochs / speed,
        based_on=based_on,
        parents_seconds=sum(estimate(parent, earlier=earlier, device=device).seconds for parent in missing),
    )


def too_large(found: Estimate, *, free: int | None) -> str | None:
    """Why a run will not fit into so many free bytes, in a sentence; None where it does."""
    if free is None or found.memory <= free:
        return None
    return tr(
        "{method} needs about {needed} GB and {free} GB are free: "
        "choose a smaller batch size, maximum length or backbone.",
        method=tr(methods.get(found.method).title),
        needed=f"{found.memory / 1e9:.1f}",
        free=f"{free / 1e9:.1f}",
    )


def _trained_here(run: Run, device: Device | None) -> bool:
    """Whether a run was trained (not only evaluated) on a machine like this one."""
    if not run.result or not run.result.train_info.sentences_per_second:
        return False
    machine = run.result.meta_info.system_info.machine
    return machine == platform.machine() and (device is None or run.device_name == device.name)


def _speed(config: RunConfig, earlier: Sequence[Run], device: Device | None) -> tuple[float, str]:
    """(sentences a second, what that is based on): runs like this one, else any runs scaled by their operations."""
    alike = [run for run in earlier if _alike(config, run)]
    if alike:
        rate = statistics.median(run.result.train_info.sentences_per_second * _operations(run.recipe) for run in alike)
        return rate / _operations(config), tr_count("{count} earlier run", "{count} earlier runs", len(alike))
    rates = [
        run.result.train_info.sentences_per_second * _operations(run.recipe)
        for run in _known(earlier)
        if 1 / SCALE <= _operations(run.recipe) / _operations(config) <= SCALE
    ]
    if rates:
        return statistics.median(rates) / _operations(config), tr("earlier runs of other methods or backbones")
    rate = OPERATIONS_PER_SECOND["cuda" if device and device.kind == "cuda" else "cpu"]
    return rate / _operations(config), tr("the shapes alone")


def _alike(config: RunConfig, run: Run) -> bool:
    return run.recipe.method == config.method and run.recipe.backbone == config.backbone


def _known(runs: Sequence[Run]) -> list[Run]:
    """Runs whose backbone can still be looked up: a local folder may be gone."""
    found = []
    for run in runs:
        try:
            backbones.shape_of(run.recipe.backbone)
        except UserError:
            continue
        found.append(run)
    return found


def _operations(config: RunConfig) -> float:
    """Floating-point operations to train on one sentence."""
    shape = backbones.shape_of(config.backbone)
    layer = sum(i * o for i, o in map(shape.linear, backbones.FAMILIES[shape.family].linears))
    # Forward 2 operations a weight and token, backward twice that (Kaplan et al. 2020, section 2.1).
    return 6 * shape.layers * layer * min(TOKENS_PER_SENTENCE, config.max_length)


def _memory(config: RunConfig, earlier: Sequence[Run]) -> int | None:
    shape = (config.batch_size, config.max_length, config.precision)
    same = [
        run
        for run in earlier
        if _alike(config, run) and (run.recipe.batch_size, run.recipe.max_length, run.recipe.precision) == shape
    ]
    found = [peak for run in same if (peak := run.result.train_info.peak) is not None]
    return round(statistics.median(found)) if found else None


def _theoretical_memory(config: RunConfig, trainable: int) -> float:
    """Weights, gradients and AdamW's two moments, and activations of a batch of the longest sentences."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    length = min(config.max_length, 2 * TOKENS_PER_SENTENCE)
    # Korthikanti et al. 2022, equation 1, at 16 bits; about 12 heads in every encoder here.
    activations = length * config.batch_size * shape.hidden * (34 + 5 * 12 * length / shape.hidden) * shape.layers
    return method.weight_bytes(shape) + 12.0 * trainable + activations
