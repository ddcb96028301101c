"""A task: labelled sentences with fixed splits, the same for every method."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

from trainer.errors import ArgumentError
from trainer.texts import mark, tr

SPLITS = ("train", "validation", "test")
NOTES = {
    "contradictory": mark("{count} sentences that came with two labels were left out"),
    "repeated": mark("{count} repeated or empty sentences were left out"),
    "between": mark("{count} sentences rated between -0.5 and 0.5 were left out"),
    "overlapping": mark("{count} phrases that stand in sentences of more than one split were left out"),
    "asked": mark("{count} training questions that the test asks too were left out"),
    "incomplete": mark("{count} rows without a text or a label were left out"),
}
"""What is said of sentences that are not used."""


@dataclass(frozen=True)
class Split:
    """Sentences of one split. `rows` are their places in the source; `labels` index the task's label names."""

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places) -> Split:
        """The sentences at these places."""
        return Split(
            tuple(self.rows[i] for i in places),
            tuple(self.texts[i] for i in places),
            tuple(self.labels[i] for i in places),
        )


@dataclass(frozen=True)
class TaskData:
    """A task's three splits. `notes` says in English what was left out and why (`note_shown`)."""

    name: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A hash over every sentence and label of the three splits, in order."""
        digest = hashlib.sha256(json.dumps(self.label_names).encode())
        for name in SPLITS:
            split: Split = getattr(self, name)
            digest.update(json.dumps([name, split.texts, split.labels]).encode())
        return digest.hexdigest()[:16]

    def limited(self, *, train: int | None, validation: int | None, test: int | None, seed: int) -> TaskData:
        """At most so many sentences of each split, chosen by `seed` and stratified by label."""
        sizes = dict(zip(SPLITS, (train, validation, test), strict=True))
        return replace(self, **{name: _at_most(getattr(self, name), size, seed) for name, size in sizes.items()})


class Task(ABC):
    """Where labelled sentences come from. One subclass per source; `title` and `summary` are marked for `tr`."""

    name: str
    title: str
    summary: str
    needs_hub = False
    known_extent: tuple[int, int] | None = None
    """(training sentences, labels) where they are known without fetching the data."""

    @abstractmethod
    def load(self, split_seed: int) -> TaskData:
        """The task's splits. Raises `Unreachable` when the source does not answer."""


def normalise(text: str) -> str:
    """Case and white space folded: two texts with one normal form are the same sentence."""
    return " ".join(text.casefold().split())


def note(kind: str, count: int) -> str:
    """One of `NOTES` as a run's record holds it: in English, whatever the process's language."""
    return NOTES[kind].format(count=count)


def note_shown(text: str) -> str:
    """A recorded note in the process's language; another text as it is."""
    for template in NOTES.values():
        if found := re.fullmatch(re.escape(template).replace(r"\{count\}", r"(\d+)"), text):
            return tr(template, count=found[1])
    return text


def distinct(split: Split) -> tuple[Split, tuple[str, ...]]:
    """Each sentence once. A sentence with two labels is left out, since no label of it can be trusted."""
    places = defaultdict(list)
    for place, text in enumerate(split.texts):
        places[normalise(text)].append(place)
    places.pop("", None)
    kept = [group[0] for group in places.values() if len({split.labels[i] for i in group}) == 1]
    contradictory = len(places) - len(kept)
    notes = []
    if contradictory:
        notes.append(note("contradictory", contradictory))
    if len(split) > len(kept) + contradictory:
        notes.append(note("repeated", len(split) - len(kept) - contradictory))
    return split.take(sorted(kept)), tuple(notes)


def divide(split: Split, *, held_out: float | int, seed: int) -> tuple[Split, Split]:
    """(the rest, the held-out part), stratified by label; `held_out` is a share or a count."""
    from sklearn.model_selection import train_test_split

    rest, held = train_test_split(range(len(split)), test_size=held_out, random_state=seed, stratify=split.labels)
    return split.take(rest), split.take(held)


def divide_in_three(
    split: Split,
    *,
    seed: int,
    label_names: tuple[str, ...],
    share: float = 0.1,
    held_out: dict[str, Split] | None = None,
) -> dict[str, Split]:
    """Train, validation and test, stratified; `share` of the sentences for each of the last two not in `held_out`.

    Raises `ArgumentError` when a label has too few sentences for each split to have some.
    """
    splits = dict(held_out or {})
    check_enough(split, label_names)
    size = max(round(len(split) * share), len(label_names))
    for name in ("test", "validation"):
        if name not in splits:
            split, splits[name] = divide(split, held_out=size, seed=seed)
    return {"train": split, **splits}


def check_enough(split: Split, label_names: tuple[str, ...]) -> None:
    """Raise `ArgumentError` when a label has too few sentences for each split to have some."""
    counts = Counter(split.labels)
    rare = {name: counts[i] for i, name in enumerate(label_names) if counts[i] < 8}
    if rare:
        raise ArgumentError(
            expected=tr("at least 8 different sentences for each label, so that each split has some"),
            got=", ".join(
                tr("{count} for {label}", count=count, label=repr(name)) for name, count in list(rare.items())[:5]
            ),
            fix=tr("add sentences or leave these labels out"),
        )


def _at_most(split: Split, size: int | None, seed: int) -> Split:
    if size is None or size >= len(split):
        return split
    counts = Counter(split.labels)
    if size < len(counts) or len(split) - size < len(counts) or min(counts.values()) < 2:
        # Too few on one side, or of one label, for a stratified draw: take evenly spread sentences in label order.
        order = sorted(range(len(split)), key=lambda i: (split.labels[i], i))
        return split.take(sorted(order[round(k * len(order) / size)] for k in range(size)))
    return divide(split, held_out=size, seed=seed)[1]
