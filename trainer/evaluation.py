"""From a model to predictions, and from predictions to metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.device import Device, autocast


@dataclass(frozen=True)
class Predictions:
    """`probabilities`: (sentences, labels), rows sum to 1, in the order asked. `loss`: mean cross-entropy."""

    probabilities: np.ndarray
    labels: np.ndarray
    loss: float

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label of each sentence."""
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())


def tokenise(tokeniser, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text, cut to `max_length`, not padded."""
    return tokeniser(list(texts), truncation=True, max_length=max_length)["input_ids"]


def pad(ids: Sequence[Sequence[int]], pad_id: int):
    """(input_ids, attention_mask) of one batch, padded to its longest text. Shapes: (batch, longest)."""
    import torch

    longest = max(map(len, ids))
    input_ids = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = torch.as_tensor(tokens)
        mask[row, : len(tokens)] = 1
    return input_ids, mask


def predict_logits(
    model,
    ids: Sequence[Sequence[int]],
    *,
    pad_id: int,
    batch_size: int,
    device: Device,
    precision: str,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Logits (sentences, labels) as float32, in the order given; alike lengths share a batch.

    `on_batch` is told how many sentences are done; what it raises ends the prediction.
    """
    import torch

    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    was_training = model.training
    if was_training:  # each switch visits every module: a tenth of the time of one short text
        model.eval()
    parts = []
    try:
        with torch.inference_mode(), autocast(device, precision):
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                input_ids, mask = (t.to(device.kind) for t in pad([ids[i] for i in batch], pad_id))
                parts.append(model(input_ids=input_ids, attention_mask=mask).logits.float().cpu())
                if on_batch is not None:
                    on_batch(start + len(batch))
    finally:
        if was_training:
            model.train()
    logits = np.empty((len(ids), parts[0].shape[1]), dtype=np.float32)
    logits[order] = torch.cat(parts).numpy()
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def judge(logits: np.ndarray, labels: Sequence[int]) -> Predictions:
    """Predictions with their loss against the true labels."""
    labels = np.asarray(labels)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
    return Predictions(softmax(logits), labels, loss)


def metrics(predictions: Predictions, label_names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 (per class, macro, weighted) and the confusion matrix.

    Rows of the matrix are true labels, columns predicted ones. A class that is never predicted has precision 0.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every = range(len(label_names))
    truth, predicted = predictions.labels, predictions.predicted

    def scores(average: str) -> dict[str, float]:
        got = precision_recall_fscore_support(truth, predicted, labels=every, average=average, zero_division=0)
        return dict(zip(("precision", "recall", "f1"), map(float, got[:3]), strict=True))

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
    }
