"""Parts of charts: axes, scales, legends, tooltips, and the style that all charts share."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from trainer import texts
from trainer.analysis.colours import COLOURS, SHAPES
from trainer.runs.metrics import MINUTES, Metric
from trainer.texts import mark, tr
from trainer.ui.common.lab import method_title

TEXT = 14
MOST_SECONDS = 180
"""The longest duration whose axis is in seconds; longer ones are in minutes."""
GREY = "#767676"
"""The colour of published figures: contrast 4.5:1 on white, 4.6:1 on Gradio's dark background."""
_DOWNLOAD = {
    "actions": {"export": {"png": True, "svg": True}, "source": False, "compiled": False, "editor": False},
    "scaleFactor": {"png": 2, "svg": 1},
}
_MENU = {
    "CLICK_TO_VIEW_ACTIONS": mark("Download this chart"),
    "PNG_ACTION": mark("Download PNG"),
    "SVG_ACTION": mark("Download SVG"),
}
_FIELDS = {
    "run": mark("run"),
    "name": mark("name"),
    "Method": mark("Method"),
    "task": mark("task"),
    "seed": mark("seed"),
    "epoch": mark("epoch"),
    "step": mark("step"),
    "seconds": mark("seconds"),
}
"""The name of a data column in tooltips."""


def tip(field: str, title: str, **options: Any) -> alt.Tooltip:
    """One line of a tooltip."""
    return alt.Tooltip(field, title=title, **options)


def tips(*fields: str) -> list[alt.Tooltip]:
    """Lines of a tooltip for fields under their own names."""
    return [tip(field, tr(_FIELDS[field.partition(":")[0]])) for field in fields]


def scale_of(values: pd.Series, padding: int) -> alt.Scale:
    """A linear scale, or logarithmic where positive values span more than two decades, padded for names."""
    if len(values) and values.min() > 0 and values.max() / values.min() > 100:
        return alt.Scale(type="log", padding=padding, nice=False)
    return alt.Scale(zero=False, padding=padding, nice=False)


def axis_of(metric: Metric, values: Sequence[float], ticks: int = 5) -> alt.Axis:
    """A metric's axis with about this many ticks, large numbers as 10k or 2M, durations with their unit."""
    largest = max(values, default=0)
    if metric.scale == MINUTES:
        text, factor = (
            (mark("{seconds} s"), 1 / MINUTES) if largest < MOST_SECONDS * MINUTES else (mark("{minutes} min"), 1)
        )
        unit = tr(text).partition("}")[2]
        return alt.Axis(tickCount=ticks, labelExpr=f"format(datum.value * {factor:g}, ',.3~r') + '{unit}'")
    return alt.Axis(tickCount=ticks, format="~s") if largest >= 10_000 else alt.Axis(tickCount=ticks)


def whole_ticks(values: pd.Series) -> alt.Axis:
    """An axis with ticks on whole numbers only, for steps and epochs; of a part of one epoch, on its end."""
    if len(values) and 0 < values.max() < 1:
        return alt.Axis(values=[float(values.max())], format=".3~g")
    low, high = (math.ceil(values.min()), math.floor(values.max())) if len(values) else (0, 1)
    stride = max(math.ceil((high - low) / 6), 1)
    return alt.Axis(values=list(range(low, high + 1, stride)), format="d")


def value_axis(percent: bool, domain: tuple[float, float] | None = None) -> alt.Axis:
    """The axis of a curve's values over `domain`; of shares in percent, with as many decimals as its ticks need."""
    if not percent:
        return alt.Axis(tickCount=5)
    span = domain[1] - domain[0] if domain else 1.0
    decimals = min(max(-math.floor(math.log10(span / 5)) - 2, 0), 4) if span > 0 else 1
    return alt.Axis(format=f".{decimals}~%", tickCount=5)


def _scale(names: Sequence[str], values: dict[str, str]) -> alt.Scale:
    shown = [name for name in values if name in set(names)]
    return alt.Scale(domain=[method_title(name) for name in shown], range=[values[name] for name in shown])


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=2, labelLimit=200, symbolSize=80)


def colour(names: Sequence[str], **options: Any) -> alt.Color:
    """Each method's colour; `names` are the methods that the chart shows."""
    options.setdefault("legend", _legend())
    field = "method:N" if options["legend"] is None else "Method:N"
    scale = _scale(names, COLOURS)
    if options["legend"] is None:
        known = [name for name in COLOURS if name in set(names)]
        scale = alt.Scale(domain=known, range=[COLOURS[name] for name in known])
    return alt.Color(field, scale=scale, **options)


def shape(names: Sequence[str]) -> alt.Shape:
    """Each method's shape; `names` are the methods that the chart shows."""
    return alt.Shape("Method:N", scale=_scale(names, SHAPES), legend=_legend())


def _lines() -> dict[str, int]:
    """The line height of titles, larger for scripts with marks above and below their letters."""
    return {} if texts.language() == texts.ENGLISH else {"lineHeight": 24}


def finish(chart: alt.Chart, *, title: str | list[str], height: int, room: int = 10) -> alt.Chart:
    """The chart with the style that all share: as wide as its container, drawn as SVG; `room` is below its title.

    The page's style sheet colours the SVG's text and lines, light or dark. A downloaded file has no style sheet, so it
    has the dark text on white that is set here.
    """
    description = title if isinstance(title, str) else " ".join(title)
    # Letters with their marks and digits, of any script.
    letters = (c if unicodedata.category(c)[0] in "LMN" else " " for c in description.lower())
    name = "-".join("".join(letters).split())
    embed = {"renderer": "svg", "downloadFileName": name, "i18n": {key: tr(text) for key, text in _MENU.items()}}
    axis = {"labelFontSize": TEXT, "titleFontSize": TEXT, "titleFontWeight": "normal"}
    config = {"axis": axis, "legend": {"labelFontSize": TEXT}, "view": {"stroke": None}, "background": "white",
              "font": "system-ui, sans-serif", "padding": 8}  # fmt: skip
    # One call, since each copies the whole chart.
    return chart.properties(
        title=alt.Title(title, anchor="start", fontSize=16, offset=room, **_lines()),
        width="container",
        height=height,
        description=description,
        usermeta={"embedOptions": embed | _DOWNLOAD},
        config=config,
    )
