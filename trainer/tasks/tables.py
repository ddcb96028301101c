"""Tables of sentences in files: text with separators, JSON, Parquet and spreadsheets, as their content says."""

from __future__ import annotations

import gzip
import json
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import ArgumentError, unreadable
from trainer.machine import measure
from trainer.tasks import separated
from trainer.tasks.separated import SEPARATORS
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd

READERS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON",
    ".parquet": "Parquet",
    ".xlsx": "Excel",
    ".ods": "OpenDocument",
    ".csv.gz": "CSV",
    ".tsv.gz": "TSV",
    ".jsonl.gz": "JSON Lines",
    ".json.gz": "JSON",
}
"""End of a file's name -> what it should hold. A CSV or TSV file may have any of the separators."""
SEPARATOR_NAMES = {
    ",": mark("a comma"),
    ";": mark("a semicolon"),
    "\t": mark("a tab"),
    "|": mark("a vertical bar"),
}
MOST_BYTES = 1_000_000_000
"""The most bytes of a compressed file when it is unpacked."""


@dataclass(frozen=True)
class Dialect:
    """How a file was read. `separator` and `sheet` are None where the kind has none; `notes` are sentences."""

    kind: str
    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None
    notes: tuple[str, ...] = ()

    def shown(self) -> str:
        """What a person should know of it: nothing for UTF-8 and the separator that the file's name promises."""
        parts = list(self.notes)
        usual = {"CSV": ",", "TSV": "\t"}.get(self.kind)
        if self.separator is not None and self.separator != usual:
            name = SEPARATOR_NAMES.get(self.separator)
            parts.append(tr("Columns are separated by {separator}.", separator=tr(name) if name else self.separator))
        if self.encoding not in (None, "utf-8"):
            parts.append(tr("Its encoding is {encoding}.", encoding=self.encoding.upper()))
        if self.sheet is not None:
            parts.append(tr("The sheet {sheet} was read.", sheet=repr(self.sheet)))
        return " ".join(parts)


@dataclass(frozen=True)
class Table:
    """A file's rows, with string column names, and how they were read."""

    frame: pd.DataFrame
    dialect: Dialect


class Tables:
    """A cache of parsed tables by their files' content: the same file is parsed once in a process.

    The files together have at most `most` bytes; the newest is cached whatever its size.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._tables: OrderedDict[tuple[str | None, ...], tuple[int, Table]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, separator: str | None = None, encoding: str | None = None) -> Table:
        """The table with a shallow copy of its frame, to which columns may be added. Raises as `parse`."""
        key = measure.sha256(path), suffix(path), separator, encoding
        with self._lock:
            if key not in self._tables:
                self._tables[key] = path.stat().st_size, parse(path, separator, encoding)
                while len(self._tables) > 1 and sum(size for size, _ in self._tables.values()) > self.most:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(key)
            table = self._tables[key][1]
            return replace(table, frame=table.frame.copy(deep=False))


_TABLES = Tables(most=200_000_000)


def suffix(path: Path) -> str:
    """The end of the file's name that says its kind, in lower case: ".csv", ".csv.gz"."""
    ends = [end.lower() for end in path.suffixes[-2:]]
    return "".join(ends) if ends and ends[-1] == ".gz" else path.suffix.lower()


def read(path: Path, separator: str | None = None, encoding: str | None = None) -> Table:
    """The file as a table. Raises `ArgumentError` for a file that cannot be read, or read in two ways.

    `separator` is one of `SEPARATORS`, `encoding` of `config.Encoding`; without them the content decides.
    """
    if suffix(path) not in READERS:
        raise ArgumentError(
            expected=tr("a CSV, TSV, JSON, JSON Lines (.jsonl), Parquet, Excel (.xlsx) or OpenDocument (.ods) file"),
            got=repr(path.name),
            fix=tr("save it as one of these"),
        )
    if not path.is_file():
        raise ArgumentError(
            expected=tr("a file"), got=tr("{path}, which does not exist", path=path), fix=tr("check the path")
        )
    try:
        return _TABLES.read(path, separator, encoding)
    except OSError as error:
        raise unreadable(path.name, error) from None


def read_table(path: Path, separator: str | None = None, encoding: str | None = None) -> pd.DataFrame:
    """The frame of `read`."""
    return read(path, separator, encoding).frame


def parse(path: Path, separator: str | None = None, encoding: str | None = None) -> Table:
    """The file's table. Raises `ArgumentError`, also where it has no rows, and `OSError`."""
    kind = READERS[suffix(path)]
    try:
        if kind == "Parquet":
            table = Table(_parquet(path), Dialect(kind))
        elif kind in ("Excel", "OpenDocument"):
            table = _sheet(path, kind)
        else:
            text, encoding = decode(_bytes(path), name=path.name, encoding=encoding)
            if kind in ("JSON", "JSON Lines"):
                table = Table(_json(text, name=path.name, kind=kind), Dialect(kind, encoding))
            else:
                table = _separated(text, Dialect(kind, encoding), name=path.name, separator=separator)
    except (ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        got = (str(error).strip().splitlines() or [tr("nothing readable")])[0].rstrip(".")
        raise not_readable(path.name, kind, got) from None
    table.frame.columns = [str(name) for name in table.frame.columns]
    if table.frame.empty:
        raise ArgumentError(
            expected=tr("rows in {file}", file=path.name), got=tr("none"), fix=tr("check the file's content")
        )
    return table


def not_readable(name: str, kind: str, got: str) -> ArgumentError:
    """The error for a file that is not what its name says."""
    return ArgumentError(
        expected=tr("{file} as {kind}", file=name, kind=kind), got=got, fix=tr("check the file's content")
    )


def _bytes(path: Path) -> bytes:
    if not path.name.lower().endswith(".gz"):
        return path.read_bytes()
    with gzip.open(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ArgumentError(
            expected=tr("{file} with at most {count} bytes when unpacked", file=path.name, count=f"{MOST_BYTES:,}"),
            got=tr("more"),
            fix=tr("take a part of it"),
        )
    return content


# Encodings

_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
"""Byte order marks, the longest first."""


def decode(content: bytes, *, name: str, encoding: str | None = None) -> tuple[str, str]:
    """(the text, its encoding): as its mark or its null bytes show, else as named, else UTF-8.

    Raises `ArgumentError` for a text in another encoding.
    """
    sure = next((known for start, known in _MARKS if content.startswith(start)), None)
    if encoding is None and sure is None and b"\x00" in content[:4096]:
        # Western text in two-byte units: a null byte in every second place, and in no other.
        even, odd = content[:4096:2].count(0), content[1:4096:2].count(0)
        half = len(content[:4096]) // 2
        sure = "utf-16-le" if odd > 0.3 * half and not even else "utf-16-be" if even > 0.3 * half and not odd else None
    chosen = sure or encoding or "utf-8"
    try:
        return content.decode(chosen), {"utf-8-sig": "utf-8"}.get(chosen, chosen[:6] if "16" in chosen else chosen)
    except UnicodeDecodeError as error:
        if chosen == "utf-8":
            raise not_utf8(name, error) from None
        raise ArgumentError(
            expected=tr("{file} in {encoding}", file=name, encoding=chosen.upper()),
            got=tr(
                "a byte that is not {encoding} at position {position}", encoding=chosen.upper(), position=error.start
            ),
            fix=tr("save the file with the encoding UTF-8"),
        ) from None


def not_utf8(name: str, error: UnicodeDecodeError) -> ArgumentError:
    """The error for a text file in another encoding."""
    return ArgumentError(
        expected=tr("{file} in UTF-8", file=name),
        got=tr("a byte that is not UTF-8 at position {position}", position=error.start),
        fix=tr("save the file with the encoding UTF-8, or name its encoding, such as cp1252"),
    )


def _separated(text: str, dialect: Dialect, *, name: str, separator: str | None) -> Table:
    """The table of a CSV or TSV file's text. Labels and texts stay as written: "007", "NA" and "1.0" are names."""
    import pandas as pd

    usual = "\t" if dialect.kind == "TSV" else ","
    rows = separated.read(text, name=name, usual=usual, separator=SEPARATORS[separator] if separator else None)
    frame = pd.DataFrame(rows.rows, columns=separated.names(rows.heading), dtype=str)
    shown = rows.separator if len(rows.heading) > 1 else None
    return Table(frame, replace(dialect, separator=shown, notes=rows.notes))


# JSON


def _json(text: str, *, name: str, kind: str) -> pd.DataFrame:
    """The table of objects: one a line, an array, or an object that has one array of them. Raises `ValueError`."""
    import pandas as pd

    rows = _objects(text)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    # Objects: a whole number beside an empty cell stays one.
    return pd.DataFrame([[row.get(column) for column in columns] for row in rows], columns=columns, dtype=object)


def _objects(text: str) -> list[dict[str, Any]]:
    if text.lstrip()[:1] != "[":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        try:
            rows = [json.loads(line) for _, line in lines[:2]]
        except json.JSONDecodeError:
            rows = []
        if len(rows) == len(lines[:2]) and not (len(rows) == 1 and _inner(rows[0])):
            return [_object(line, number) for number, line in lines]
        try:
            whole = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(tr("line {line}: {problem}", line=error.lineno, problem=error.msg)) from None
        inner = _inner(whole) if isinstance(whole, dict) else []
        if len(inner) != 1:
            raise ValueError(tr("an object with {count} lists of objects", count=len(inner)))
        return inner[0]
    rows = json.loads(text)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(tr("no object at position {number} of the array", number=number))
    return rows


def _inner(whole: Any) -> list[list[dict[str, Any]]]:
    """The lists of objects among an object's values."""
    values = whole.values() if isinstance(whole, dict) else ()
    return [one for one in values if isinstance(one, list) and one and all(isinstance(row, dict) for row in one)]


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(tr("line {line}: {problem}", line=number, problem=error.msg)) from None
    if not isinstance(row, dict):
        raise ValueError(tr("line {line}: no object", line=number))
    return row


# Parquet and spreadsheets


def _parquet(path: Path) -> pd.DataFrame:
    """The table, with the names of label columns that the `datasets` library numbered (its feature ClassLabel)."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pd.read_parquet(path)
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    for column, names in _class_labels(metadata.get(b"huggingface", b"")).items():
        if column in frame:
            frame[column] = [names[int(value)] if _indexes(value, names) else None for value in frame[column]]
    return frame


def _class_labels(metadata: bytes) -> dict[str, list[str]]:
    """Column -> names of its labels, from the metadata that `datasets` writes; nothing where it is not as expected."""
    try:
        features = json.loads(metadata)["info"]["features"]
        labels = {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
        return {name: names for name, names in labels.items() if all(isinstance(one, str) for one in names)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _indexes(value: Any, names: list[str]) -> bool:
    """Whether a cell is the index of one of the names; -1 is `datasets`' sign for no label."""
    import pandas as pd

    return bool(pd.api.types.is_number(value) and not pd.isna(value) and 0 <= int(value) < len(names))


def _sheet(path: Path, kind: str) -> Table:
    """The first sheet of a spreadsheet."""
    import pandas as pd

    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(tr("more than {count} bytes when unpacked", count=f"{MOST_BYTES:,}"))
    try:
        with pd.ExcelFile(path, engine="calamine") as book:
            sheets = book.sheet_names
            frame = pd.read_excel(book, sheet_name=0, dtype=str, keep_default_na=False)
    except ImportError:
        raise ArgumentError(
            expected=tr("the package python-calamine to read {file}", file=path.name),
            got=tr("a machine without it"),
            fix=tr("install it with pip, or save the file as CSV"),
        ) from None
    except Exception as error:  # calamine's own errors have no common class but this one
        raise ValueError(str(error)) from None
    return Table(frame, Dialect(kind, sheet=str(sheets[0]) if len(sheets) > 1 else None))
