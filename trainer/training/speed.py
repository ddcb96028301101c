"""Speed of predicting with a saved model: one sentence alone, and batches.

The model is opened again and prepared as serving does for Live (in float32, its weights packed on a CPU), since a model
in training has other speed-ups. Sentences are tokenised before; the time is that of the forward pass, with padding and
with copies to and from the device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainer.engine.prepare import Prepared, Speedups, prepare
from trainer.engine.sharing import Pool
from trainer.methods.base import CLASSIFIER_SPEEDUPS
from trainer.training.request import Work

BATCH = 32
SINGLES, SENTENCES = 24, 256
"""Sentences in a repeat: one by one, and the most in batches; fewer where `SECONDS` requires it, one batch at least."""
REPEATS = 5
SECONDS = 0.4
"""What the repeats of one model should take at most, where `LEAST_REPEATS` of one batch do not take longer."""
LEAST_REPEATS = 3


def inference(work: Work, folder: Path, *, on_pass: Callable[[], None]) -> dict[str, Any] | None:
    """The fields of `result.Inference` for the model in `folder`, on sentences spread evenly over the test split.

    `on_pass` is called after every pass; an error that it raises ends the measurement. Random generators keep their
    state. None where the device's memory does not suffice for the model as it is served.
    """
    method, setup = work.method, replace(work.setup, training=False, precision="fp32", parents=())
    with torch.random.fork_rng():
        try:
            prepared = _prepare(method.for_inference(method.open(folder, setup), setup), method.speedups, work)
            figures = measure(prepared, work.ids["test"], on_pass=on_pass)
            del prepared
            # Opened once more: weights that were packed cannot be merged.
            if (merged := method.merge(method.open(folder, setup))) is not None:
                prepared = _prepare(merged.eval(), CLASSIFIER_SPEEDUPS, work)
                figures["merged"] = measure(prepared, work.ids["test"], on_pass=on_pass)
        except torch.OutOfMemoryError:
            return None
    return figures


def measure(
    prepared: Prepared, ids: Sequence[Sequence[int]], *, on_pass: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The fields of `result.Speed`: medians over repeats, whose latency is itself a median over sentences.

    `ids` are token ids of the sentences to choose from. The first pass, which allocates memory, does not count.
    """

    def seconds(sentences: Sequence[Sequence[int]], batch_size: int) -> float:
        since = time.perf_counter()
        prepared.logits(sentences, batch_size=batch_size, precision="fp32")
        elapsed = time.perf_counter() - since
        on_pass()
        return elapsed

    singles = spread(ids, SINGLES)
    seconds(singles[:1], 1)
    seconds(spread(ids, BATCH), BATCH)
    batch = seconds(spread(ids, BATCH), BATCH)
    batches = spread(ids, BATCH * min(max(int(SECONDS / 2 / LEAST_REPEATS / batch), 1), SENTENCES // BATCH))
    latencies, speeds, started = [], [], time.perf_counter()
    while len(speeds) < REPEATS:
        latencies.append(statistics.median(seconds([sentence], 1) for sentence in singles))
        speeds.append(len(batches) / seconds(batches, BATCH))
        if len(speeds) >= LEAST_REPEATS and time.perf_counter() - started > SECONDS:
            break
    return {
        "latency": statistics.median(latencies),
        "sentences_per_second": statistics.median(speeds),
        "repeats": len(speeds),
    }


def spread(ids: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    """`count` sentences at equal distances through `ids`; of fewer, some again."""
    return [ids[i * len(ids) // count] for i in range(count)]


def _prepare(model: torch.nn.Module, speedups: Speedups, work: Work) -> Prepared:
    backbone = work.setup.backbone
    return prepare(
        model,
        speedups,
        family=backbone.family,
        device=work.device,
        pad_id=work.pad_id,
        longest=backbone.shape.longest,
        pool=Pool(),
    )
