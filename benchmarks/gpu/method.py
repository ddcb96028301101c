"""One method in every precision: what trains, what stays frozen, packing, and what its library opens."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu.kit import Kit, sentences

EPSILON = {"bf16": 2.0**-8, "fp16": 2.0**-11, "fp32": 2.0**-24}
"""Relative rounding error of one operation."""
EPOCHS = 12
LEAST = 1e-4
"""Differences below this come from the order of sums, in whatever precision."""
LIBRARY_ALONE = """
import json, os, sys
import numpy as np
import torch

order = json.loads(sys.argv[1])
device = "cuda" if torch.cuda.is_available() else "cpu"
for folder, code, out in order["models"]:
    scope = {"folder": folder, "torch": torch}
    exec(code, scope)
    model = scope["model"].to(device).eval()
    with torch.inference_mode():
        rows = [model(input_ids=torch.tensor([ids], device=device)).logits[0].float().cpu() for ids in order["ids"]]
    np.save(out, torch.stack(rows).numpy())
"""
"""What a person with the method's library alone does: none of this project is imported."""


def run(kit: Kit, name: str) -> None:
    """Train on the device in each precision, then open what was saved with its library alone, there and on a CPU."""
    import pandas as pd

    from trainer import methods
    from trainer.training.train import train

    method = methods.get(name)
    # Few short sentences, often: what a model with random weights can learn in seconds is to know them by heart.
    file = kit.file("sentences", 64, most=12)
    learn = {"train_size": 32, "validation_size": 16, "test_size": 16, "epochs": EPOCHS}
    saved = {}
    for precision in kit.precisions():
        config = kit.recipe(name, file, precision=precision, **learn)
        request = kit.request(config, kit.folder / precision)
        with watched(method) as seen:
            train(request)
        losses, epochs = read_losses(request.folder / "events.jsonl")
        finite = all(math.isfinite(loss) for loss in losses)
        kit.check(f"{precision}: loss is finite and falls", finite and epochs[-1] < epochs[0],
                  f"{epochs[0]:.3f} to {epochs[-1]:.3f} in {len(epochs)} epochs")  # fmt: skip
        frozen, trained, still = changes(seen)
        kit.check(f"{precision}: frozen weights are equal to the bit", frozen == 0, f"{frozen} changed")
        kit.check(f"{precision}: what trains has changed", trained > 0, f"{trained} of {trained + still} tensors")
        rows = pd.read_parquet(request.folder / "predictions.parquet")
        probabilities = rows["probabilities"].explode().astype(float)
        kit.check(f"{precision}: predictions are finite", probabilities.map(math.isfinite).all(), len(rows))
        packing(kit, method, config, precision)
        saved[precision] = request
        del seen
        clear()
    alone(kit, method, saved)
    if method.quantised_from:
        quantised(kit, method, saved)


@contextmanager
def watched(method: Any) -> Iterator[dict[str, Any]]:
    """Within it the model that the method builds, and a copy of its weights before training, are kept."""
    seen: dict[str, Any] = {}
    plain = type(method).build

    def build(setup: Any) -> Any:
        model = seen["model"] = plain(method, setup)
        seen["before"] = {n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters()}
        seen["trains"] = {n for n, p in model.named_parameters() if p.requires_grad}
        return model

    method.build = build
    try:
        yield seen
    finally:
        del method.build


def changes(seen: dict[str, Any]) -> tuple[int, int, int]:
    """(frozen tensors that changed, trainable ones that did, trainable ones that did not).

    A frozen weight that is stored in the compute type counts as equal where it is the original one rounded to it.
    """
    import torch

    frozen = trained = still = 0
    for name, parameter in seen["model"].named_parameters():
        now, before = parameter.detach().cpu(), seen["before"][name]
        same = now.shape == before.shape and torch.equal(before.to(now.dtype), now)
        if name in seen["trains"]:
            trained, still = trained + (not same), still + same
        else:
            frozen += not same
    return frozen, trained, still


def read_losses(path: Path) -> tuple[list[float], list[float]]:
    """(loss of each reported step, mean training loss of each epoch)."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [event["loss"] for event in events if event["type"] == "step"]
    epochs = [e["train_loss"] for e in events if e["type"] == "evaluation" and e.get("train_loss") is not None]
    return steps, epochs


def packing(kit: Kit, method: Any, config: Any, precision: str) -> None:
    """Logits and gradients of a packed batch against those of the same sentences padded, without dropout."""
    import torch

    logits, gradients = {}, {}
    for packed in (False, True):
        logits[packed], gradients[packed] = one_batch(kit, method, config, precision, packed=packed)
    scale = max(float(logits[False].abs().max()), 1.0)
    apart = float((logits[True] - logits[False]).abs().max()) / scale
    bound = max(16 * EPSILON[precision], LEAST)
    kit.check(f"{precision}: packed and padded logits agree", apart <= bound, apart, goal=f"{bound:.2g} or less")
    one, other = (torch.cat([g.flatten() for g in gradients[packed]]) for packed in (False, True))
    apart = float((one - other).norm() / one.norm())
    bound = max(32 * EPSILON[precision], 10 * LEAST)
    kit.check(f"{precision}: packed and padded gradients agree", apart <= bound, apart, goal=f"{bound:.2g} or less")


def one_batch(kit: Kit, method: Any, config: Any, precision: str, *, packed: bool) -> tuple[Any, list[Any]]:
    """(logits (sentences, labels), gradients of what trains) of 24 sentences, float32 on the CPU."""
    import torch

    from trainer.engine.prepare import Speedups, prepare
    from trainer.machine.device import autocast
    from trainer.methods import Setup
    from trainer.sources import backbones

    torch.manual_seed(0)
    backbone, tokenizer = backbones.locate(str(kit.backbone)), _tokenizer(kit)
    options = method.options(**config.options)
    setup = Setup(backbone, ("bad", "good"), options, kit.device, precision, kit.parents(config), training=True)
    rows = sentences(24, seed=9)
    ids = tokenizer([text for text, _ in rows])["input_ids"]
    prepared = prepare(
        method.build(setup), Speedups(packing=packed), family=backbone.family, device=kit.device,
        pad_id=tokenizer.pad_token_id, longest=backbone.shape.longest, precision=precision, training_ids=ids,
    )  # fmt: skip
    model = prepared.model.eval()  # no dropout: two batches of different shapes would draw different masks
    items = [(tokens, int(label == "good")) for tokens, (_, label) in zip(ids, rows, strict=True)]
    batch = {name: tensor.to(kit.device.kind) for name, tensor in prepared.collator()(items).items()}
    with prepared.batch(batch), autocast(kit.device, precision):
        output = model(**batch)
    output.loss.backward()
    gradients = [p.grad.float().cpu() for p in model.parameters() if p.requires_grad and p.grad is not None]
    return output.logits.detach().float().cpu(), gradients


def alone(kit: Kit, method: Any, saved: dict[str, Any]) -> None:
    """What was saved gives the logits that it gives here when its library alone opens it, on this device and a CPU."""
    import numpy as np

    from trainer.engine import forward
    from trainer.methods import Setup
    from trainer.sources import backbones

    backbone = backbones.locate(str(kit.backbone))
    tokenizer = _tokenizer(kit)
    ids = forward.tokenise(tokenizer, [text for text, _ in sentences(16, seed=5)], 128)
    models, ours = {"here": [], "cpu": []}, {}
    for precision, request in saved.items():
        options = method.options(**request.config.options)
        folder = request.folder / "model"
        setup = Setup(backbone, ("bad", "good"), options, kit.device, "fp32")
        ours[precision] = forward.predict_logits(
            method.open(folder, setup), ids, pad_id=tokenizer.pad_token_id, batch_size=1, device=kit.device,
            precision="fp32",
        )  # fmt: skip
        code = method.loading(base=repr(str(kit.backbone)), labels=2, options=options, head=backbone.family.head)
        for where, order in models.items():
            order.append((str(folder), code, str(kit.folder / f"{precision}-{where}.npy")))
        clear()
    running = {}
    for where, order in models.items():
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if where == "cpu" else {}
        command = [sys.executable, "-c", LIBRARY_ALONE, json.dumps({"models": order, "ids": ids})]
        running[where] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | hidden
        )
        if where == "here" and kit.device.kind == "cpu":
            break  # the same device twice
    for where, process in running.items():
        output, _ = process.communicate()
        name = kit.device.kind if where == "here" else "cpu"
        for (_, _, out), precision in zip(models[where], saved, strict=True):
            check = f"{precision}: its library alone on {name} gives the same logits"
            if not Path(out).is_file():
                kit.check(check, False, (output.strip().splitlines() or ["no output"])[-1][:160])
                continue
            scale = max(float(np.abs(ours[precision]).max()), 1.0)
            apart = float(np.abs(np.load(out) - ours[precision]).max()) / scale
            # On a CPU with bf16 of its own bitsandbytes computes 4-bit layers in it, whatever it is told.
            bound = 16 * EPSILON["bf16"] if method.quantised_from and name == "cpu" else 10 * LEAST
            kit.check(check, apart <= bound, apart, goal=f"{bound:.2g} or less")


def quantised(kit: Kit, method: Any, saved: dict[str, Any]) -> None:
    """4-bit weights really take 4 bits: bytes a weight, and the device's memory for the opened model."""
    import torch
    from bitsandbytes.nn import Linear4bit

    from trainer.methods import Setup
    from trainer.sources import backbones

    request = next(iter(saved.values()))
    setup = Setup(
        backbones.locate(str(kit.backbone)), ("bad", "good"), method.options(**request.config.options), kit.device
    )
    before = torch.cuda.memory_allocated() if kit.device.kind == "cuda" else 0
    model = method.open(request.folder / "model", setup)
    weights = [module.weight for module in model.modules() if isinstance(module, Linear4bit)]
    count = sum(weight.quant_state.shape.numel() for weight in weights)
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    expected = kit.scale.layers * 6
    kit.check("linear layers in 4 bits", len(weights) == expected, len(weights), goal=str(expected))
    kit.check("bytes a quantised weight", count > 0 and size / count <= 0.51, size / max(count, 1), goal="0.5")
    if kit.device.kind == "cuda":
        taken = torch.cuda.memory_allocated() - before
        whole = 4.0 * setup.backbone.shape.encoder_parameters
        kit.check("device memory opened, over float32 weights", taken / whole <= 0.45, taken / whole, goal="0.45")


def clear() -> None:
    """Give back what models that are gone took."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tokenizer(kit: Kit) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(kit.backbone, local_files_only=True)
