"""Tables as HTML: sortable by their headings, downloadable as CSV, every cell escaped. page.js moves them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import texts
from trainer.texts import mark, tr
from trainer.ui.common.lab import escape

PICK = """element.addEventListener("click", event => {
  const button = event.target.closest("[data-pick]");
  if (button) trigger("select", {value: button.dataset.pick});
});"""
"""`js_on_load` of a gr.HTML whose buttons are made by `pick`: its `select` event has the button's value."""

_numbers = itertools.count(1)
_NAMES = (
    mark("Click to upload or drop files"),
    mark("File upload"),
    mark("Uploaded files"),
    mark("Remove this file"),
    mark("Clear"),
    mark("Dismiss"),
    mark("Empty value"),
    mark("Gradio footer navigation"),
)
"""What Gradio's parts are called to a screen reader, in English whatever the page's language."""


@dataclass(frozen=True)
class Column:
    """A heading. `first` is the order of the first press: "descending" where more is better.

    `csv` is the heading in the CSV file where it differs; `hidden` columns are in the CSV file alone.
    """

    title: str
    help: str = ""
    first: str = "ascending"
    numeric: bool = True
    csv: str = ""
    hidden: bool = False

    @classmethod
    def named(cls, title: str, help: str = "", first: str = "ascending", **rest: Any) -> Column:
        """A heading of ours (both texts are marked): translated on the page, in English in the CSV file."""
        return cls(tr(title), tr(help), first, **{"csv": title} | rest)


@dataclass(frozen=True)
class Cell:
    """What a person reads, and the exact value that sorts and goes into the CSV file (the text if None).

    `markup` replaces the text on the page where a cell holds more than text; whoever sets it has escaped it.
    """

    text: str
    value: float | str | None = None
    best: bool = False
    markup: str | None = None


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    name: str,
    title: str,
    sortable: bool = True,
    csv: bool = True,
    shown: int | None = None,
) -> str:
    """A table whose first column names the row. `name` is the CSV file's, `title` what a screen reader calls it.

    Rows after the first `shown` are in the CSV file alone.
    """
    place = f"lab-table-{next(_numbers)}"
    heading = "".join(_heading(column, sortable) for column in columns)
    download = escape(tr("Download CSV"))
    button = (
        f'<button type="button" class="lab-button" data-csv="{place}" data-name="{escape(name)}">'
        f'{download}<span class="lab-hidden">: {escape(title)}</span></button>'
    )
    body = ""
    for number, row in enumerate(rows):
        hidden = shown is not None and number >= shown
        cells = "".join(_cell(cell, columns[i], first=i == 0, bare=hidden) for i, cell in enumerate(row))
        body += f"<tr{' hidden' if hidden else ''}>{cells}</tr>"
    return (
        f'<div class="lab-table" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table id="{place}"><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>'
        + (button if csv else "")
    )


def pick(text: str, value: str) -> str:
    """A button inside a table or list; see `PICK`."""
    return f'<button type="button" class="lab-pick" data-pick="{escape(value)}">{escape(text)}</button>'


def script() -> str:
    """The page's own script, for `launch(head=...)`."""
    names = {name: tr(name) for name in _NAMES if tr(name) != name}
    said = {"language": texts.language(), "copied": tr("Copied"), "names": names}
    values = json.dumps(said).replace("<", "\\u003c")
    code = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    return f"<script>const labTexts = {values};\n{code}</script>"


def _heading(column: Column, sortable: bool) -> str:
    title = escape(column.title)
    said = f' title="{escape(column.help)}"' if column.help else ""
    kind = ("" if column.numeric else ' class="lab-words"') + (" hidden" if column.hidden else "")
    value = escape(column.csv or column.title)
    if not sortable:
        return f'<th scope="col"{kind}{said} data-value="{value}">{title}</th>'
    # data-value: the CSV file's heading is the title alone, without the arrow.
    return (
        f'<th scope="col"{kind}{said} data-first="{column.first}" data-value="{value}">'
        f'<button type="button" data-sort>{title}</button></th>'
    )


def _cell(cell: Cell, column: Column, *, first: bool, bare: bool = False) -> str:
    """`bare` cells, and those of a hidden column, have their value for the CSV file alone."""
    shown = escape(cell.text) if cell.markup is None else cell.markup
    if cell.best:
        best = escape(tr("best value"))
        shown += f' <span title="{best}">★</span>'
    kinds = " ".join(["lab-best"] * cell.best + ["lab-words"] * (not column.numeric))
    value = cell.text if cell.value is None else cell.value
    if value != value or value == "–":
        value = ""
    value = repr(value) if isinstance(value, float) else value
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    if bare or column.hidden:
        return f'<{tag}{scope} hidden data-value="{escape(value)}"></{tag}>'
    return f'<{tag}{scope} class="{kinds}" data-value="{escape(value)}">{shown}</{tag}>'
