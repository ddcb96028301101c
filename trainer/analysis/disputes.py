"""Test sentences on which runs disagree or fail: some correct, all wrong, or changed by quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.methods import METHODS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.tasks import label_sets
from trainer.tasks.label_sets import Label
from trainer.texts import mark, tr

UNEQUAL = {"method", "options", "learning_rate", "fairness", "track"}
"""Fields of a recipe that may differ in a quantised run and its plain counterpart; options are compared separately."""
KINDS = {
    "split": mark("Models disagree"),
    "wrong": mark("All wrong"),
    "flipped": mark("Changed by quantisation"),
}


@dataclass(frozen=True)
class Outcomes:
    """Predictions of several runs on one test set. Arrays are (sentences, runs), `labels` (sentences,).

    `labels` and `predicted` are indices of `names`; `probability` is that of the predicted label. Of multi-label runs
    they are tuples of indices, and `probability` is that of the least certain decision on a label of the sentence.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    @property
    def multi_label(self) -> bool:
        """Whether a sentence may have several labels, or none."""
        return self.runs[0].multi_label

    def shown(self, label: Label) -> str:
        """A label of `labels` or `predicted` for people."""
        return ", ".join(self.names[index] for index in label_sets.indices(label)) or tr("no label")

    @property
    def correct(self) -> np.ndarray:
        """Whether each run predicts each sentence's label correctly: boolean (sentences, runs)."""
        return self.predicted == self.labels[:, None]


def collect(store: Store, runs: Sequence[Run]) -> Outcomes | None:
    """Test predictions of finished runs with equal split fingerprints, on the sentences that all of them share.

    Runs without predictions are left out; None if no run has any.
    """
    frames, with_predictions = [], []
    for run in runs:
        frame = store.predictions(run.id)
        if frame is not None and len(test := frame[frame["split"] == "test"]):
            frames.append(test.drop_duplicates("row").set_index("row"))
            with_predictions.append(run)
    if not with_predictions:
        return None
    rows = frames[0].index
    for frame in frames[1:]:
        rows = rows[rows.isin(frame.index)]
    frames = [frame.loc[rows] for frame in frames]
    labels = frames[0]["label"].to_numpy()
    probabilities = [np.stack(frame["probabilities"].to_numpy()) if len(rows) else np.zeros((0, 1)) for frame in frames]
    predicted = np.stack([frame["predicted"].to_numpy() for frame in frames], axis=1)
    multi_label = with_predictions[0].multi_label
    return Outcomes(
        runs=tuple(with_predictions),
        names=with_predictions[0].label_names,
        texts=tuple(frames[0]["text"]),
        labels=labels,
        predicted=predicted,
        probability=np.stack(
            [_of_predicted(p, predicted[:, i], multi_label=multi_label) for i, p in enumerate(probabilities)], axis=1
        ),
    )


def _of_predicted(probabilities: np.ndarray, predicted: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """`Outcomes.probability` of one run: (sentences,)."""
    if not multi_label:
        return probabilities[np.arange(len(predicted)), predicted]
    given = label_sets.matrix(list(predicted), probabilities.shape[1])
    return np.where(given, probabilities, 1 - probabilities).min(axis=1)


def pairs(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """(quantised, plain) indices of runs that differ only in the quantisation of the backbone: same seed and settings.

    The learning rate may differ, for each method has its own. Of several plain runs that match, one with the same
    learning rate is preferred, then the newest. Adopted runs have no pair: their settings are not known.
    """
    matches = []
    for i, run in enumerate(runs):
        method = METHODS.get(run.recipe.method)
        plain = method.quantised_from if method else None
        candidates = [
            j
            for j, other in enumerate(runs)
            if other.recipe.method == plain
            and _have_same_settings(run, other)
            and not run.adopted
            and not other.adopted
        ]
        rate = run.recipe.learning_rate
        if candidates:
            matches.append(
                (i, max(candidates, key=lambda j: (runs[j].recipe.learning_rate == rate, runs[j].queue_order)))
            )
    return matches


def find(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """Kind (see `KINDS`) -> indices of its sentences, most disputed first.

    split: share of correct runs nearest to one half, then by the sum of the highest probability of a correct and of a
    wrong prediction. wrong: highest mean probability of the wrong labels. flipped: most pairs of `pairs` changed, then
    by the sum of the probabilities in them.
    """
    correct, probability = outcomes.correct, outcomes.probability
    shares = correct.mean(axis=1)
    margin = np.where(correct, probability, 0).max(axis=1) + np.where(correct, 0, probability).max(axis=1)
    split = np.flatnonzero((shares > 0) & (shares < 1))
    split = split[np.lexsort((-margin[split], np.abs(shares[split] - 0.5)))]
    wrong = np.flatnonzero(shares == 0)
    wrong = wrong[np.argsort(-probability[wrong].mean(axis=1), kind="stable")]
    changed, certainty = np.zeros(len(shares)), np.zeros(len(shares))
    for quantised, plain in pairs(outcomes.runs):
        differ = outcomes.predicted[:, quantised] != outcomes.predicted[:, plain]
        changed += differ
        certainty += differ * (probability[:, quantised] + probability[:, plain])
    flipped = np.flatnonzero(changed)
    flipped = flipped[np.lexsort((-certainty[flipped], -changed[flipped]))]
    return {"split": split, "wrong": wrong, "flipped": flipped}


def _have_same_settings(one: Run, other: Run) -> bool:
    """Whether all settings that both runs have are equal, except those in `UNEQUAL`."""
    a, b = (run.recipe.model_dump(exclude=UNEQUAL) | run.recipe.options for run in (one, other))
    return all(a[name] == b[name] for name in a.keys() & b.keys())
