"""Test of a difference over several seeds, or over groups of sentences such as documents.

Seeds and test sentences are both a sample: what is claimed of a method is claimed of other seeds and other sentences.
The variance of a mean difference is then taken apart into the part of the sentences and the part of the seeds, as in
the analysis of several readers and several cases in radiology (Dorfman, Berbaum and Metz 1992), with the degrees of
freedom of Hillis 2007 (after Satterthwaite 1946). Resampling seeds and sentences (the bootstrap by levels of Davison
and Hinkley 1997, chapter 3; the multi-bootstrap of Sellam et al. 2022) estimates the same variance, but with few seeds
too small a one: of three seeds drawn with replacement it is two thirds of what it should be, and a percentile interval
knows no degrees of freedom. Measured by `python -m benchmarks.significance` on 1,000 sentences, with no true difference
and a nominal level of 5%: over 2, 3 and 5 seeds whose accuracy spreads by 0.6 to 2.8 points the test below rejects in 0
to 6%, the bootstrap in 0 to 26%, and McNemar's test of one seed each in 3 to 60%; its intervals hold a true difference
in 95 to 99%. That is why the test is not the bootstrap's. (Bouthillier et al. 2021 show how much of a benchmark's
variance is that of seeds.)

A few sentences that differ are no normal sample either. The difference must therefore also pass a randomisation test
over sentences (Fisher 1935; for language Yeh 2000), exact for any number of them and equal to McNemar's test for two
runs: p is the larger of the two, the interval the wider. Both are of whole groups where sentences come in groups, as
in the test of Durkalski et al. 2003 for McNemar's table with groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.analysis import paired
from trainer.analysis.intervals import LEVEL

DRAWS = 9_999
SEED = 0
"""Of the randomisation test, fixed so that a figure is reproducible."""
MOST_SENTENCES = 1_000_000
"""The most test sentences that `Difference.sentences_for` considers."""


@dataclass(frozen=True)
class Difference:
    """Difference in accuracy of A and B: estimate, 95% interval and p-value; shares from -1 to 1.

    `seeds`: number of seeds of A and of B; `matched`: whether they are the same and were compared one by one.
    `units`: number of independent units, sentences or groups. `error`: standard error, with `degrees` of freedom;
    `seed_share`: share of the variance that is due to seeds; `lasting_share`: the part of it that more sentences would
    not reduce, without the interaction of seeds and sentences. McNemar's test has none of these four.
    """

    difference: float
    low: float
    high: float
    p: float
    sentences: int
    units: int
    seeds: tuple[int, int]
    matched: bool
    discordance: float
    error: float | None = None
    degrees: float | None = None
    seed_share: float | None = None
    lasting_share: float | None = None

    @property
    def grouped(self) -> bool:
        """Whether sentences come in groups."""
        return self.units < self.sentences

    @property
    def over_seeds(self) -> bool:
        """Whether the test takes seeds as a sample: at least one of the two has several."""
        return max(self.seeds) > 1

    def detectable(self, level: float = paired.BOUND) -> float:
        """Smallest true difference that is significant at `level` in 80 of 100 repetitions of this; at most 1.

        For McNemar's test see `paired.detectable`. Else it is the standard error times the sum of the quantiles of t at
        1 - level / 2 and at 0.8 (Bloom 1995), and at least what the randomisation test of these units can find.
        """
        if self.error is None:
            return paired.detectable(self.sentences, self.discordance, level)
        return float(min(max(self._multiple(level) * self.error, paired.detectable(self.units, 0.0, level)), 1.0))

    def sentences_for(self, least: float, level: float = paired.BOUND) -> int | None:
        """Number of test sentences with which a true difference of `least` is found as in `detectable`.

        `lasting_share` of the variance stays, and so do the degrees of freedom; the rest falls with the number of
        sentences. None where what stays hides the difference, or `MOST_SENTENCES` do not show it.
        """
        few, many = 0, max(MOST_SENTENCES, self.sentences)
        if not self._finds(least, many, level):
            return None
        while many - few > max(many // 1000, 1):
            middle = (few + many) // 2
            few, many = (few, middle) if self._finds(least, middle, level) else (middle, many)
        return many

    def _finds(self, least: float, sentences: int, level: float) -> bool:
        """Whether this number of sentences would show a true difference of `least` with 80% probability."""
        if self.error is None:
            return paired.mcnemar_power(least, sentences, self.discordance, level) >= paired.POWER
        more = sentences / self.sentences
        if (
            not np.isfinite(self.error)
            or paired.mcnemar_power(least, int(self.units * more), 0.0, level) < paired.POWER
        ):
            return False
        error = self.error * np.sqrt(self.lasting_share + (1 - self.lasting_share) / more)
        return bool(self._multiple(level) * error <= least)

    def _multiple(self, level: float) -> float:
        """Standard errors between no difference and one that is significant at `level` with 80% probability."""
        from scipy.stats import t

        return float(t.ppf(1 - level / 2, self.degrees) + t.ppf(paired.POWER, self.degrees))


def difference(
    correct_a: np.ndarray, correct_b: np.ndarray, *, groups: np.ndarray | None = None, matched: bool = False
) -> Difference:
    """Difference of two recipes on the same sentences; McNemar's exact test for one run each and no groups.

    `correct_a`, `correct_b`: boolean (seeds, sentences), whether each run predicts each label correctly. `matched`: the
    rows of both are the same seeds in the same order. `groups`: integers (sentences,). Where only one of the two has
    several seeds, the other's variance over seeds is taken to be the same (Crawford and Howell 1998).

    Raises `ValueError` without sentences.
    """
    a, b = np.atleast_2d(correct_a).astype(bool), np.atleast_2d(correct_b).astype(bool)
    if not a.size or not b.size:
        raise ValueError("no sentences")
    seeds, sentences = (len(a), len(b)), a.shape[1]
    gains = a.mean(axis=0) - b.mean(axis=0)
    discordance = float((gains**2).mean())
    if groups is None and seeds == (1, 1):
        result = paired.compare(a[0], b[0])
        return Difference(
            result.difference, result.low, result.high, result.p, sentences, sentences, seeds, False, discordance
        )
    matched = matched and len(a) == len(b) > 1
    sizes, sums_a, sums_b = _by_group(a, b, groups)
    arms = [sums_a - sums_b] if matched else [sums_a, sums_b]
    unit_gains = sums_a.mean(axis=0) - sums_b.mean(axis=0)
    error, degrees, seed_share, lasting_share = _standard_error(arms, unit_gains, sizes)
    estimate = float(gains.mean())
    low, high, p = _student(estimate, error, degrees)
    exact_low, exact_high, exact_p = randomisation(unit_gains, sizes)
    return Difference(
        estimate,
        max(min(low, exact_low), -1.0),
        min(max(high, exact_high), 1.0),
        max(p, exact_p),
        sentences,
        len(sizes),
        seeds,
        matched,
        discordance,
        error,
        degrees,
        seed_share,
        lasting_share,
    )


def randomisation(gains: np.ndarray, sizes: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of the randomisation test over units: the sign of each unit's gain is flipped at random.

    `gains`: (units,), the sum over a unit's sentences of A's correctness less B's; `sizes`: sentences of each unit. The
    interval has the differences that the same test does not reject when it is taken off every sentence; it leaves out
    0 exactly if p is below 5%. Units with equal gains and sizes are drawn together, so the cost is that of the distinct
    ones. For units of one sentence p is that of McNemar's exact test, but for the draws.
    """
    kinds, counts = np.unique(np.stack([np.round(gains, 9), sizes], axis=1), axis=0, return_counts=True)
    total, sentences = float(gains.sum()), float(sizes.sum())
    if not np.any(kinds[:, 0]):
        # No unit differs. What is compatible with that is Tango's interval of no discordant pair: z² / (n + z²).
        reach = 3.8415 / (len(gains) + 3.8415)
        return -reach, reach, 1.0
    signs = 2.0 * np.random.default_rng(SEED).binomial(counts, 0.5, size=(DRAWS, len(counts))) - counts
    gain, size = signs @ kinds[:, 0], signs @ kinds[:, 1]
    p = (1 + int((np.abs(gain) >= abs(total) - 1e-9).sum())) / (DRAWS + 1)
    # A draw is at least as extreme as what was observed for the differences x with |gain - x size| >= |total - x n|:
    # those between two points, which lie on either side of the estimate.
    with np.errstate(divide="ignore", invalid="ignore"):
        points = np.stack([(total - gain) / (sentences - size), (total + gain) / (sentences + size)])
    whole = np.abs(size) >= sentences - 1e-9  # all signs equal: such a draw is as extreme whatever the difference
    lows = np.sort(np.where(whole, -1.0, points.min(axis=0)))
    highs = np.sort(np.where(whole, 1.0, points.max(axis=0)))[::-1]
    rank = int(np.ceil(round((1 - LEVEL) * (DRAWS + 1), 6))) - 2  # p >= 5%: this many draws beside the observed one
    low, high = float(lows[rank]), float(highs[rank])
    # Ties at 0 are settled by p itself, not by the last digit.
    return (min(low, 0.0), max(high, 0.0), p) if p >= 1 - LEVEL else (low, high, p)


def _by_group(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sizes (units,), sums of A and of B over each unit's sentences (seeds, units))."""
    if groups is None:
        return np.ones(a.shape[1]), a.astype(float), b.astype(float)
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    count = int(codes.max()) + 1
    sums = [np.stack([np.bincount(codes, weights=row, minlength=count) for row in rows]) for rows in (a, b)]
    return np.bincount(codes, minlength=count).astype(float), *sums


def _standard_error(arms: list[np.ndarray], gains: np.ndarray, sizes: np.ndarray) -> tuple[float, float, float, float]:
    """(standard error of the difference, its degrees of freedom, `seed_share`, `lasting_share`).

    `arms`: (seeds, units) each: the differences seed by seed, or the two recipes. The part of the seeds is the variance
    of the arm's accuracy over its seeds divided by their number; that of the units is the variance over units of the
    mean gain, less what of it is the seeds' own (their interaction, already in the part of the seeds).
    """
    n, units = sizes.sum(), len(sizes)
    if units < 2:
        return np.inf, 1.0, 0.0, 0.0
    correction = units / (units - 1) / n**2
    residual = gains - gains.sum() / n * sizes
    of_units = correction * float((residual**2).sum())
    parts = [(len(arm), *_seed_part(arm, sizes, correction)) for arm in arms if len(arm) > 1]
    if len(arms) == 2 and len(parts) == 1:
        # One recipe has a single seed: its variance over seeds is taken to be the other's.
        (seeds, variance, interaction) = parts[0]
        parts = [(seeds, variance * (1 + seeds), interaction * (1 + seeds))]
    of_seeds, interactions = sum(variance for _, variance, _ in parts), sum(interaction for *_, interaction in parts)
    rest = max(of_units - interactions, 0.0)
    total = of_seeds + rest
    if total == 0:
        return 0.0, units - 1.0, 0.0, 0.0
    uncertain = sum(variance**2 / (seeds - 1) for seeds, variance, _ in parts) + rest**2 / (units - 1)
    shares = float(of_seeds / total), float((of_seeds - interactions) / total)
    return float(np.sqrt(total)), float(total**2 / uncertain), *shares


def _seed_part(arm: np.ndarray, sizes: np.ndarray, correction: float) -> tuple[float, float]:
    """(variance over seeds of an arm's mean, the part of it that is the interaction of seeds and units).

    The variance is at least that part, which it contains and which is known far more exactly: that of two or three
    seeds that happen to agree would be near 0, with a test that rejects too often.
    """
    means = arm.sum(axis=1) / sizes.sum()
    centred = arm - means[:, None] * sizes
    residual = centred - centred.mean(axis=0)
    count = len(arm)
    interaction = correction * float((residual**2).sum()) / (count * (count - 1))
    return max(float(means.var(ddof=1)) / count, interaction), interaction


def _student(estimate: float, error: float, degrees: float) -> tuple[float, float, float]:
    """(low, high, p) of Student's t."""
    from scipy.stats import t

    if not np.isfinite(error):
        return -1.0, 1.0, 1.0
    if error == 0:
        return estimate, estimate, float(estimate == 0)
    half = float(t.ppf((1 + LEVEL) / 2, degrees)) * error
    return estimate - half, estimate + half, float(2 * t.sf(abs(estimate) / error, degrees))
