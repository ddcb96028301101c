"""Comparison of two runs on the same test sentences: McNemar's exact test, an interval, the detectable difference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainer.analysis.intervals import paired_difference

BOUND = 0.05
"""Significance level: a difference with p below it is significant (the customary 5%, Fisher 1925)."""
POWER = 0.8
"""Probability with which the smallest detectable difference would be significant (the customary 80%, Cohen 1988)."""


@dataclass(frozen=True)
class Paired:
    """Comparison of runs A and B: counts of sentences that both, one or neither predicts correctly, and statistics.

    `p` is McNemar's p-value: the probability of a split of the `only_a + only_b` sentences at least this uneven if both
    runs are equally good. (`low`, `high`) is the 95% interval of `difference`, as shares from -1 to 1; it leaves out 0
    exactly if `p` is below 5%.
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
    two classifiers and one test set. The interval is `intervals.paired_difference`. Both describe the variation over
    test sentences, not over seeds (for several seeds see `trainer.analysis.seeds`).

    Raises `ValueError` without sentences.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if not len(a):
        raise ValueError("no sentences")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    low, high = paired_difference(only_a, only_b, len(a))
    return Paired(
        both=int((a & b).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~a & ~b).sum()),
        low=low,
        high=high,
        p=mcnemar(only_a, only_b),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test; 1 if the runs differ on no sentence."""
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue)


@lru_cache(maxsize=1024)
def detectable(sentences: int, discordance: float, level: float = BOUND) -> float:
    """Smallest true difference in accuracy that McNemar's exact test finds in 80 of 100 test sets, as a share.

    `discordance`: share of the sentences that only one of the runs predicts correctly. It is taken as observed, and as
    the difference itself where that is larger, for it cannot be smaller. `level`: p below which a difference counts.
    The power is computed exactly, over the number of such sentences and their split (Lachin 1992; for large
    numbers it is the formula of Connor 1987). 1 if not even a difference of 1 would do.
    """
    if mcnemar_power(1.0, sentences, discordance, level) < POWER:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        if mcnemar_power(middle, sentences, discordance, level) < POWER:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=4096)
def mcnemar_power(difference: float, sentences: int, discordance: float, level: float = BOUND) -> float:
    """Probability that McNemar's exact test finds a true difference; arguments as in `detectable`."""
    from scipy.stats import binom

    discordance = max(discordance, difference)
    if discordance == 0:
        return 0.0
    differ = np.arange(binom.ppf(1e-9, sentences, discordance), binom.ppf(1 - 1e-9, sentences, discordance) + 1)
    share = min((1 + difference / discordance) / 2, 1.0)
    # The largest count of the weaker run with p below the level; -1 where there is none.
    most = binom.ppf(level / 2, differ, 0.5) - 1
    power = binom.sf(differ - most - 1, differ, share) + binom.cdf(most, differ, share)
    power = np.where(most >= 0, power, 0.0)
    return float(binom.pmf(differ, sentences, discordance) @ power)


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
    """Comparisons of every two runs.

    `correct`: boolean (sentences, runs), whether each run predicts each sentence's label correctly.
    """
    columns = list(itertools.combinations(range(correct.shape[1]), 2))
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
