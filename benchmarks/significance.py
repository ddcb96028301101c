"""Type-I error and coverage of the tests over seeds, on made-up predictions: python -m benchmarks.significance.

Two recipes that are equally good are "trained" with some seeds and tested on some sentences, many times. A sentence is
predicted correctly if the sum of its easiness, its easiness for the recipe, the run's own quality and noise is
positive, so that sentences and seeds both vary.
"""

from __future__ import annotations

import argparse

import numpy as np

from trainer.analysis import paired, seeds

SENTENCES = 1000
RESAMPLES = 400


def simulate(
    rng: np.random.Generator, count: int, *, quality: float, better: float = 0.0, sentences: int = SENTENCES
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
    """Print the share of experiments without a true difference that each test calls significant, in per cent."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--sentences", type=int, default=SENTENCES)
    options = parser.parse_args()
    print("seeds  sd of a run  McNemar, one seed  bootstrap  matched seeds  other seeds  (per cent significant)")
    for count in (2, 3, 5):
        for quality in (0.0, 0.06, 0.12):
            rates, spread = rejections(options.experiments, count, quality, options.sentences)
            cells = [f"{100 * rate:.1f}" for rate in rates]
            print(f"{count:5}  {100 * spread:9.2f}  {cells[0]:>18}  {cells[1]:>9}  {cells[2]:>13}  {cells[3]:>11}")


def rejections(experiments: int, count: int, quality: float, sentences: int) -> tuple[list[float], float]:
    """(shares called significant by McNemar's test, bootstrap, matched and other seeds; sd of accuracy over seeds)."""
    rng = np.random.default_rng([count, int(1000 * quality)])
    found, spread = np.zeros(4), 0.0
    for _ in range(experiments):
        a, b = simulate(rng, count, quality=quality, sentences=sentences)
        low, high = bootstrap(a, b, rng, matched=True)
        found[0] += paired.mcnemar(int((a[0] & ~b[0]).sum()), int((b[0] & ~a[0]).sum())) < paired.BOUND
        found[1] += low > 0 or high < 0
        found[2] += seeds.difference(a, b, matched=True).p < paired.BOUND
        found[3] += seeds.difference(a, b).p < paired.BOUND
        spread += a.mean(1).std(ddof=1)
    return list(found / experiments), spread / experiments


if __name__ == "__main__":
    main()
