"""Charts of the lab report as plain data; the template draws them as SVG, without a library and without a network."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer import methods
from trainer.analysis.colours import COLOURS

if TYPE_CHECKING:
    import pandas as pd

WIDTH, NAMES, LINE = 640, 210, 15
"""The width of a chart, of its column of names, and the height of a line of text: in the drawing's units, which are
about a pixel on paper of the size A4."""
TALLEST = 640
"""The most height of a chart's rows: more of them are drawn as several charts, so that each fits on a page."""
LETTERS = 32
"""The most letters in a line of the column of names."""
GREY = "#666666"
"""The colour of a method that is not known here."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
"""Dashes of the methods' lines, which a copy in black and white tells apart."""


@dataclass(frozen=True)
class Text:
    """A text at a point; `anchor` is SVG's text-anchor."""

    text: str
    x: float
    y: float
    anchor: str = "start"
    shape: str = "text"


@dataclass(frozen=True)
class Line:
    """A line through points, in a colour or the text's; `dash` is SVG's stroke-dasharray."""

    points: Sequence[tuple[float, float]]
    colour: str = "currentColor"
    width: float = 1
    dash: str = ""
    faint: bool = False
    shape: str = "line"


@dataclass(frozen=True)
class Bar:
    """A bar from left to right."""

    x: float
    y: float
    width: float
    height: float
    shape: str = "bar"


@dataclass(frozen=True)
class Dot:
    """A dot."""

    x: float
    y: float
    colour: str = "currentColor"
    shape: str = "dot"


@dataclass
class Chart:
    """A chart: its title, the description that a screen reader gives, its height, and its shapes from back to front."""

    title: str
    description: str
    height: float = 0
    shapes: list[Text | Line | Bar | Dot] = field(default_factory=list)
    width: int = WIDTH


@dataclass(frozen=True)
class Figure:
    """A recipe's figure in a chart: its value, the ends of its interval if it has one, and its text."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None


def with_intervals(title: str, rows: Sequence[tuple[str, Figure]]) -> list[Chart]:
    """Charts of a figure with its interval, a row a recipe: a dot on a line; the axis need not begin at zero."""
    ends = [end for _, one in rows for end in (one.value, one.low, one.high) if end is not None]
    ticks = ticks_of(min(ends), max(ends))
    room = 150
    left, right = NAMES + 10, WIDTH - room

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    charts = []
    for part in _parts(rows):
        chart = Chart(title, _described(title, part))
        for _, figure, middle in _named(chart, part):
            if figure.low is not None and figure.high is not None:
                chart.shapes.append(
                    Line([(x(figure.low), middle), (x(figure.high), middle)], COLOURS[methods.DEFAULT[0]], 3)
                )
            chart.shapes += [Dot(x(figure.value), middle), Text(figure.text, right + 12, middle + 4)]
        grid = [Line([(x(tick), 4), (x(tick), chart.height)], faint=True) for tick in ticks]
        labels = [Text(f"{tick:g}", x(tick), chart.height + LINE, "middle") for tick in ticks]
        chart.shapes[:0] = [*grid, *labels]
        chart.height += LINE + 6
        charts.append(chart)
    return charts


def bars(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Figure | None]]]) -> list[Chart]:
    """Charts of several costs side by side, a row a recipe; each column's bars begin at zero."""
    each = (WIDTH - NAMES) / len(columns)
    longest = [max((row[i].value for _, row in rows if row[i]), default=0) or 1.0 for i in range(len(columns))]
    title = ", ".join(columns)
    charts = []
    for part in _parts(rows):
        chart = Chart(title, "")
        parts = []
        for i, column in enumerate(columns):
            for line, words in enumerate(textwrap.wrap(column, 22)):
                chart.shapes.append(Text(words, NAMES + i * each + 8, 12 + line * LINE))
        chart.height = LINE * max(len(textwrap.wrap(column, 22)) for column in columns) + 4
        for name, figures, middle in _named(chart, part):
            for i, figure in enumerate(figures):
                if figure is not None:
                    width = figure.value / longest[i] * (each - 90)
                    start = NAMES + i * each + 8
                    chart.shapes += [
                        Bar(start, middle - 6, max(width, 1), 12),
                        Text(figure.text, start + width + 5, middle + 4),
                    ]
            parts.append(f"{name}: {', '.join(one.text if one else '–' for one in figures)}")
        chart.description = f"{title}. {'; '.join(parts)}."
        charts.append(chart)
    return charts


def curves(title: str, points: pd.DataFrame) -> Chart | None:
    """A chart of one curve by epoch, a line a run in its method's colour and dash; None without points.

    `points` are the rows of one curve of `analysis.tables.curves`, values in the unit of the axis.
    """
    points = points.dropna(subset=["epoch", "value"])
    if points.empty:
        return None
    names = [name for name in methods.METHODS if name in set(points["method"])]
    names += sorted(set(points["method"]) - set(names))
    legend, top = _legend(names, left=46)
    height, left, right = top + 206, 46, WIDTH - 12
    across = ticks_of(min(points["epoch"].min(), 1.0), max(points["epoch"].max(), 2.0), whole=True)
    along = ticks_of(points["value"].min(), points["value"].max())

    def position(epoch: float, value: float) -> tuple[float, float]:
        return (
            left + (epoch - across[0]) / (across[-1] - across[0]) * (right - left),
            height - (value - along[0]) / (along[-1] - along[0]) * (height - top),
        )

    chart = Chart(title, f"{title} by epoch, a line a run.", height + 2 * LINE + 8)
    for tick in along:
        y = position(across[0], tick)[1]
        chart.shapes += [Line([(left, y), (right, y)], faint=True), Text(f"{tick:g}", left - 6, y + 4, "end")]
    for tick in across:
        chart.shapes.append(Text(f"{tick:g}", position(tick, along[0])[0], height + LINE, "middle"))
    chart.shapes.append(Text("Epoch", (left + right) / 2, height + 2 * LINE + 2, "middle"))
    chart.shapes += legend
    for (_, name), run in points.sort_values("epoch").groupby(["run", "method"], sort=False):
        marks = [position(epoch, value) for epoch, value in zip(run["epoch"], run["value"], strict=True)]
        chart.shapes.append(Line(marks, *_style(name)))
        if len(marks) == 1:
            chart.shapes.append(Dot(*marks[0], _style(name)[0]))
    return chart


def _legend(names: Sequence[str], *, left: float) -> tuple[list[Line | Text], float]:
    """(the methods' lines with their titles, in as many rows as they need, the y below them)."""
    shapes, x, y = [], left, 8
    for name in names:
        title = methods.METHODS[name].title if name in methods.METHODS else name
        width = 29 + 7 * len(title) + 14
        if x > left and x + width > WIDTH:
            x, y = left, y + LINE + 3
        shapes += [Line([(x, y), (x + 24, y)], *_style(name)), Text(title, x + 29, y + 4)]
        x += width
    return shapes, y + LINE + 11


def _style(method: str) -> tuple[str, float, str]:
    """(colour, width, dash) of a method's lines."""
    order = list(methods.METHODS)
    index = order.index(method) if method in order else len(order)
    return COLOURS.get(method, GREY), 1.6, DASHES[index % len(DASHES)]


def ticks_of(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Four to nine round numbers, evenly spaced, that reach from `low` or below to `high` or above."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 6)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _lines(name: str) -> list[str]:
    return textwrap.wrap(name, LETTERS) or [""]


def _parts(rows: Sequence[tuple[str, object]]) -> Iterator[list]:
    """The rows in parts that are at most `TALLEST` high."""
    heights = itertools.accumulate(LINE * len(_lines(name)) + 8 for name, _ in rows)
    for _, part in itertools.groupby(zip(rows, heights, strict=True), key=lambda pair: int(pair[1] // TALLEST)):
        yield [row for row, _ in part]


def _named(chart: Chart, rows: Sequence[tuple[str, Figure]]) -> Iterator[tuple]:
    """Yield (name, figures, the middle's y) of each row, with the name written and the chart as much higher."""
    for name, figures in rows:
        lines = _lines(name)
        height = LINE * len(lines) + 8
        top = chart.height
        for i, words in enumerate(lines):
            chart.shapes.append(Text(words, 0, top + 4 + LINE * (i + 1) - 4))
        chart.height = top + height
        yield name, figures, top + height / 2


def _described(title: str, rows: Sequence[tuple[str, Figure]]) -> str:
    return f"{title}. {'; '.join(f'{name}: {figure.text}' for name, figure in rows)}."
