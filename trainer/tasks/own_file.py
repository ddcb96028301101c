"""A person's own file as a task: a table of sentences with any number of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError
from trainer.tasks import cells, label_sets
from trainer.tasks.base import (
    FEWEST,
    LEAST,
    NEAR_REPEATS_OUT,
    SHARE,
    SPLITS,
    Split,
    Task,
    TaskData,
    check_enough,
    distinct,
    divide_in_three,
    normalise,
    note,
)
from trainer.tasks.columns import (
    choose_columns,
    choose_label_columns,
    choose_text,
    pair_columns,
    text_cells,
    unusual,
)
from trainer.tasks.groups import check_column, check_enough_groups
from trainer.tasks.repeats import repeat_key
from trainer.tasks.tables import read_table
from trainer.texts import tr

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 200

Row = tuple[int, str, tuple[str, ...], str | None]
"""(row number, text, labels, group) of one complete row; the group is None for a row that stands alone.

The labels are one, or in a multi-label file any number.
"""


@dataclass(frozen=True)
class Usable:
    """The usable part of a file: its distinct, complete sentences before they are split, and its held-out files'.

    `notes`: in English, what was left out and why (`note_shown` translates). `pairs` and `multi_label`: as in
    `TaskData`.
    """

    sentences: Split
    label_names: tuple[str, ...]
    notes: tuple[str, ...]
    held_out: dict[str, Split]
    pairs: bool = False
    multi_label: bool = False


class FileTask(Task):
    """A task of a file with a text and a label column, chosen or recognised by their usual names.

    Two text columns, `pairs.join`ed to one name, make pairs of sentences. With `several_labels` a cell of the label
    column has any number of labels; `label_columns` are columns of 0 and 1, one a label, in place of a label column.

    Sentences with the same value in `group_column` come into the same split; a row without a value stands alone.
    """

    splits_version = NEAR_REPEATS_OUT

    def __init__(
        self,
        path: str,
        text_column: str | None = None,
        label_column: str | None = None,
        *,
        several_labels: bool = False,
        label_columns: Sequence[str] = (),
        group_column: str | None = None,
        validation_file: str | None = None,
        test_file: str | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        validation_share: float | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.name = str(self.path)
        self.title = self.path.name
        self.summary = tr("Sentences from {file}.", file=self.path.name)
        self.text_column, self.label_column, self.group_column = text_column, label_column, group_column
        self.several_labels, self.label_columns = several_labels, tuple(label_columns)
        self.multi_label = several_labels or bool(label_columns)
        self.held_out = {"validation": validation_file, "test": test_file}
        self.separator, self.encoding, self.share = separator, encoding, validation_share or SHARE

    def load(self, split_seed: int) -> TaskData:
        usable = self.usable()
        splits = divide_in_three(
            usable.sentences, seed=split_seed, label_names=usable.label_names, held_out=usable.held_out,
            share=self.share, least=self._least,
        )  # fmt: skip
        return TaskData(
            self.name, usable.label_names, notes=usable.notes, group=self.group_column, pairs=usable.pairs,
            multi_label=usable.multi_label, **splits,
        )  # fmt: skip

    def usable(self) -> Usable:
        """The usable part of the file. Raises `ArgumentError` for an unsuitable file, or one with too few sentences."""
        rows, incomplete, paired = self._rows(self.path)
        names = self._label_names(rows)
        held_out = {split: self._held_out(file, names) for split, file in self.held_out.items() if file}
        elsewhere = {repeat_key(text) for split in held_out.values() for text in split.texts}
        groups_elsewhere = {group for split in held_out.values() for group in split.groups or ()}
        apart = [row for row in rows if row[3] is None or row[3] not in groups_elsewhere]
        sentences, notes = distinct(self._encode([row for row in apart if repeat_key(row[1]) not in elsewhere], names))
        if incomplete:
            notes += (note("incomplete", incomplete),)
        if len(apart) < len(rows):
            notes += (note("group_held_out", len(rows) - len(apart)),)
        if without := sum(label == () for label in sentences.labels):
            notes += (note("without_label", without),)
        check_enough(sentences, names, least=self._least)
        if sentences.groups is not None and all(group is None for *_, group in rows):
            raise ArgumentError(
                expected=tr("a group column {name} in {file}", name=repr(self.group_column), file=self.path.name),
                got=tr("only empty cells"),
                fix=tr("choose another group column"),
                option_fix=tr("name another --group-column"),
            )
        if sentences.groups is not None:
            if (splits := len(SPLITS) - len(held_out)) > 1:
                check_enough_groups(sentences.labels, sentences.groups, names, splits=splits)
            if alone := sum(group == _alone(row) for row, group in zip(sentences.rows, sentences.groups, strict=True)):
                notes += (note("alone", alone),)
        return Usable(sentences, names, notes, held_out, paired, self.multi_label)

    @property
    def _least(self) -> int:
        """The fewest sentences of a label: fewer are enough where none is taken away for validation and test."""
        return FEWEST if all(self.held_out.values()) else LEAST

    def _rows(self, path: Path) -> tuple[list[Row], int, bool]:
        """(the complete rows, the number of incomplete ones, whether their texts are pairs).

        A row needs a text, or both of a pair, and a label, but no group.
        """
        frame = read_table(path, self.separator, self.encoding)
        text, label = self.columns(frame, path)
        groups = [None] * len(frame)
        if self.group_column is not None:
            columns = list(frame.columns)
            others = (*(pair_columns(columns, text) or (text,)), *([label] if label else self.label_columns))
            check_column(self.group_column, columns, others, path)
            column = self.group_column
            groups = [None if cells.missing(value) else cells.label(value, column) for value in frame[column]]
        texts, paired = text_cells(frame, text)
        complete = [
            (row, words, names, group)
            for row, (words, names, group) in enumerate(zip(texts, self.labels(frame, path), groups, strict=True))
            if words is not None and names is not None
        ]
        return complete, len(frame) - len(complete), paired

    def columns(self, frame: pd.DataFrame, path: Path) -> tuple[str, str | None]:
        """The text and the label column of a file's table; None in place of the latter where there are several.

        Raises `ArgumentError` for columns that it does not have, or that contradict each other.
        """
        columns = list(frame.columns)
        if not self.label_columns:
            try:
                return choose_columns(columns, self.text_column, self.label_column, path)
            except ArgumentError as error:
                raise unusual(frame, path) or error from None
        if self.label_column is not None or self.several_labels:
            raise ArgumentError(
                expected=tr("a label column, or label columns of 0 and 1"),
                got=tr("both"),
                fix=tr("leave one of them out"),
                option_fix=tr("leave out --label-columns, or --label-column and --several-labels"),
            )
        text = choose_text(columns, self.text_column, path)
        others = [*(pair_columns(columns, text) or (text,)), self.group_column]
        choose_label_columns(columns, self.label_columns, others, path)
        return text, None

    def labels(self, frame: pd.DataFrame, path: Path) -> list[tuple[str, ...] | None]:
        """The names of each row's labels, one unless the file is multi-label; None for a row that is not labelled.

        Raises `ArgumentError` as `columns` does, and for several labels where one is expected.
        """
        _, column = self.columns(frame, path)
        if self.multi_label:
            return label_sets.read(frame, column, [name for name in frame.columns if name in self.label_columns])
        names = [None if cells.missing(value) else cells.label(value, column) for value in frame[column]]
        if labels := label_sets.looks_several(name for name in names if name is not None):
            raise cells.several(labels, column)
        return [None if name is None else (name,) for name in names]

    def _label_names(self, rows: list[Row]) -> tuple[str, ...]:
        """The labels in order: of the label columns that of the file, else the natural one."""
        if not self.label_columns:
            return label_names(name for _, _, names, _ in rows for name in names)
        columns = read_table(self.path, self.separator, self.encoding).columns
        names = tuple(name for name in columns if name in self.label_columns)
        label_names(names)  # as many as there may be
        return names

    def _held_out(self, file: str, names: tuple[str, ...]) -> Split:
        """A validation or test file's sentences: all but exact repeats, so that its size is the one it is known by."""
        rows, _, _ = self._rows(Path(file).expanduser())
        unknown = sorted({name for _, _, own, _ in rows for name in own} - set(names))
        if unknown or not rows:
            raise ArgumentError(
                expected=tr(
                    "sentences in {file} with the labels of the first file ({labels})",
                    file=Path(file).name,
                    labels=", ".join(names[:9]),
                ),
                got=", ".join(unknown[:5]) or tr("no complete row"),
                fix=tr("make the labels of the two files agree"),
            )
        return distinct(self._encode(rows, names), key=normalise)[0]

    def _encode(self, rows: list[Row], names: tuple[str, ...]) -> Split:
        """The rows as a split, with groups where there is a group column."""
        index = {name: i for i, name in enumerate(names)}
        return Split(
            tuple(row for row, _, _, _ in rows),
            tuple(text for _, text, _, _ in rows),
            tuple(self._label(sorted(index[name] for name in own)) for _, _, own, _ in rows),
            None if self.group_column is None else tuple(group or _alone(row) for row, _, _, group in rows),
        )

    def _label(self, own: list[int]) -> label_sets.Label:
        return tuple(own) if self.multi_label else own[0]


def label_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in natural order. Raises `ArgumentError` for one class, or more than `MAX_CLASSES`."""
    names = sorted(set(labels), key=_natural)
    if len(names) < 2 or len(names) > MAX_CLASSES:
        few = len(names) < 2
        raise ArgumentError(
            expected=tr("between 2 and {count} different labels", count=MAX_CLASSES),
            got=f"{len(names)}" + (f" ({names[0]!r})" if len(names) == 1 else ""),
            fix=tr("add sentences with another label") if few else tr("choose another label column"),
            option_fix="" if few else tr("name the label column with --label-column"),
        )
    return tuple(names)


def _alone(row: int) -> str:
    """The group of a row without a value in the group column: no other row's."""
    return f"(row {row})"


def _natural(name: str) -> tuple:
    """A sort key: numbers by value, then words in alphabetical order."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
