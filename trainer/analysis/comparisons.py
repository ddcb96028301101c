"""Comparisons of recipes: which are tested against which, on what sentences and seeds, and what else differs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.analysis import paired, seeds
from trainer.analysis.seeds import Difference
from trainer.analysis.tables import group_codes
from trainer.analysis.variants import ordered
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.texts import mark

if TYPE_CHECKING:
    import pandas as pd

MOST_TOGETHER = 10
"""Of more recipes than this, every one is compared with one reference unless each pair is asked for."""
SETTINGS: dict[str, tuple[str, Callable[[Run], str | None]]] = {
    "backbone": (mark("backbone"), lambda run: run.recipe.backbone.replace("\\", "/").rsplit("/", 1)[-1]),
    "precision": (mark("numeric precision"), lambda run: run.result.train_info.precision),
    "splits": (mark("sentences"), lambda run: run.split_fingerprint[:6]),
    # The settings of an adapter from elsewhere are those of its evaluation.
    "batch_size": (
        mark("batch size"),
        lambda run: None if run.adopted else str(run.result.train_info.batch_size),
    ),
}
"""Settings that two recipes must share to be tested against each other -> (title, a run's value; None if not known)."""
RATE: tuple[str, Callable[[Run], str | None]] = (
    mark("learning rate"),
    lambda run: run.result and run.lineage.learning_rate,
)
"""What is named where it differs, without keeping the test from being made."""


@dataclass(frozen=True)
class Setting:
    """Setting in which two recipes differ: its title, and the values of the first and of the second."""

    name: str
    title: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """Comparison of two recipes, by name. `p` is `result.p` adjusted for the number of comparisons made (Holm 1979).

    `result` is None, and `p` NaN, where no test was made: the recipes differ in `settings`, or share no test sentence.
    `level` is the p-value below which `result.p` would have been significant among these comparisons.
    """

    first: str
    second: str
    settings: tuple[Setting, ...]
    rate: Setting | None
    result: Difference | None
    p: float = float("nan")
    level: float = paired.BOUND

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant, adjusted for the number of comparisons."""
        return self.p < paired.BOUND

    @property
    def detectable(self) -> float | None:
        """Smallest difference that would have been significant with 80% probability; None where no test was made."""
        return self.result.detectable(self.level) if self.result else None


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of `recipes` recipes: of every two, or of each with the `reference`, first those that were tested."""

    pairs: tuple[Comparison, ...]
    recipes: int
    reference: str | None

    @property
    def tested(self) -> tuple[Comparison, ...]:
        """Those that were tested."""
        return tuple(pair for pair in self.pairs if pair.result)


def compare(
    store: Store,
    runs: Sequence[Run],
    names: dict[str, str],
    *,
    reference: str | None = None,
    every_pair: bool | None = None,
    unlike: bool = False,
) -> Comparisons | None:
    """Tests of the differences in test accuracy of recipes with predictions; None for fewer than two recipes.

    `names`: run id -> recipe. Of several runs of a recipe with one seed the newest counts. `every_pair`: whether every
    two recipes are compared, or each with `reference`; if not given, every two of up to `MOST_TOGETHER`, and above that
    each with the reference. The default reference is the recipe with the highest validation accuracy: test accuracy
    would favour it. `unlike`: also test recipes that differ in `SETTINGS`, on their common test sentences.
    """
    members = _members(store, runs, names)
    if len(members) < 2:
        return None
    recipes = list(members)
    if every_pair is None:
        every_pair = reference is None and len(recipes) <= MOST_TOGETHER
    if reference not in members:
        reference = best_by_validation({name: member.runs for name, member in members.items()})
    couples = (
        list(itertools.combinations(recipes, 2))
        if every_pair
        else [(name, reference) for name in recipes if name != reference]
    )
    pairs = [_pair(members, *couple, unlike=unlike) for couple in couples]
    tested = [pair for pair in pairs if pair.result]
    adjusted = paired.holm([pair.result.p for pair in tested])
    # Holm's procedure holds the first p that it does not reject against this level.
    level = paired.BOUND / max(len(tested) - sum(p < paired.BOUND for p in adjusted), 1)
    done = [
        Comparison(pair.first, pair.second, pair.settings, pair.rate, pair.result, p, level)
        for pair, p in zip(tested, adjusted, strict=True)
    ]
    left = [pair for pair in pairs if not pair.result]
    return Comparisons((*done, *left), len(recipes), None if every_pair else reference)


def best_by_validation(members: dict[str, Sequence[Run]]) -> str:
    """The recipe with the highest mean validation accuracy; of equal ones the first. `members`: recipe -> its runs."""
    validation = METRICS["validation_accuracy"]
    return max(members, key=lambda name: np.mean([validation.of(run) for run in members[name]]))


def differing(first: Sequence[Run], second: Sequence[Run]) -> tuple[Setting, ...]:
    """Settings of `SETTINGS` in which two recipes' finished runs differ."""
    settings = ((name, title, value) for name, (title, value) in SETTINGS.items())
    compared = (_setting(name, title, value, first=first, second=second) for name, title, value in settings)
    return tuple(setting for setting in compared if setting)


def _setting(
    name: str, title: str, value: Callable[[Run], str | None], *, first: Sequence[Run], second: Sequence[Run]
) -> Setting | None:
    """A setting with its values where they differ; None where they do not, or where one side's is not known."""
    a, b = ({known for run in runs if (known := value(run)) is not None} for runs in (first, second))
    return Setting(name, title, ", ".join(sorted(a)), ", ".join(sorted(b))) if a and b and a != b else None


@dataclass(frozen=True)
class _Member:
    """A recipe's runs, one a seed, with the test predictions of each, indexed by row of the test split."""

    runs: tuple[Run, ...]
    frames: tuple[pd.DataFrame, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.recipe.seed for run in self.runs)


def _members(store: Store, runs: Sequence[Run], names: dict[str, str]) -> dict[str, _Member]:
    """Recipe -> its runs with predictions, by seed; recipes in the order of the methods."""
    newest: dict[tuple[str, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.queue_order):
        if run.result:
            newest[names[run.id], run.recipe.seed] = run
    members: dict[str, list[tuple[Run, pd.DataFrame]]] = {}
    for run in ordered(list(newest.values())):
        frame = store.predictions(run.id)
        if frame is not None and len(test := frame[frame["split"] == "test"]):
            correct = test.assign(correct=test["predicted"] == test["label"])
            members.setdefault(names[run.id], []).append((run, correct.drop_duplicates("row").set_index("row")))
    by_recipe = {}
    for name, pairs in members.items():
        by_seed = sorted(pairs, key=lambda pair: pair[0].recipe.seed)
        by_recipe[name] = _Member(tuple(run for run, _ in by_seed), tuple(frame for _, frame in by_seed))
    return by_recipe


def _pair(members: dict[str, _Member], first: str, second: str, *, unlike: bool) -> Comparison:
    """The comparison of two recipes, not yet adjusted."""
    a, b = members[first], members[second]
    settings = differing(a.runs, b.runs)
    rate = _setting("learning_rate", *RATE, first=a.runs, second=b.runs)
    result = _test(a, b) if unlike or not settings else None
    return Comparison(first, second, settings, rate, result)


def _test(a: _Member, b: _Member) -> Difference | None:
    """The test on the sentences that all runs of both recipes were tested on; None if there are none.

    Runs on the same splits share the rows of the test split; else sentences are the same if text and label are.
    """
    frames = [*a.frames, *b.frames]
    if len({run.split_fingerprint for run in (*a.runs, *b.runs)}) > 1:
        frames = [frame.drop_duplicates(["text", "label"]).set_index(["text", "label"]) for frame in frames]
    common = frames[0].index
    for frame in frames[1:]:
        if not frame.index.equals(common):
            common = common[common.isin(frame.index)]
    if not len(common):
        return None
    correct = np.stack([frame.loc[common, "correct"].to_numpy(bool) for frame in frames])
    return seeds.difference(
        correct[: len(a.frames)],
        correct[len(a.frames) :],
        groups=group_codes(frames[0].loc[common]),
        matched=a.seeds == b.seeds,
    )
