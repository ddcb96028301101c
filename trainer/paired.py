"""Two runs on the same test sentences: how far apart they are, and what chance alone would make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 20_000
SEED = 0
"""The interval is the same whenever it is drawn."""


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
