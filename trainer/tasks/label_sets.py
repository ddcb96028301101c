"""Labels of multi-label tasks: sets of labels as cells of a file have them, as indices, as a matrix, as strata."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trainer.errors import ArgumentError
from trainer.tasks import cells
from trainer.texts import tr

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Label = int | tuple[int, ...]
"""A sentence's label as an index of the label names; in a multi-label task the indices of its labels, rising."""
SIGN = "|"
"""What stands between the labels of a cell."""
FEWEST_OF_STRATUM = 4
MARKS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
"""What a cell of a label column may hold, in lower case -> whether the sentence has the label."""


# Sets


def indices(label: Label) -> tuple[int, ...]:
    """The indices of a sentence's labels: one, or in a multi-label task any number."""
    return label if isinstance(label, tuple) else (label,)


def joined(names: Iterable[str]) -> str:
    """A set of labels as one text, such as a|b; empty for none."""
    return SIGN.join(names)


def matrix(labels: Sequence[tuple[int, ...]], count: int) -> np.ndarray:
    """Label sets as a boolean array (sentences, labels)."""
    import numpy as np

    filled = np.zeros((len(labels), count), dtype=bool)
    for row, own in enumerate(labels):
        filled[row, list(own)] = True
    return filled


def rows(filled: np.ndarray) -> list[tuple[int, ...]]:
    """The label sets of a boolean array (sentences, labels): the inverse of `matrix`."""
    import numpy as np

    return [tuple(np.flatnonzero(row).tolist()) for row in filled]


def strata(labels: Sequence[Label]) -> tuple[int, ...]:
    """The labels themselves; of label sets the index of each sentence's rarest label, -1 for a sentence without one.

    All sentences of the rarest label are then one stratum, and those of every other label are spread over a few, so
    that splits that are stratified by it have each label in about its share. A stratum with fewer than
    `FEWEST_OF_STRATUM` sentences counts to the largest. (Whole sets would be too many strata; compare Sechidis et al.
    2011.)
    """
    if not any(isinstance(label, tuple) for label in labels):
        return tuple(labels)
    counts = Counter(index for label in labels for index in label)
    rarest = [min(label, key=lambda index: (counts[index], index), default=-1) for label in labels]
    sizes = Counter(rarest)
    largest = max(sizes, key=lambda index: (sizes[index], -index))
    return tuple(index if sizes[index] >= FEWEST_OF_STRATUM else largest for index in rarest)


# Cells


def read(frame: pd.DataFrame, label: str | None, columns: Sequence[str]) -> list[tuple[str, ...] | None]:
    """The names of each row's labels, without order or repeats; None for a row that is not labelled.

    `label` is a column of lists or of texts with | between the labels, in which an empty one means no label; without it
    `columns` have 0 or 1 for the label that each is named after. Raises `ArgumentError` for any other cell.
    """
    if label is not None:
        return [_names(value, label, row) for row, value in enumerate(frame[label], start=1)]
    for name in columns:
        _refuse_sign(name, repr(name))
    sets: list[tuple[str, ...] | None] = []
    for row, cells_of_row in enumerate(zip(*(frame[name] for name in columns), strict=True), start=1):
        values = [mark_of(value) for value in cells_of_row]
        if all(value is None and cells.missing(cell) for value, cell in zip(values, cells_of_row, strict=True)):
            sets.append(None)
            continue
        if None in values:
            wrong = values.index(None)
            raise ArgumentError(
                expected=tr("0 or 1 in each cell of the label column {column}", column=repr(columns[wrong])),
                got=tr("{value} in row {row}", value=repr(_short(cells_of_row[wrong])), row=row),
                fix=tr("write 0 or 1 there, or leave this column out of the label columns"),
                option_fix=tr("write 0 or 1 there, or leave this column out of --label-columns"),
            )
        sets.append(tuple(name for name, has in zip(columns, values, strict=True) if has))
    return sets


def mark_of(value: Any) -> bool | None:
    """Whether a cell of a label column says that the sentence has the label; None for a cell that does not tell."""
    return MARKS.get(str(value).strip().lower())


def mark_columns(frame: pd.DataFrame) -> list[str]:
    """The columns with nothing but 0 and 1 (or false and true), and both of them; empty where there are not several.

    A column that also has empty cells is one of them: `read` then names the first, rather than that it goes unseen.
    """
    marked = [
        name
        for name in frame.columns
        if {mark_of(value) for value in frame[name] if not cells.missing(value)} == {False, True}
    ]
    return marked if len(marked) > 1 else []


def looks_several(values: Iterable[Any]) -> str | None:
    """A cell of a label column that seems to hold several labels, as text; None for a column of single labels.

    A list of several does; so does a text such as a|b whose parts all occur in other cells too. A | in the name of a
    single label does not.
    """
    names = set()
    for value in values:
        items = cells.items_of(value)
        if items is not None and len(items) > 1:
            return ", ".join(map(str, items))
        if isinstance(value, str):
            names.add(value.strip())
    parts = {name: {part.strip() for part in name.split(SIGN)} for name in names}
    known = Counter(part for own in parts.values() for part in own)
    several = (name for name, own in parts.items() if len(own) > 1 and all(known[part] > 1 for part in own))
    return min(several, default=None)


def looks_joined(names: Iterable[str]) -> str | None:
    """A label that seems to be several, such as a,b where a and b are labels too; None where none does."""
    known = {name.strip() for name in names} - {""}
    for name in sorted(known):
        for sign in ",;/":
            parts = [part.strip() for part in name.split(sign)]
            if len(parts) > 1 and all(part in known for part in parts):
                return name
    return None


def _names(value: Any, column: str, row: int) -> tuple[str, ...] | None:
    """The labels of one cell; None for a missing one, which is no empty text and no empty list."""
    inner = cells.items_of(value)
    if inner is None and isinstance(value, str):
        inner = _written_list(value)
        if inner is None:
            inner = value.split(SIGN) if value.strip() else []
            if not all(part.strip() for part in inner):
                raise ArgumentError(
                    expected=tr("labels with | between them in each cell of {column}", column=repr(column)),
                    got=tr("{value} in row {row}", value=repr(_short(value)), row=row),
                    fix=tr("take out the | that stands beside no label"),
                )
    elif inner is None:
        if cells.missing(value):
            return None
        inner = [value]
    if any(cells.missing(one) for one in inner):
        raise ArgumentError(
            expected=tr("a name for each label in {column}", column=repr(column)),
            got=tr("{value} in row {row}", value=repr(_short(value)), row=row),
            fix=tr("take the empty label out"),
        )
    names = sorted({cells.label(one, column) for one in inner})
    for name in names:
        _refuse_sign(name, tr("{value} in row {row}", value=repr(_short(name)), row=row))
    return tuple(names)


def _written_list(text: str) -> list[Any] | None:
    """The items of a list that was written as text, such as "['a', 'b']"; None for any other text."""
    if not (text.strip().startswith("[") and text.strip().endswith("]")):
        return None
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _refuse_sign(name: str, got: str) -> None:
    if SIGN in name:
        raise ArgumentError(
            expected=tr("labels without the sign |, which joins several of them"),
            got=got,
            fix=tr("write another sign in the label's name"),
        )


def _short(value: Any) -> str:
    text = "" if cells.missing(value) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
