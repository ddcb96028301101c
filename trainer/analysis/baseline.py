"""Classifiers that read nothing: majority-class baseline, runs that predict one label only. Imports no torch."""

from __future__ import annotations

import math

from trainer.runs.run import Run
from trainer.texts import tr


def majority(run: Run) -> tuple[str, float]:
    """(the label that most test sentences have, its share): what always predicting this label would get right.

    Of a run with one label a sentence: the most frequent set of labels is not known from its counts.
    """
    support = {name: scores.support for name, scores in run.result.test.per_class.items()}
    label = max(support, key=support.__getitem__)
    return label, support[label] / (sum(support.values()) or 1)


def only_label(run: Run) -> str | None:
    """The one label that a finished run predicts for every test sentence, though they have several; else None.

    Of a multi-label run the one set of labels.
    """
    matrix = run.result.test.confusion_matrix
    if matrix is None:
        return _only_set(run)
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    true = [sum(row) for row in matrix]
    if sum(count > 0 for count in predicted) != 1 or sum(count > 0 for count in true) < 2:
        return None
    return run.label_names[next(index for index, count in enumerate(predicted) if count)]


def _only_set(run: Run) -> str | None:
    """The one set of labels that a multi-label run predicts, though the test sentences have several."""
    tables = run.result.test.label_confusion
    predicted = {name: (without[1] + with_[1], without[0] + with_[0]) for name, (without, with_) in tables.items()}
    if any(all(counts) for counts in predicted.values()) or not any(
        sum(without) and sum(with_) for without, with_ in tables.values()
    ):
        return None
    return ", ".join(name for name, (given, _) in predicted.items() if given) or tr("no label")


def chance_loss(labels: int, *, multi_label: bool = False) -> str:
    """A sentence on the cross-entropy of a classifier that gives each of `labels` labels the same probability."""
    if multi_label:
        loss = f"{math.log(2):.2f}"
        return tr("Loss is the mean binary cross-entropy of the labels: {loss} is a coin flip for each.", loss=loss)
    loss = f"{math.log(labels):.2f}"
    if labels == 2:
        return tr("Loss is cross-entropy: {loss} is a coin flip between two labels.", loss=loss)
    return tr("Loss is cross-entropy: {loss} is guessing among {count} labels.", loss=loss, count=labels)
