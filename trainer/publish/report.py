"""Lab report: the finished runs of a store as one HTML file that needs no network."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainer.analysis import comparisons, parents
from trainer.analysis import tables as analysis
from trainer.analysis.figures import show
from trainer.analysis.variants import means, ordered, variants
from trainer.errors import UserError
from trainer.markup import render
from trainer.publish import report_charts
from trainer.publish.report_charts import Chart, Figure
from trainer.runs import recipes
from trainer.runs.damage import Damage, culprits, log_failure
from trainer.runs.metrics import METRICS, MINUTES, PERCENT, Metric
from trainer.runs.run import Run
from trainer.runs.store import Store

if TYPE_CHECKING:
    import pandas as pd

TABLES = {
    "Results": (
        "test_accuracy",
        "validation_accuracy",
        "f1",
        "micro_f1",
        "calibration_error",
        "calibration_error_scaled",
        "brier",
    ),
    "Costs of training": (
        "train_minutes",
        "parents_minutes",
        "trainable",
        "parents_parameters",
        "peak_memory",
        "file_size",
        "parents_size",
        "energy",
    ),
    "Costs of predicting": ("latency", "latency_merged", "predictions_per_second", "predictions_per_second_merged"),
}
"""Captions of the tables of figures -> their columns, each shown where a run of the group has it."""
SHOWN = tuple(key for keys in TABLES.values() for key in keys)
COSTS = ("train_minutes", "trainable", "peak_memory")
"""Metrics drawn as bars, from zero to the largest value."""
COLUMNS = 4
"""The most columns of figures in a table: more do not fit on a page of the size A4, and go into another table."""


def html(store: Store, runs: Sequence[Run]) -> str:
    """HTML of the report on finished runs: figures by task, statistical significance, and how each run was made.

    Runs on the same sentences are in one group; in a group, runs that differ only in the seed share a row. A run that
    cannot be drawn is named among the damaged ones of these runs, and the others are reported.
    """
    try:
        return _page(store, runs)
    except UserError:
        raise
    except Exception:
        failed = culprits(runs, lambda some: _page(store, some))
    damaged = [log_failure(error, run_id=run.id, folder=run.folder) for run, error in failed]
    names = {damage.run_id for damage in damaged}
    return _page(store, [run for run in runs if run.id not in names], damaged)


def _page(store: Store, runs: Sequence[Run], damaged: Sequence[Damage] = ()) -> str:
    """The report; `damaged` are runs that could not be drawn, named beside those whose files are found damaged."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in ordered(runs):
        groups[run.split_fingerprint].append(run)
    drawn = [_group(store, members) for members in groups.values()]
    page = render(
        "report.html",
        date=time.strftime("%Y-%m-%d"),
        count=len(runs),
        groups=drawn,
        damaged=[*map(str, damaged), *map(str, _damaged(store, runs))],
        made=[_made(run) for run in ordered(runs)],
        metrics=[
            (heading(METRICS[key].among({run.multi_label for run in runs})), METRICS[key].help)
            for key in _known(analysis.runs_table(runs))
        ],
    )
    return f"{page}\n"


def _damaged(store: Store, runs: Sequence[Run]) -> list[Damage]:
    """The damaged ones of these runs; of all runs of the store where these are all its finished ones."""
    stored, damaged = store.scan()
    names, known = {run.id for run in runs}, {run.id for run in stored}
    every = all(run.id in names for run in stored if run.state == "finished")
    return [one for one in damaged if one.run_id in names or (every and one.run_id not in known)]


def _group(store: Store, runs: list[Run]) -> dict[str, Any]:
    """Values of the template for one group: runs on the same sentences."""
    names, about = variants(runs), runs[0].result.meta_info.dataset_info
    table = analysis.runs_table(runs)
    table["variant"] = table["run"].map(names)
    return {
        "task": runs[0].task_name,
        "exact": runs[0].multi_label,
        "sizes": about.sizes,
        "labels": about.label_names,
        "notes": about.notes,
        "warnings": analysis.comparable(runs) + parents.other_tasks(runs),
        "absent": sorted({name for run in runs for name in analysis.absent(run)}),
        "tables": _tables(store, table, runs, names),
        "charts": _charts(store, table, runs, names),
        **_differences(store, runs, names),
    }


def heading(metric: Metric) -> str:
    """A metric's heading in the report, where times have their unit beside the number."""
    return metric.title.removesuffix(" (min)") if metric.scale == MINUTES else metric.title


def _tables(
    store: Store, table: pd.DataFrame, runs: Sequence[Run], names: dict[str, str]
) -> list[tuple[str, list[str], list[dict[str, Any]]]]:
    """(caption, headings, rows) of each table that has columns, at most `COLUMNS` of them."""
    averages, known, members = means(table), _known(table), _members(runs, names)
    tables = []
    for caption, keys in TABLES.items():
        columns = [key for key in keys if key in known]
        for start in range(0, len(columns), COLUMNS):
            part = columns[start : start + COLUMNS]
            title = caption if start == 0 else f"{caption}, continued"
            rows = _rows(store, averages, members, part)
            multi_label = set(table["multi_label"])
            tables.append((title, [heading(METRICS[key].among(multi_label)) for key in part], rows))
    return tables


def _members(runs: Sequence[Run], names: dict[str, str]) -> dict[str, list[Run]]:
    """Variant -> its runs."""
    members: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        members[names[run.id]].append(run)
    return members


def _known(table: pd.DataFrame) -> list[str]:
    """The keys of `SHOWN` that a row of the table has."""
    return [key for key in SHOWN if table[key].notna().any()]


def _rows(
    store: Store, table: pd.DataFrame, members: dict[str, list[Run]], shown: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of a table of figures, one a variant. An accuracy has its 95% interval in brackets."""
    rows = []
    for row in table.to_dict("records"):
        cells = []
        for key in shown:
            text, spread = show(METRICS[key], row[key]), row[f"{key}:sd"]
            if spread == spread and spread > 0:
                text += f" ± {show(METRICS[key], spread)}"
            if interval := analysis.accuracy_interval(members[row["variant"]], key, store=store):
                text += " ({:.1f} to {:.1f})".format(*(end * METRICS[key].scale for end in interval))
            if 0 < row[f"{key}:n"] < row["runs"]:
                text += f" ({row[f'{key}:n']} of {row['runs']} runs)"
            cells.append(text)
        rows.append({"recipe": row["variant"], "runs": row["runs"], "cells": cells})
    return rows


def _charts(store: Store, table: pd.DataFrame, runs: Sequence[Run], names: dict[str, str]) -> list[Chart]:
    """Accuracies with their intervals, the costs of training, and the validation accuracy by epoch."""
    rows, members, exact = means(table).to_dict("records"), _members(runs, names), runs[0].multi_label
    accuracy = METRICS["test_accuracy"].among({exact})
    with_accuracy = []
    for row in rows:
        interval = analysis.accuracy_interval(members[row["variant"]], accuracy.key, store=store)
        low, high = [end * accuracy.scale for end in interval] if interval else (None, None)
        text = show(accuracy, row[accuracy.key]) + (f" ({low:.1f} to {high:.1f})" if interval else "")
        with_accuracy.append((row["variant"], Figure(row[accuracy.key], text, low, high)))
    charts = report_charts.with_intervals(f"{accuracy.title}, with its 95% interval", with_accuracy)
    costs = [key for key in COSTS if table[key].notna().any()]
    if costs:
        figures = [(row["variant"], [_figure(METRICS[key], row[key]) for key in costs]) for row in rows]
        charts += report_charts.bars([heading(METRICS[key]) for key in costs], figures)
    points = analysis.curves(store, runs)
    points = points[points["curve"] == "validation accuracy"]
    points = points.assign(value=points["value"] * PERCENT)
    curve = report_charts.curves(METRICS["validation_accuracy"].among({exact}).title, points)
    return charts + [curve] * (curve is not None)


def _figure(metric: Metric, value: float) -> Figure | None:
    return Figure(value, show(metric, value)) if value == value else None


def _differences(store: Store, runs: list[Run], names: dict[str, str]) -> dict[str, Any]:
    """Comparisons of the variants over all their seeds: of every two, or of each with one of many."""
    compared = comparisons.compare(store, runs, names)
    return {"pairs": compared.pairs if compared else (), "reference": compared.reference if compared else None}


def _made(run: Run) -> tuple[str, str, str]:
    """(id, command or source, learning rate with date, device and packages) of a run."""
    meta = run.result.meta_info
    packages = ", ".join(f"{name.removesuffix('-version')} {v}" for name, v in meta.package_info.items() if v)
    where = f"{run.created_at}, {meta.system_info.device}, {packages}"
    if run.adopted:
        return run.id, f"from {run.adopted.source}", where
    return run.id, recipes.command_of(run.recipe), f"Learning rate {recipes.rate_text(run)}; {where}"
