"""Evaluation: predictions and their loss from logits, metrics from predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.tasks import Split, TaskData
from trainer.training import calibration, multi_label
from trainer.training.multi_label import LabelPredictions, Scored


@dataclass(frozen=True)
class Predictions(Scored):
    """Predictions of a split. `probabilities`: (sentences, labels), rows sum to 1; `loss`: mean cross-entropy."""

    probabilities: np.ndarray
    labels: np.ndarray
    loss: float

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label of each sentence."""
        return self.probabilities.argmax(axis=1)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns `label` and `predicted` of predictions.parquet."""
        return {"label": self.labels, "predicted": self.predicted}

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    @property
    def balanced_accuracy(self) -> float:
        from sklearn.metrics import balanced_accuracy_score  # slow to import, and seldom needed

        return float(balanced_accuracy_score(self.labels, self.predicted))

    @property
    def macro_f1(self) -> float:
        from sklearn.metrics import f1_score

        present = np.unique(self.labels)
        return float(f1_score(self.labels, self.predicted, labels=present, average="macro", zero_division=0))


def of_split(
    logits: np.ndarray, split: Split, data: TaskData, *, thresholds: np.ndarray | None = None
) -> Predictions | LabelPredictions:
    """Predictions of a split of the task; `thresholds` of a multi-label task are by default chosen on this split."""
    if data.multi_label:
        return multi_label.score(logits, split.labels, thresholds=thresholds)
    return score(logits, split.labels)


def score(logits: np.ndarray, labels: Sequence[int]) -> Predictions:
    """Predictions with their loss against the true labels. `logits`: (sentences, labels)."""
    from scipy.special import log_softmax, softmax

    labels = np.asarray(labels)
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
    return Predictions(softmax(logits, axis=1), labels, loss)


def metrics(predictions: Predictions | LabelPredictions, label_names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 (per class, macro, weighted), the confusion matrix, and calibration.

    Rows of the matrix are true labels, columns predicted ones. A class that is never predicted has precision 0. A class
    that no sentence has leaves the macro average, for its recall is not defined (its weight in the other is 0).
    """
    if isinstance(predictions, LabelPredictions):
        return multi_label.metrics(predictions, label_names)
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every = range(len(label_names))
    truth, predicted = predictions.labels, predictions.predicted

    present = np.unique(truth)

    def scores(average: str) -> dict[str, float]:
        values = precision_recall_fscore_support(truth, predicted, labels=present, average=average, zero_division=0)
        return dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))

    per_class = precision_recall_fscore_support(truth, predicted, labels=every, zero_division=0)
    return {
        "accuracy": predictions.accuracy,
        "loss": predictions.loss,
        "macro": scores("macro"),
        "weighted": scores("weighted"),
        "per_class": {
            name: {
                "precision": float(per_class[0][i]),
                "recall": float(per_class[1][i]),
                "f1": float(per_class[2][i]),
                "support": int(per_class[3][i]),
            }
            for i, name in enumerate(label_names)
        },
        "confusion_matrix": confusion_matrix(truth, predicted, labels=every).tolist(),
        "calibration": calibration.calibration(predictions.probabilities, truth),
        "average_precision": average_precision(predictions.probabilities, truth),
    }


def average_precision(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the labels that sentences have of each one's average precision against the rest."""
    from sklearn.metrics import average_precision_score

    each = [average_precision_score(truth == label, probabilities[:, label]) for label in np.unique(truth)]
    return float(min(np.mean(each), 1.0))  # a sum of rounded shares may exceed 1 by a bit


def temperature(
    validation: Predictions | LabelPredictions, test: Predictions | LabelPredictions
) -> dict[str, Any] | None:
    """The fields of `result.Temperature`, fitted on the validation split; see `calibration.temperature`.

    None for a multi-label task, whose labels would need one each.
    """
    if isinstance(validation, LabelPredictions):
        return None
    return calibration.temperature((validation.probabilities, validation.labels), (test.probabilities, test.labels))
