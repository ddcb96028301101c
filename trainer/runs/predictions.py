"""Predictions of a run in predictions.parquet, checked whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.runs.damage import Damaged, problem
from trainer.runs.result import DatasetInfo

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_BYTES = 1 << 30
"""Most bytes of the table, decoded."""
SPLITS = ("validation", "test")
LABELS = ("label", "predicted")
INTEGERS = ("row", *LABELS)
"""Columns of integers; `LABELS` are lists of them in a multi-label task."""
TEXTS = ("split", "text", "group")
COLUMNS = ("split", *INTEGERS, "text", "probabilities")
OPTIONAL = ("group",)
ROUNDING = 1e-3
"""How far a row's probabilities may be from the sum of 1; float32's rounding is far below."""


def read(path: Path, about: DatasetInfo | None) -> pd.DataFrame:
    """predictions.parquet as a table, its columns alone; `about` are the run's data, None before it has finished.

    In a multi-label task `label` and `predicted` are tuples of indices in rising order.

    Raises `Damaged` for another file, columns or types, values out of bounds, rows that occur twice or none.
    """
    table = _read_table(path, about)
    for name in COLUMNS:
        if table[name].null_count:
            raise Damaged("value", row=0, column=name)
    labels = len(about.label_names) if about else None
    multi_label = _has_sets(table.schema)
    _check_probabilities(table["probabilities"], labels, multi_label=multi_label)
    try:
        frame = table.to_pandas(ignore_metadata=True)
    except (ValueError, TypeError) as error:  # text that is not UTF-8
        raise Damaged("parquet", problem=problem(error)) from None
    if multi_label:
        for name in LABELS:
            frame[name] = [tuple(own.tolist()) for own in frame[name]]
    _check_rows(frame, about, multi_label=multi_label)
    return frame


def _read_table(path: Path, about: DatasetInfo | None) -> pa.Table:
    """The table with columns of the right types, and no more rows than the run has sentences."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema, meta = file.schema_arrow, file.metadata
            groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
            _require_small(sum(group.total_byte_size for group in groups))
            if not meta.num_rows:
                raise Damaged("empty")
            multi_label = about.multi_label if about else _has_sets(schema)
            for name in COLUMNS:
                if not _is_of_type(schema, name, multi_label=multi_label):
                    raise Damaged("column", column=name)
            if about and meta.num_rows > (most := about.sizes.validation + about.sizes.test):
                raise Damaged("rows", count=f"{meta.num_rows:,}", split=" + ".join(SPLITS), most=f"{most:,}")
            there = [name for name in OPTIONAL if name in schema.names]
            for name in there:
                if not _is_of_type(schema, name):
                    raise Damaged("column", column=name)
            order = [name for name in schema.names if name in (*COLUMNS, *there)]
            values = (group.column(index).num_values for group in groups for index in range(group.num_columns))
            _require_small(8 * sum(values))
        texts = [name for name in TEXTS if name in order and not pa.types.is_null(schema.field(name).type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            return _decoded(file.read(columns=order).select(order), texts)
    except (Damaged, FileNotFoundError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # of any kind: what a decoder raises for another content
        raise Damaged("parquet", problem=problem(error)) from None


def _decoded(table: pa.Table, texts: list[str]) -> pa.Table:
    """The table with its dictionary-encoded columns of text decoded.

    Encoded, a long text that a million rows share is in the file once: their bytes are summed before they are there.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    size = 0
    for name in texts:
        for chunk in table[name].chunks:
            lengths = compute.take(compute.binary_length(chunk.dictionary), chunk.indices)
            size += compute.sum(lengths).as_py() or 0
    _require_small(size)
    for name in texts:
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in table[name].chunks])
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _require_small(size: int) -> None:
    if size > MAX_BYTES:
        raise Damaged("large", size=f"{size:,}", most=f"{MAX_BYTES:,}")


def _has_sets(schema: pa.Schema) -> bool:
    """Whether the label column has lists, as in a multi-label task."""
    import pyarrow as pa

    kinds = [field.type for field in schema if field.name == LABELS[0]]
    return any(pa.types.is_list(kind) or pa.types.is_large_list(kind) for kind in kinds)


def _is_of_type(schema: pa.Schema, name: str, *, multi_label: bool = False) -> bool:
    """Whether the schema has a column once, and of the type that the format gives it."""
    import pyarrow as pa

    if schema.names.count(name) != 1:
        return False
    kind = schema.field(name).type
    if multi_label and name in LABELS:
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        # A split in which no sentence has a label is written as lists of nothing.
        return is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type))
    if name in INTEGERS:
        return pa.types.is_integer(kind)
    if name == "probabilities":
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return is_list and pa.types.is_floating(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or (name in OPTIONAL and pa.types.is_null(kind))


def _check_probabilities(column: pa.ChunkedArray, labels: int | None, *, multi_label: bool) -> None:
    """Raise `Damaged` unless each row has a probability for each label, which sum to 1 unless it is multi-label."""
    import pyarrow.compute as compute

    lengths = compute.list_value_length(column).to_numpy()
    labels = labels or int(lengths[0])
    values = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
    wrong = np.flatnonzero(lengths != labels)
    if not len(wrong):
        rows = values.astype(float).reshape(len(lengths), labels)
        fine = np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1)
        if multi_label:
            fine &= (np.where(np.isfinite(rows), rows, 2) <= 1).all(axis=1)
        else:
            fine &= np.abs(np.where(fine, rows.sum(axis=1), 0) - 1) < ROUNDING
        wrong = np.flatnonzero(~fine)
    if len(wrong):
        raise Damaged("value", row=int(wrong[0]), column="probabilities")


def _check_rows(frame: pd.DataFrame, about: DatasetInfo | None, *, multi_label: bool) -> None:
    """Raise `Damaged` for a split or label that there is not, a row that occurs twice, or too many rows of a split."""
    labels = len(about.label_names) if about else None
    checks = {"split": frame["split"].isin(SPLITS), "row": frame["row"] >= 0}
    most = labels or 2**31
    for name in LABELS:
        if multi_label:
            checks[name] = frame[name].map(lambda own: _rising(own) and all(0 <= index < most for index in own))
        else:
            checks[name] = (frame[name] >= 0) & (frame[name] < most)
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


def _rising(own: tuple[Any, ...]) -> bool:
    """Whether the indices of a label set are in rising order, each once."""
    return all(isinstance(index, int) for index in own) and list(own) == sorted(set(own))
