"""Tables as HTML: sortable by their headings, downloadable as CSV (both in page.js), every cell escaped."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trainer.analysis.tables import plain
from trainer.markup import render
from trainer.texts import tr

PICK = "labPick(element, trigger)"
"""`js_on_load` of a gr.HTML whose buttons are made by `pick`: its `select` event has the button's value."""


@dataclass(frozen=True)
class Column:
    """A column's heading. `first` is the sorting order at the first press: "descending" where more is better.

    `csv` is the heading in the CSV file if it differs; `hidden` columns are in the CSV file alone.
    """

    title: str
    help: str = ""
    first: str = "ascending"
    numeric: bool = True
    csv: str = ""
    hidden: bool = False

    @classmethod
    def named(cls, title: str, help: str = "", first: str = "ascending", **rest: Any) -> Column:
        """A heading whose texts are marked for `tr`: translated on the page, in English in the CSV file."""
        return cls(tr(title), tr(help), first, **{"csv": title} | rest)


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the exact value for sorting and the CSV file (the text if None).

    `markup` replaces the text on the page, for a cell with more than text; `below` stands under it in small letters.
    """

    text: str
    value: float | str | None = None
    best: bool = False
    markup: Markup | None = None
    below: str = ""

    @property
    def exact(self) -> Any:
        """The value for sorting and the CSV file; empty if it is missing."""
        value = self.text if self.value is None else self.value
        if value != value or value == "–":
            return ""
        return plain(value) if isinstance(value, float) else value

    def kinds(self, column: Column) -> str:
        """The cell's CSS classes."""
        return " ".join(["lab-best"] * self.best + ["lab-words"] * (not column.numeric))


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    name: str,
    title: str,
    sortable: bool = True,
    csv: bool = True,
    shown: int | None = None,
) -> Markup:
    """A table whose first column names the row. `name` is the CSV file's, `title` the name for screen readers.

    Rows after the first `shown` are in the CSV file alone.
    """
    return render(
        "common/table.html",
        columns=columns,
        rows=rows,
        name=name,
        title=title,
        sortable=sortable,
        csv=csv,
        shown=shown,
        id=f"lab-table-{uuid.uuid4().hex[:12]}",
    )


def pick(text: str, value: str) -> Markup:
    """A button inside a table or list; see `PICK`."""
    return render("common/pick.html", text=text, value=value)
