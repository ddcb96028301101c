"""Sentences a second of one method: the plain recipe, a careful one, and ours, in turn in one process."""

from __future__ import annotations

import statistics

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.method import clear

REPEATS, WARM_UP = {"cuda": 2, "cpu": 1}, {"cuda": 1, "cpu": 0}
"""Rounds that count, and rounds before them; on a CPU no goal is checked, and the steps are only tried."""
GOALS = {"plain": 12.0, "careful": 1.5}
"""Ours over each."""


def run(kit: Kit, name: str) -> None:
    """Medians over the repeats, and ratios within the same repeat."""
    from benchmarks import training

    ways = {"plain": training.plainly, "careful": training.carefully, "ours": training.ourselves}
    file = kit.file("sentences", kit.scale.speed_sentences)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    warm_up = WARM_UP[kit.device.kind]
    for repeat in range(warm_up + REPEATS[kit.device.kind]):
        for way, train in ways.items():
            config = kit.recipe(
                name, file, epochs=1, batch_size=32, seed=repeat, precision="fp32" if way == "plain" else "auto"
            )
            figures = train(kit.request(config, kit.folder / f"{way}-{repeat}"))
            if repeat >= warm_up:
                rates[way].append(figures["rate"])
            clear()
    for way, values in rates.items():
        kit.check(f"{way}: sentences a second", None, statistics.median(values))
    for way, goal in GOALS.items():
        ratio = statistics.median(ours / other for ours, other in zip(rates["ours"], rates[way], strict=True))
        passed = ratio >= goal if kit.device.kind == "cuda" else None
        kit.check(f"ours over {way}", passed, ratio, goal=f"{goal:g} or more")
