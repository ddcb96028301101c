"""Which test sentences runs disagree on: some right and some wrong, all wrong, or changed by quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.methods import METHODS
from trainer.runs.store import Run, Store
from trainer.texts import mark

UNEQUAL = {"method", "options", "learning_rate", "fairness", "track"}
"""Fields of a recipe in which two runs may differ that quantisation alone sets apart; options compare by themselves."""
KINDS = {
    "split": mark("Some right, some wrong"),
    "wrong": mark("All wrong"),
    "flipped": mark("Changed by 4-bit"),
}


@dataclass(frozen=True)
class Outcomes:
    """What runs said of one common test set. Arrays have a row a sentence and a column a run.

    `labels` is the true label's number; `probability` is that of the predicted label.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each run labels each sentence right."""
        return self.predicted == self.labels[:, None]


def collect(store: Store, runs: Sequence[Run]) -> Outcomes | None:
    """The test predictions of finished runs with one fingerprint, on the sentences that all of them have.

    None when no run has any. Runs without predictions are left out.
    """
    frames, kept = [], []
    for run in runs:
        frame = store.predictions(run.id)
        if frame is not None and len(found := frame[frame["split"] == "test"]):
            frames.append(found.drop_duplicates("row").set_index("row"))
            kept.append(run)
    if not kept:
        return None
    rows = frames[0].index
    for frame in frames[1:]:
        rows = rows[rows.isin(frame.index)]
    frames = [frame.loc[rows] for frame in frames]
    labels = frames[0]["label"].to_numpy()
    shares = [np.stack(frame["probabilities"].to_numpy()) if len(rows) else np.zeros((0, 1)) for frame in frames]
    predicted = np.stack([frame["predicted"].to_numpy() for frame in frames], axis=1)
    every = np.arange(len(rows))
    return Outcomes(
        runs=tuple(kept),
        names=kept[0].label_names,
        texts=tuple(frames[0]["text"]),
        labels=labels,
        predicted=predicted,
        probability=np.stack([share[every, predicted[:, i]] for i, share in enumerate(shares)], axis=1),
    )


def pairs(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """(quantised, plain) places of runs that differ in the quantisation of the backbone: same seed and settings.

    The learning rate may differ, for each method has its own. Where several plain runs fit, one with the same learning
    rate goes first, and then the newest. The settings of what was trained elsewhere are not known: it has no pair.
    """
    found = []
    for i, run in enumerate(runs):
        method = METHODS.get(run.recipe.method)
        plain = method.quantised_from if method else None
        fitting = [
            j
            for j, other in enumerate(runs)
            if other.recipe.method == plain and _alike(run, other) and not run.adopted and not other.adopted
        ]
        rate = run.recipe.learning_rate
        if fitting:
            found.append((i, max(fitting, key=lambda j: (runs[j].recipe.learning_rate == rate, runs[j].queue_order))))
    return found


def find(answers: Outcomes) -> dict[str, np.ndarray]:
    """Kind -> places of its sentences, most disputed first.

    split: nearest to half right, then where the surest wrong and the surest right run are surest. wrong: where the
    runs are surest of their wrong labels. flipped: most pairs changed, then where the pairs were surest.
    """
    right, sure = answers.right, answers.probability
    shares = right.mean(axis=1)
    margin = np.where(right, sure, 0).max(axis=1) + np.where(right, 0, sure).max(axis=1)
    split = np.flatnonzero((shares > 0) & (shares < 1))
    split = split[np.lexsort((-margin[split], np.abs(shares[split] - 0.5)))]
    wrong = np.flatnonzero(shares == 0)
    wrong = wrong[np.argsort(-sure[wrong].mean(axis=1), kind="stable")]
    changed, certainty = np.zeros(len(shares)), np.zeros(len(shares))
    for quantised, plain in pairs(answers.runs):
        differ = answers.predicted[:, quantised] != answers.predicted[:, plain]
        changed += differ
        certainty += differ * (sure[:, quantised] + sure[:, plain])
    flipped = np.flatnonzero(changed)
    flipped = flipped[np.lexsort((-certainty[flipped], -changed[flipped]))]
    return {"split": split, "wrong": wrong, "flipped": flipped}


def _alike(one: Run, other: Run) -> bool:
    """Whether every setting that both runs have is the same, but for those that may differ."""
    a, b = (run.recipe.model_dump(exclude=UNEQUAL) | run.recipe.options for run in (one, other))
    return all(a[name] == b[name] for name in a.keys() & b.keys())
