"""Sentences a second of one method: the plain recipe, a careful one, and ours, in turn in one process."""

from __future__ import annotations

import statistics

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.method import clear

REPEATS = {"cuda": 2, "cpu": 1}
GOALS = {"plain": 12.0, "careful": 1.5}
"""Ours over each."""


def run(kit: Kit, name: str) -> None:
    """Medians over the repeats after a first round that warms up, and ratios within the same repeat."""
    from benchmarks import training

    ways = {"plain": training.plainly, "careful": training.carefully, "ours": training.ourselves}
    file = kit.file("sentences", kit.scale.speed_sentences)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(REPEATS[kit.device.kind] + 1):
        for way, train in ways.items():
            config = kit.recipe(
                name, file, epochs=1, batch_size=32, seed=repeat, precision="fp32" if way == "plain" else "auto"
            )
            figures = train(kit.request(config, kit.folder / f"{way}-{repeat}"))
            if repeat:
                rates[way].append(figures["rate"])
            clear()
    for way, values in rates.items():
        kit.check(f"{way}: sentences a second", None, statistics.median(values))
    for way, goal in GOALS.items():
        ratio = statistics.median(ours / other for ours, other in zip(rates["ours"], rates[way], strict=True))
        held = ratio >= goal if kit.device.kind == "cuda" else None
        kit.check(f"ours over {way}", held, ratio, goal=f"{goal:g} or more")
