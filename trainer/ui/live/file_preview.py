"""A file of sentences before and after prediction: its text column and its first rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import UserError
from trainer.markup import render
from trainer.serving import files
from trainer.tasks.cells import missing
from trainer.texts import tr_count
from trainer.ui.common import tables
from trainer.ui.common.tables import Cell, Column

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_ROWS = 5
CUT = 120
"""The most characters of a cell in the preview."""


def text_column(table: pd.DataFrame, file: Path) -> tuple[str | None, str]:
    """(the column with the sentences, or None if it is not recognised; a sentence on the file's rows)."""
    try:
        column = files.text_column(table, file)
    except UserError:
        return None, tr_count(
            "{count} row; choose the column that holds the sentences.",
            "{count} rows; choose the column that holds the sentences.",
            len(table),
        )
    return column, tr_count(
        "{count} row; the sentences are in {column}.",
        "{count} rows; the sentences are in {column}.",
        len(table),
        column=column,
    )


def preview_html(table: pd.DataFrame, title: str) -> str:
    """The first rows as text in a table, as HTML."""
    columns = [Column(str(name), numeric=False) for name in table.columns]
    rows = [tuple(_cell(value) for value in row) for row in table.head(PREVIEW_ROWS).itertuples(index=False, name=None)]
    drawn = tables.table(columns, rows, name="preview", title=title, sortable=False)
    return render("live/preview.html", rows=len(table), shown=min(PREVIEW_ROWS, len(table)), table=drawn)


def _cell(value: Any) -> Cell:
    if missing(value):
        return Cell("")
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return Cell(text if len(text) <= CUT else text[: CUT - 1] + "…")
