"""Tests and intervals: worked examples of their sources, other libraries, every small table, error rates."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import classification_report
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from benchmarks.significance import simulate
from trainer.analysis import intervals, paired, seeds, tables
from trainer.training.evaluate import Predictions, metrics

# Intervals of an accuracy


@pytest.mark.parametrize(
    ("hits", "sentences", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_examples(hits, sentences, low, high):
    assert intervals.wilson(hits / sentences, sentences) == pytest.approx((low, high), abs=5e-5)


def test_wilson_equals_other_libraries():
    for sentences in (1, 5, 50, 1004):
        for hits in {0, 1, sentences // 3, sentences - 1, sentences}:
            ours = intervals.wilson(hits / sentences, sentences)
            exact = stats.binomtest(hits, sentences).proportion_ci(method="wilson")
            assert ours == pytest.approx((exact.low, exact.high), abs=1e-9)
            assert ours == pytest.approx(proportion_confint(hits, sentences, method="wilson"), abs=1e-9)
            assert intervals.accuracy([hits / sentences], sentences) == pytest.approx(ours)


def test_an_interval_over_seeds_counts_seeds_and_sentences():
    alike = intervals.accuracy([0.8] * 3, 1000)
    assert alike == pytest.approx(intervals.wilson(0.8, 1000)), "seeds that agree tell nothing more of the sentences"
    apart = intervals.accuracy([0.76, 0.8, 0.84], 1000)
    many = intervals.accuracy([0.76, 0.8, 0.84] * 8, 1000)
    assert apart[0] < many[0] < alike[0] < alike[1] < many[1] < apart[1]
    # With endless sentences the seeds alone are left: Student's interval of their mean.
    student = stats.t.interval(0.95, 2, 0.8, stats.sem([0.76, 0.8, 0.84]))
    assert intervals.accuracy([0.76, 0.8, 0.84], 10**9) == pytest.approx(student, abs=0.02)


def test_sentences_of_one_document_count_together():
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(100), 10)
    assert intervals.design_effect(rng.random(1000) < 0.8, groups) < 1.5
    copied = np.repeat(rng.random(100) < 0.8, 10)
    assert intervals.design_effect(copied, groups) == pytest.approx(10, rel=0.02)
    low, high = intervals.accuracy([0.8], 1000, design_effect=10.0)
    assert (low, high) == pytest.approx(intervals.wilson(0.8, 100))
    frame = pd.DataFrame({"group": ["a", "b", None, "a", None]})
    codes = tables.group_codes(frame)
    assert codes[0] == codes[3]
    assert len(set(codes)) == 4
    assert tables.group_codes(frame.drop(columns="group")) is None


# Two runs


def test_mcnemar_and_tango_give_published_examples():
    # Bentur et al. 2009 and Cavo et al. 2012, as in Fagerland, Lydersen and Laake 2014
    assert paired.mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert intervals.tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert paired.mcnemar(6, 16) == pytest.approx(0.052479, abs=5e-7)
    assert intervals.tango(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    # There Tango's interval leaves out 0, though the exact test does not reject: ours agrees with the test.
    low, high = intervals.paired_difference(6, 16, 161)
    assert low < 0 < high


def test_mcnemar_equals_other_libraries():
    for a, b in itertools.product(range(0, 40, 3), repeat=2):
        if a + b:
            assert paired.mcnemar(a, b) == pytest.approx(reference_mcnemar([[50, a], [b, 50]], exact=True).pvalue)


def test_no_interval_contradicts_its_p():
    """Every table of up to 24 sentences that differ, alone, among some others, and among very many."""
    for a, b in itertools.product(range(25), repeat=2):
        for others in (0, 1, 2 * (a + b) + 3, 20_000):
            if a + b + others == 0 or a + b > 24:
                continue
            n = a + b + others
            low, high = intervals.paired_difference(a, b, n)
            assert (low > 0 or high < 0) == (paired.mcnemar(a, b) < paired.BOUND), (a, b, n)
            assert -1 <= low <= (a - b) / n <= high <= 1
            assert low < high, "a finite test set leaves room"
            assert intervals.paired_difference(b, a, n) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("shares", [(0.06, 0.04), (0.1, 0.02), (0.02, 0.0), (0.3, 0.3)])
def test_the_interval_covers_the_true_difference(shares):
    rng, n = np.random.default_rng(1), 200
    drawn = rng.multinomial(n, [*shares, 1 - sum(shares)], size=400)
    ends = [intervals.paired_difference(int(a), int(b), n) for a, b, _ in drawn]
    covered = np.mean([low <= shares[0] - shares[1] <= high for low, high in ends])
    assert covered > 0.925


def test_holm_gives_a_worked_example_and_equals_another_library():
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    values = np.random.default_rng(0).random(20) ** 4
    assert paired.holm(values) == pytest.approx(multipletests(values, method="holm")[1])


# What could have been shown


def test_a_detectable_difference_is_found_in_80_of_100_test_sets():
    n, discordance = 500, 0.1
    least = paired.detectable(n, discordance)
    rng = np.random.default_rng(2)
    shares = [(discordance + least) / 2, (discordance - least) / 2, 1 - discordance]
    found = [paired.mcnemar(int(a), int(b)) < paired.BOUND for a, b, _ in rng.multinomial(n, shares, size=1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)
    # Connor 1987, for large numbers: n d² = (z √p + z' √(p - d²))²
    many, z, power = 10**6, stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    least = paired.detectable(many, discordance)
    needed = (z * discordance**0.5 + power * (discordance - least**2) ** 0.5) ** 2 / least**2
    assert needed == pytest.approx(many, rel=0.02)
    assert paired.detectable(5, 0.2) == 1.0, "five sentences show nothing"
    # Six that all fall to one side are the fewest that count; a run without any that differ needs about eight expected.
    assert 6 < 1000 * paired.detectable(1000, 0.0) < 9
    assert paired.detectable(500, discordance, 0.005) > paired.detectable(500, discordance)


def test_over_seeds_the_detectable_difference_is_that_of_the_t_test():
    a, b = simulate(np.random.default_rng(3), 5, quality=0.06)
    found = seeds.difference(a, b, matched=True)
    power = TTestPower().power(found.detectable() / found.error / 10, 100, 0.05, df=found.degrees)
    assert power == pytest.approx(0.8, abs=0.03)


# Several seeds


def test_two_runs_alone_are_mcnemars():
    rng = np.random.default_rng(4)
    a, b = rng.random((2, 300)) < np.array([[0.85], [0.8]])
    one, other = seeds.difference(a, b), paired.compare(a, b)
    assert (one.difference, one.low, one.high, one.p) == (other.difference, other.low, other.high, other.p)
    # The randomisation test of sentences is McNemar's, but for the draws.
    gains = a.astype(float) - b
    assert seeds.randomisation(gains, np.ones(300))[2] == pytest.approx(other.p, abs=0.02)


def test_the_standard_error_is_that_of_a_two_way_analysis_of_variance():
    """Mean squares by the textbook (seeds by sentences, no replication), and Hillis' degrees of freedom."""
    a, b = simulate(np.random.default_rng(5), 4, quality=0.3, sentences=200)
    gains = a.astype(float) - b
    s, n = gains.shape
    of_seeds = n * gains.mean(1).var(ddof=1)
    of_sentences = s * gains.mean(0).var(ddof=1)
    residual = gains - gains.mean(1, keepdims=True) - gains.mean(0) + gains.mean()
    of_both = (residual**2).sum() / ((s - 1) * (n - 1))
    rest = max(of_sentences - of_both, 0)
    found = seeds.difference(a, b, matched=True)
    assert found.error == pytest.approx(np.sqrt((of_seeds + rest) / (s * n)))
    degrees = (of_seeds + rest) ** 2 / (of_seeds**2 / (s - 1) + rest**2 / (n - 1))
    assert found.degrees == pytest.approx(degrees)
    assert found.p >= 2 * stats.t.sf(abs(found.difference) / found.error, degrees) - 1e-12
    # With very many sentences it is the t-test over seeds: paired, or for other seeds Welch's.
    wide = [np.tile(rows, 400) for rows in (a, b)]
    means = [rows.mean(1) for rows in wide]
    assert seeds.difference(*wide, matched=True).p == pytest.approx(stats.ttest_rel(*means).pvalue, rel=0.05)
    assert seeds.difference(*wide).p == pytest.approx(stats.ttest_ind(*means, equal_var=False).pvalue, rel=0.05)
    # One seed against several: Crawford and Howell 1998.
    single = (means[0][0] - means[1].mean()) / (means[1].std(ddof=1) * np.sqrt(1 + 1 / s))
    found = seeds.difference(wide[0][:1], wide[1])
    assert found.p == pytest.approx(2 * stats.t.sf(abs(single), s - 1), rel=0.05)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("matched", [True, False])
def test_equal_recipes_are_seldom_called_different(count, matched):
    """At most 5% (and the error of 200 experiments), where McNemar's test of one seed each is wrong far more often."""
    rng, rejected, single = np.random.default_rng([count, matched]), 0, 0
    for _ in range(200):
        a, b = simulate(rng, count, quality=0.08, sentences=400)
        rejected += seeds.difference(a, b, matched=matched).p < paired.BOUND
        single += paired.compare(a[0], b[0]).p < paired.BOUND
    assert rejected / 200 < 0.085
    assert single > rejected


def test_a_better_recipe_is_found():
    rng = np.random.default_rng(6)
    found = [seeds.difference(*simulate(rng, 5, quality=0.06, better=0.3), matched=True) for _ in range(40)]
    assert np.mean([one.p < paired.BOUND for one in found]) > 0.8


def test_documents_are_taken_together():
    """Ten sentences of a document that all fall alike are one observation: McNemar's test would count ten."""
    rng, groups = np.random.default_rng(7), np.repeat(np.arange(60), 10)
    naive = grouped = 0
    for _ in range(200):
        a, b = (np.repeat(rng.random(60) < 0.8, 10) for _ in range(2))
        naive += paired.compare(a, b).p < paired.BOUND
        grouped += seeds.difference(a, b, groups=groups).p < paired.BOUND
    assert naive / 200 > 0.3
    assert grouped / 200 < 0.09
    found = seeds.difference(a, b, groups=groups)
    assert (found.units, found.sentences, found.grouped, found.over_seeds) == (60, 600, True, False)
    # Numbers of groups do not matter, nor their order.
    order = rng.permutation(600)
    again = seeds.difference(a[order], b[order], groups=1000 - 3 * groups[order])
    assert (again.p, again.error) == pytest.approx((found.p, found.error))
    assert seeds.difference(a, b, groups=np.zeros(600, int)).p == 1.0, "one document shows nothing"


def test_no_interval_over_seeds_or_documents_contradicts_its_p():
    rng = np.random.default_rng(8)
    for trial in range(150):
        n, count = int(rng.integers(3, 60)), [int(k) for k in rng.integers(1, 4, 2)]
        shares = rng.random(2)
        a, b = (rng.random((k, n)) < np.where(rng.random(n) < 0.5, share, 1.0) for k, share in zip(count, shares))
        groups = rng.integers(0, max(n // 3, 1), n) if trial % 2 else None
        found = seeds.difference(a, b, groups=groups, matched=bool(trial % 3))
        assert (found.low > 0 or found.high < 0) == (found.p < paired.BOUND), (trial, found)
        assert -1 <= found.low <= found.difference + 1e-12
        assert found.difference - 1e-12 <= found.high <= 1
        assert 0 < found.detectable() <= 1
        swapped = seeds.difference(b, a, groups=groups, matched=bool(trial % 3))
        assert swapped.difference == pytest.approx(-found.difference)


def test_five_wins_of_five_show_nothing():
    wins, losses = np.ones((2, 5), bool), np.zeros((2, 5), bool)
    for found in (paired.compare(wins[0], losses[0]), seeds.difference(wins, losses, matched=True)):
        assert found.p > paired.BOUND
        assert found.low < 0 < found.high
    same = seeds.difference(wins, wins)
    assert same.p == 1.0
    assert same.low < 0 < same.high, "five sentences without a difference are no proof of equality"


# A label that no sentence has


def test_an_absent_label_leaves_the_macro_mean():
    rng = np.random.default_rng(9)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    truth = rng.choice([0, 1, 3], 200)
    names = ("a", "b", "absent", "d")
    ours = metrics(Predictions(probabilities, truth, 0.0), names)
    options = {"labels": [0, 1, 3], "target_names": ["a", "b", "d"], "output_dict": True, "zero_division": 0}
    theirs = classification_report(truth, probabilities.argmax(1), **options)
    for ours_of, theirs_of in (("macro", "macro avg"), ("weighted", "weighted avg")):
        expected = (theirs[theirs_of][name] for name in ("precision", "recall", "f1-score"))
        assert tuple(ours[ours_of].values()) == pytest.approx(tuple(expected))
    assert ours["per_class"]["absent"]["support"] == 0
    assert (ours["per_class"]["absent"]["recall"], ours["per_class"]["absent"]["f1"]) == (0, 0)
