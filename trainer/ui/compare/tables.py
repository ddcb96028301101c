"""Compare's tables: results of each run or over seeds, confusion matrices, classification reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from trainer.analysis import published
from trainer.analysis import tables as analysis
from trainer.analysis.variants import means
from trainer.markup import render
from trainer.runs.metrics import METRICS, Metric
from trainer.runs.store import Run, Store
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import charts, tables
from trainer.ui.common.lab import method_title
from trainer.ui.common.tables import Cell, Column

COLUMNS = (
    "test_accuracy",
    "validation_accuracy",
    "precision",
    "recall",
    "f1",
    "train_minutes",
    "trainable",
    "trainable_share",
    "peak_memory",
    "reserved_memory",
    "host_memory",
    "file_size",
    "speed",
    "utilisation",
    "evaluation_minutes",
    "test_loss",
    "parents_minutes",
    "parents_parameters",
    "parents_size",
    "minutes_with_parents",
    "trainable_with_parents",
    "latency",
    "latency_merged",
    "predictions_per_second",
    "predictions_per_second_merged",
    "energy",
    "calibration_error",
    "calibration_error_scaled",
    "brier",
)
INTERVALS = mark(
    "Below an accuracy is its interval at 95% (Wilson 1927): what the accuracy on all sentences of this kind may be; "
    "over several seeds it counts them too, and of documents or groups it takes the sentences together."
)
MAX_ROWS = 200
MAX_LABELS = 20
"""The most labels of a confusion matrix that is drawn."""


def results(runs: Sequence[Run], names: dict[str, str], *, reference: bool = False, store: Store | None = None) -> str:
    """The results as a table: a row a run, the newest `MAX_ROWS` in their order; published rows below if `reference`.

    `names`: run id -> variant. Published figures are ignored when the best ones are marked. `store` has the predictions
    of runs whose sentences come in groups: see `analysis.tables.accuracy_interval`.
    """
    newest = {run.id for run in sorted(runs, key=lambda run: -run.queue_order)[:MAX_ROWS]}
    runs = [run for run in runs if run.id in newest]
    shown = _shown(runs)
    best = _best({metric.key: [metric.of(run) for run in runs] for metric in shown}) if same_splits(runs) else {}
    unique = run_names(runs, names)
    unfinished = any(run.state != "finished" for run in runs)
    columns = [Column.named(mark("Run"), numeric=False)]
    columns += [Column.named(mark("State"), numeric=False)] * unfinished
    for metric in shown:
        columns += [_heading(metric), *_ends(metric)]
    columns += [Column(name, numeric=False, hidden=True) for name in ("id", "label", "task", "backbone", "seed")]
    rows = []
    for run in runs:
        cells = [Cell(unique[run.id])] + [Cell(tr(run.state), run.state)] * unfinished
        for metric in shown:
            value = metric.of(run)
            interval = analysis.accuracy_interval([run], metric.key, store=store) if run.result else None
            marked = value is not None and value == best.get(metric.key)
            cells += _with_interval(metric, Cell(metric.show(value), value, best=marked), interval)
        recipe = run.recipe
        rows.append([*cells, *map(_text, (run.id, run.label, recipe.task, recipe.backbone, recipe.seed))])
    for name, row in _published(reference):
        cells = [name] + [Cell("–")] * unfinished
        for metric in shown:
            cells += [Cell(metric.show(row[metric.key]), row[metric.key]), *_no_ends(metric)]
        rows.append(cells + [Cell("")] * 5)
    table = tables.table(columns, rows, name="results", title=tr("Results, a row a run"))
    return _with_meanings(table, shown, f"{tr(INTERVALS)} {_tested_on(runs)}".strip())


def over_seeds(
    runs: Sequence[Run], names: dict[str, str], *, reference: bool = False, store: Store | None = None
) -> str:
    """The results as a table, a row a variant: mean ± sample standard deviation; separate columns in the CSV file."""
    finished = [run for run in runs if run.state == "finished"]
    table = means(with_variant(finished, names))
    shown = _shown(finished)
    best = _best({metric.key: list(table[metric.key]) for metric in shown}) if same_splits(finished) else {}
    columns = [Column.named(mark("Method"), numeric=False), Column("runs", hidden=True), Column("seeds", hidden=True)]
    for metric in shown:
        heading = _heading(metric)
        columns.append(Column(heading.title, heading.help, heading.first, csv=f"{metric.title} mean"))
        columns += [Column(f"{metric.title} sd", hidden=True), Column(f"{metric.title} n", hidden=True)]
        columns += _ends(metric)
    rows = []
    for row in table.to_dict("records"):
        cells = [
            Cell(f"{row['variant']} ({count(row['seeds'], row['runs'])})"),
            _text(row["runs"]),
            _text(row["seeds"]),
        ]
        for metric in shown:
            mean, sd = row[metric.key], row[f"{metric.key}:sd"]
            marked = mean == best.get(metric.key)
            members = [run for run in finished if names[run.id] == row["variant"]]
            interval = analysis.accuracy_interval(members, metric.key, store=store)
            shown_mean = Cell(charts.show_mean(metric, mean, sd), mean, best=marked)
            if 0 < row[f"{metric.key}:n"] < row["runs"]:
                few = tr("{count} of {runs} runs", count=row[f"{metric.key}:n"], runs=row["runs"])
                shown_mean = replace(shown_mean, below=few)
            first, *ends = _with_interval(metric, shown_mean, interval)
            cells += [first, Cell("", sd), _text(row[f"{metric.key}:n"]), *ends]
        rows.append(cells)
    for name, row in _published(reference):
        cells = [name, Cell(""), Cell("")]
        for metric in shown:
            cells += [Cell(metric.show(row[metric.key]), row[metric.key]), Cell(""), Cell(""), *_no_ends(metric)]
        rows.append(cells)
    after = tr("After ± stands the sample standard deviation over the runs of a row; without it there is one run.")
    after = f"{after} {tr(INTERVALS)} {_tested_on(finished)}".strip()
    title = tr("Results, mean over seeds")
    return _with_meanings(tables.table(columns, rows, name="results-over-seeds", title=title), shown, after)


def published_notes() -> str:
    """The origin of the published figures and the contradictions among them, as HTML."""
    origin, disagreements = published.origin(), published.disagreements()
    return render("compare/published.html", origin=origin, disagreements=disagreements)


def cards(runs: Sequence[Run], names: dict[str, str]) -> str:
    """Cards with confusion matrix and classification report on the test split, one a finished run, as HTML."""
    unique = run_names(runs, names)
    shown = [
        {
            "name": unique[run.id],
            "labels": len(run.label_names),
            "confusion": _confusion(run, unique[run.id]),
            "report": _report(run, unique[run.id]),
            "absent": ", ".join(analysis.absent(run)),
        }
        for run in runs
    ]
    return render("compare/cards.html", cards=shown, wide=any(len(run.label_names) > 3 for run in runs))


def _confusion(run: Run, name: str) -> str | None:
    """The confusion matrix as a table: counts and shares of the true label's sentences; None for too many labels."""
    labels, matrix = run.label_names, run.result.test.confusion_matrix
    if len(labels) > MAX_LABELS:
        return None
    columns = [Column.named(mark("True ↓ predicted →"), numeric=False, csv="true label")]
    columns += [Column(label, csv=f"predicted {label}") for label in labels]
    rows = []
    for label, counts in zip(labels, matrix, strict=True):
        total = sum(counts) or 1
        cells = [Cell(str(n), n, markup=render("compare/count.html", number=n, share=n / total)) for n in counts]
        rows.append([Cell(label), *cells])
    title = tr("Confusion matrix of {run}", run=name)
    return tables.table(columns, rows, name=f"confusion-{run.id}", title=title, sortable=False)


def _report(run: Run, name: str) -> str:
    """The classification report as a table: precision, recall, F1 and support of each label, and their means."""
    scores = (mark("Precision (%)"), mark("Recall (%)"), mark("F1 (%)"))
    columns = [Column.named(mark("Label"), numeric=False), *map(Column.named, scores)]
    columns.append(Column.named(mark("Support"), mark("Test sentences with this label.")))
    labels = len(run.result.test.per_class)
    rows = [
        [
            # The rows after the labels are the means; a label may have the same name as a mean.
            _mean(row["label"]) if index >= labels else Cell(row["label"]),
            *(Cell(f"{100 * row[score]:.1f}", 100 * row[score]) for score in ("precision", "recall", "f1")),
            Cell(f"{row['support']:,}", row["support"]),
        ]
        for index, row in enumerate(analysis.per_class(run).to_dict("records"))
    ]
    title = tr("Classification report of {run}", run=name)
    return tables.table(columns, rows, name=f"report-{run.id}", title=title, sortable=False)


def _mean(title: str) -> Cell:
    return Cell(tr(title), title)


def run_names(runs: Sequence[Run], names: dict[str, str]) -> dict[str, str]:
    """Run id -> a unique name among these runs: the variant, and seed, label and end of the id if they differ."""
    unique = {run.id: names[run.id] for run in runs}
    if len({run.recipe.seed for run in runs}) > 1:
        unique = {run.id: tr("{name}, seed {seed}", name=unique[run.id], seed=run.recipe.seed) for run in runs}
    labels = {run.label for run in runs}
    if len(labels) > 1:
        unique = {run.id: unique[run.id] + (f" ({run.label})" if run.label else "") for run in runs}
    count_of = Counter(unique.values())
    return {run.id: unique[run.id] + (f" {run.id[-8:]}" if count_of[unique[run.id]] > 1 else "") for run in runs}


def with_variant(runs: Sequence[Run], names: dict[str, str]) -> pd.DataFrame:
    """analysis.runs_table with two more columns for charts: variant and name."""
    unique = run_names(runs, names)
    table = analysis.runs_table(runs)
    return table.assign(variant=[names[run.id] for run in runs], name=[unique[run.id] for run in runs])


def same_splits(runs: Sequence[Run]) -> bool:
    """Whether all finished runs were trained and tested on the same splits: else no value can be the best."""
    return len({run.split_fingerprint for run in runs if run.result}) <= 1


def count(seeds: int, runs: int) -> str:
    """The number of runs of a mean, as text: of seeds if each run has its own."""
    if seeds == runs:
        return tr_count("{count} seed", "{count} seeds", seeds)
    return tr_count("{count} run", "{count} runs", runs)


def _ends(metric: Metric) -> list[Column]:
    """The columns of an accuracy's interval, in the CSV file alone."""
    if metric.key not in analysis.ACCURACIES:
        return []
    return [Column(f"{metric.title} 95% {end}", hidden=True) for end in ("low", "high")]


def _no_ends(metric: Metric) -> list[Cell]:
    return [Cell("") for _ in _ends(metric)]


def _with_interval(metric: Metric, cell: Cell, interval: tuple[float, float] | None) -> list[Cell]:
    """The cell with the interval below, and the cells of `_ends`."""
    if interval is None:
        return [cell, *_no_ends(metric)]
    low, high = (end * metric.scale for end in interval)
    return [replace(cell, below=f"{low:.1f}–{high:.1f}"), Cell("", low), Cell("", high)]


def _published(reference: bool) -> list[tuple[Cell, dict[str, Any]]]:
    """(the cell with the row's name, its figures) of each method of the published report, if `reference`."""
    rows = []
    for row in published.table().to_dict("records") if reference else []:
        name = tr("{method}, published elsewhere", method=method_title(row["method"]))
        rows.append((Cell(name, markup=render("compare/published_name.html", name=name)), row))
    return rows


def _shown(runs: Sequence[Run]) -> list[Metric]:
    """The columns that at least one run has; those with the parents' costs added only beside a run with parents."""
    fused = any(run.result and run.result.parents for run in runs)
    keys = [key for key in COLUMNS if fused or not key.endswith("_with_parents")]
    return [METRICS[key] for key in keys if any(METRICS[key].of(run) is not None for run in runs)]


def _tested_on(runs: Sequence[Run]) -> str:
    """A sentence on the number of test sentences behind the figures; empty without finished runs."""
    counts = sorted({run.result.meta_info.dataset_info.sizes.test for run in runs if run.result})
    if not counts:
        return ""
    shown = " / ".join(f"{count:,}" for count in counts)
    return tr("Test figures, calibration among them, are on {count} test sentences.", count=shown)


def _heading(metric: Metric) -> Column:
    return Column.named(metric.title, metric.help, "descending" if metric.better == "higher" else "ascending")


def _best(values: dict[str, list[float | None]]) -> dict[str, float]:
    """Key -> the best value of a column, except for the parents' costs."""
    best = {}
    for key, column in values.items():
        known = [value for value in column if value is not None and value == value]
        if len(known) > 1 and not key.startswith("parents"):
            best[key] = max(known) if METRICS[key].better == "higher" else min(known)
    return best


def _text(value: Any) -> Cell:
    return Cell(str(value))


def _with_meanings(table: str, shown: Sequence[Metric], more: str = "") -> str:
    """The table with its columns' meanings below."""
    meanings = [(tr(metric.title), tr(metric.help)) for metric in shown]
    return render("compare/results.html", table=table, meanings=meanings, more=more)
