"""Charts as pure functions: DataFrame in, Altair chart out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from trainer.analysis import published
from trainer.analysis import tables as analysis
from trainer.analysis.figures import show, show_mean
from trainer.runs.metrics import METRICS, MINUTES, PERCENT, Metric
from trainer.texts import mark, tr
from trainer.ui.common.chart_parts import (
    GREY,
    TEXT,
    axis_of,
    colour,
    finish,
    scale_of,
    shape,
    tip,
    tips,
    value_axis,
    whole_ticks,
)  # fmt: skip
from trainer.ui.common.lab import method_title

BAR_METRICS = ("test_accuracy", "train_minutes", "trainable", "peak_memory", "latency")
PARENTS = {"train_minutes": "parents_minutes", "trainable": "parents_parameters", "file_size": "parents_size"}
"""Metrics whose bars go on with the parents' cost -> that of the parents."""
HERE = mark("run here")
CURVES = {
    "step loss": mark("Training loss by step"),
    "training loss": mark("Training loss"),
    "validation loss": mark("Validation loss"),
    "validation accuracy": mark("Validation accuracy"),
    "validation exact match": mark("Validation exact match"),
    "memory": mark("Process or GPU memory (MB)"),
}
"""The titles of analysis.curves' curves; another curve has its name as title."""
EXACT = "validation exact match"
"""The title that the curve of accuracies has for multi-label runs."""
_MIDDLE = "-8 * (length(split(datum.shown, '\\n')) - 1)"
"""Vega's expression for how far a figure of several lines begins above the middle of its bar, in pixels."""
_UNIT = re.compile(r"\s*\([^()]*\)$")
DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2])


def bars(table: pd.DataFrame, metric: Metric, *, reference: pd.DataFrame | None = None) -> alt.Chart:
    """A bar chart with the mean of each variant; over several runs with a dot a run and a line of one sample standard
    deviation to each side. Bars start at zero, so that lengths can be compared.

    `table` is analysis.runs_table's, with a column `variant` or a variant a method; `reference` is published.table's.
    """
    known = _named(table).dropna(subset=[metric.key])
    name = title(metric)
    # Only the drawn columns go to the page: a thousand runs with all their figures would be megabytes.
    data = known.assign(Variant=known["variant"], value=known[metric.key])
    data = data.assign(parents=known.get(PARENTS.get(metric.key), float("nan")))
    data = data[["Variant", "method", "run", "seed", "value", "parents"]]
    means, elsewhere = _bar_means(data, metric), _elsewhere(reference, metric)
    order = [*means["Variant"], *elsewhere["Variant"]]
    names = (name.count(", ") + 1 for name in order)
    lines = max([*names, *(text.count("\n") + 1 for text in means["shown"])], default=1)
    y = alt.Y("Variant:N", sort=order, title=None, axis=alt.Axis(labelLimit=180, labelExpr="split(datum.label, ', ')"))
    x = _bar_lengths(metric, [*means["end"], *elsewhere["value"]], [*means["shown"], *elsewhere["shown"]])
    tooltip = [tip("Variant:N", tr("Variant")), tip("shown:N", name)]
    base = alt.Chart(means).encode(y=y)
    layers = [
        base.mark_bar(height={"band": 0.7}).encode(x=x, color=colour(means["method"], legend=None), tooltip=tooltip),
        base.mark_text(align="left", dx=8, fontSize=TEXT, lineBreak="\n", dy=alt.expr(_MIDDLE)).encode(
            x=alt.X("end:Q"), text=alt.Text("shown:N")
        ),
    ]
    if (fused := means.dropna(subset=["parents"])).size:
        more = alt.Chart(fused).mark_bar(height={"band": 0.7}, opacity=0.35)
        more = more.encode(y=y, x=x, x2=alt.X2("total:Q"), color=colour(means["method"], legend=None), tooltip=tooltip)
        layers.append(more)
    if (means["runs"] > 1).any():
        several = means.dropna(subset=["sd"])
        rule = alt.Chart(several).mark_rule(strokeWidth=2, color="black")
        layers.append(rule.encode(y=y, x=alt.X("low:Q"), x2=alt.X2("high:Q"), tooltip=tooltip))
        single = data.assign(shown=[show(metric, value) for value in data["value"]])
        dot = alt.Chart(single).mark_point(filled=True, color="black", opacity=0.6, size=28)
        layers.append(
            dot.encode(y=y, x=x, tooltip=[tip("Variant:N", tr("Variant")), *tips("seed:Q"), tip("shown:N", name)])
        )
    if len(elsewhere):
        other = alt.Chart(elsewhere).encode(y=y, tooltip=tooltip)
        hollow = other.mark_bar(height={"band": 0.6}, filled=False, stroke=GREY, strokeWidth=2, strokeDash=[6, 4])
        text = other.mark_text(align="left", dx=8, fontSize=TEXT)
        layers += [hollow.encode(x=x), text.encode(x=x, text=alt.Text("shown:N"))]
    return finish(alt.layer(*layers), title=name, height=max(40, 18 * lines + 10) * max(len(order), 1))


def _bar_means(data: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A row a variant: mean, deviation, the mean with the parents' cost, the end of its bar, and the figure there."""
    groups = data.groupby(["Variant", "method"], sort=False)
    means = groups["value"].agg(value="mean", sd="std", top="max", runs="count").reset_index()
    means["parents"] = groups["parents"].mean().to_numpy()
    means["total"] = means["value"] + means["parents"]
    means["low"], means["high"] = means["value"] - means["sd"], means["value"] + means["sd"]
    means["end"] = means[["top", "high", "total"]].max(axis=1)
    spread = means["sd"].where(means["sd"] > 0)
    means["shown"] = [show_mean(metric, mean, sd) for mean, sd in zip(means["value"], spread, strict=True)]
    fused = means["parents"].notna()
    means.loc[fused, "shown"] = [
        f"{own}\n+ {show(metric, parents)}"
        for own, parents in means.loc[fused, ["shown", "parents"]].itertuples(index=False)
    ]
    return means


def _bar_lengths(metric: Metric, ends: Sequence[float], figures: Sequence[str]) -> alt.X:
    """The axis along the bars, with room for the figures at their ends, on a phone too."""
    longest = max([*ends, 0]) or 1.0
    longest_lines = [max(map(len, shown.split("\n"))) for shown in figures]
    room = [end + longest * (0.15 + 0.09 * count) for end, count in zip(ends, longest_lines, strict=True)]
    limit = max([*room, longest * 1.15])
    axis = axis_of(metric, [limit], 4)
    if metric.scale == PERCENT and longest > 25:
        axis = alt.Axis(values=list(range(0, 101, 25)))  # no ticks above 100% in the room for figures
    return alt.X("value:Q", title=None, scale=alt.Scale(domain=[0, limit], nice=False), axis=axis)


def bar_charts(
    table: pd.DataFrame, *, reference: pd.DataFrame | None = None, keys: Sequence[str] = BAR_METRICS
) -> list[alt.Chart]:
    """The bar charts of some metrics."""
    multi_label = set(table["multi_label"]) if "multi_label" in table else ()
    return [bars(table, METRICS[key].among(multi_label), reference=reference) for key in keys]


def scatter(
    points: pd.DataFrame,
    x: Metric,
    y: Metric,
    *,
    reference: pd.DataFrame | None = None,
    frontier: bool = True,
    names: int = 12,
) -> alt.Chart:
    """A scatter chart of two metrics: a mark a row of `points`, and the Pareto frontier as a line through ringed, named
    marks (the first `names` of them). An axis is logarithmic where its values span more than two decades.

    `points` has name, method and the metrics; `reference` is published.table's, hollow and named, not on the frontier.
    Without `frontier` no mark is ringed or named, for points that cannot be compared.
    """
    data, x_title, y_title = points.dropna(subset=list({x.key, y.key})), title(x), title(y)
    data = data.assign(x=data[x.key], y=data[y.key], Method=[method_title(name) for name in data["method"]])
    unbeaten = analysis.pareto(data["x"], data["y"], x_better=x.better, y_better=y.better)
    # With its type: an empty list would become a column of objects, which selects columns, not rows.
    data["frontier"] = pd.Series(unbeaten, index=data.index, dtype=bool) & frontier
    theirs = data.get(PARENTS.get(x.key), float("nan"))
    data = data.assign(total=data["x"] + theirs)
    data = _with_texts(data, x, y)[["name", "method", "Method", "x", "y", "total", "frontier", "x_shown", "y_shown"]]
    best = data[data["frontier"]].sort_values("x")
    other = _with_texts(_elsewhere(reference, x, y), x, y)
    fused = data.dropna(subset=["total"])
    every = pd.concat([data[["x", "y"]], other[["x", "y"]], fused[["total", "y"]].rename(columns={"total": "x"})])
    encode = {
        "x": alt.X("x:Q", title=x_title, scale=scale_of(every["x"], 60), axis=axis_of(x, every["x"])),
        "y": alt.Y("y:Q", title=y_title, scale=scale_of(every["y"], 30), axis=axis_of(y, every["y"])),
        "tooltip": [*tips("name:N"), tip("x_shown:N", x_title), tip("y_shown:N", y_title)],
    }
    marks = alt.Chart(data).mark_point(filled=True, size=110, opacity=0.9)
    ringed = alt.Chart(best).encode(**encode)
    text = {"dy": -16, "fontSize": TEXT, "limit": 190}
    layers = [
        _to_total(fused, encode),
        ringed.mark_line(color=GREY, strokeWidth=2),
        ringed.mark_point(filled=False, size=330, strokeWidth=2, color=GREY),
        marks.encode(color=colour(data["method"]), shape=shape(data["method"]), **encode),
        alt.Chart(best.head(names)).mark_text(**text).encode(text=alt.Text("name:N"), **encode),
    ]
    if len(other):
        layers += _published_marks(other.sort_values("x"), encode, text)
    return finish(alt.layer(*layers), title=[y_title, tr("against {figure}", figure=_inside(x_title))], height=380)


def _with_texts(data: pd.DataFrame, x: Metric, y: Metric) -> pd.DataFrame:
    """The points with their figures as text, for tooltips."""
    shown = {f"{axis}_shown": [show(metric, value) for value in data[axis]] for axis, metric in (("x", x), ("y", y))}
    return data.assign(**shown)


def _to_total(fused: pd.DataFrame, encode: dict[str, Any]) -> alt.Chart:
    """A dotted line from a fusion's mark to where it would be with its parents' cost."""
    line = alt.Chart(fused).mark_rule(strokeDash=[2, 3], strokeWidth=2)
    return line.encode(x=encode["x"], x2=alt.X2("total:Q"), y=encode["y"], tooltip=encode["tooltip"])


def _published_marks(data: pd.DataFrame, encode: dict[str, Any], text: dict[str, Any]) -> list[alt.Chart]:
    """The layers of published figures: hollow marks with names."""
    data = data.assign(short=[tr("{method}, published", method=method_title(name)) for name in data["method"]])
    hollow = alt.Chart(data).encode(**encode)
    layers = [hollow.mark_point(filled=False, size=110, strokeWidth=2, color=GREY, strokeDash=[3, 2])]
    for side, dy in ((0, 20), (1, -16)):  # names alternate below and above their marks
        names = alt.Chart(data.iloc[side::2]).mark_text(**text | {"dy": dy})
        layers.append(names.encode(text=alt.Text("short:N"), **encode))
    return layers


def reliability(points: pd.DataFrame) -> alt.Chart:
    """A reliability diagram (Guo et al. 2017, figure 1): accuracy over confidence, a line a run, a point an interval.

    `points` is analysis.reliability.bins' with a column `name`. A point's area grows with its sentences.
    """
    data = points.assign(
        Method=[method_title(name) for name in points["method"]],
        interval=[
            tr("{low} to {high}", low=f"{low:.1%}", high=f"{high:.1%}")
            for low, high in zip(points["low"], points["high"], strict=True)
        ],
        counts=[f"{n:,} / {all_:,}" for n, all_ in zip(points["count"], points["sentences"], strict=True)],
    )[["run", "name", "method", "Method", "confidence", "accuracy", "count", "counts", "interval", "low"]]
    x_title, y_title = tr("Probability of the predicted label"), tr("Share that is right")
    # No predicted label has a probability below one over the number of labels: that part would be empty.
    start = float(data["low"].min()) if len(data) else 0.0
    diagonal = alt.Chart(pd.DataFrame({"confidence": [start, 1.0], "accuracy": [start, 1.0]}))
    percent = alt.Axis(format=".0%", tickCount=5)
    chart = alt.Chart(data).encode(
        x=alt.X("confidence:Q", title=x_title, scale=alt.Scale(domain=[start, 1], nice=False), axis=percent),
        y=alt.Y("accuracy:Q", title=y_title, scale=alt.Scale(domain=[0, 1], nice=False), axis=percent),
        color=colour(data["method"]),
        detail=alt.Detail("run:N"),
        tooltip=[
            *tips("name:N"),
            tip("interval:N", tr("Interval")),
            tip("confidence:Q", x_title, format=".1%"),
            tip("accuracy:Q", y_title, format=".1%"),
            tip("counts:N", tr("Sentences here / in all")),
        ],
    )
    size = alt.Size("count:Q", legend=None, scale=alt.Scale(type="sqrt", range=[20, 400], domainMin=0))
    layers = [
        diagonal.mark_line(color=GREY, strokeDash=[6, 4], strokeWidth=2).encode(x="confidence:Q", y="accuracy:Q"),
        chart.mark_line(strokeWidth=2, opacity=0.7),
        chart.mark_point(filled=True, opacity=0.9).encode(shape=shape(data["method"]), size=size),
    ]
    title = [tr("Are the probabilities right?")]
    if points["sentences"].nunique() == 1:
        title.append(tr("on {count} test sentences", count=f"{points['sentences'].iloc[0]:,}"))
    return finish(alt.layer(*layers), title=title, height=380)


def curves(
    points: pd.DataFrame,
    curve: str,
    *,
    x: str = "epoch",
    reference: pd.DataFrame | None = None,
    domain: tuple[float, float] | None = None,
    exact: bool = False,
) -> alt.Chart:
    """A line chart of one curve over epochs, steps or seconds, a line a run; dashed for published runs.

    `points` is analysis.curves', `reference` published.curves', `domain` the y-range, if two charts share it. `exact`:
    whether accuracies are the exact match of multi-label runs.
    """
    here, there = tr(HERE), tr(published.MARK)
    both = pd.concat([part.assign(Source=name) for part, name in ((points, here), (reference, there))
                      if part is not None and len(part)] or [points.assign(Source=here)])  # fmt: skip
    data = both[(both["curve"] == curve) & both[x].notna()]
    data = thin(data).assign(
        Method=lambda rows: [method_title(name) for name in rows["method"]],
        Seed=lambda rows: [tr("seed {seed}", seed=_whole(seed)) for seed in rows["seed"]],
    )
    few = data.groupby("run").size().max() <= 40 if len(data) else True
    axes = {"epoch": tr("Epoch"), "step": tr("Step"), "seconds": tr("Training time (s)")}
    percent = curve == "validation accuracy"
    domain = domain or value_range(data, [curve])
    if percent and domain:
        domain = domain[0], min(domain[1], 1.0)
    scale = alt.Scale(zero=False) if domain is None else alt.Scale(domain=list(domain), nice=False, zero=False)
    chart = alt.Chart(data).encode(
        x=alt.X(f"{x}:Q", title=axes[x], axis=whole_ticks(data[x]) if x != "seconds" else alt.Axis(tickCount=5)),
        y=alt.Y("value:Q", title=None, scale=scale, axis=value_axis(percent, domain)),
        color=colour(data["method"]),
        detail=alt.Detail("run:N"),
        tooltip=[
            *tips("name:N", "Method:N", "task:N", "seed:Q", f"{x}:Q"),
            tip("value:Q", tr("value"), format=".1%" if percent else ".4f"),
        ],
    )
    line = chart.mark_line(strokeWidth=2)
    if (data["Source"] != here).any():
        line = line.encode(strokeDash=_dashes("Source:N", [here, there], [[1, 0], [6, 4]]))
    elif data["task"].nunique() > 1:  # the parents of a fusion are trained on other tasks
        tasks = list(dict.fromkeys(data["task"]))
        line = line.encode(strokeDash=_dashes("task:N", tasks, _patterns(len(tasks))))
    elif data["seed"].nunique() > 1 and data.groupby("method")["run"].nunique().max() > 1:
        seeds = [tr("seed {seed}", seed=_whole(seed)) for seed in sorted(data["seed"].dropna().unique())]
        line = line.encode(strokeDash=_dashes("Seed:N", seeds, _patterns(len(seeds))))
    marks = chart.mark_point(filled=True, size=60).encode(shape=shape(data["method"]))
    marks = marks.transform_filter(alt.datum.Source == here)
    # Room for the chart's menu, which on a phone would lie on the legend above the chart.
    room = 10 if line.encoding.strokeDash is alt.Undefined else 24
    title = curve_title(EXACT if exact and percent else curve)
    return finish(alt.layer(line, marks) if few else line, title=title, height=260, room=room)


def _patterns(number: int) -> list[list[int]]:
    """This many dash patterns, again from the first when they run out."""
    return [DASHES[i % len(DASHES)] for i in range(number)]


def _whole(seed: float) -> str:
    """A seed, which is a float beside published runs without one."""
    return "–" if seed is None or seed != seed else f"{seed:.0f}"


def _dashes(field: str, values: list[str], dashes: list[list[int]]) -> alt.StrokeDash:
    """A dash pattern a value, in a legend above the chart."""
    legend = alt.Legend(title=None, orient="top", columns=3, labelLimit=200, symbolSize=300, symbolStrokeWidth=2)
    return alt.StrokeDash(field, scale=alt.Scale(domain=values, range=dashes), legend=legend)


def curve_title(curve: str) -> str:
    """The title of a curve's chart."""
    return tr(CURVES[curve]) if curve in CURVES else curve.capitalize()


def thin(points: pd.DataFrame, limit: int = 4000) -> pd.DataFrame:
    """One curve's points; of more than `limit`, every k-th point of each run, the last included.

    Altair refuses more than 5,000 rows, and no screen can show more.
    """
    if len(points) <= limit:
        return points
    runs = points.groupby("run", sort=False)
    size, behind = runs["value"].transform("size"), runs.cumcount(ascending=False)
    share = max(limit // runs.ngroups, 2)
    return points[behind % ((size - 1) // share + 1) == 0]


def value_range(points: pd.DataFrame, names: Sequence[str]) -> tuple[float, float] | None:
    """The y-range of these curves with a small margin; None without points."""
    values = points[points["curve"].isin(names)]["value"]
    if values.empty:
        return None
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return max(low - room, 0.0) if low >= 0 else low - room, high + room


def title(metric: Metric) -> str:
    """A metric's heading; that of a duration without the unit, which each figure of `show` has."""
    heading = tr(metric.title)
    return _UNIT.sub("", heading) if metric.scale == MINUTES else heading


def _inside(title: str) -> str:
    """A heading for use inside a sentence: with a lower-case first letter, except in names such as F1 or GPU."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table if "variant" in table else table.assign(variant=[method_title(name) for name in table["method"]])


def _elsewhere(reference: pd.DataFrame | None, x: Metric, y: Metric | None = None) -> pd.DataFrame:
    """The published rows that have these metrics."""
    if reference is None:
        return pd.DataFrame(columns=["Variant", "name", "value", "shown", "x", "y"])
    data = reference.dropna(subset=list({x.key, (y or x).key}))
    names = [tr("{method}, published elsewhere", method=method_title(name)) for name in data["method"]]
    shown = [show(x, value) for value in data[x.key]]
    return data.assign(Variant=names, name=names, value=data[x.key], shown=shown, x=data[x.key], y=data[(y or x).key])
