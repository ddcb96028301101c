"""One training step of each method: this project's dropout and attention on a CPU, against torch's and the fused one.

    python -m benchmarks.step --out step.json

MiniLM, 32 sentences of 26 tokens (about the mean of SST-2's sentences), AdamW, the device's best precision. Both ways
are timed in turn in one process; medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from trainer.device import share_cores

METHODS = ("full", "lora", "qlora", "adapter")
BATCH, LENGTH = 32, 26


def main() -> None:
    """Time every method both ways and write sentences a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    share_cores()
    from trainer import measure
    from trainer.device import detect

    device = detect()
    figures = {}
    for method in METHODS:
        plain, ours = stepper(method, device, quick=False), stepper(method, device, quick=True)
        seconds = {"plain": [], "ours": []}
        for number in range(arguments.repeats + 3):
            for name, step in (("plain", plain), ("ours", ours)):
                since = time.perf_counter()
                step()
                if number >= 3:  # the first steps allocate
                    seconds[name].append(time.perf_counter() - since)
        speed = {name: BATCH / statistics.median(times) for name, times in seconds.items()}
        figures[method] = {name: round(value, 1) for name, value in speed.items()}
        figures[method]["ratio"] = round(speed["ours"] / speed["plain"], 2)
        print(method, figures[method], flush=True)
    content = {"sentences_per_second": figures, "device": device.name, "packages": measure.package_info()}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def stepper(method: str, device, *, quick: bool):
    """A function that trains one step."""
    import torch

    from trainer import backbones, methods
    from trainer.device import autocast
    from trainer.dropout import quicken
    from trainer.methods import Setup

    found, precision = methods.get(method), device.precisions[0]
    labels = ("negative", "positive")
    setup = Setup(backbones.locate("minilm"), labels, found.options(), device, precision, training=quick)
    model = found.build(setup).train()
    if quick and device.kind == "cpu":
        quicken(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    ids = torch.randint(1000, 20000, (BATCH, LENGTH), device=device.kind)
    truth = torch.randint(0, 2, (BATCH,), device=device.kind)

    def step() -> None:
        with autocast(device, precision):
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=truth).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


if __name__ == "__main__":
    main()
