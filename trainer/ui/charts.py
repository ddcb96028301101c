"""Charts as pure functions: DataFrame in, Altair chart out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from trainer.analysis import METRICS, Metric
from trainer.ui.lab import method_title
from trainer.ui.theme import COLOURS, SHAPES

BAR_METRICS = ("test_accuracy", "train_minutes", "trainable", "peak_memory")
TEXT = 14


def bars(table: pd.DataFrame, metric: Metric) -> alt.Chart:
    """One bar a method (the mean over its runs), a dot for each run; from zero, so that lengths compare.

    `table` is analysis.runs_table's.
    """
    known = table.dropna(subset=[metric.key])
    data = known.assign(Method=[method_title(name) for name in known["method"]], value=known[metric.key])
    means = data.groupby(["Method", "method"], as_index=False, sort=False)["value"].mean()
    means["shown"] = [metric.show(value) for value in means["value"]]
    order = [method_title(name) for name in COLOURS if name in set(means["method"])]
    limit = float(data["value"].max()) * 1.45 if len(data) else 1.0
    y = alt.Y("Method:N", sort=order, title=None, axis=alt.Axis(labelLimit=160))
    axis = alt.Axis(tickCount=4, format="~s") if limit >= 10_000 else alt.Axis(tickCount=4)
    x = alt.X("value:Q", title=None, scale=alt.Scale(domain=[0, limit], nice=False), axis=axis)
    base = alt.Chart(means)
    bar = base.mark_bar(height={"band": 0.7}).encode(
        y=y,
        x=x,
        color=_colour(means["method"], legend=None),
        tooltip=["Method:N", alt.Tooltip("shown:N", title=metric.title)],
    )
    text = base.mark_text(align="left", dx=6, fontSize=TEXT).encode(y=y, x=x, text="shown:N")
    dots = (
        alt.Chart(data)
        .mark_point(filled=True, color="black", opacity=0.6, size=28)
        .encode(y=y, x=x, tooltip=["run:N", "seed:Q", alt.Tooltip("value:Q", title=metric.title)])
    )
    layers = [bar, text, dots] if data.groupby("method").size().gt(1).any() else [bar, text]
    return _finish(alt.layer(*layers), title=metric.title, height=40 * max(len(order), 1))


def curves(points: pd.DataFrame, curve: str, *, x: str = "epoch") -> alt.Chart:
    """One line a run of one curve over epochs, steps or seconds. `points` is analysis.curves'."""
    data = points[points["curve"] == curve].assign(Method=lambda rows: [method_title(name) for name in rows["method"]])
    few = data.groupby("run").size().max() <= 40 if len(data) else True
    axes = {"epoch": "Epoch", "step": "Step", "seconds": "Training time (s)"}
    percent = curve == "validation accuracy"
    chart = alt.Chart(data).encode(
        x=alt.X(f"{x}:Q", title=axes[x], axis=_whole(data[x]) if x != "seconds" else alt.Axis(tickCount=5)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=_axis(percent)),
        color=_colour(data["method"]),
        detail="run:N",
        tooltip=["name:N", "Method:N", "seed:Q", f"{x}:Q", alt.Tooltip("value:Q", format=".1%" if percent else ".4f")],
    )
    line = chart.mark_line(strokeWidth=2)
    marks = chart.mark_point(filled=True, size=60).encode(shape=_shape(data["method"]))
    return _finish(alt.layer(line, marks) if few else line, title=curve.capitalize(), height=260)


def live(points: pd.DataFrame) -> alt.Chart:
    """Training loss as it comes, a line a run."""
    return curves(points, "step loss", x="step")


def bar_charts(table: pd.DataFrame) -> list[alt.Chart]:
    """The report's four comparisons."""
    return [bars(table, METRICS[key]) for key in BAR_METRICS]


def _whole(values: pd.Series) -> alt.Axis:
    """Ticks on whole numbers only: there is no half of a step."""
    low, high = (math.ceil(values.min()), math.floor(values.max())) if len(values) else (0, 1)
    stride = max(math.ceil((high - low) / 6), 1)
    return alt.Axis(values=list(range(low, high + 1, stride)), format="d")


def _axis(percent: bool) -> alt.Axis:
    return alt.Axis(format="%") if percent else alt.Axis()


def _scale(names: Sequence[str], values: dict[str, str]) -> alt.Scale:
    shown = [name for name in values if name in set(names)]
    return alt.Scale(domain=[method_title(name) for name in shown], range=[values[name] for name in shown])


def _colour(names: Sequence[str], **options) -> alt.Color:
    options.setdefault("legend", alt.Legend(title=None, orient="bottom", columns=2, labelLimit=200, symbolSize=80))
    return alt.Color("Method:N", scale=_scale(names, COLOURS), **options)


def _shape(names: Sequence[str]) -> alt.Shape:
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=200, symbolSize=80)
    return alt.Shape("Method:N", scale=_scale(names, SHAPES), legend=legend)


def _finish(chart: alt.Chart, *, title: str, height: int) -> alt.Chart:
    """As wide as its place, drawn as SVG: the page's style sheet then colours text and lines, light or dark."""
    return (
        chart.properties(title=alt.Title(title, anchor="start", fontSize=16, offset=10))
        .properties(width="container", height=height, usermeta={"embedOptions": {"renderer": "svg"}})
        .configure(background="transparent", font="system-ui, sans-serif")
        .configure_axis(labelFontSize=TEXT, titleFontSize=TEXT, titleFontWeight="normal")
        .configure_legend(labelFontSize=TEXT)
        .configure_view(stroke=None)
    )
