"""One run's prediction of one text, and the tokens that it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.runs.run import Run
from trainer.texts import tr
from trainer.training import calibration


@dataclass(frozen=True)
class Prediction:
    """One run's prediction for one text: `predicted`, its label, which alone is in `labels`.

    In a multi-label task `labels` are those whose probability is at least the run's threshold of `thresholds`, any
    number, and `predicted` joins them: a|b, empty for none. `seconds` is the time of its forward pass, without loading
    the model.

    Runs of one call are computed in parallel, so their seconds add up to more than the elapsed time. `temperature` is
    None for probabilities as the model gives them. `tokens_read` of the text's `tokens` were read, the special ones at
    its ends included: fewer where it is longer than the run's maximum length; `truncation` says which were then read.
    """

    run_id: str
    label: str
    method: str
    predicted: str
    probabilities: dict[str, float]
    seconds: float
    temperature: float | None = None
    tokens_read: int = 0
    tokens: int = 0
    truncation: str = "head"
    labels: tuple[str, ...] = ()
    thresholds: dict[str, float] | None = None

    @property
    def multi_label(self) -> bool:
        """Whether the text may have several labels, or none."""
        return self.thresholds is not None

    @property
    def shown(self) -> str:
        """The predicted labels for people."""
        return ", ".join(self.labels) or tr("no label") if self.multi_label else self.predicted

    @property
    def cut(self) -> bool:
        """Whether the text is longer than the run's maximum length, so that a part of it was not read."""
        return self.tokens_read < self.tokens

    @property
    def confidence(self) -> float:
        """The probability of the predicted label; not of a multi-label task, where each label has its own."""
        return self.probabilities[self.predicted]

    @property
    def confidence_shown(self) -> str:
        """The probability of each predicted label, for people; a dash for none."""
        return ", ".join(f"{self.probabilities[label]:.1%}" for label in self.labels) or "–"

    def calibrated(self, run: Run) -> Prediction:
        """The prediction scaled by the run's temperature; unchanged if the run has none. The label stays the same."""
        if (value := temperature(run)) is None:
            return self
        shares = calibration.scaled(np.array([*self.probabilities.values()]), value)
        probabilities = dict(zip(self.probabilities, map(float, shares), strict=True))
        return replace(self, probabilities=probabilities, temperature=value)


def predicted_labels(
    probabilities: np.ndarray, label_names: Sequence[str], thresholds: Sequence[float] | None
) -> tuple[str, ...]:
    """The most probable label alone; with `thresholds` every label whose probability is at least its own."""
    if thresholds is None:
        return (label_names[int(probabilities.argmax())],)
    return tuple(
        name for name, p, threshold in zip(label_names, probabilities, thresholds, strict=True) if float(p) >= threshold
    )


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, truncated to a run's maximum length and not padded, and each text's tokens in all."""

    ids: list[list[int]]
    lengths: list[int]

    @property
    def read(self) -> list[int]:
        return [len(ids) for ids in self.ids]


def temperature(run: Run) -> float | None:
    """The run's temperature from its validation split; None if it has none."""
    fitted = run.result.temperature if run.result else None
    return fitted.value if fitted else None
