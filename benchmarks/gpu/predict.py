"""Predictions of the queue's runs: one sentence, a file, attributions, ten runs that share a backbone, what remains."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.gpu.kit import Kit, sentences
from benchmarks.gpu.method import clear
from benchmarks.gpu.steps import METHODS


def run(kit: Kit) -> None:
    """Time and memory of each; the runs are those that the step `queue` trained."""
    from trainer.runs.store import Store
    from trainer.serving.predictor import Predictor

    store = Store(kit.root / "queue" / "store")
    finished = {run.recipe.method: run for run in reversed(store.list()) if run.can_predict}
    runs = [finished[name] for name in METHODS if name in finished]
    kit.check("runs of every method to predict with", len(runs) == len(METHODS), len(runs))
    if not runs:
        return
    before = allocated(kit)
    predictor = Predictor(store)
    text = sentences(1, seed=7, least=14, most=14)[0][0]
    predictor.predict(text, runs)
    seconds = []
    for _ in range(20):
        since = time.perf_counter()
        answers = predictor.predict(text, runs)
        seconds.append(time.perf_counter() - since)
    proper = all(abs(sum(a.probabilities.values()) - 1) < 1e-4 for a in answers)
    kit.check("one sentence through five runs, ms", proper, 1000 * statistics.median(seconds))
    texts = [text for text, _ in sentences(kit.scale.file_sentences, seed=8)]
    for run in runs:
        since = time.perf_counter()
        quick = predictor.predict_many(texts, run, quick=True)
        seconds = time.perf_counter() - since
        exact = predictor.predict_many(texts, run)
        same = int((quick.argmax(1) == exact.argmax(1)).sum())
        kit.check(f"{len(texts)} sentences, {run.recipe.method}: labels are float32's", same == len(texts),
                  f"{len(texts) / seconds:.0f} a second, {len(texts) - same} differ")  # fmt: skip
    for run in runs:
        explanation = predictor.explain(text, run)
        kit.check(f"attributions of {run.recipe.method}", len(explanation.words) > 0, f"{len(explanation.words)} words")
    for run in runs:
        predictor.forget(run.id)
    del predictor
    clear()
    remains = allocated(kit) - before
    kit.check("MB on the device after the models are forgotten", remains <= 16e6, remains / 1e6, goal="16 or less")
    shared(kit, finished.get("lora"))


def shared(kit: Kit, run: Any) -> None:
    """Ten LoRA runs of one backbone hold its weights once."""
    from benchmarks.serving import copies
    from trainer.serving.predictor import Predictor

    if run is None:
        return
    store = copies(run.folder, kit.folder / "copies", 10)
    before, predictor, sizes = allocated(kit), Predictor(store), []
    for copy in store.list():
        predictor.predict_one("the film is warm", copy)
        sizes.append(allocated(kit) - before)
    if kit.device.kind == "cuda":
        ratio = sizes[-1] / (10 * sizes[0])
        kit.check("ten runs of one backbone, memory over ten models'", ratio <= 0.2, ratio, goal="0.2 or less")
    else:
        kit.check("ten runs of one backbone predict", len(sizes) == 10, len(sizes))


def allocated(kit: Kit) -> int:
    """Bytes that this process has allocated on the device; 0 on a CPU."""
    if kit.device.kind != "cuda":
        return 0
    import torch

    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()
