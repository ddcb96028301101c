"""What Compare concludes in words: never more than the tests of the differences say."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from trainer.analysis import conclusion, paired, seeds
from trainer.analysis.comparisons import Comparison, Comparisons, Setting
from trainer.analysis.tables import plain

SPLITS = (Setting("splits", "sentences", "a1b2c3", "d4e5f6"),)


def rights(count: int, right: int, *, swapped: int = 0) -> np.ndarray:
    """One run: the first `right` of `count` sentences right, but for `swapped` of them, which as many others are."""
    correct = np.arange(count) < right
    correct[:swapped], correct[right : right + swapped] = False, True
    return correct[None]


def several(count: int, share: float, number: int, *, spread: float = 0.0, seed: int = 0) -> np.ndarray:
    """Runs of `number` seeds, each right on about `share` of the sentences, give or take `spread`."""
    draws = np.random.default_rng(seed).random((number, count))
    return draws < share + spread * np.linspace(-1, 1, number)[:, None]


def compared(runs: dict[str, np.ndarray], *, reference: str | None = None, unlike: tuple[str, ...] = ()) -> Comparisons:
    """The comparisons of these configurations, as `comparisons.compare` makes them; `unlike` has other sentences."""
    couples = [(name, reference) for name in runs if name != reference] if reference else None
    pairs = couples or list(itertools.combinations(runs, 2))
    left = [pair for pair in pairs if set(pair) & set(unlike)]
    tested = [pair for pair in pairs if pair not in left]
    results = [seeds.difference(runs[a], runs[b], matched=len(runs[a]) == len(runs[b])) for a, b in tested]
    adjusted = paired.holm([result.p for result in results])
    level = paired.BOUND / max(len(results) - sum(p < paired.BOUND for p in adjusted), 1)
    done = [
        Comparison(a, b, (), None, result, p, level)
        for (a, b), result, p in zip(tested, results, adjusted, strict=True)
    ]
    return Comparisons((*done, *(Comparison(a, b, SPLITS, None, None) for a, b in left)), len(runs), reference)


def said(made: Comparisons | None, count: int = 2, parameters: dict[str, float] | None = None) -> str:
    return " ".join(conclusion.conclusion(made, parameters or {}, count))


FEW = {"Full": rights(50, 40, swapped=3), "LoRA": rights(50, 40)}
CLEAR = {"Full": rights(2000, 1800), "LoRA": rights(2000, 1700)}


def test_one_configuration_concludes_nothing():
    assert conclusion.conclusion(None, {}, 0) == []
    assert said(None, 1) == "There is one configuration: train another method to compare it with."
    assert said(None, 3) == conclusion.NO_PREDICTIONS


def test_a_difference_that_is_not_significant_is_not_equal():
    text = said(compared(FEW), 2, {"Full": 22_700_000, "LoRA": 150_000})
    assert text.startswith(
        "On 50 test sentences and one run of each: Full and LoRA do not differ significantly. "
        "Not significant is not equal. LoRA trains 151 times fewer parameters than Full."
    )
    assert re.search(r"About [\d,]+ more test sentences would tell 3 points apart\.", text)
    assert text.endswith("Other seeds may come out otherwise.")
    assert "better" not in text


def test_a_significant_difference_has_its_interval_and_its_direction():
    found = seeds.difference(*CLEAR.values())
    for runs in (CLEAR, dict(reversed(CLEAR.items()))):
        text = said(compared(runs))
        assert text.startswith(
            "On 2,000 test sentences and one run of each: Full is significantly better than LoRA by 5.0 points "
            f"({100 * found.low:.1f} to {100 * found.high:.1f}, interval at 95%)."
        )
        assert "No other difference" not in text, "there is no other"


def test_what_is_not_significant_beside_what_is():
    text = said(compared({**CLEAR, "QLoRA": rights(2000, 1700, swapped=10)}), 3)
    assert text.count("significantly better") == 2
    assert "No other difference is significant. A difference of" in text
    assert "points would have shown with 80% probability." in text


def test_of_many_significant_differences_the_largest_is_named():
    runs = {name: rights(2000, right) for name, right in (("A", 1900), ("B", 1800), ("C", 1600), ("D", 1000))}
    text = said(compared(runs), 4)
    assert "6 of 6 differences are significant. The largest: A is significantly better than D by 45.0 points" in text
    assert text.count("better") == 1


def test_too_few_sentences_show_nothing():
    text = said(compared({"A": rights(5, 5), "B": rights(5, 1)}))
    assert text.startswith("On 5 test sentences and one run of each: too few to show any difference.")


def test_other_sentences_are_not_compared():
    text = said(compared(FEW, unlike=("LoRA",)))
    assert text == (
        "No two of these configurations can be compared: they differ in sentences, or share no test sentence."
    )
    runs = {**FEW, "Other": rights(50, 30)}
    text = said(compared(runs, unlike=("Other",)), 3)
    assert "Full and LoRA do not differ significantly" in text
    assert text.endswith("2 pairs were not compared: they differ in sentences, or share no test sentence.")


def test_many_configurations_are_held_against_one():
    runs = {name: rights(50, 40, swapped=i) for i, name in enumerate("ABCD")}
    text = said(compared(runs, reference="A"), 4)
    assert ": no configuration differs significantly from A." in text


AGREEING = {
    name: np.concatenate([rights(300, 240, swapped=first + i) for i in range(5)])
    for name, first in (("A", 0), ("B", 9))
}
"""Five seeds each, of one accuracy on other sentences."""
SPREAD = {"A": several(300, 0.8, 5, spread=0.1), "B": several(300, 0.8, 5, spread=-0.1, seed=1)}


@pytest.mark.parametrize(
    ("runs", "words"), [(SPREAD, "it takes more seeds"), (AGREEING, "more test sentences would tell")]
)
def test_seeds_are_a_sample_too(runs, words):
    text = said(compared(runs))
    assert text.startswith("On 300 test sentences and 5 seeds: A and B do not differ significantly.")
    assert words in text
    assert "Other seeds may" not in text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"Full": 100.0, "LoRA": 60.0}, None),
        ({"Full": 100.0}, None),
        ({"Full": 100.0, "LoRA": 40.0}, "LoRA trains 2.5 times fewer parameters than Full."),
        ({"Full": 1.0, "LoRA": 1000.0}, "Full trains 1,000 times fewer parameters than LoRA."),
    ],
)
def test_which_trains_fewer_parameters(parameters, words):
    text = said(compared(FEW), 2, parameters)
    assert words in text if words else "fewer" not in text


def test_the_number_of_sentences_would_show_the_difference():
    """McNemar's power says so, and so does the same run on that many sentences."""
    (one,) = compared(FEW).pairs
    count = one.result.sentences_for(0.03, one.level)
    for number, shown in ((count, True), (int(0.98 * count), False)):
        power = paired.mcnemar_power(0.03, number, one.result.discordance, one.level)
        assert (power >= paired.POWER) == shown
    (pair,) = compared(AGREEING).pairs
    count = pair.result.sentences_for(0.03, pair.level)
    assert count > 300
    assert pair.detectable > 0.03
    times = -(-count // 300)
    (more,) = compared({name: np.tile(correct, times) for name, correct in AGREEING.items()}).pairs
    assert more.detectable < 0.032
    assert seeds.difference(rights(300, 240), rights(300, 240, swapped=2)).sentences_for(1e-7) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8.399999999999999, "8.4"), (0.1 + 0.2, "0.3"), (22_713_216.0, "22713216"), (0.0, "0"), (-1.5, "-1.5"),
        (100 / 3, "33.3333333"), (float("nan"), ""), (1e-7, "1e-07"), (123456.789, "123456.789"),
    ],
)  # fmt: skip
def test_numbers_in_files_are_plain(value, text):
    assert plain(value) == text
    assert plain(np.float64(value)) == text
