"""The loss of training: the model's own cross-entropy, or one with class weights or smoothed labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from trainer.config import RunConfig
from trainer.errors import ArgumentError
from trainer.tasks import TaskData, label_sets
from trainer.texts import tr


def loss_of(config: RunConfig, data: TaskData) -> Loss | LabelLoss:
    """The loss of a recipe on a task. Raises `ArgumentError` for weights of other labels."""
    kind = LabelLoss if data.multi_label else Loss
    return kind(config, label_names=data.label_names, labels=data.train.labels)


def targets(data: TaskData) -> Sequence[int] | list[list[float]]:
    """What a batch has as `labels` for each training sentence: an index, or 0 or 1 for each label."""
    if not data.multi_label:
        return data.train.labels
    return label_sets.matrix(data.train.labels, len(data.label_names)).astype(float).tolist()


class Loss:
    """Mean loss of a batch's sentences.

    A weight multiplies the loss of its class's sentences, and the sum is divided by their number, not by the weights'
    sum: accumulated batches then add up to the large batch, and balanced weights, whose mean over the training
    sentences is 1, leave the size of the loss. Label smoothing as Szegedy et al. 2016 (section 7) have it.
    """

    def __init__(self, config: RunConfig, *, label_names: Sequence[str], labels: Sequence[int]) -> None:
        """`labels` are those of the training sentences. Raises `ArgumentError` for weights of other labels."""
        self.smoothing = config.label_smoothing
        self.weights = class_weights(config.class_weights, label_names=label_names, labels=labels)

    @property
    def plain(self) -> bool:
        """Whether the model's own loss is the loss."""
        return self.weights is None and not self.smoothing

    def __call__(self, output: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a model's output for a batch: logits (sentences, labels), `batch["labels"]` (sentences,)."""
        if self.plain:
            return output.loss
        logits, labels = output.logits.float(), batch["labels"]
        if self.weights is None:
            return cross_entropy(logits, labels, label_smoothing=self.smoothing)
        weights = self.weights.to(logits.device)
        summed = cross_entropy(logits, labels, weight=weights, label_smoothing=self.smoothing, reduction="sum")
        return summed / len(labels)


class LabelLoss:
    """Mean binary cross-entropy of a multi-label batch, over its sentences and labels.

    A weight multiplies the part of the sentences that have its label; "balanced" is the number of those without it over
    that of those with it. Label smoothing brings each target that share of the way to one half: the two outcomes of a
    label are what it spreads over. In float32, so that every precision has the same loss.
    """

    def __init__(self, config: RunConfig, *, label_names: Sequence[str], labels: Sequence[tuple[int, ...]]) -> None:
        """`labels` are those of the training sentences. Raises `ArgumentError` for weights of other labels."""
        self.smoothing, self.weights = config.label_smoothing, None
        if config.class_weights == "balanced":
            having = label_sets.matrix(labels, len(label_names)).sum(axis=0)
            self.weights = torch.tensor([(len(labels) - count) / max(count, 1) for count in having.tolist()])
        elif config.class_weights != "none":
            self.weights = class_weights(config.class_weights, label_names=label_names, labels=())

    def __call__(self, output: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a model's output for a batch: logits and `batch["labels"]` (sentences, labels)."""
        logits = output.logits.float()
        smoothed = batch["labels"] * (1 - self.smoothing) + self.smoothing / 2
        weights = None if self.weights is None else self.weights.to(logits.device)
        return binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights)


def class_weights(
    chosen: str | dict[str, float], *, label_names: Sequence[str], labels: Sequence[int]
) -> torch.Tensor | None:
    """A weight for each label; None where all have the same.

    "balanced" is scikit-learn's: sentences / (classes * sentences of the class). Raises `ArgumentError` for weights
    that lack a label or name another.
    """
    if chosen == "none":
        return None
    if chosen == "balanced":
        counts = Counter(labels)
        return torch.tensor([len(labels) / (len(counts) * max(counts[i], 1)) for i in range(len(label_names))])
    if set(chosen) != set(label_names):
        raise ArgumentError(
            expected=tr("class_weights with a number for each label ({labels})", labels=", ".join(label_names)),
            got=", ".join(chosen) or tr("none"),
            fix=tr("name each label once"),
        )
    return torch.tensor([float(chosen[name]) for name in label_names])
