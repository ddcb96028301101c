"""Predictions of a run in predictions.parquet, checked whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.runs.damage import Damaged, problem
from trainer.runs.result import DatasetInfo

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_BYTES = 1 << 30
"""Most bytes of the table, decompressed."""
SPLITS = ("validation", "test")
INTEGERS = ("row", "label", "predicted")
COLUMNS = ("split", *INTEGERS, "text", "probabilities")
OPTIONAL = ("group",)
ROUNDING = 1e-3
"""How far a row's probabilities may be from the sum of 1; float32's rounding is far below."""


def read(path: Path, about: DatasetInfo | None) -> pd.DataFrame:
    """predictions.parquet as a table, its columns alone; `about` are the run's data, None before it has finished.

    Raises `Damaged` for another file, columns or types, values out of bounds, rows that occur twice or none.
    """
    table = _read_table(path, about)
    for name in COLUMNS:
        if table[name].null_count:
            raise Damaged("value", row=0, column=name)
    labels = len(about.label_names) if about else None
    _check_probabilities(table["probabilities"], labels)
    try:
        frame = table.to_pandas(ignore_metadata=True)
    except (ValueError, TypeError) as error:  # text that is not UTF-8
        raise Damaged("parquet", problem=problem(error)) from None
    _check_rows(frame, about)
    return frame


def _read_table(path: Path, about: DatasetInfo | None) -> pa.Table:
    """The table with columns of the right types, and no more rows than the run has sentences."""
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema, meta = file.schema_arrow, file.metadata
            size = sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
            if size > MAX_BYTES:
                raise Damaged("large", size=f"{size:,}", most=f"{MAX_BYTES:,}")
            if not meta.num_rows:
                raise Damaged("empty")
            for name in COLUMNS:
                if not _is_of_type(schema, name):
                    raise Damaged("column", column=name)
            if about and meta.num_rows > (most := about.sizes.validation + about.sizes.test):
                raise Damaged("rows", count=f"{meta.num_rows:,}", split=" + ".join(SPLITS), most=f"{most:,}")
            there = [name for name in OPTIONAL if name in schema.names]
            for name in there:
                if not _is_of_type(schema, name):
                    raise Damaged("column", column=name)
            order = [name for name in schema.names if name in (*COLUMNS, *there)]
            return file.read(columns=order).select(order)
    except (Damaged, FileNotFoundError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # of any kind: what a decoder raises for another content
        raise Damaged("parquet", problem=problem(error)) from None


def _is_of_type(schema: pa.Schema, name: str) -> bool:
    """Whether the schema has a column once, and of the type that the format gives it."""
    import pyarrow as pa

    if schema.names.count(name) != 1:
        return False
    kind = schema.field(name).type
    if name in INTEGERS:
        return pa.types.is_integer(kind)
    if name == "probabilities":
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return is_list and pa.types.is_floating(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or (name in OPTIONAL and pa.types.is_null(kind))


def _check_probabilities(column: pa.ChunkedArray, labels: int | None) -> None:
    """Raise `Damaged` unless each row has a probability for each label, which sum to 1."""
    import pyarrow.compute as compute

    lengths = compute.list_value_length(column).to_numpy()
    labels = labels or int(lengths[0])
    values = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
    wrong = np.flatnonzero(lengths != labels)
    if not len(wrong):
        rows = values.astype(float).reshape(len(lengths), labels)
        fine = np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1)
        wrong = np.flatnonzero(~(fine & (np.abs(np.where(fine, rows.sum(axis=1), 0) - 1) < ROUNDING)))
    if len(wrong):
        raise Damaged("value", row=int(wrong[0]), column="probabilities")


def _check_rows(frame: pd.DataFrame, about: DatasetInfo | None) -> None:
    """Raise `Damaged` for a split or label that there is not, a row that occurs twice, or too many rows of a split."""
    labels = len(about.label_names) if about else None
    checks = {"split": frame["split"].isin(SPLITS), "row": frame["row"] >= 0}
    for name in ("label", "predicted"):
        checks[name] = (frame[name] >= 0) & (frame[name] < (labels or 2**31))
    for name, fine in checks.items():
        if not fine.all():
            raise Damaged("value", row=int(np.flatnonzero(~fine)[0]), column=name)
    twice = frame.duplicated(["split", "row"])
    if twice.any():
        first = frame.loc[twice.idxmax()]
        raise Damaged("twice", row=int(first["row"]), split=str(first["split"]))
    for split in SPLITS if about else ():
        count, most = int((frame["split"] == split).sum()), getattr(about.sizes, split)
        if count > most:
            raise Damaged("rows", count=f"{count:,}", split=split, most=f"{most:,}")
