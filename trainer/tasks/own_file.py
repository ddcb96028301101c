"""A person's own file as a task: CSV, TSV, JSON Lines or Parquet, any number of classes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError
from trainer.machine import measure
from trainer.tasks.base import (
    NEAR_REPEATS_OUT,
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
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd

READERS = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".parquet": "Parquet"}
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
MAX_CLASSES = 200

Row = tuple[int, str, str, str | None]
"""(row number, text, label, group) of one complete row; the group is None for a row that stands alone."""


@dataclass(frozen=True)
class Usable:
    """The usable part of a file: its distinct, complete sentences before they are split, and its held-out files'.

    `notes`: in English, what was left out and why (`note_shown` translates).
    """

    sentences: Split
    label_names: tuple[str, ...]
    notes: tuple[str, ...]
    held_out: dict[str, Split]


class FileTask(Task):
    """A task of a file with a text and a label column, chosen or recognised by their usual names.

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
    ) -> None:
        self.path = Path(path).expanduser()
        self.name = str(self.path)
        self.title = self.path.name
        self.summary = tr("Sentences from {file}.", file=self.path.name)
        self.text_column, self.label_column, self.group_column = text_column, label_column, group_column
        self.held_out = {"validation": validation_file, "test": test_file}

    def load(self, split_seed: int) -> TaskData:
        usable = self.usable()
        splits = divide_in_three(
            usable.sentences, seed=split_seed, label_names=usable.label_names, held_out=usable.held_out
        )
        return TaskData(self.name, usable.label_names, notes=usable.notes, group=self.group_column, **splits)

    def usable(self) -> Usable:
        """The usable part of the file. Raises `ArgumentError` for an unsuitable file, or one with too few sentences."""
        rows, incomplete = self._rows(self.path)
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
        check_enough(sentences, names)
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
        return Usable(sentences, names, notes, held_out)

    def _rows(self, path: Path) -> tuple[list[Row], int]:
        """(the complete rows, the number of incomplete rows). A row needs a text and a label, but no group."""
        frame = read_table(path)
        text, label = choose_columns(list(frame.columns), self.text_column, self.label_column, path)
        groups = [None] * len(frame)
        if self.group_column is not None:
            check_column(self.group_column, list(frame.columns), text, label, path)
            groups = [None if missing(value) else _label_name(value) for value in frame[self.group_column]]
        cells = enumerate(zip(frame[text], frame[label], groups, strict=True))
        complete = [
            (row, " ".join(str(words).split()), _label_name(name), group)
            for row, (words, name, group) in cells
            if not missing(words) and not missing(name)
        ]
        return complete, len(frame) - len(complete)

    def _held_out(self, file: str, names: tuple[str, ...]) -> Split:
        """A validation or test file's sentences: all but exact repeats, so that its size is the one it is known by."""
        rows, _ = self._rows(Path(file).expanduser())
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


class Tables:
    """A cache of parsed tables by their files' content: the same file is parsed once in a process.

    The files together have at most `most` bytes; the newest is cached whatever its size.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._tables: OrderedDict[tuple[str, str], tuple[int, pd.DataFrame]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> pd.DataFrame:
        """A shallow copy of the file's table, to which columns may be added. Raises as `_parse`, and `OSError`."""
        key = measure.sha256(path), path.suffix.lower()
        with self._lock:
            if key not in self._tables:
                self._tables[key] = path.stat().st_size, _parse(path)
                while len(self._tables) > 1 and sum(size for size, _ in self._tables.values()) > self.most:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(key)
            return self._tables[key][1].copy(deep=False)


_TABLES = Tables(most=200_000_000)


def read_table(path: Path) -> pd.DataFrame:
    """The file as a DataFrame with string column names. Raises `ArgumentError` for a file that cannot be read."""
    import pandas as pd

    if path.suffix.lower() not in READERS:
        raise ArgumentError(
            expected=tr("a CSV, TSV, JSON Lines (.jsonl) or Parquet file"),
            got=repr(path.name),
            fix=tr("save it as one of these"),
        )
    if not path.is_file():
        raise ArgumentError(
            expected=tr("a file"), got=tr("{path}, which does not exist", path=path), fix=tr("check the path")
        )
    try:
        return _TABLES.read(path)
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except (ValueError, pd.errors.ParserError, OSError) as error:
        kind = READERS[path.suffix.lower()]
        got = (str(error).strip().splitlines() or [tr("nothing readable")])[0].rstrip(".")
        raise ArgumentError(
            expected=tr("{file} as {kind}", file=path.name, kind=kind), got=got, fix=tr("check the file's content")
        ) from None


def _parse(path: Path) -> pd.DataFrame:
    """The file as pandas reads it, with string column names. Raises `ArgumentError` where it has no rows."""
    import pandas as pd

    kind = READERS[path.suffix.lower()]
    if kind == "Parquet":
        frame = pd.read_parquet(path)
    elif kind == "JSON Lines":
        frame = pd.read_json(path, lines=True, encoding="utf-8-sig", dtype=False)
    else:
        # Labels and texts stay as they are written: "007", "NA" and "1.0" are names, not numbers or missing values.
        options = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
        frame = pd.read_csv(path, sep="\t" if kind == "TSV" else ",", **_quoting(kind), **options)
    frame.columns = [str(name) for name in frame.columns]
    if frame.empty:
        raise ArgumentError(
            expected=tr("rows in {file}", file=path.name), got=tr("none"), fix=tr("check the file's content")
        )
    return frame


def not_utf8(path: Path, error: UnicodeDecodeError) -> ArgumentError:
    """The error for a text file in another encoding."""
    return ArgumentError(
        expected=tr("{file} in UTF-8", file=path.name),
        got=tr("a byte that is not UTF-8 at position {position}", position=error.start),
        fix=tr("save the file with the encoding UTF-8"),
    )


def choose_columns(columns: list[str], text: str | None, label: str | None, path: Path) -> tuple[str, str]:
    """The text and the label column: as named, else by their usual names. Raises `ArgumentError`."""
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
    if chosen[0] == chosen[1]:
        raise ArgumentError(
            expected=tr("two different columns"),
            got=tr("{name} for both", name=repr(chosen[0])),
            fix=tr("choose another label column"),
            option_fix=tr("name another --label-column"),
        )
    return chosen[0], chosen[1]


def choose_text(columns: list[str], text: str | None, path: Path) -> str:
    """The text column: as named, by its usual names, or the only one. Raises `ArgumentError`."""
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
        return named if named in columns else None
    return recognise(columns, usual)


def recognise(columns: list[str], usual: tuple[str, ...]) -> str | None:
    """The column with the first of the usual names that any column has, whatever its case; None without one."""
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _quoting(kind: str) -> dict:
    """pandas' options for quotation marks: TSV files are written without quoting, so a mark is part of the sentence."""
    import csv

    return {"quoting": csv.QUOTE_NONE} if kind == "TSV" else {}


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


def missing(value) -> bool:
    """Whether a table's cell is empty: None, NaN, NA, or only white space. A list or an array is not."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value)) or not str(value).strip()


def _label_name(value) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value).strip()


def _natural(name: str) -> tuple:
    """A sort key: numbers by value, then words in alphabetical order."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
