"""95% confidence intervals: of an accuracy, of the mean accuracy over seeds, of a difference on the same sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

LEVEL = 0.95
"""Confidence level of every interval."""
BISECTIONS = 50


def wilson(share: float, sentences: float) -> tuple[float, float]:
    """Wilson's score interval of an accuracy (Wilson 1927; recommended by Brown, Cai and DasGupta 2001).

    `share`: accuracy from 0 to 1; `sentences`: their number, or the effective number where they are not independent.
    """
    z = _normal_quantile()
    centre = (share + z**2 / (2 * sentences)) / (1 + z**2 / sentences)
    half = z / (1 + z**2 / sentences) * np.sqrt(share * (1 - share) / sentences + z**2 / (4 * sentences**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def accuracy(
    shares: Sequence[float], sentences: int, *, design_effect: float = 1.0, groups: int | None = None
) -> tuple[float, float]:
    """Interval of the mean accuracy of runs that differ in their seed alone; Wilson's for one run.

    Over several seeds the variance of the mean is that of the sentences, p(1 - p) / sentences, plus that over seeds
    divided by their number; Wilson's interval then has the effective number of sentences that gives this variance, made
    smaller for the few degrees of freedom (Satterthwaite 1946; Franco et al. 2019). That part of the
    sentences' variance which differs between seeds is counted twice: the interval errs to the wide side.

    `design_effect` multiplies the sentences' variance where they come in `groups`, such as documents (Kish 1965).
    """
    mean = float(np.mean(shares))
    if len(shares) == 1 and groups is None:
        return wilson(mean, sentences / design_effect)
    from scipy.stats import t

    of_sentences = mean * (1 - mean) / sentences * design_effect
    of_seeds = float(np.var(shares, ddof=1)) / len(shares) if len(shares) > 1 else 0.0
    total = of_sentences + of_seeds
    if total == 0:
        return wilson(mean, sentences / design_effect)
    uncertain = of_seeds**2 / max(len(shares) - 1, 1) + (of_sentences**2 / max(groups - 1, 1) if groups else 0.0)
    degrees = total**2 / uncertain if uncertain else np.inf
    quantile = t.ppf((1 + LEVEL) / 2, degrees) if np.isfinite(degrees) else _normal_quantile()
    return wilson(mean, mean * (1 - mean) / total * (_normal_quantile() / quantile) ** 2)


def design_effect(correct: np.ndarray, groups: np.ndarray) -> float:
    """Variance of an accuracy over that of as many independent sentences, at least 1 (Kish 1965).

    `correct`: boolean (sentences,); `groups`: integers (sentences,), equal for sentences of one group. The variance is
    that of a ratio over groups (Cochran 1977, chapter 3). 1 for fewer than two groups or an accuracy of 0 or 1.
    """
    hits, sizes = np.bincount(groups, weights=correct), np.bincount(groups)
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    share, count = float(np.mean(correct)), len(sizes)
    if count < 2 or share in (0.0, 1.0):
        return 1.0
    variance = count / (count - 1) * float(((hits - share * sizes) ** 2).sum()) / len(correct) ** 2
    return max(variance / (share * (1 - share) / len(correct)), 1.0)


def paired_difference(only_a: int, only_b: int, sentences: int) -> tuple[float, float]:
    """Interval of the difference of two accuracies on the same sentences, which agrees with McNemar's exact test.

    It leaves out 0 exactly if the test's p is below 5%. Tango's score interval (Tango 1998), with coverage near 95%,
    does not: it inverts the asymptotic test, which rejects more often. It is therefore widened to the exact conditional
    interval (Clopper and Pearson 1934, for the share of A among the sentences that only one run predicts correctly; as
    Fagerland, Lydersen and Laake 2014 describe it), which agrees with the exact test and alone would be too narrow.
    """
    ends = zip(tango(only_a, only_b, sentences), _conditional(only_a, only_b, sentences), strict=True)
    low, high = next(ends), next(ends)
    return min(low), max(high)


def tango(only_a: int, only_b: int, sentences: int) -> tuple[float, float]:
    """Tango's score interval of the difference of two paired shares (Tango 1998)."""
    z, estimate = _normal_quantile(), (only_a - only_b) / sentences

    def statistic(difference: float) -> float:
        linear = -only_a - only_b + (2 * sentences - only_a + only_b) * difference
        constant = -only_b * difference * (1 - difference)
        constrained = (np.sqrt(max(linear**2 - 8 * sentences * constant, 0.0)) - linear) / (4 * sentences)
        variance = sentences * (2 * constrained + difference * (1 - difference))
        return abs(only_a - only_b - sentences * difference) / np.sqrt(variance) if variance > 0 else np.inf

    def end(limit: float) -> float:
        inside, outside = estimate, limit
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            if statistic(middle) <= z:
                inside = middle
            else:
                outside = middle
        return inside

    return float(end(-1.0)), float(end(1.0))


def _conditional(only_a: int, only_b: int, sentences: int) -> tuple[float, float]:
    """Exact interval of the difference, given the number of sentences that only one of the runs predicts correctly."""
    from scipy.stats import beta

    differ, tail = only_a + only_b, (1 - LEVEL) / 2
    low = beta.ppf(tail, only_a, only_b + 1) if only_a else 0.0
    high = beta.ppf(1 - tail, only_a + 1, only_b) if only_b else 1.0
    scale = differ / sentences
    return float((2 * low - 1) * scale), float((2 * high - 1) * scale)


@cache
def _normal_quantile() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + LEVEL) / 2))
