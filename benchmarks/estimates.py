"""Estimates before the start against what training then took: memory of a step, and its time.

    python -m benchmarks.estimates --out estimates.json

For each configuration, one after another: the machine is probed, the recipe estimated as `python -m trainer estimate`
does, trained for some steps, and the machine probed again. The estimate of time is the mean with the probe before and
after, for other work on the machine slows both; the measured one is the median of the steps but the first. On a
machine with other work `--processor-time` computes on one thread and counts the processor's time alone.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CONFIGURATIONS = (
    ("full", "bert-tiny", 32, 8),
    ("lora", "bert-tiny", 128, 32),
    ("qlora", "bert-tiny", 32, 32),
    ("adapter_fusion", "bert-tiny", 32, 32),
    ("full", "minilm", 32, 32),
    ("lora", "minilm", 32, 8),
    ("qlora", "minilm", 32, 32),
    ("adapter", "minilm", 128, 8),
    ("adapter_fusion", "minilm", 32, 8),
    ("lora", "minilm", 128, 32),
    ("full", "bert-base", 32, 8),
    ("lora", "bert-base", 32, 8),
    ("qlora", "bert-base", 32, 8),
    ("adapter", "bert-base", 128, 8),
    ("adapter_fusion", "bert-base", 32, 8),
)
"""(method, shape, tokens of the longest sentence, sentences of a batch)."""
MEMORY, TIME = (0.8, 1.25), (0.67, 1.5)
"""What an estimate may be of what was measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="training steps of each configuration")
    parser.add_argument("--only", nargs="+", default=[], help="methods or shapes")
    parser.add_argument("--processor-time", action="store_true", help="one thread, and its processor time")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    from benchmarks.common import write
    from trainer.machine.device import quiet_libraries, reuse_freed_memory, share_cores

    share_cores()
    reuse_freed_memory()
    quiet_libraries()
    timer = time.process_time if arguments.processor_time else time.perf_counter
    if arguments.processor_time:
        import torch

        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _own_cache(root / "cache")
        rows = []
        for one in CONFIGURATIONS:
            if all(one[part] in chosen for part, chosen in only(arguments.only).items()):
                rows.append(measured(*one, steps=arguments.steps, root=root, timer=timer))
                print(rows[-1], flush=True)
    within = {
        figure: sum(low <= row[f"{figure}_ratio"] <= high for row in rows)
        for figure, (low, high) in {"memory": MEMORY, "time": TIME}.items()
    }
    write(arguments.out, {"rows": rows, "of": len(rows), "within": within, "processor_time": arguments.processor_time})


def only(names: list[str]) -> dict[int, set[str]]:
    """Column of `CONFIGURATIONS` -> the names that are chosen of it; a column of which none is chosen is left out."""
    parts = {part: {one[part] for one in CONFIGURATIONS} & set(names) for part in (0, 1)}
    return {part: chosen for part, chosen in parts.items() if chosen}


def _own_cache(folder: Path) -> None:
    """Use a cache of estimates of its own, with the files that are already downloaded."""
    from trainer.sources import assets

    folder.mkdir()
    for source in (assets.minilm(), assets.sentences()):
        (folder / source.name).symlink_to(source)
    os.environ["PEFT_LAB_CACHE"] = str(folder)


def measured(
    method: str, shape: str, length: int, batch_size: int, *, steps: int, root: Path, timer: Callable[[], float]
) -> dict[str, Any]:
    """Estimate and measure one configuration. Bytes, and seconds of all its steps."""
    from benchmarks.common import random_backbone
    from trainer.machine.device import detect
    from trainer.runs import estimate, recipes
    from trainer.runs import steps as stored
    from trainer.training import simulate

    backbone, device = root / shape, detect()
    if not backbone.is_dir():
        random_backbone(shape, backbone)
    task = _sentences(root / f"{length}.csv", length)
    config = recipes.make(
        method=method, task=str(task), backbone=str(backbone), max_length=length, batch_size=batch_size, epochs=1,
        train_size=steps * batch_size, validation_size=16, test_size=16,
        **({"parent_tasks": ("movies", "products", "tweets")} if method == "adapter_fusion" else {}),
    )  # fmt: skip
    precision, estimates = device.choose(config.precision), []
    for moment in ("before", "after"):
        since = time.perf_counter()
        stored.store_speed(device.name, precision, simulate.probe(device, precision, timer=timer))
        probed = time.perf_counter() - since
        simulate.ensure([config], device=device)
        estimates.append(estimate.estimate(config, device=device))
        if moment == "before":
            seconds, peak = _train(config, root, timer)
    one, seconds = estimates[0], steps * seconds
    expected = statistics.mean(each.seconds for each in estimates)
    return {
        "method": method, "shape": shape, "tokens": length, "batch": batch_size,
        "memory": peak, "memory_estimate": one.memory, "memory_ratio": round(one.memory / peak, 3),
        "time": round(seconds, 3), "time_estimate": round(expected, 3), "time_ratio": round(expected / seconds, 2),
        "time_ratios": [round(each.seconds / seconds, 2) for each in estimates], "probe": round(probed, 1),
        "based_on": [one.based_on, one.memory_based_on],
    }  # fmt: skip


def _sentences(path: Path, length: int) -> Path:
    """A CSV file of made sentences, between three quarters of `length` tokens and a little above; each word is one."""
    import pandas as pd

    from trainer.sources import assets

    if not path.is_file():
        vocabulary = (assets.minilm() / "vocab.txt").read_text(encoding="utf-8").split("\n")
        words = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3]
        generator = random.Random(0)
        rows = []
        for number in range(1_000):
            count = generator.randint(3 * length // 4, length + 4)
            rows.append((" ".join(generator.choices(words, k=count)), ("bad", "good")[number % 2]))
        pd.DataFrame(rows, columns=["sentence", "label"]).to_csv(path, index=False)
    return path


def _train(config: Any, root: Path, timer: Callable[[], float]) -> tuple[float, int]:
    """(median seconds of a step, peak bytes of one) of a training."""
    from trainer import methods
    from trainer.machine.device import detect
    from trainer.methods import Parent, Setup
    from trainer.sources import backbones
    from trainer.training.loop import Loop
    from trainer.training.train import Request, train

    folder = Path(tempfile.mkdtemp(dir=root))
    method, parents = methods.get(config.method), []
    for task in method.parent_tasks(config.task, method.options(**config.options)):
        lender = methods.get(method.parent_method)
        setup = Setup(backbones.locate(config.backbone), ("a", "b"), lender.options(), detect(), "fp32")
        lender.save(lender.build(setup), folder / task, setup)
        parents.append(Parent(task, task, folder / task))
    untrained = SimpleNamespace(train_info=SimpleNamespace(train_time=0.0, file_size=0, num_trainable_params=0))
    request = Request(
        config, folder, lambda event: None, parents=tuple(parents), parent_results=(untrained,) * len(parents)
    )
    plain, seconds = Loop.step, []

    def step(self: Loop, *arguments: Any) -> None:
        since = timer()
        plain(self, *arguments)
        if self.accelerator.device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        seconds.append(timer() - since)

    Loop.step = step
    try:
        info = train(request).train_info
    finally:
        Loop.step = plain
    return statistics.median(seconds[1:]), info.step_memory.peak


if __name__ == "__main__":
    main()
