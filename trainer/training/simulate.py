"""A training step simulated without computing, and a probe of this machine's speed: what estimates are made of.

The step is the loop's own, of the method's own model, on the batch that training would find the largest; its
operations allocate and do not compute (`engine.dry`). So no weights are needed: a backbone that was never downloaded is
simulated as well.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.engine import checkpoints
from trainer.engine.dry import Dry, Work
from trainer.engine.prepare import prepare
from trainer.machine import measure
from trainer.machine.device import Device, free_memory, quiet_libraries
from trainer.methods import Parent, Setup
from trainer.runs import estimate, recipes, steps
from trainer.runs import lengths as sentence_lengths
from trainer.runs.lengths import Lengths
from trainer.runs.run import Run
from trainer.sources import backbones
from trainer.sources.backbones import Located, Shape
from trainer.training import watch
from trainer.training.loop import Loop
from trainer.training.optimiser import start_accelerator
from trainer.training.request import Request
from trainer.training.request import Work as Inputs

HEADS = {"minilm": 12}
"""Attention heads of encoders whose heads have not 64 dimensions, as all others' have."""


def ensure(configs: Sequence[RunConfig], *, device: Device, earlier: Sequence[Run] = ()) -> None:
    """Simulate the steps of recipes and probe the machine, where that was not done before; `runs.steps` stores both.

    A second or two a recipe the first time. `earlier` are the runs that fusions may name as parents. A recipe whose
    step cannot be simulated, for want of room on a GPU or of an operation's shapes, is left to the other ways of
    `runs.estimate`.
    """
    quiet_libraries()
    for config in configs:
        for one in (config, *recipes.parents_of(config)):
            precision = device.choose(one.precision)
            if steps.stored_speed(device.name, precision) is None:
                steps.store_speed(device.name, precision, probe(device, precision))
            fused, (_, labels) = recipes.fused_options(one, earlier), tasks.extent(one)
            known = sentence_lengths.of(one)
            key = steps.key_of(one, fused=fused, labels=labels, lengths=known, device=device.kind, precision=precision)
            if steps.stored(key) is None and _room(one, device):
                with tempfile.TemporaryDirectory() as folder, suppress(RuntimeError):
                    steps.store(key, simulate(one, fused, labels, known, device=device, folder=Path(folder)))


def _room(config: RunConfig, device: Device) -> bool:
    """Whether a step may be simulated on the device: on a GPU it takes the memory of a real one for a moment, which a
    run that trains there must not lack."""
    return device.kind != "cuda" or free_memory(device) > 3 * estimate.estimate(config).memory


def simulate(
    config: RunConfig, fused: Sequence[Any], labels: int, known: Lengths, *, device: Device, folder: Path
) -> steps.Step:
    """Simulate one training step of a recipe with these options of its parents, labels and lengths.

    `folder` takes a backbone's and parents' files for the moment.
    """
    backbone = _backbone(config.backbone, folder / "backbone")
    random = checkpoints.random_state()
    try:
        with Dry() as dry:
            loop = _loop(config, fused, labels, known.all(), backbone, device, folder, distinct=known.distinct)
            groups = watch.largest_groups(loop, 1)
            _update(loop, groups)
            dry.work = Work()
            memory = watch.step_memory(loop, groups)
    finally:
        checkpoints.restore_random(random)
    if memory is None:
        raise torch.OutOfMemoryError("no room on the device for a step")
    tokens = sum(loop.collator.size([len(loop.dataset.ids[i]) for i in batch]) for batch in groups[0])
    return steps.Step(memory=memory, tokens=tokens, **asdict(dry.work))


def _loop(
    config: RunConfig,
    fused: Sequence[Any],
    labels: int,
    lengths: list[int],
    backbone: Located,
    device: Device,
    folder: Path,
    *,
    distinct: int,
) -> Loop:
    """The loop of a recipe on sentences of these lengths, of `distinct` different tokens."""
    method, precision = methods.get(config.method), device.choose(config.precision)
    names = tuple(f"label {i}" for i in range(labels))
    accelerator = start_accelerator(device, precision)
    setup = Setup(
        backbone, names, method.options(**config.options), device, precision,
        _parents(method, fused, backbone, names, device, folder), training=True, multi_label=config.multi_label,
    )  # fmt: skip
    model = method.build(setup)
    # Every token once, then the first one: only how many there are matters.
    tokens = iter(range(1, distinct))
    ids = [[next(tokens, 1) for _ in range(length)] for length in lengths]
    names = tuple(map(str, range(labels)))
    own = [i % labels for i in range(len(ids))]
    train = SimpleNamespace(labels=[(i,) for i in own] if config.multi_label else own)
    data = SimpleNamespace(label_names=names, train=train, multi_label=config.multi_label)
    work = Inputs(method, setup, data, {"train": ids}, 0, device)
    prepared = prepare(
        model, method.speedups, family=backbone.family, device=device, pad_id=0, longest=backbone.shape.longest,
        precision=precision, training_ids=ids,
    )  # fmt: skip
    # Weights by label cost what balanced ones do, and need no labels' names.
    weights = "none" if config.class_weights == "none" else "balanced"
    request = Request(config.model_copy(update={"epochs": 1, "class_weights": weights}), folder, lambda event: None)
    return Loop(request, work, prepared, accelerator=accelerator, clock=measure.Clock(), meter=measure.Meter(device))


def _update(loop: Loop, groups: list[list[list[int]]], timer: Callable[[], float] = time.perf_counter) -> list[float]:
    """Update on each group; the seconds of each. The first makes the optimiser's moments and the masks of dropout."""
    batches, seconds = loop.load(groups), []
    loop.model.train()
    for group in groups:
        since = timer()
        loop.update(group, batches)
        if loop.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(timer() - since)
    return seconds


def _parents(
    method: methods.Method,
    fused: Sequence[Any],
    backbone: Located,
    names: tuple[str, ...],
    device: Device,
    folder: Path,
) -> tuple[Parent, ...]:
    """Untrained parents with these options; () for a method that fuses none."""
    if method.parent_method is None:
        return ()
    lender, made = methods.get(method.parent_method), []
    for number, options in enumerate(fused):
        setup = Setup(backbone, names, options, device, "fp32")
        target = folder / f"parent-{number}"
        lender.save(lender.build(setup), target, setup)
        made.append(Parent(f"parent{number}", f"parent{number}", target))
    return tuple(made)


def _backbone(name: str, folder: Path, shape: Shape | None = None) -> Located:
    """A backbone's configuration, with a file of weights that takes no space on the disk: all are zero."""
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True)
    shape = shape or backbones.shape_of(name)
    if name in backbones.BACKBONES or not name:
        config = AutoConfig.for_model(shape.family, **_settings(shape, HEADS.get(name)))
    else:
        config = AutoConfig.from_pretrained(
            backbones.locate(name).folder, local_files_only=True, trust_remote_code=False
        )
    config.save_pretrained(folder)
    with torch.device("meta"):
        weights = AutoModel.from_config(config).state_dict()
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for key, tensor in weights.items():
        if tensor.is_floating_point():
            size = 4 * tensor.numel()
            header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
            offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return Located(name or "probe", folder, shape, name or "probe", None)


def _settings(shape: Shape, heads: int | None) -> dict[str, Any]:
    """A shape as a configuration of transformers."""
    heads = heads or max(shape.hidden // 64, 1)
    common = {"vocab_size": shape.vocabulary, "max_position_embeddings": shape.positions}
    if shape.family == "distilbert":
        own = {"dim": shape.hidden, "n_layers": shape.layers, "hidden_dim": shape.intermediate, "n_heads": heads}
        return common | own
    return common | {
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "intermediate_size": shape.intermediate,
        "num_attention_heads": heads, "type_vocab_size": shape.token_types,
        **({"embedding_size": shape.embedding_width} if shape.family == "electra" else {}),
    }  # fmt: skip


# Probe

PROBES = (
    ("full", 2, 64, 8, 32),
    ("full", 2, 384, 32, 32),
    ("adapter", 2, 384, 8, 128),
    ("full", 1, 768, 8, 128),
)
"""(method, layers, hidden size, sentences, tokens of each) of the steps that are timed."""
REPEATS = 5


def probe(device: Device, precision: str, *, timer: Callable[[], float] = time.perf_counter) -> steps.Speed:
    """This machine's speed, from timed steps of small encoders: `Speed`'s three costs that explain them best.

    Least squares of relative errors, without negative costs. Each step's time is the least of `REPEATS`: other work on
    the machine only ever adds to it.
    """
    import numpy as np
    from scipy.optimize import nnls

    works, seconds, random = [], [], checkpoints.random_state()
    try:
        for one in PROBES:
            with Dry() as dry:
                loop = _probe_loop(*one, device=device, precision=precision)
                _update(loop, watch.largest_groups(loop, 1))
                dry.work = Work()
                _update(loop, watch.largest_groups(loop, 1))
            loop = _probe_loop(*one, device=device, precision=precision)
            with torch.no_grad():
                for parameter in loop.prepared.model.parameters():
                    parameter.normal_(std=0.02)
            works.append((dry.work.operations, dry.work.products, dry.work.moved))
            seconds.append(min(_update(loop, watch.largest_groups(loop, 1) * (REPEATS + 1), timer)[1:]))
    finally:
        checkpoints.restore_random(random)
    table = np.array(works, dtype=np.float64) / np.array(seconds)[:, None]
    scale = table.max(axis=0)
    operation, product, byte = nnls(table / scale, np.ones(len(works)))[0] / scale
    return steps.Speed(operation=operation, product=product, byte=byte)


def _probe_loop(
    method: str, layers: int, hidden: int, sentences: int, length: int, *, device: Device, precision: str
) -> Loop:
    shape = Shape("bert", 1_000, 512, 2, hidden, layers, 4 * hidden)
    config = recipes.make(method=method, task="movies", backbone="minilm", batch_size=sentences, precision=precision)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = _backbone("", folder / "backbone", shape)
        return _loop(config, (), 2, [length] * sentences, backbone, device, folder, distinct=shape.vocabulary)
