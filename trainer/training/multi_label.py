"""Multi-label evaluation: thresholds chosen on validation sentences, predictions, their metrics.

Arrays are `probabilities` (sentences, labels), each of its own between 0 and 1, and `labels` of that shape: whether a
sentence has a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.tasks import label_sets

MIDDLE = 0.5
"""The threshold of a label that no validation sentence has."""


class Scored:
    """Predictions of a split with a figure for each value of `config.BestBy`; the fields are those of its two kinds."""

    accuracy: float
    loss: float
    balanced_accuracy: float
    macro_f1: float

    def by(self, figure: str) -> float:
        """A figure of `config.BestBy`, the higher the better: the loss is negated."""
        return -self.loss if figure == "loss" else getattr(self, figure)


@dataclass(frozen=True)
class LabelPredictions(Scored):
    """Predictions of a split of a multi-label task. `loss`: mean binary cross-entropy over sentences and labels.

    A label is predicted where its probability is at least its threshold.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    loss: float
    thresholds: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Whether each label is predicted, (sentences, labels)."""
        return self.probabilities >= self.thresholds

    @property
    def accuracy(self) -> float:
        """Exact match: the share of the sentences whose set of labels is right."""
        return float((self.predicted == self.labels).all(axis=1).mean())

    @property
    def columns(self) -> dict[str, list[tuple[int, ...]]]:
        """The columns `label` and `predicted` of predictions.parquet."""
        return {"label": label_sets.rows(self.labels), "predicted": label_sets.rows(self.predicted)}

    @property
    def balanced_accuracy(self) -> float:
        return balanced_accuracy(self.labels, self.predicted)

    @property
    def macro_f1(self) -> float:
        return averaged(self.labels, self.predicted, "macro")["f1"]


def score(
    logits: np.ndarray, labels: Sequence[tuple[int, ...]], *, thresholds: np.ndarray | None = None
) -> LabelPredictions:
    """Predictions with their loss against the label sets; without `thresholds` those that these sentences choose."""
    from scipy.special import expit, log_expit

    truth = label_sets.matrix(labels, logits.shape[1])
    exact = logits.astype(np.float64)
    loss = float(-np.where(truth, log_expit(exact), log_expit(-exact)).mean())
    # float32, as predictions.parquet has them: a reader of that file gets the same sets.
    probabilities = expit(exact).astype(np.float32)
    chosen = choose_thresholds(probabilities, truth) if thresholds is None else thresholds
    return LabelPredictions(probabilities, truth, loss, chosen)


def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each label the threshold with the highest F1 on these sentences, (labels,); `MIDDLE` where none has it.

    The candidates are the middles between neighbouring probabilities, and half the lowest one. Of equally good ones the
    nearest to `MIDDLE` is taken, of two such the lower.
    """
    return np.array([_threshold(probabilities[:, i], labels[:, i]) for i in range(labels.shape[1])])


def _threshold(probabilities: np.ndarray, has: np.ndarray) -> float:
    if not has.any() or not np.isfinite(probabilities).all():
        return MIDDLE
    values, inverse = np.unique(probabilities.astype(np.float64), return_inverse=True)
    candidates = (np.concatenate([[0.0], values[:-1]]) + values) / 2
    # Sentences, and those of them with the label, whose probability is at least that of each candidate.
    predicted = np.bincount(inverse, minlength=len(values))[::-1].cumsum()[::-1]
    correct = np.bincount(inverse, weights=has, minlength=len(values))[::-1].cumsum()[::-1]
    f1 = 2 * correct / (predicted + has.sum())
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(min(best, key=lambda one: (abs(one - MIDDLE), one)))


def metrics(predictions: LabelPredictions, label_names: Sequence[str]) -> dict[str, Any]:
    """The fields of `result.Scores`: exact match, precision, recall and F1 by label and averaged, average precision.

    A label that is never predicted has precision 0. One that no sentence has leaves the macro average.
    """
    from sklearn.metrics import multilabel_confusion_matrix, precision_recall_fscore_support

    truth, predicted = predictions.labels, predictions.predicted
    each = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    ranked = [_average_precision(truth[:, i], predictions.probabilities[:, i]) for i in range(len(label_names))]
    known = [one for one in ranked if one is not None]
    return {
        "accuracy": predictions.accuracy,
        "loss": predictions.loss,
        **{average: averaged(truth, predicted, average) for average in ("micro", "macro", "weighted")},
        "per_class": {
            name: {
                "precision": float(each[0][i]),
                "recall": float(each[1][i]),
                "f1": float(each[2][i]),
                "average_precision": ranked[i],
                "support": int(each[3][i]),
            }
            for i, name in enumerate(label_names)
        },
        "confusion_matrix": None,
        "label_confusion": dict(zip(label_names, multilabel_confusion_matrix(truth, predicted).tolist(), strict=True)),
        "calibration": None,
        "average_precision": float(np.mean(known)) if known else None,
    }


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over labels of the recall of having a label and of not having it, where sentences of both kinds occur."""
    recalls = []
    for has, given in zip(labels.T, predicted.T, strict=True):
        known = [float((given[has == kind] == kind).mean()) for kind in (True, False) if (has == kind).any()]
        recalls.append(np.mean(known))
    return float(np.mean(recalls))


def averaged(truth: np.ndarray, predicted: np.ndarray, average: str) -> dict[str, float]:
    """Precision, recall and F1; averages other than micro are over the labels that sentences have."""
    from sklearn.metrics import precision_recall_fscore_support

    present = None if average == "micro" else np.flatnonzero(truth.any(axis=0))
    if present is not None and not len(present):
        return dict.fromkeys(("precision", "recall", "f1"), 0.0)
    values = precision_recall_fscore_support(truth, predicted, labels=present, average=average, zero_division=0)
    return dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))


def _average_precision(has: np.ndarray, probabilities: np.ndarray) -> float | None:
    """A label's average precision; None where no sentence has it."""
    from sklearn.metrics import average_precision_score

    return min(float(average_precision_score(has, probabilities)), 1.0) if has.any() else None
