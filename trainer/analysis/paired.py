"""Statistical comparison of two runs on the same test sentences: McNemar's test and a paired bootstrap interval."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 20_000
SEED = 0
"""Of the bootstrap, fixed so that an interval is reproducible."""
MOST_PAIRS = 45
"""Most pairs that are compared: those of ten runs."""
BOUND = 0.05
"""Significance level: a difference with p below it is significant (the customary 5%, Fisher 1925)."""


@dataclass(frozen=True)
class Paired:
    """Comparison of runs A and B: counts of sentences that both, one or neither predicts correctly, and statistics.

    `p` is McNemar's p-value: the probability of a split of the `only_a + only_b` sentences at least this uneven if both
    runs are equally good. (`low`, `high`) is the bootstrap's 95% interval of `difference`, as shares from -1 to 1.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    low: float
    high: float
    p: float

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of A minus accuracy of B."""
        return (self.only_a - self.only_b) / self.sentences

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def compare(correct_a: np.ndarray, correct_b: np.ndarray) -> Paired:
    """Comparison of two runs, from two boolean arrays (sentences,): whether each run predicts each label correctly.

    The test is McNemar's (McNemar 1947) in its exact form: of the sentences that only one run predicts correctly, the
    number that run A does is binomial with probability 1/2 under the null hypothesis. Dietterich 1998 recommends it for
    two classifiers and one test set. The interval is the paired bootstrap's, by percentiles (Efron 1979; Koehn 2004 for
    language): sentences are resampled with replacement, each with both runs' outcomes. Both describe the variation over
    test sentences, not over seeds.

    Raises `ValueError` without sentences.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if not len(a):
        raise ValueError("no sentences")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    # A resampled sentence changes the difference by +1, -1 or 0: resampling is one multinomial draw of three counts.
    shares = np.array([only_a, only_b, len(a) - only_a - only_b]) / len(a)
    drawn = np.random.default_rng(SEED).multinomial(len(a), shares, size=DRAWS)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / len(a), [2.5, 97.5])
    return Paired(
        both=int((a & b).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~a & ~b).sum()),
        low=float(low),
        high=float(high),
        p=mcnemar(only_a, only_b),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test; 1 if the runs differ on no sentence."""
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue)


@dataclass(frozen=True)
class Pair:
    """Comparison of two of several runs. `p` is adjusted for the number of pairs (Holm 1979).

    `first` and `second` are the runs' columns in the array that `pairs` takes; `result.p` is not adjusted.
    """

    first: int
    second: int
    result: Paired
    p: float

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant, adjusted for the number of pairs."""
        return self.p < BOUND


def pairs(correct: np.ndarray) -> list[Pair]:
    """Comparisons of the first `MOST_PAIRS` pairs of runs.

    `correct`: boolean (sentences, runs), whether each run predicts each sentence's label correctly.
    """
    columns = list(itertools.combinations(range(correct.shape[1]), 2))[:MOST_PAIRS]
    results = [compare(correct[:, a], correct[:, b]) for a, b in columns]
    adjusted = holm([result.p for result in results])
    return [Pair(a, b, result, p) for (a, b), result, p in zip(columns, results, adjusted, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple comparisons (Holm 1979, step-down), in the order of `values`."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min((len(values) - rank) * values[index], 1.0))
        adjusted[index] = highest
    return adjusted
