"""Ways of estimating a run's time and memory: earlier runs, a simulated step, the shapes alone. Imports no torch."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Sequence

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import UserError
from trainer.machine.device import Device
from trainer.runs import lengths, recipes, steps
from trainer.runs.run import Run
from trainer.sources import backbones
from trainer.texts import tr, tr_count

TOKENS_PER_SENTENCE = 28
"""Mean length of the embedded sentences, in tokens of the BERT vocabulary."""
OPERATIONS_PER_SECOND = {"cpu": 1.5e11, "cuda": 1.5e13}
"""Training speed where no earlier run tells it: measured on two cores of a current server (see benchmarks/); for CUDA a
quarter of a T4's 65 Tflop/s in fp16 (NVIDIA T4 data sheet), not measured."""

PADDING = 1.02
"""Padded over real tokens of packed batches (benchmarks/README.md)."""
CORRECTING = 20
"""The most earlier runs that correct a probe."""
SCALE = 10.0
"""Largest ratio of operations a sentence at which one run's speed predicts another's. Beyond it the prediction fails: a
tiny encoder spends most of its time outside matrix multiplication."""


def counts(config: RunConfig, earlier: Sequence[Run]) -> tuple[int, int]:
    """(trainable parameters, parameters in all)."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    options, (_, labels) = method.options(**config.options), tasks.extent(config)
    fused = recipes.fused_options(config, earlier)
    trainable = method.trainable_parameters(shape, options, labels, parents=fused)
    return trainable, shape.encoder_parameters + method.added_parameters(shape, options, labels, parents=fused)


def trained_here(run: Run, device: Device | None) -> bool:
    """Whether a run was trained, not only evaluated, on this type of processor and on `device` if that is given."""
    if not run.result or not run.result.train_info.sentences_per_second:
        return False
    machine = run.result.meta_info.system_info.machine
    return machine == platform.machine() and (device is None or run.device_name == device.name)


# Ways of estimating time: (seconds of training, their basis in words), or None


def time_of_runs(config: RunConfig, *, runs: Sequence[Run]) -> tuple[float, str] | None:
    """From runs of the same method and backbone."""
    similar = [run for run in runs if _is_similar(config, run)]
    basis = tr_count("{count} earlier run", "{count} earlier runs", len(similar))
    return (_scaled(config, similar), basis) if similar else None


def time_of_others(config: RunConfig, *, runs: Sequence[Run]) -> tuple[float, str] | None:
    """From runs of other methods or backbones, scaled by their operations."""
    near = [run for run in runs if 1 / SCALE <= _operations(run.recipe) / _operations(config) <= SCALE]
    return (_scaled(config, near), tr("earlier runs of other methods or backbones")) if near else None


def time_of_shapes(config: RunConfig, *, device: Device | None) -> tuple[float, str]:
    rate = OPERATIONS_PER_SECOND["cuda" if device and device.kind == "cuda" else "cpu"]
    return _sentences(config) * _operations(config) / rate, tr("the shapes alone")


def time_of_step(
    config: RunConfig, *, earlier: Sequence[Run], device: Device | None, runs: Sequence[Run] = ()
) -> tuple[float, str] | None:
    """From a simulated step and the probe of this machine's speed, which the newest of `runs` correct.

    A probe while something else computes is too slow for good: runs that were simulated before they trained tell by how
    much.
    """
    seconds = _simulated_seconds(config, earlier, device)
    if seconds is None:
        return None
    newest = sorted(runs, key=lambda run: run.queue_order)[-CORRECTING:]
    simulated = [(run, _simulated_seconds(run.recipe, earlier, device)) for run in with_known_backbone(newest)]
    ratios = [run.result.train_info.train_time / own for run, own in simulated if own]
    if not ratios:
        return seconds, _simulation()
    basis = tr_count("{count} earlier run", "{count} earlier runs", len(ratios))
    return seconds * statistics.median(ratios), tr("a simulated step and {runs}", runs=basis)


def _simulated_seconds(config: RunConfig, earlier: Sequence[Run], device: Device | None) -> float | None:
    """Seconds of training by the simulated step and the probe alone; None where either is missing."""
    try:
        step = _step(config, earlier, device)
        speed = steps.stored_speed(device.name, device.choose(config.precision)) if step else None
        if step is None or speed is None:
            return None
        (count, _), known = tasks.extent(config), lengths.of(config)
    except (UserError, OSError):  # a file or folder that is gone
        return None
    updates = math.ceil(math.ceil(count / config.batch_size) / config.gradient_accumulation_steps)
    share = min(count * known.mean * PADDING / (updates * step.tokens), 1.0)
    return config.epochs * updates * speed.seconds(step, share=share)


def _simulation() -> str:
    return tr("a simulated step and a probe of this machine's speed")


def _scaled(config: RunConfig, runs: Sequence[Run]) -> float:
    """Seconds of a recipe at the median rate of operations of some runs."""
    rate = statistics.median(run.result.train_info.sentences_per_second * _operations(run.recipe) for run in runs)
    return _sentences(config) * _operations(config) / rate


def _sentences(config: RunConfig) -> int:
    """Sentences of all epochs together."""
    return tasks.extent(config)[0] * config.epochs


# Ways of estimating memory: (bytes, their basis in words), or None


def memory_of_runs(config: RunConfig, *, runs: Sequence[Run]) -> tuple[float, str] | None:
    """Median peak of a step of runs with the same method, backbone and sizes."""
    sizes = ("batch_size", "max_length", "precision", "gradient_accumulation_steps", "group_by_length", "options")
    same = [
        run.result.train_info.step_memory.peak
        for run in runs
        if _is_similar(config, run)
        and run.result.train_info.step_memory
        and all(getattr(run.recipe, name) == getattr(config, name) for name in (*sizes, "task"))
    ]
    basis = tr_count("{count} earlier run", "{count} earlier runs", len(same))
    return (statistics.median(same), basis) if same else None


def memory_of_step(config: RunConfig, *, earlier: Sequence[Run], device: Device | None) -> tuple[float, str] | None:
    step = _step(config, earlier, device)
    return None if step is None else (step.memory.peak, tr("a simulated step"))


def memory_of_shapes(config: RunConfig, *, earlier: Sequence[Run]) -> tuple[float, str]:
    return _theoretical_memory(config, *counts(config, earlier)), tr("the shapes alone")


def _step(config: RunConfig, earlier: Sequence[Run], device: Device | None) -> steps.Step | None:
    """The simulated step of a recipe; None where it was not simulated for this device."""
    if device is None or (config.precision != "auto" and config.precision not in device.precisions):
        return None
    key = steps.key_of(
        config,
        fused=recipes.fused_options(config, earlier),
        labels=tasks.extent(config)[1],
        lengths=lengths.of(config),
        device=device.kind,
        precision=device.choose(config.precision),
    )
    return steps.stored(key)


def _is_similar(config: RunConfig, run: Run) -> bool:
    """Whether a run has the recipe's method and backbone."""
    return run.recipe.method == config.method and run.recipe.backbone == config.backbone


def with_known_backbone(runs: Sequence[Run]) -> list[Run]:
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


def _theoretical_memory(config: RunConfig, trainable: int, total: int) -> float:
    """Bytes of the weights, the gradients, AdamW's two moments, and the activations of a batch of long sentences."""
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    length = min(config.max_length, 2 * TOKENS_PER_SENTENCE)
    # Korthikanti et al. 2022, equation 1, at 16 bits; about 12 heads in every encoder here.
    activations = length * config.batch_size * shape.hidden * (34 + 5 * 12 * length / shape.hidden) * shape.layers
    added = 4.0 * (total - shape.encoder_parameters)  # a fusion's frozen parents too
    return method.weight_bytes(shape) + added + 12.0 * trainable + activations
