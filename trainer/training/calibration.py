"""Calibration of predicted probabilities: expected calibration error, Brier score, temperature. NumPy and SciPy alone.

Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599; Brier
1950, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78(1). Arrays are
`probabilities` (sentences, labels), whose rows sum to 1, and `labels` (sentences,), indices of the true labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15
"""Intervals of equal width between 0 and 1, as in Guo et al. 2017, section 5."""
TEMPERATURES = (0.05, 20.0)
"""The range in which a temperature is sought. One at an end is none: the likelihood has no maximum inside."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities below it count as it: a logarithm of a stored zero would be infinite."""


def calibration(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> dict[str, Any] | None:
    """The fields of `result.Calibration`; None without sentences or with a probability that is not finite."""
    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    rows = reliability(probabilities, labels, bins=bins)
    filled = [row for row in rows if row["count"]]
    error = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled) / len(labels)
    return {"expected_calibration_error": min(float(error), 1.0), "brier": brier(probabilities, labels), "bins": rows}


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> list[dict[str, Any]]:
    """The fields of `result.Bin` for each interval (low, high] of the confidence, the predicted label's probability.

    Guo et al. 2017, section 2. Confidence and accuracy of an interval without sentences are None.
    """
    confidence = probabilities.max(axis=1).astype(np.float64).clip(0, 1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.arange(bins + 1) / bins
    of = (np.searchsorted(edges, confidence, side="left") - 1).clip(0, bins - 1)
    counts = np.bincount(of, minlength=bins)
    sums = (np.bincount(of, weights=values, minlength=bins) for values in (confidence, correct))
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "count": int(count),
            "confidence": min(float(confident / count), 1.0) if count else None,
            "accuracy": float(right / count) if count else None,
        }
        for i, (count, confident, right) in enumerate(zip(counts, *sums, strict=True))
    ]


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over sentences of the squared differences to the true label's indicator, summed over labels: 0 to 2.

    Brier 1950, equation 2. For two labels it is twice the score of one of them.
    """
    differences = probabilities.astype(np.float64).clip(0, 1)
    differences[np.arange(len(labels)), labels] -= 1
    return float(np.square(differences).sum(axis=1).mean())


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature that minimises the mean negative log-likelihood of `scaled` (Guo et al. 2017, section 4.2).

    The likelihood is convex in 1 / T, so the search over log T has one minimum. None where it lies outside of
    `TEMPERATURES`, as for sentences that are all labelled right (the likelihood grows as T falls) or at random.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    logits, rows = _logarithms(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    low, high = np.log(TEMPERATURES)
    best = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    return float(np.exp(best)) if low + 0.01 < best < high - 0.01 else None


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities with the logits divided by `temperature`, as float64; the predicted labels stay.

    Logarithms of probabilities serve as logits: they differ by a constant for each sentence, which softmax removes.
    """
    from scipy.special import softmax

    return softmax(_logarithms(probabilities) / temperature, axis=-1)


def temperature(
    validation: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any] | None:
    """The fields of `result.Temperature`: fitted on `validation`, evaluated on `test`, each (probabilities, labels)."""
    value = fit_temperature(*validation)
    if value is None:
        return None
    test_calibration = calibration(scaled(test[0], value), test[1])
    return None if test_calibration is None else {"value": value, "test_calibration": test_calibration}


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities.astype(np.float64).clip(SMALLEST, None))
