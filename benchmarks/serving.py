"""Memory to serve ten PEFT runs of one backbone: sharing its weights, against ten separate models.

    python -m benchmarks.serving --run RUN_FOLDER --out serving.json

RUN_FOLDER is a finished LoRA or adapter run. Ten copies with slightly different weights are made of it in a store of
their own and opened together here, and each as its library's documentation does it: their predictions must agree.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import common
from benchmarks.predicting import Plain
from trainer.engine.sharing import unique_bytes
from trainer.runs.store import Store
from trainer.serving.predictor import Predictor

TEXTS = ["A warm, funny and beautifully acted film.", "It is not a bad film, and never a dull one.", "Dull."]


def main() -> None:
    """Open ten runs both ways and write bytes, their ratio and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--count", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        store = copies(arguments.run, Path(root), arguments.count)
        runs = store.list()
        # What libraries allocate once is in neither figure.
        Predictor(store).predict(TEXTS[0], runs[:1])
        Plain(runs[0]).predict(TEXTS)
        before = resident()
        shared = Predictor(store)
        since = time.perf_counter()
        answers = [shared.predict_many(TEXTS, run) for run in runs]
        seconds = time.perf_counter() - since
        together = resident() - before
        weights = unique_bytes(kept.model for kept in shared._models.values())
        before = resident()
        alone = [Plain(run) for run in runs]
        separately = [one.predict(TEXTS).numpy() for one in alone]
        apart = resident() - before
        weights_apart = sum(unique_bytes([one.model]) for one in alone)
    figures = {
        "runs": len(runs),
        "method": runs[0].recipe.method,
        "backbone": runs[0].recipe.backbone,
        "weights_mb": [round(weights / 1e6, 1), round(weights_apart / 1e6, 1)],
        "weights_ratio": round(weights / weights_apart, 3),
        "resident_mb": [round(together / 1e6, 1), round(apart / 1e6, 1)],
        "resident_ratio": round(together / apart, 3),
        "largest_difference": max(float(abs(a - b).max()) for a, b in zip(answers, separately, strict=True)),
        "seconds_to_open_all": round(seconds, 2),
    }
    common.write(arguments.out, figures)


def copies(folder: Path, root: Path, count: int) -> Store:
    """A store with `count` copies of a run whose own weights all differ, as those of ten trained runs do."""
    import torch
    from safetensors.torch import load_file, save_file

    for number in range(count):
        copy = root / f"{folder.name}-{number}"
        shutil.copytree(folder, copy)
        for path in copy.glob("model/**/*.safetensors"):
            torch.manual_seed(number)
            state = {name: tensor + 1e-3 * torch.randn_like(tensor) for name, tensor in load_file(path).items()}
            save_file(state, path)
    return Store(root)


def resident() -> int:
    """Bytes of this process in memory."""
    import gc

    gc.collect()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
