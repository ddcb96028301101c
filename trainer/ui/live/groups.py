"""Runs grouped by task, their names in a group, and sentences on how their predictions agree."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trainer.analysis.names import short_names
from trainer.runs.run import Run
from trainer.serving.prediction import Prediction
from trainer.texts import tr, tr_count
from trainer.ui.common.lab import method_title, task_name


@dataclass(frozen=True)
class Group:
    """Runs of one task with the same label names, so that their predictions can agree."""

    title: str
    runs: tuple[Run, ...]

    @cached_property
    def names(self) -> dict[str, str]:
        """Run id -> its short name among these runs."""
        return short_names(self.runs)

    @cached_property
    def key(self) -> str:
        """The group's task and label names as a short text, for addresses and choices: no path of a file."""
        about = "\n".join([self.runs[0].recipe.task, *self.runs[0].label_names])
        return hashlib.sha256(about.encode()).hexdigest()[:12]

    @property
    def one_per_backbone(self) -> tuple[Run, ...]:
        """The first run of each backbone, whose untrained backbone has a card."""
        return tuple({run.recipe.backbone: run for run in reversed(self.runs)}.values())[::-1]


@dataclass(frozen=True)
class Verdict:
    """How the predictions of a group agree, as a sentence.

    `minority`: labels whose cards are marked; all predicted ones where two labels lead with equal counts.
    """

    text: str
    minority: frozenset[str] = frozenset()
    leading: str | None = None


def groups(runs: Sequence[Run]) -> tuple[Group, ...]:
    """The runs by task, tasks and runs in the order of `runs`. The same task with other labels is another group."""
    by_task: dict[tuple, list[Run]] = {}
    for run in runs:
        by_task.setdefault((run.recipe.task, run.label_names), []).append(run)
    return tuple(Group(_title(same), tuple(same)) for same in by_task.values())


def _title(runs: Sequence[Run]) -> str:
    return tr_count("{task}: {count} run", "{task}: {count} runs", len(runs), task=task_name(runs[0]))


def verdict(group: Group, predictions: Sequence[Prediction | str | None]) -> Verdict:
    """The verdict on a group's predictions, in the order of its runs: None is still to come, a string is an error."""
    if len(group.runs) == 1:
        return Verdict("")
    if None in predictions:
        return Verdict(tr("The runs are predicting."))
    pairs = zip(group.runs, predictions, strict=True)
    labels = [(run, prediction.shown) for run, prediction in pairs if isinstance(prediction, Prediction)]
    if not labels:
        return Verdict(tr("No run predicted a label."))
    ranked = Counter(label for _, label in labels).most_common()
    leading = ranked[0][0]
    if len(labels) == 1:
        return Verdict(tr("One run predicted a label: {label}.", label=leading))
    if len(ranked) == 1:
        text = tr("Agreement: all {count} runs say {label}.", count=len(labels), label=leading)
        return Verdict(text, leading=leading)
    parts = _disagreement(group, labels, ranked)
    if ranked[0][1] == ranked[1][1]:
        text = tr("Disagreement: no label leads: {parts}.", parts=parts)
        return Verdict(text, frozenset(label for label, _ in ranked))
    text = tr("Disagreement: {parts}.", parts=parts)
    return Verdict(text, frozenset(label for label, _ in ranked[1:]), leading)


def _disagreement(group: Group, labels: Sequence[tuple[Run, str]], ranked: Sequence[tuple[str, int]]) -> str:
    """A text of each label with its count and its runs, the most frequent one first."""
    parts = []
    for rank, (label, count) in enumerate(ranked):
        names = ", ".join(group.names[run.id] for run, predicted in labels if predicted == label)
        values = {"label": label, "names": names}
        if rank == 0:
            part = tr_count(
                "{count} of {all} says {label} ({names})",
                "{count} of {all} say {label} ({names})",
                count,
                all=len(labels),
                **values,
            )
        else:
            part = tr_count("{count} says {label} ({names})", "{count} say {label} ({names})", count, **values)
        parts.append(part)
    return "; ".join(parts)


def longest_verdict(group: Group) -> str:
    """The longest possible sentence of a disagreement, drawn invisibly to reserve the verdict's height."""
    return tr(
        "Disagreement: {count} of {count} say {label} ({names}); {count} say {label}.",
        count=len(group.runs),
        label=max(group.runs[0].label_names, key=len),
        names=", ".join(group.names.values()),
    )


def described(run: Run, name: str) -> str:
    """The description on a run's card: its method where its `name` has it not, its backbone and its seed."""
    method, values = method_title(run.recipe.method), {"backbone": backbone_name(run), "seed": run.recipe.seed}
    if method in name:
        return tr("{backbone}, seed {seed}", **values)
    return tr("{method}, {backbone}, seed {seed}", method=method, **values)


def backbone_name(run: Run) -> str:
    """The name of a run's backbone; for a folder, the folder's name."""
    return run.recipe.backbone.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
