"""Two runs on the same test sentences: how far apart they are, and what chance alone would make of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 20_000
SEED = 0
"""The interval is the same whenever it is drawn."""
MOST_PAIRS = 45
"""Those of ten runs."""
BOUND = 0.05
"""Of p, below which a difference is said to hold: the usual one (Fisher 1925)."""


@dataclass(frozen=True)
class Paired:
    """Counts of sentences, and what they tell. Shares are from 0 to 1, `difference` is A's accuracy less B's.

    `p` is McNemar's: how often as lopsided a split of the `only_a + only_b` sentences would come up were both runs
    as good. (`low`, `high`) holds the difference in 95% of test sets drawn again from these sentences.
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
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        return (self.only_a - self.only_b) / self.sentences

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def compare(right_a: np.ndarray, right_b: np.ndarray) -> Paired:
    """Compare two runs by whether each labelled each of the same sentences right: two boolean arrays of one length.

    McNemar's test (McNemar 1947) in its exact form: of the sentences that only one run has right, each run's share is
    binomial with 1/2. Dietterich 1998 recommends it for two classifiers and one test set. The interval is the paired
    bootstrap's, by percentiles (Efron 1979; Koehn 2004 for language): whole sentences are drawn with replacement, so
    that what both runs find hard stays paired. It tells of other test sentences, not of other seeds.

    Raises `ValueError` without sentences.
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if not len(a):
        raise ValueError("no sentences")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    # Drawing sentences is drawing from three kinds: +1, -1 and 0 for the difference.
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
    """The two-sided exact p-value; 1 where the runs differ on no sentence."""
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue)


@dataclass(frozen=True)
class Pair:
    """Two of several runs by their columns. `p` is the test's by Holm's correction for the number of pairs."""

    first: int
    second: int
    found: Paired
    p: float

    @property
    def holds(self) -> bool:
        """Whether the difference is more than the luck of the test sentences, however many pairs were looked at."""
        return self.p < BOUND


def pairs(right: np.ndarray) -> list[Pair]:
    """The first `MOST_PAIRS` pairs of runs. `right`: (sentences, runs), whether each labelled it right."""
    columns = list(itertools.combinations(range(right.shape[1]), 2))[:MOST_PAIRS]
    found = [compare(right[:, a], right[:, b]) for a, b in columns]
    adjusted = holm([one.p for one in found])
    return [Pair(a, b, one, p) for (a, b), one, p in zip(columns, found, adjusted, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979, step-down), in the order given."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min((len(values) - rank) * values[place], 1.0))
        adjusted[place] = highest
    return adjusted
