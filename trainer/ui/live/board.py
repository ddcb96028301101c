"""Predictions as cards in a fixed order, grouped by task, with a sentence on how they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trainer.analysis.colours import COLOURS
from trainer.markup import render
from trainer.runs.damage import log_failure
from trainer.runs.run import Run
from trainer.serving.prediction import Prediction, temperature
from trainer.texts import mark, tr
from trainer.ui.common.lab import method_title
from trainer.ui.live import why
from trainer.ui.live.groups import Group, Verdict, backbone_name, described, longest_verdict, verdict
from trainer.ui.live.why import Explanation

MOST_BARS = 12
"""The most labels with a bar for each; of more labels only the most probable have one."""
SHOWN_OF_MANY = 6
GREY = "#888888"


class Bar(NamedTuple):
    """A label's probability: its width in percent, its text and, in a multi-label task, the threshold in percent.

    `over`: whether the probability reaches the threshold, so that the label is predicted.
    """

    label: str
    width: float
    text: str
    threshold: float | None = None
    over: bool = False


@dataclass(frozen=True)
class Card:
    """The values of a card in the template. With an error it has no label, bars and time.

    `marks` are CSS classes; `scale` says whether a temperature scales the bars,
    `cut` that the run did not read the whole text. `run_id` is that of a run that can be explained; `why` is its
    explanation as HTML, while it is open, and `explaining` whether it is still being computed.
    """

    title: str
    description: str
    colour: str
    tags: Sequence[str]
    marks: str = ""
    error: str = ""
    label: str = ""
    bars: Sequence[Bar] = ()
    time: str = ""
    cut: str = ""
    scale: str = ""
    run_id: str = ""
    why: str = ""
    explaining: bool = False


@dataclass
class Board:
    """The predictions so far for one text, by run id: a prediction, or an error in one sentence.

    `untrained` has those of backbones before training, by `untrained_key`; `guess` is the class's label. `calibrated`:
    probabilities are shown scaled by each run's temperature. `explainable`: the cards have buttons that explain;
    `explanations` are those that were computed, of which the runs in `explained` are open.
    """

    text: str
    groups: tuple[Group, ...]
    with_untrained: bool = False
    guess: str | None = None
    notices: tuple[str, ...] = ()
    calibrated: bool = False
    predictions: dict[str, Prediction | str] = field(default_factory=dict)
    untrained: dict[str, Prediction | str] = field(default_factory=dict)
    explainable: bool = False
    explanations: dict[str, Explanation | str] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)

    def html(self, status: str, *, busy: bool = False) -> str:
        """The whole board as HTML; placeholders have the size of the later content, so that nothing moves.

        `busy`: whether more predictions are being computed.
        """
        groups = [self._group(group) for group in self.groups]
        return render("live/board.html", board=self, status=status, groups=groups, busy=busy)

    def _group(self, group: Group) -> dict[str, object]:
        agreement = verdict(group, [self.predictions.get(run.id) for run in group.runs])
        cards = [_isolated(self._card, run, group, agreement) for run in group.runs]
        if self.with_untrained:
            cards += [_isolated(self._untrained_card, run) for run in group.one_per_backbone]
        return {
            "title": group.title,
            "verdict": agreement,
            "longest_verdict": longest_verdict(group),
            "cards": cards,
            "room": len(group.runs) > 1 or self.guess is not None,
            "scores": why.scores_table(self.text, group, self.explanations, self.explained),
        }

    def _card(self, run: Run, group: Group, agreement: Verdict) -> Card:
        prediction = self.predictions.get(run.id)
        if self.calibrated and isinstance(prediction, Prediction):
            prediction = prediction.calibrated(run)
        there = isinstance(prediction, Prediction)
        name, opened = group.names[run.id], run.id in self.explained
        marks = (
            "lab-dissent" if there and prediction.shown in agreement.minority else "",
            "lab-open" if opened else "",
        )
        return Card(
            title=name,
            description=described(run, name),
            colour=COLOURS.get(run.recipe.method, GREY),
            tags=_tags(prediction, agreement, self.guess, run.label_names),
            marks=" ".join(filter(None, marks)),
            scale=_scale(run) if self.calibrated else "",
            run_id=run.id if there and self.explainable else "",
            why=why.html(self.text, name, self.explanations.get(run.id)) if there and opened else "",
            explaining=opened and run.id not in self.explanations,
            **_figures(prediction, run.label_names),
        )

    def _untrained_card(self, run: Run) -> Card:
        return Card(
            title=tr("Untrained {backbone}", backbone=backbone_name(run)),
            description=tr("a fresh head on the backbone: what there is before any training"),
            colour=GREY,
            tags=[tr("Not trained, does not count")],
            marks="lab-untrained",
            scale=tr("Not scaled: not trained") if self.calibrated else "",
            **_figures(self.untrained.get(untrained_key(run)), run.label_names),
        )


def _isolated(draw: Callable[..., Card], run: Run, *more: Any) -> Card:
    """A run's card; one with the error if it cannot be drawn."""
    try:
        return draw(run, *more)
    except Exception as error:
        damage = log_failure(error, run_id=run.id, folder=run.folder)
        return Card(title=method_title(run.recipe.method), description="", colour=GREY, tags=[], error=str(damage))


def untrained_key(run: Run) -> str:
    """The key of `Board.untrained`: the run's task, labels and backbone."""
    return f"{run.recipe.task}\n{'|'.join(run.label_names)}\n{run.recipe.backbone}"


def _figures(prediction: Prediction | str | None, labels: Sequence[str]) -> dict[str, object]:
    """Label, bars and time of a card, or its error; "…" as placeholders before the prediction."""
    if isinstance(prediction, str):
        return {"error": prediction}
    if prediction is None:
        return {"label": "…", "bars": _bars(labels, {}), "time": "…"}
    return {
        "label": prediction.shown if prediction.multi_label else f"{prediction.predicted} {prediction.confidence:.0%}",
        "bars": _bars(labels, prediction.probabilities, prediction.thresholds),
        "time": tr("{time} ms", time=f"{prediction.seconds * 1000:.1f}"),
        "cut": cut_text(prediction),
    }


CUT = {
    "head": mark("The text is cut: the first {read} of its {tokens} tokens were read, the run's maximum length."),
    "tail": mark("The text is cut: the last {read} of its {tokens} tokens were read, the run's maximum length."),
    "head_and_tail": mark(
        "The text is cut: {read} of its {tokens} tokens were read, at both ends, the run's maximum length."
    ),
}
"""What was read of a longer text, by the recipe's `truncation`."""


def cut_text(prediction: Prediction) -> str:
    """A sentence on how much of a text that is too long was read; empty for one that was read whole."""
    if not prediction.cut:
        return ""
    return tr(
        CUT[prediction.truncation],
        read=f"{prediction.tokens_read:,}",
        tokens=f"{prediction.tokens:,}",
    )


def _scale(run: Run) -> str:
    """A note on the temperature that scales a card's probabilities."""
    value = temperature(run)
    if value is None:
        return tr("Not scaled: this run has no temperature")
    return tr("Scaled with T = {value}", value=f"{value:.2f}")


def _tags(
    prediction: Prediction | str | None, agreement: Verdict, guess: str | None, labels: Sequence[str]
) -> list[str]:
    if not isinstance(prediction, Prediction):
        return []
    tags = []
    if prediction.shown in agreement.minority:
        leading = agreement.leading
        tags.append(tr("Differs: most say {label}", label=leading) if leading else tr("No label leads"))
    if guess is not None and prediction.multi_label:
        tags.append(tr("Several labels: a guess of one is not counted"))
    elif guess is not None and guess not in labels:
        tags.append(tr("Has no label {label}", label=guess))
    elif guess is not None:
        tags.append(tr("✓ Agrees with the class") if prediction.predicted == guess else tr("✗ Differs from the class"))
    return tags


def _bars(
    labels: Sequence[str], probabilities: Mapping[str, float], thresholds: Mapping[str, float] | None = None
) -> list[Bar]:
    """A bar a label in the task's order, so that the bars of all cards line up."""
    if len(labels) <= MOST_BARS:
        return [_bar(label, probabilities.get(label), (thresholds or {}).get(label)) for label in labels]
    others = tr("{count} others", count=len(labels) - SHOWN_OF_MANY)
    if not probabilities:
        return [*[_bar("…", None)] * SHOWN_OF_MANY, _bar(others, None)]
    top = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN_OF_MANY]
    if thresholds is not None:
        # Those that are predicted first: each label has a probability of its own, and nothing is left for the others.
        top = sorted(labels, key=lambda label: (probabilities[label] < thresholds[label], -probabilities[label]))
        top = top[: max(SHOWN_OF_MANY, sum(probabilities[label] >= thresholds[label] for label in labels))]
        shown = [_bar(label, probabilities[label], thresholds[label]) for label in labels if label in top]
        left = len(labels) - len(top)
        return [*shown, *([Bar(tr("{count} others", count=left), 0.0, tr("not predicted"))] if left else [])]
    rest = max(1 - sum(probabilities[label] for label in top), 0.0)
    shown = [_bar(label, probabilities[label]) for label in labels if label in top]
    return [*shown, _bar(others, rest)]


def _bar(label: str, probability: float | None, threshold: float | None = None) -> Bar:
    if probability is None:
        return Bar(label, 0.0, "…")
    of = None if threshold is None else 100 * threshold
    return Bar(label, 100 * probability, f"{probability:.1%}", of, threshold is not None and probability >= threshold)
