"""Classifiers that read nothing: majority-class baseline, runs that predict one label only. Imports no torch."""

from __future__ import annotations

import math

from trainer.runs.run import Run
from trainer.texts import tr


def majority(run: Run) -> tuple[str, float]:
    """(the label that most test sentences have, its share): what always predicting this label would get right."""
    support = {name: scores.support for name, scores in run.result.test.per_class.items()}
    label = max(support, key=support.__getitem__)
    return label, support[label] / (sum(support.values()) or 1)


def only_label(run: Run) -> str | None:
    """The one label that a finished run predicts for every test sentence, though they have several; else None."""
    matrix = run.result.test.confusion_matrix
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    true = [sum(row) for row in matrix]
    if sum(count > 0 for count in predicted) != 1 or sum(count > 0 for count in true) < 2:
        return None
    return run.label_names[next(index for index, count in enumerate(predicted) if count)]


def chance_loss(labels: int) -> str:
    """A sentence on the cross-entropy of a classifier that gives each of `labels` labels the same probability."""
    loss = f"{math.log(labels):.2f}"
    if labels == 2:
        return tr("Loss is cross-entropy: {loss} is a coin flip between two labels.", loss=loss)
    return tr("Loss is cross-entropy: {loss} is guessing among {count} labels.", loss=loss, count=labels)
