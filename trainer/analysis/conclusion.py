"""What may be concluded from the comparisons of configurations, in a few sentences. No statistic of its own.

Every sentence restates a test of `trainer.analysis.comparisons`: which differences are significant after Holm's
correction, with their intervals, and what a difference that is not significant could still be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trainer.analysis.comparisons import Comparison, Comparisons
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.texts import mark, tr, tr_count

TOLD_APART = 0.03
"""Difference in accuracy for which the number of sentences is given that would show it: 3 points."""
LEAST_RATIO = 2.0
"""Smallest ratio of trained parameters that is worth a sentence."""
MOST_NAMED = 2
"""The most significant differences that are named, the largest first."""
NO_PREDICTIONS = mark("No difference can be tested: fewer than two of these configurations kept predictions.")


def conclusion(compared: Comparisons | None, parameters: Mapping[str, float], configurations: int) -> list[str]:
    """The sentences, the most important first.

    `compared`: the comparisons, None where fewer than two configurations have predictions. `parameters`: configuration
    -> parameters trained, those of a fusion's parents included; one that is missing is not spoken of. `configurations`:
    the number of those shown.
    """
    if configurations < 2:
        return [tr("There is one configuration: train another method to compare it with.")] * (configurations == 1)
    if compared is None or not compared.pairs:
        return [tr(NO_PREDICTIONS)]
    if not compared.tested:
        return [_untested(compared)]
    significant = sorted(
        (pair for pair in compared.tested if pair.significant), key=lambda pair: -abs(pair.result.difference)
    )
    finding = _significant(significant, compared) if significant else _none(compared)
    sentences = [tr("{basis}: {finding}", basis=_basis(compared.tested), finding=finding)]
    sentences += _cheaper(significant[:1] or compared.tested, parameters)
    others = [pair for pair in compared.tested if not pair.significant]
    sentences += _not_shown(others, named=0 < len(significant) <= MOST_NAMED)
    if all(pair.result.seeds == (1, 1) for pair in compared.tested):
        sentences.append(tr("Other seeds may come out otherwise."))
    if len(compared.tested) < len(compared.pairs):
        sentences.append(_left_out(compared))
    return sentences


def trained_parameters(runs: Sequence[Run], names: Mapping[str, str]) -> dict[str, float]:
    """Configuration -> mean of the parameters trained, its parents' included. `names`: run id -> configuration."""
    values: dict[str, list[float]] = {}
    for run in runs:
        if (value := METRICS["trainable_with_parents"].of(run)) is not None:
            values.setdefault(names[run.id], []).append(value)
    return {name: float(np.mean(own)) for name, own in values.items()}


def _basis(tested: Sequence[Comparison]) -> str:
    """The number of test sentences and of seeds."""
    sentences = _range(pair.result.sentences for pair in tested)
    seeds = {count for pair in tested for count in pair.result.seeds}
    if seeds == {1}:
        return tr("On {sentences} test sentences and one run of each", sentences=sentences)
    return tr("On {sentences} test sentences and {seeds} seeds", sentences=sentences, seeds=_range(seeds))


def _significant(significant: Sequence[Comparison], compared: Comparisons) -> str:
    """The largest significant differences, and how many others there are."""
    first = [_better(pair) for pair in significant[:MOST_NAMED]]
    if len(significant) <= MOST_NAMED:
        return "; ".join(first) + "."
    return tr(
        "{count} of {pairs} differences are significant. The largest: {difference}.",
        count=len(significant),
        pairs=len(compared.tested),
        difference=first[0],
    )


def _better(pair: Comparison) -> str:
    """A significant difference with its interval, the better configuration first."""
    result, names = pair.result, (pair.first, pair.second)
    low, high = result.low, result.high
    if result.difference < 0:
        names, (low, high) = names[::-1], (-high, -low)
    return tr(
        "{better} is significantly better than {worse} by {points} points ({low} to {high}, interval at 95%)",
        better=names[0],
        worse=names[1],
        points=f"{100 * abs(result.difference):.1f}",
        low=f"{100 * low:.1f}",
        high=f"{100 * high:.1f}",
    )


def _none(compared: Comparisons) -> str:
    """That no difference is significant, or that none could have been."""
    if all(pair.detectable >= 1 for pair in compared.tested):
        return tr("too few to show any difference.")
    if compared.reference:
        return tr("no configuration differs significantly from {reference}.", reference=compared.reference)
    if len(compared.tested) == 1:
        (pair,) = compared.tested
        return tr(
            "{first} and {second} do not differ significantly. Not significant is not equal.",
            first=pair.first,
            second=pair.second,
        )
    return tr(
        "none of the {pairs} differences is significant. Not significant is not equal.", pairs=len(compared.tested)
    )


def _cheaper(pairs: Sequence[Comparison], parameters: Mapping[str, float]) -> list[str]:
    """Which of a pair trains fewer parameters, for the pair of the largest ratio."""
    known = [pair for pair in pairs if parameters.get(pair.first) and parameters.get(pair.second)]
    if not known:
        return []
    ratios = [parameters[pair.first] / parameters[pair.second] for pair in known]
    index = max(range(len(known)), key=lambda i: abs(math.log(ratios[i])))
    ratio, names = ratios[index], (known[index].first, known[index].second)
    if ratio < 1:
        ratio, names = 1 / ratio, names[::-1]
    if ratio < LEAST_RATIO:
        return []
    factor = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return [
        tr("{fewer} trains {factor} times fewer parameters than {more}.", fewer=names[1], factor=factor, more=names[0])
    ]


def _not_shown(pairs: Sequence[Comparison], *, named: bool) -> list[str]:
    """What the differences that are not significant could still be, and what it takes to know.

    `named`: whether all that are significant were named before.
    """
    if not pairs:
        return []
    sentences = [tr("No other difference is significant.")] * named
    largest = max(pair.detectable for pair in pairs)
    if largest <= TOLD_APART:
        text = tr(
            "A difference of {points} points would have shown with 80% probability.", points=f"{100 * largest:.1f}"
        )
        return [*sentences, text]
    counts = [pair.result.sentences_for(TOLD_APART, pair.level) for pair in pairs]
    points = f"{100 * TOLD_APART:g}"
    if None in counts:
        if largest >= 1:
            return [*sentences, tr("To tell {points} points apart it takes more seeds.", points=points)]
        text = tr(
            "In the least certain pair a difference below {largest} points may not show; to tell {points} points apart "
            "there it takes more seeds.",
            largest=f"{100 * largest:.1f}",
            points=points,
        )
        return [*sentences, text]
    more = max(count - pair.result.sentences for count, pair in zip(counts, pairs, strict=True))
    text = tr(
        "About {count} more test sentences would tell {points} points apart.", count=_round_up(more), points=points
    )
    return [*sentences, text]


def _untested(compared: Comparisons) -> str:
    """Why none of the configurations was tested against another."""
    return tr(
        "No two of these configurations can be compared: they differ in {settings}, or share no test sentence.",
        settings=_settings(compared.pairs),
    )


def _left_out(compared: Comparisons) -> str:
    """How many comparisons were not made, and why."""
    left = [pair for pair in compared.pairs if not pair.result]
    return tr_count(
        "{count} pair was not compared: it differs in {settings}, or shares no test sentence.",
        "{count} pairs were not compared: they differ in {settings}, or share no test sentence.",
        len(left),
        settings=_settings(left),
    )


def _settings(pairs: Sequence[Comparison]) -> str:
    titles = dict.fromkeys(tr(setting.title) for pair in pairs for setting in pair.settings)
    return ", ".join(titles) or "–"


def _round_up(count: int) -> str:
    """The number rounded up to two digits: 1,234 is 1,300."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return f"{math.ceil(count / step) * step:,}"


def _range(values: Iterable[int]) -> str:
    """The values, or the lowest and the highest of them if they differ."""
    known = sorted(set(values))
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,}–{known[-1]:,}"
