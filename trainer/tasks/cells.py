"""Cells of a table as sentences, labels and groups: what a list, a dict or a number in one of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.errors import ArgumentError
from trainer.texts import tr

NAMES = ("name", "label", "value", "text")
"""Keys that hold a label's name where a cell is an object."""


def missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, NA, only white space, or a list without an item."""
    import pandas as pd

    items = items_of(value)
    if items is not None:
        return not items
    return bool(pd.api.types.is_scalar(value) and pd.isna(value)) or not str(value).strip()


def text(value: Any, column: str) -> str:
    """A cell of the text column, as written; the tokens of a list are joined. Raises `ArgumentError`."""
    items = items_of(value)
    if items is not None and all(isinstance(one, str) for one in items):
        return " ".join(items)
    if items is not None or isinstance(value, Mapping):
        raise _no_single(tr("a sentence, or a list of tokens, in each cell of {column}", column=repr(column)), value)
    return str(value)


def sentence(value: Any, column: str) -> str:
    """A cell of the text column as training reads it: `text` with single spaces. Raises `ArgumentError`."""
    return " ".join(text(value, column).split())


def label(value: Any, column: str) -> str:
    """A cell of the label column as one name: of a list with one item, or of an object with a name.

    Raises `ArgumentError` for several labels.
    """
    items = items_of(value)
    if items is not None:
        if len(items) > 1:
            raise several(", ".join(map(str, items)), column)
        return label(items[0], column)
    if isinstance(value, Mapping):
        known = [value[key] for key in NAMES if key in value] or (list(value.values()) if len(value) == 1 else [])
        if not known or isinstance(known[0], Mapping):
            raise _no_single(tr("one label in each cell of {column}", column=repr(column)), value)
        return label(known[0], column)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def several(labels: str, column: str) -> ArgumentError:
    """The error for a cell with several labels in a column that is not declared to have them."""
    return ArgumentError(
        expected=tr("one label in each cell of {column}", column=repr(column)),
        got=tr("several ({labels})", labels=_start(labels)),
        fix=tr("tick Several labels (several_labels), or keep one label a sentence"),
        option_fix=tr("add --several-labels, or keep one label a sentence"),
    )


def items_of(value: Any) -> list[Any] | None:
    """The items of a list or an array; None for anything else."""
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:  # Parquet's lists come as NumPy arrays
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else None


def _no_single(expected: str, value: Any) -> ArgumentError:
    return ArgumentError(expected=expected, got=_start(str(value)), fix=tr("write it as plain text"))


def _start(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
