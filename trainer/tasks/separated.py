"""Text with separators (CSV and its kin): rows and cells, and the separator that the content has.

The heading decides, and every row must then agree with it. Of 16 files after kinds that people have trouble with, this
reads all; `csv.Sniffer` takes a space for the separator in one of them and clevercsv 0.8 in two, and neither says that
rows do not agree.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.errors import ArgumentError
from trainer.texts import tr

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
UNUSUAL = ("^", "~", "¦", "\x01", "\x1f", "§", "||", "::")
"""Separators that nothing here recognises, and that no sentence has as often as its neighbours."""
SAMPLE = 300
"""Rows that decide between two separators that both split the heading."""
CATEGORIES = 20
"""A column with no more values than this, each of which repeats, is one of labels: see `_swallowed`."""


@dataclass(frozen=True)
class Rows:
    """The rows of a text, of equal width, without its heading. `notes`: sentences on what was left out."""

    heading: list[str]
    rows: list[list[str]]
    separator: str
    notes: tuple[str, ...] = ()


def read(text: str, *, name: str, usual: str, separator: str | None = None) -> Rows:
    """The rows of a file's text. `usual` is the separator that the file's name promises; `separator` overrules all.

    Raises `ArgumentError` for rows that do not agree with the heading, and `ValueError` for a text without one.
    """
    first = 1
    if match := re.match(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n)', text, re.IGNORECASE):  # Excel's first line
        separator, text, first = separator or match[1], text[match.end() :], 2
    if not text.strip():
        raise ValueError(tr("no heading"))
    separator = separator or _separator(text, usual=usual)
    rows, lines = _rows(text, separator, first=first)
    _check_unusual(rows, name)
    return _even(rows, lines, name=name, separator=separator)


def _separator(text: str, *, usual: str) -> str:
    """The separator that splits the heading and, of several, the one that most rows agree with."""
    scores = {}
    for separator in sorted(SEPARATORS.values(), key=lambda one: one != usual):
        sample = _sample(text, separator)
        width = len(sample[0])
        if width > 1 and sample[0].count("") < width - 1:
            rows = sample[1:]
            even = sum(len(row) == width or (len(row) > width and not any(row[width:])) for row in rows)
            scores[separator] = even / max(len(rows), 1), width
    return max(scores, key=lambda one: scores[one]) if scores else usual


def _sample(text: str, separator: str) -> list[list[str]]:
    """The first rows as `_rows` reads them."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            rows += [row] if row else []
            if len(rows) > SAMPLE:
                break
    except csv.Error:
        lines = _physical(text, most=SAMPLE)
        rows = [_line(line, separator, None) for line in lines if line.strip()]
    return rows or [[text]]


def _rows(text: str, separator: str, *, first: int) -> tuple[list[list[str]], list[int]]:
    """(the rows with the heading, the line on which each begins). Lines are counted from `first`.

    Quotation marks enclose a cell where every one of the file is set as RFC 4180 has them; else each line is a row,
    and a mark belongs to the sentence unless it encloses a cell of its line. Raises `ArgumentError` where two marks
    enclose whole rows.
    """
    csv.field_size_limit(2**31 - 1)  # the default refuses long documents
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        before = 0
        for row in reader:
            if row:
                rows.append(row)
                lines.append(before + first)
            before = reader.line_num
    except csv.Error:
        rows, lines = [], []
        for number, line in enumerate(_physical(text), start=first):
            if line.strip():
                rows.append(_line(line, separator, len(rows[0]) if rows else None))
                lines.append(number)
        return rows, lines
    _check_swallowed(text, rows, [line - first for line in lines], separator, end=before)
    return rows, lines


def _physical(text: str, most: int | None = None) -> list[str]:
    """The lines without their ends; only line feeds and carriage returns end one."""
    lines = []
    for line in io.StringIO(text, newline=""):
        lines.append(line.rstrip("\r\n"))
        if most and len(lines) > most:
            break
    return lines


def _line(line: str, separator: str, width: int | None) -> list[str]:
    """The cells of one line: quoted ones as such where that gives `width` cells, else as the characters stand."""
    try:
        cells = next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return line.split(separator)
    return cells if width is None or len(cells) == width else line.split(separator)


def _check_swallowed(text: str, rows: list[list[str]], lines: list[int], separator: str, *, end: int) -> None:
    """Refuse two lone quotation marks that enclose the rows between them.

    A cell with line breaks is one where its lines, read apart, are rows with the values of a column of labels.
    """
    ends = [*lines[1:], end]
    spans = [(start, stop) for start, stop in zip(lines, ends, strict=True) if stop - start > 1]
    if not spans:
        return
    width = len(rows[0])
    others = [r for r, start, stop in zip(rows[1:], lines[1:], ends[1:], strict=True) if stop - start == 1]
    labels = []
    for column in range(width):
        values = {row[column] for row in others if len(row) == width}
        if 0 < len(values) <= CATEGORIES and 2 * len(values) <= len(others):
            labels.append((column, values))
    if not labels:
        return
    physical = _physical(text)
    for start, stop in spans:
        apart = [line.split(separator) for line in physical[start:stop] if line.strip()]
        if len(apart) > 1 and all(len(cells) == width for cells in apart):
            for column, values in labels:
                if all(cells[column].strip('"') in values for cells in apart):
                    raise ArgumentError(
                        expected=tr("quotation marks around single cells"),
                        got=tr("two that enclose the lines {first} to {last}", first=start + 1, last=stop),
                        fix=tr("remove these two marks, or double them"),
                    )


def _check_unusual(rows: list[list[str]], name: str) -> None:
    """Question a file of one column whose every line has a separator that is not recognised."""
    heading = rows[0]
    if len(heading) != 1:
        return
    for separator in UNUSUAL:
        count = heading[0].count(separator)
        if count and len(rows) > 1 and all(len(row) == 1 and row[0].count(separator) == count for row in rows[1:]):
            raise ArgumentError(
                expected=tr("columns in {file} separated by commas, semicolons, tabs or vertical bars", file=name),
                got=tr("{separator} in every line", separator=repr(separator)),
                fix=tr("save it with one of these"),
            )


def _even(rows: list[list[str]], lines: list[int], *, name: str, separator: str) -> Rows:
    """The rows without the heading, which is the first of them, all as wide as it. Raises `ArgumentError`.

    R writes a heading without a name for its row names; some programs a separator at each line's end.
    """
    heading, rows, lines, notes = rows[0], rows[1:], lines[1:], ()
    width = len(heading)
    while width > 1 and not heading[-1].strip() and all(len(row) < width or not row[width - 1].strip() for row in rows):
        heading, width = heading[:-1], width - 1
    rows = [row[:width] if len(row) > width and not any(cell.strip() for cell in row[width:]) else row for row in rows]
    if rows and all(len(row) == width + 1 for row in rows):
        numbers = [row[0].strip() for row in rows]
        if all(number.isdigit() for number in numbers) and len(set(numbers)) == len(numbers):
            rows = [row[1:] for row in rows]
            notes = (tr("The row names at the front of each line were left out."),)
    odd = [(line, row) for line, row in zip(lines, rows, strict=True) if len(row) != width]
    if odd:
        line, row = odd[0]
        start = separator.join(row)
        others = tr(", and {count} more such lines", count=f"{len(odd) - 1:,}") if len(odd) > 1 else ""
        raise ArgumentError(
            expected=tr("{count} cells in each line of {file}, as in its heading", count=width, file=name),
            got=tr(
                "{count} in line {line} ({start}){others}",
                count=len(row), line=line, start=repr(start if len(start) <= 60 else start[:59] + "…"), others=others,
            ),
            fix=tr("put quotation marks around texts that contain the separator"),
        )  # fmt: skip
    return Rows(heading, rows, separator, notes)


def names(heading: Sequence[str]) -> list[str]:
    """The columns' names, each once: as pandas has them for a column without a name and for a repeated one."""
    unique: list[str] = []
    for index, name in enumerate(heading):
        own = name if name.strip() else f"Unnamed: {index}"
        candidates = (f"{own}.{number}" if number else own for number in itertools.count())
        unique.append(next(one for one in candidates if one not in unique))
    return unique
