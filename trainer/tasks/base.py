"""A task: labelled sentences with fixed splits, the same for every method."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from trainer.errors import ArgumentError
from trainer.tasks import label_sets
from trainer.tasks.groups import hold_out
from trainer.tasks.label_sets import Label
from trainer.tasks.repeats import repeat_key
from trainer.texts import mark, tr

SPLITS = ("train", "validation", "test")
SHARE = 0.1
"""Share of the sentences that goes to validation, and to the test, where nobody chooses another."""
LEAST, FEWEST = 8, 4
"""The fewest sentences of a label: where splits are drawn from them, and where both held-out splits have own files."""
NEAR_REPEATS_OUT, DOCUMENTS_WHOLE = "near repeats left out", "documents whole, near repeats left out"
"""Values of `Task.splits_version`."""
NOTES = {
    "contradictory": mark("{count} sentences that came with two labels were left out"),
    "contradictory_sets": mark("{count} sentences that came with different labels were left out"),
    "repeated": mark("{count} repeated or empty sentences were left out"),
    "between": mark("{count} sentences rated between -0.5 and 0.5 were left out"),
    "overlapping": mark("{count} phrases that stand in sentences of more than one split were left out"),
    "in_test": mark("{count} training questions that the test asks too were left out"),
    "incomplete": mark("{count} rows without a text or a label were left out"),
    "without_label": mark("{count} sentences have no label"),
    "alone": mark("{count} sentences without a group each stand alone"),
    "group_held_out": mark("{count} sentences of groups that the validation or test file has too were left out"),
}
"""Notes on the data by kind, most of them on sentences that are left out."""


@dataclass(frozen=True)
class Split:
    """Sentences of one split. `rows` are their row numbers in the source; `labels` index the task's label names.

    In a multi-label task each of `labels` is a tuple of such indices in rising order, empty for a sentence without one.
    `groups`: what each sentence belongs to, such as its document's id; None where each sentence stands alone.
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[Label, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def counts(self) -> Counter[int]:
        """The number of sentences that have each label, by its index."""
        return Counter(index for label in self.labels for index in label_sets.indices(label))

    @cached_property
    def strata(self) -> tuple[int, ...]:
        """What stratified sampling balances: the labels; in a multi-label task see `label_sets.strata`."""
        return label_sets.strata(self.labels)

    def take(self, indices) -> Split:
        """The sentences at these indices."""
        return Split(
            tuple(self.rows[i] for i in indices),
            tuple(self.texts[i] for i in indices),
            tuple(self.labels[i] for i in indices),
            None if self.groups is None else tuple(self.groups[i] for i in indices),
        )


@dataclass(frozen=True)
class TaskData:
    """A task's three splits. `notes`: in English, what was left out and why (`note_shown` translates).

    `group`: what joins sentences that are not independent, such as "document"; None if each stands alone. `pairs`:
    whether each text is a pair of sentences, joined as in `trainer.pairs`. `multi_label`: whether a sentence may have
    several labels, or none.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    group: str | None = None
    pairs: bool = False
    multi_label: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every sentence and label of the three splits, in order."""
        digest = hashlib.sha256(json.dumps(self.label_names).encode())
        for name in SPLITS:
            split: Split = getattr(self, name)
            digest.update(json.dumps([name, split.texts, split.labels]).encode())
        return digest.hexdigest()[:16]

    def limited(self, *, train: int | None, validation: int | None, test: int | None, seed: int) -> TaskData:
        """At most these many sentences of each split, sampled by `seed` and stratified by label."""
        sizes = dict(zip(SPLITS, (train, validation, test), strict=True))
        return replace(self, **{name: _at_most(getattr(self, name), size, seed) for name, size in sizes.items()})


class Task(ABC):
    """A source of labelled sentences; one subclass each. `title` and `summary` are marked for `tr`."""

    name: str
    title: str
    summary: str
    needs_hub = False
    known_extent: tuple[int, int] | None = None
    """(training sentences, labels) where they are known without a download."""
    splits_version: str = ""
    """What distinguishes this task's splits from those of the program's first version; empty where they are the same.

    Runs on other splits than today's must not be fused or resumed: they may have been trained on today's test.
    """

    @abstractmethod
    def load(self, split_seed: int) -> TaskData:
        """The task's splits. Raises `Unreachable` when the source cannot be reached."""


def normalise(text: str) -> str:
    """The text with case and white space normalised."""
    return " ".join(text.casefold().split())


def note(kind: str, count: int) -> str:
    """One of `NOTES` as a run's result stores it: in English, whatever the process's language."""
    return NOTES[kind].format(count=count)


def note_shown(text: str) -> str:
    """A stored note in the process's language; any other text unchanged."""
    for template in NOTES.values():
        if match := re.fullmatch(re.escape(template).replace(r"\{count\}", r"(\d+)"), text):
            return tr(template, count=match[1])
    return text


def distinct(split: Split, key: Callable[[str], str] = repeat_key) -> tuple[Split, tuple[str, ...]]:
    """(the split with each sentence once, notes on what was left out). A sentence that contradicts itself is left out.

    It does so where it comes with two labels, or in a multi-label task with two sets of labels.

    Texts with equal keys are the same sentence: by default near repeats, of which the first stays.
    """
    indices = defaultdict(list)
    for index, text in enumerate(split.texts):
        indices[key(text)].append(index)
    indices.pop("", None)
    chosen = [group[0] for group in indices.values() if len({split.labels[i] for i in group}) == 1]
    contradictory = len(indices) - len(chosen)
    notes = []
    if contradictory:
        sets = any(isinstance(label, tuple) for label in split.labels)
        notes.append(note("contradictory_sets" if sets else "contradictory", contradictory))
    if len(split) > len(chosen) + contradictory:
        notes.append(note("repeated", len(split) - len(chosen) - contradictory))
    return split.take(sorted(chosen)), tuple(notes)


def divide(split: Split, *, held_out: float | int, seed: int) -> tuple[Split, Split]:
    """(the rest, the held-out part) of a split, stratified by label; `held_out` is a share or a count."""
    from sklearn.model_selection import train_test_split

    rest, part = train_test_split(range(len(split)), test_size=held_out, random_state=seed, stratify=split.strata)
    return split.take(rest), split.take(part)


def divide_in_three(
    split: Split,
    *,
    seed: int,
    label_names: tuple[str, ...],
    share: float = SHARE,
    held_out: dict[str, Split] | None = None,
    least: int = LEAST,
) -> dict[str, Split]:
    """Training, validation and test splits, stratified by label; a group is in one of them.

    `share` of the sentences goes to validation and to test, where `held_out` does not have that split already; with
    groups about as much.

    Raises `ArgumentError` when a label has fewer than `least` sentences, too few for each split to have some.
    """
    splits = dict(held_out or {})
    check_enough(split, label_names, least=least)
    drawn = [name for name in ("test", "validation") if name not in splits]
    if split.groups is not None and drawn:
        parts = hold_out(split.strata, split.groups, parts=len(drawn), share=share, seed=seed)
        splits |= {name: split.take(part) for name, part in zip(drawn, parts, strict=True)}
        rest = set(range(len(split))).difference(*parts)
        return {"train": split.take(sorted(rest)), **splits}
    size = max(round(len(split) * share), len({*split.strata, *range(len(label_names))}))
    for name in drawn:
        split, splits[name] = divide(split, held_out=size, seed=seed)
    return {"train": split, **splits}


def check_enough(split: Split, label_names: tuple[str, ...], *, least: int = LEAST) -> None:
    """Raise `ArgumentError` when a label has fewer than `least` sentences."""
    counts = split.counts
    rare = {name: counts[i] for i, name in enumerate(label_names) if counts[i] < least}
    if rare:
        raise ArgumentError(
            expected=tr(
                "at least {count} sentences for each label that differ in words, so that each split has some",
                count=least,
            ),
            got=", ".join(
                tr("{count} for {label}", count=count, label=repr(name)) for name, count in list(rare.items())[:5]
            ),
            fix=tr("add sentences or leave these labels out"),
        )


def _at_most(split: Split, size: int | None, seed: int) -> Split:
    if size is None or size >= len(split):
        return split
    counts = Counter(split.strata)
    if size < len(counts) or len(split) - size < len(counts) or min(counts.values()) < 2:
        # Too few on one side, or of one label, for stratified sampling: take every k-th sentence in label order.
        order = sorted(range(len(split)), key=lambda i: (split.strata[i], i))
        return split.take(sorted(order[round(k * len(order) / size)] for k in range(size)))
    return divide(split, held_out=size, seed=seed)[1]
