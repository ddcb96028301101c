"""A person's own file as a task: a table of sentences with any number of classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import pairs
from trainer.errors import ArgumentError
from trainer.tasks import cells
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
from trainer.tasks.groups import check_column, check_enough_groups
from trainer.tasks.repeats import repeat_key
from trainer.tasks.tables import read_table
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd

TEXT_NAMES = ("text", "sentence", "review", "question", "comment", "tweet", "content", "message", "body", "utterance")
LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", "intent", "topic", "coarse_label")
GROUP_NAMES = (
    "document",
    "doc",
    "document_id",
    "doc_id",
    "review_id",
    "article_id",
    "thread_id",
    "thread",
    "user_id",
    "user",
    "author",
)
"""Usual names of a group column: proposed to a person, never taken unasked."""
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"),
    ("question", "sentence"), ("text1", "text2"),
)  # fmt: skip
"""Usual names of the two columns of a file of sentence pairs."""
MAX_CLASSES = 200
FEW = 8
"""The most columns of a file of which any two in a row are offered as pairs of sentences."""

Row = tuple[int, str, str, str | None]
"""(row number, text, label, group) of one complete row; the group is None for a row that stands alone."""


@dataclass(frozen=True)
class Usable:
    """The usable part of a file: its distinct, complete sentences before they are split, and its held-out files'.

    `notes`: in English, what was left out and why (`note_shown` translates). `pairs`: as in `TaskData`.
    """

    sentences: Split
    label_names: tuple[str, ...]
    notes: tuple[str, ...]
    held_out: dict[str, Split]
    pairs: bool = False


class FileTask(Task):
    """A task of a file with a text and a label column, chosen or recognised by their usual names.

    Two text columns, `pairs.join`ed to one name, make pairs of sentences.

    Sentences with the same value in `group_column` come into the same split; a row without a value stands alone.
    """

    splits_version = NEAR_REPEATS_OUT

    def __init__(
        self,
        path: str,
        text_column: str | None = None,
        label_column: str | None = None,
        *,
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
            **splits,
        )  # fmt: skip

    def usable(self) -> Usable:
        """The usable part of the file. Raises `ArgumentError` for an unsuitable file, or one with too few sentences."""
        rows, incomplete, paired = self._rows(self.path)
        names = label_names(name for _, _, name, _ in rows)
        held_out = {split: self._held_out(file, names) for split, file in self.held_out.items() if file}
        elsewhere = {repeat_key(text) for split in held_out.values() for text in split.texts}
        groups_elsewhere = {group for split in held_out.values() for group in split.groups or ()}
        apart = [row for row in rows if row[3] is None or row[3] not in groups_elsewhere]
        sentences, notes = distinct(self._encode([row for row in apart if repeat_key(row[1]) not in elsewhere], names))
        if incomplete:
            notes += (note("incomplete", incomplete),)
        if len(apart) < len(rows):
            notes += (note("group_held_out", len(rows) - len(apart)),)
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
        return Usable(sentences, names, notes, held_out, paired)

    @property
    def _least(self) -> int:
        """The fewest sentences of a label: fewer are enough where none is taken away for validation and test."""
        return FEWEST if all(self.held_out.values()) else LEAST

    def _rows(self, path: Path) -> tuple[list[Row], int, bool]:
        """(the complete rows, the number of incomplete ones, whether their texts are pairs).

        A row needs a text, or both of a pair, and a label, but no group.
        """
        frame = read_table(path, self.separator, self.encoding)
        try:
            text, label = choose_columns(list(frame.columns), self.text_column, self.label_column, path)
        except ArgumentError as error:
            raise unusual(frame, path) or error from None
        groups = [None] * len(frame)
        if self.group_column is not None:
            columns = list(frame.columns)
            check_column(self.group_column, columns, (*(pair_columns(columns, text) or (text,)), label), path)
            column = self.group_column
            groups = [None if cells.missing(value) else cells.label(value, column) for value in frame[column]]
        texts, paired = text_cells(frame, text)
        complete = [
            (row, words, cells.label(name, label), group)
            for row, (words, name, group) in enumerate(zip(texts, frame[label], groups, strict=True))
            if words is not None and not cells.missing(name)
        ]
        check_single([name for _, _, name, _ in complete], label)
        return complete, len(frame) - len(complete), paired

    def _held_out(self, file: str, names: tuple[str, ...]) -> Split:
        """A validation or test file's sentences: all but exact repeats, so that its size is the one it is known by."""
        rows, _, _ = self._rows(Path(file).expanduser())
        unknown = sorted({name for _, _, name, _ in rows} - set(names))
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
            tuple(index[name] for _, _, name, _ in rows),
            None if self.group_column is None else tuple(group or _alone(row) for row, _, _, group in rows),
        )


def text_cells(frame: pd.DataFrame, column: str, *, as_written: bool = False) -> tuple[list[str | None], bool]:
    """(the text of each row, None for an empty one; whether they are pairs) of a column or of two that are joined.

    Texts have single spaces, as training reads them, unless `as_written`. Raises `ArgumentError`.
    """
    read = cells.text if as_written else cells.sentence
    columns = pair_columns(list(frame.columns), column)
    if columns is None:
        return [None if cells.missing(words) else read(words, column) for words in frame[column]], False
    first, second = (frame[name] for name in columns)
    texts: list[str | None] = []
    for row, both in enumerate(zip(first, second, strict=True)):
        if any(map(cells.missing, both)):
            texts.append(None)
            continue
        one, other = (read(words, name) for words, name in zip(both, columns, strict=True))
        if pairs.MARK in one or pairs.MARK in other:
            raise ArgumentError(
                expected=tr("sentences without the sign {sign}, which joins the two of a pair", sign=pairs.MARK),
                got=tr("one with it in row {row}", row=row + 1),
                fix=tr("write another sign there"),
            )
        texts.append(pairs.join(one, other))
    return texts, True


def pair_columns(columns: list[str], name: str) -> tuple[str, str] | None:
    """The two columns that a joined name means; None for a column's own name, or where one of the two is missing."""
    both = None if name in columns else pairs.split(name)
    return both if both and set(both) <= set(columns) else None


def recognise_pair(columns: list[str]) -> str | None:
    """The joined name of two columns with usual names of a pair; None without them."""
    for usual in PAIRS:
        both = [recognise(columns, (name,)) for name in usual]
        if None not in both:
            return pairs.join(*both)
    return None


def text_choices(columns: list[str]) -> list[str]:
    """What may be chosen as the text: each column, and for pairs of sentences those with usual names or in a row.

    Two columns in a row are offered of a file with few columns: of many there would be too many.
    """
    usual = recognise_pair(columns)
    in_a_row = [pairs.join(one, other) for one, other in itertools.pairwise(columns)] if len(columns) <= FEW else []
    return list(dict.fromkeys([*columns, *([usual] if usual else []), *in_a_row]))


def recognise_text(columns: list[str]) -> str | None:
    """The text column by its usual names: a pair's before a single one's; None without any."""
    return recognise_pair(columns) or recognise(columns, TEXT_NAMES)


def choose_columns(columns: list[str], text: str | None, label: str | None, path: Path) -> tuple[str, str]:
    """The text and the label column: as named, else by their usual names. Raises `ArgumentError`.

    The text column may be two, `pairs.join`ed, for pairs of sentences.
    """
    problems, chosen = [], []
    without = {
        "text": (mark("no column {name} for the text"), mark("none with a usual name for the text")),
        "label": (mark("no column {name} for the label"), mark("none with a usual name for the label")),
    }
    for kind, named, usual in (("text", text, TEXT_NAMES), ("label", label, LABEL_NAMES)):
        column = _find(columns, named, usual)
        if column is None:
            unknown, unrecognised = without[kind]
            problems.append(tr(unknown, name=repr(named)) if named is not None else tr(unrecognised))
        chosen.append(column)
    if problems:
        got = problems[0] if len(problems) == 1 else tr("{one} and {other}", one=problems[0], other=problems[1])
        raise ArgumentError(
            expected=tr("a text and a label column in {file}", file=path.name),
            got=tr("{problem} among {columns}", problem=got, columns=", ".join(columns[:12])),
            fix=tr("choose both columns by their names"),
            option_fix=tr("name them with --text-column and --label-column"),
        )
    if chosen[1] in (pair_columns(columns, chosen[0]) or chosen[:1]):
        raise ArgumentError(
            expected=tr("two different columns"),
            got=tr("{name} for both", name=repr(chosen[1])),
            fix=tr("choose another label column"),
            option_fix=tr("name another --label-column"),
        )
    return chosen[0], chosen[1]


def unusual(frame: pd.DataFrame, path: Path) -> ArgumentError | None:
    """The error for a file whose columns are not recognised because it is of another kind; None if it is not known."""
    columns = list(frame.columns)
    if all(len(name.split()) > 4 or name in set(map(str, frame[name].head(1000))) for name in columns):
        return ArgumentError(
            expected=tr("a heading with the columns' names in the first line of {file}", file=path.name),
            got=repr(", ".join(columns)[:80]),
            fix=tr("add a first line such as text,label"),
        )
    marks = [name for name in columns if set(map(str, frame[name])) == {"0", "1"}]
    if len(marks) > 1:
        return ArgumentError(
            expected=tr("one label column in {file}", file=path.name),
            got=tr("a column of 0 and 1 for each of {columns}", columns=", ".join(marks[:9])),
            fix=tr("name one of them as the label column; several labels of one sentence cannot be trained yet"),
        )
    return None


def choose_text(columns: list[str], text: str | None, path: Path) -> str:
    """The text column, or two joined: as named, by their usual names, or the only one. Raises `ArgumentError`."""
    column = _find(columns, text, TEXT_NAMES) or (columns[0] if len(columns) == 1 and text is None else None)
    if column is None:
        raise ArgumentError(
            expected=tr("a text column in {file}", file=path.name),
            got=", ".join(columns[:12]),
            fix=tr("choose the column with the sentences"),
            option_fix=tr("name it with --text-column"),
        )
    return column


def _find(columns: list[str], named: str | None, usual: tuple[str, ...]) -> str | None:
    if named is not None:
        if usual is TEXT_NAMES and (both := pair_columns(columns, named)):
            return pairs.join(*both)
        return named if named in columns else None
    return recognise_text(columns) if usual is TEXT_NAMES else recognise(columns, usual)


def recognise(columns: list[str], usual: tuple[str, ...]) -> str | None:
    """The column with the first of the usual names that any column has, whatever its case; None without one."""
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def check_single(labels: Sequence[str], column: str) -> None:
    """Refuse labels such as "a|b" whose parts are labels of their own: several labels of one sentence."""
    names = set(labels)
    several = [name for name in names if "|" in name and all(part.strip() in names for part in name.split("|"))]
    if several:
        raise ArgumentError(
            expected=tr("one label in each cell of {column}", column=repr(column)),
            got=tr("several ({labels})", labels=min(several)),
            fix=tr("keep one of them; several labels of one sentence cannot be trained yet"),
        )


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
