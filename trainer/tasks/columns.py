"""The columns of a person's file: the text, one column or two for pairs of sentences, the label and the group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import pairs
from trainer.errors import ArgumentError
from trainer.tasks import cells, label_sets
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
FEW = 8
"""The most columns of a file of which any two in a row are offered as pairs of sentences."""


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
    marks = label_sets.mark_columns(frame)
    if marks:
        return ArgumentError(
            expected=tr("one label column in {file}", file=path.name),
            got=tr("a column of 0 and 1 for each of {columns}", columns=", ".join(marks[:9])),
            fix=tr("choose them as label columns (label_columns), or one of them as the label column"),
            option_fix=tr("name them with --label-columns, or one of them with --label-column"),
        )
    return None


def choose_label_columns(columns: list[str], named: Sequence[str], others: Sequence[str], path: Path) -> list[str]:
    """The columns of 0 and 1, in the file's order. Raises `ArgumentError` for one, unknown ones, and for `others`.

    `others` are the columns of the text and the group.
    """
    unknown = [name for name in named if name not in columns]
    if unknown or len(set(named)) < 2:
        raise ArgumentError(
            expected=tr("two or more label columns in {file}", file=path.name),
            got=(
                tr("{problem} among {columns}", problem=repr(unknown[0]), columns=", ".join(columns[:12]))
                if unknown
                else repr(", ".join(named))
            ),
            fix=tr("choose the columns of 0 and 1 by their names"),
            option_fix=tr("name the columns of 0 and 1 with --label-columns"),
        )
    if both := [name for name in named if name in others]:
        raise ArgumentError(
            expected=tr("label columns that are neither the text nor the group column"),
            got=repr(both[0]),
            fix=tr("take it out of the label columns"),
            option_fix=tr("take it out of --label-columns"),
        )
    return [name for name in columns if name in named]


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
