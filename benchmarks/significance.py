"""Type-I error and coverage of the tests over seeds, on made-up predictions: python -m benchmarks.significance.

Two recipes that are equally good (or, for the coverage, one better than the other) are "trained" with some seeds and
tested on some sentences, many times. A sentence is predicted correctly if the sum of its easiness, its easiness for the
recipe, the run's own quality and noise is positive, so that sentences and seeds both vary.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from trainer.analysis import paired, seeds

RESAMPLES = 400


def simulate(
    rng: np.random.Generator, count: int, *, quality: float, better: float = 0.0, sentences: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each run of two recipes predicts each sentence correctly: two boolean arrays (count, sentences).

    `quality`: standard deviation over seeds of a run's quality, in units of the sentences' easiness; 0.06 is about a
    point of accuracy. `better` is added to the first recipe's.
    """
    easiness = rng.normal(1.0, 1.0, sentences)
    recipes = []
    for shift in (better, 0.0):
        own = rng.normal(0, 0.2, sentences)
        runs = rng.normal(shift, quality, (count, 1)) if quality else np.full((count, 1), shift)
        recipes.append(easiness + own + runs + rng.normal(0, 0.4, (count, sentences)) > 0)
    return recipes[0], recipes[1]


def bootstrap(a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, matched: bool) -> tuple[float, float]:
    """Percentile interval of the multi-bootstrap (Sellam et al. 2022): seeds and sentences resampled, crossed."""
    count, sentences = a.shape
    # Sentences with equal outcomes in all runs are drawn together.
    kinds, counts = np.unique(np.concatenate([a, b]), axis=1, return_counts=True)
    weights = rng.multinomial(sentences, counts / sentences, size=RESAMPLES) / sentences
    by_seed_a, by_seed_b = weights @ kinds[:count].T, weights @ kinds[count:].T
    picks = [rng.integers(0, count, (RESAMPLES, count)) for _ in range(2)]
    rows = np.arange(RESAMPLES)[:, None]
    drawn = by_seed_a[rows, picks[0]].mean(1) - by_seed_b[rows, picks[0 if matched else 1]].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measure how often each test calls equal recipes different, and how often the interval holds a true difference."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("significance.json"))
    options = parser.parse_args()
    from benchmarks import common

    size = options.experiments, options.sentences
    equal = [rejections(*size, count, quality=quality) for count in (2, 3, 5) for quality in (0.0, 0.06, 0.12)]
    unequal = [coverage(*size, count) for count in (2, 3, 5)]
    common.write(options.out, {"experiments": size[0], "sentences": size[1], "equal": equal, "unequal": unequal})


def rejections(experiments: int, sentences: int, count: int, *, quality: float) -> dict[str, float]:
    """Shares of equal recipes that each test calls different, and the standard deviation of accuracy over seeds."""
    rng = np.random.default_rng([count, int(1000 * quality)])
    rejected, spread = np.zeros(4), 0.0
    for _ in range(experiments):
        a, b = simulate(rng, count, quality=quality, sentences=sentences)
        low, high = bootstrap(a, b, rng, matched=True)
        rejected[0] += paired.mcnemar(int((a[0] & ~b[0]).sum()), int((b[0] & ~a[0]).sum())) < paired.BOUND
        rejected[1] += low > 0 or high < 0
        rejected[2] += seeds.difference(a, b, matched=True).p < paired.BOUND
        rejected[3] += seeds.difference(a, b).p < paired.BOUND
        spread += a.mean(1).std(ddof=1)
    names = ("mcnemar_of_one_seed", "bootstrap", "matched_seeds", "other_seeds")
    shares = dict(zip(names, map(float, rejected / experiments), strict=True))
    return {"seeds": count, "deviation_over_seeds": float(spread / experiments), **shares}


def coverage(
    experiments: int, sentences: int, count: int, *, quality: float = 0.06, better: float = 0.2
) -> dict[str, float]:
    """Shares of the intervals, for matched and for other seeds, that contain the true difference."""
    from scipy.stats import norm

    rng, covered = np.random.default_rng([count, 7]), np.zeros(2)
    deviation = np.sqrt(1 + 0.2**2 + quality**2 + 0.4**2)
    true = norm.cdf((1 + better) / deviation) - norm.cdf(1 / deviation)
    for _ in range(experiments):
        a, b = simulate(rng, count, quality=quality, better=better, sentences=sentences)
        for i, matched in enumerate((True, False)):
            interval = seeds.difference(a, b, matched=matched)
            covered[i] += interval.low <= true <= interval.high
    matched, other = map(float, covered / experiments)
    return {"seeds": count, "true_difference": float(true), "matched_seeds": matched, "other_seeds": other}


if __name__ == "__main__":
    main()
