"""Compare's tables: results of each run or over seeds, confusion matrices, classification reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from trainer.analysis import published
from trainer.analysis import tables as analysis
from trainer.analysis.figures import show, show_mean
from trainer.analysis.variants import differing, means
from trainer.markup import render
from trainer.runs.metrics import METRICS, Metric
from trainer.runs.run import Run
from trainer.runs.store import Store
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
    "micro_f1",
    "average_precision",
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
USUAL = (
    "test_accuracy", "validation_accuracy", "f1", "micro_f1", "train_minutes", "trainable", "peak_memory", "file_size",
    "latency", "calibration_error",
)  # fmt: skip
"""The columns on the page where no others are chosen."""
KEY = ("test_accuracy", "micro_f1", "train_minutes", "trainable", "peak_memory")
"""The key figures of the overview."""
INTERVALS = mark(
    "Below an accuracy is its interval at 95% (Wilson 1927): what the accuracy on all sentences of this kind may be; "
    "over several seeds it counts them too, and of documents or groups it takes the sentences together."
)
EXACT = mark("Exact match is the share of sentences with all their labels and no other; it is an accuracy.")
IDENTITY: dict[str, Callable[[Run], Any]] = {
    "id": lambda run: run.id,
    "label": lambda run: run.label,
    "task": lambda run: run.task_name,
    "backbone": lambda run: analysis.base_name(run.recipe.backbone),
    "seed": lambda run: run.recipe.seed,
}
"""Columns of the CSV file that say which run it is; of a file or folder the name alone."""
MAX_ROWS = 200


def results(
    runs: Sequence[Run],
    names: dict[str, str],
    *,
    reference: bool = False,
    store: Store | None = None,
    visible: Sequence[str] | None = None,
    settings: bool = False,
) -> str:
    """The results as a table: a row a run, the newest `MAX_ROWS` in their order; published rows below if `reference`.

    `names`: run id -> variant. Published figures are ignored when the best ones are marked. `store` has the predictions
    of runs whose sentences come in groups: see `analysis.tables.accuracy_interval`. `visible`: the metrics on the page,
    all if None; `settings`: whether the settings in which the runs differ are on the page. The CSV file has all of it.
    """
    newest = {run.id for run in sorted(runs, key=lambda run: -run.queue_order)[:MAX_ROWS]}
    runs = [run for run in runs if run.id in newest]
    shown = _shown(runs)
    best = _best({metric.key: [metric.of(run) for run in runs] for metric in shown}) if same_splits(runs) else {}
    unique = run_names(runs, names)
    unfinished = any(run.state != "finished" for run in runs)
    columns = [Column.named(mark("Run"), numeric=False)]
    columns += [Column.named(mark("State"), numeric=False)] * unfinished
    varied = _varied(runs)
    columns += _setting_columns(varied, settings)
    for metric in shown:
        columns += [_heading(metric, visible), *_ends(metric)]
    identity = [name for name in IDENTITY if name not in varied]
    columns += [Column(name, numeric=False, hidden=True) for name in identity]
    rows = []
    for run in runs:
        cells = [Cell(unique[run.id], below=_elsewhere(run, unique[run.id]))]
        cells += [Cell(tr(run.state), run.state)] * unfinished
        cells += [Cell(known.get(run.id, "")) for known in varied.values()]
        for metric in shown:
            value = metric.of(run)
            interval = analysis.accuracy_interval([run], metric.key, store=store) if run.result else None
            marked = value is not None and value == best.get(metric.key)
            cells += _with_interval(metric, Cell(show(metric, value), value, best=marked), interval)
        rows.append([*cells, *(_text(IDENTITY[name](run)) for name in identity)])
    for name, row in [*_baselines(runs), *_published(reference)]:
        cells = [name] + [Cell("–")] * unfinished + [Cell("")] * len(varied)
        for metric in shown:
            cells += [Cell(show(metric, row.get(metric.key)), row.get(metric.key)), *_no_ends(metric)]
        rows.append(cells + [Cell("")] * len(identity))
    table = tables.table(columns, rows, name="results", title=tr("Results, a row a run"))
    return _with_meanings(table, _on_page(shown, visible), f"{_intervals(runs)} {_tested_on(runs)}".strip())


def over_seeds(
    runs: Sequence[Run],
    names: dict[str, str],
    *,
    reference: bool = False,
    store: Store | None = None,
    visible: Sequence[str] | None = None,
    settings: bool = False,
) -> str:
    """The results as a table, a row a variant: mean ± sample standard deviation; separate columns in the CSV file.

    The arguments are those of `results`.
    """
    finished = [run for run in runs if run.state == "finished"]
    shown = _shown(finished)
    columns, rows = _means(finished, names, shown, store=store, visible=visible, settings=settings)
    rows += _beside(shown, columns, [*_baselines(finished), *_published(reference)])
    title = tr("Results, mean over seeds")
    table = tables.table(columns, rows, name="results-over-seeds", title=title)
    return _with_meanings(table, _on_page(shown, visible), about_means(finished))


def about_means(finished: Sequence[Run]) -> str:
    """What stands after ± and below an accuracy, and the number of test sentences."""
    after = tr("After ± stands the sample standard deviation over a row's runs; without it there is one, or all agree.")
    return f"{after} {_intervals(finished)} {_tested_on(finished)}".strip()


def _intervals(runs: Sequence[Run]) -> str:
    """What an interval is and, of multi-label runs, what exact match is."""
    return " ".join([tr(EXACT)] * any(run.multi_label for run in runs) + [tr(INTERVALS)])


def key_figures(runs: Sequence[Run], names: dict[str, str], *, store: Store | None = None) -> str:
    """The few figures of the overview as a table, a row a variant, with the number of its seeds."""
    finished = [run for run in runs if run.state == "finished"]
    shown = [metric for metric in _shown(finished) if metric.key in KEY]
    columns, rows = _means(finished, names, shown, store=store)
    rows += _beside(shown, columns, _baselines(finished))
    title = tr("Key figures, mean over seeds")
    return tables.table(columns, rows, name="key-figures", title=title, csv=False)


def _beside(
    shown: Sequence[Metric], columns: Sequence[Column], known: Sequence[tuple[Cell, dict[str, Any]]]
) -> list[list[Cell]]:
    """Rows of `_means` for figures that are no run's: one value each, without a deviation."""
    spare = [Cell("")] * (len(columns) - 1 - sum(3 + len(_ends(metric)) for metric in shown))
    rows = []
    for name, row in known:
        cells = [name, *spare]
        for metric in shown:
            value = row.get(metric.key)
            cells += [Cell(show(metric, value), value), Cell(""), Cell(""), *_no_ends(metric)]
        rows.append(cells)
    return rows


def _baselines(runs: Sequence[Run]) -> list[tuple[Cell, dict[str, Any]]]:
    """(name, metric -> value) of what the runs' test split gives without a neural network; none for several splits."""
    finished = [run for run in runs if run.result]
    known = next((run.result.baselines for run in finished if run.result.baselines), None)
    if known is None or not same_splits(finished):
        return []
    return [
        (
            Cell(tr(title), below=tr(about)),
            {
                "test_accuracy": 100 * one.accuracy,
                "f1": 100 * one.macro_f1,
                "micro_f1": None if one.micro_f1 is None else 100 * one.micro_f1,
                # Of multi-label runs it is another figure than the column.
                "recall": None if one.micro_f1 is not None else 100 * one.balanced_accuracy,
            },
        )
        for title, about, one in (
            (mark("Bag of words"), mark("logistic regression, no encoder"), known.bag_of_words),
            (
                (mark("Majority set"), mark("the most frequent labels in training"), known.majority)
                if finished[0].multi_label
                else (mark("Majority class"), mark("the most frequent training label"), known.majority)
            ),
        )
    ]


def _means(
    finished: Sequence[Run],
    names: dict[str, str],
    shown: Sequence[Metric],
    *,
    store: Store | None,
    visible: Sequence[str] | None = None,
    settings: bool | None = None,
) -> tuple[list[Column], list[list[Cell]]]:
    """(columns, rows) of the means over each variant's runs; without columns of settings if `settings` is None."""
    table = means(with_variant(finished, names))
    best = _best({metric.key: list(table[metric.key]) for metric in shown}) if same_splits(finished) else {}
    members: dict[str, list[Run]] = defaultdict(list)
    for run in finished:
        members[names[run.id]].append(run)
    varied = {} if settings is None else _varied(finished)
    columns = [Column.named(mark("Configuration"), numeric=False)]
    columns += [Column("runs", hidden=True), Column("seeds", hidden=True), *_setting_columns(varied, settings)]
    for metric in shown:
        columns += [_heading(metric, visible, csv=f"{metric.title} mean")]
        columns += [Column(f"{metric.title} sd", hidden=True), Column(f"{metric.title} n", hidden=True)]
        columns += _ends(metric)
    rows = []
    for row in table.to_dict("records"):
        own = members[row["variant"]]
        name = replace(_variant(row["variant"], row["seeds"], row["runs"]), below=_elsewhere(own[0], row["variant"]))
        cells = [name, _text(row["runs"]), _text(row["seeds"])]
        cells += [
            Cell(", ".join(dict.fromkeys(known[run.id] for run in own if run.id in known))) for known in varied.values()
        ]
        for metric in shown:
            mean, sd = row[metric.key], row[f"{metric.key}:sd"]
            interval = analysis.accuracy_interval(own, metric.key, store=store)
            mean_cell = Cell(show_mean(metric, mean, sd), mean, best=mean == best.get(metric.key))
            if 0 < row[f"{metric.key}:n"] < row["runs"]:
                few = tr("{count} of {runs} runs", count=row[f"{metric.key}:n"], runs=row["runs"])
                mean_cell = replace(mean_cell, below=few)
            first, *ends = _with_interval(metric, mean_cell, interval)
            cells += [first, Cell("", sd), _text(row[f"{metric.key}:n"]), *ends]
        rows.append(cells)
    return columns, rows


def _variant(name: str, seeds: int, runs: int) -> Cell:
    """A variant's name with the number of its runs."""
    return Cell(
        f"{name} ({count(seeds, runs)})",
        name,
        markup=render("compare/variant.html", name=name, count=count(seeds, runs)),
    )


def _elsewhere(run: Run, name: str) -> str:
    """That an adapter was trained elsewhere, where its name does not say so."""
    title = tr("{method}, trained elsewhere", method=method_title(run.recipe.method))
    return title if run.adopted and title not in name else ""


def _varied(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Title -> run id -> value of the settings in which the finished runs differ."""
    return differing([run for run in runs if run.result])


def _setting_columns(varied: dict[str, dict[str, str]], visible: bool | None) -> list[Column]:
    return [Column(tr(title), numeric=False, hidden=not visible, csv=title) for title in varied]


def _on_page(shown: Sequence[Metric], visible: Sequence[str] | None) -> list[Metric]:
    return [metric for metric in shown if visible is None or metric.key in visible]


def published_notes() -> str:
    """The origin of the published figures and the contradictions among them, as HTML."""
    origin, disagreements = published.origin(), published.disagreements()
    return render("compare/published.html", origin=origin, disagreements=disagreements)


def run_names(runs: Sequence[Run], names: dict[str, str]) -> dict[str, str]:
    """Run id -> a unique name among these runs: the variant, and the seed, the label and a number where they differ."""
    unique = {run.id: names[run.id] for run in runs}

    def add(values: dict[str, str], text: Callable[[str, str], str]) -> None:
        """Add each run's value where runs of one name have several values."""
        several: dict[str, set[str]] = defaultdict(set)
        for run_id, name in unique.items():
            several[name].add(values[run_id])
        for run_id, name in list(unique.items()):
            if len(several[name]) > 1 and values[run_id]:
                unique[run_id] = text(name, values[run_id])

    add(
        {run.id: str(run.recipe.seed) for run in runs},
        lambda name, seed: tr("{name}, seed {seed}", name=name, seed=seed),
    )
    add({run.id: run.label for run in runs}, lambda name, label: f"{name} ({label})")
    counted: Counter[str] = Counter()
    taken = set(unique.values())
    for run in sorted(runs, key=lambda run: run.queue_order):
        name = unique[run.id]
        counted[name] += 1
        if (number := counted[name]) > 1:
            while (new := f"{name} ({number})") in taken:
                number += 1
            taken.add(new)
            unique[run.id] = new
    return unique


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
    known = [METRICS[key] for key in keys if any(METRICS[key].of(run) is not None for run in runs)]
    multi_label = {run.multi_label for run in runs}
    return [metric.among(multi_label) for metric in known]


def _tested_on(runs: Sequence[Run]) -> str:
    """A sentence on the number of test sentences behind the figures; empty without finished runs."""
    counts = sorted({run.result.meta_info.dataset_info.sizes.test for run in runs if run.result})
    if not counts:
        return ""
    shown = " / ".join(f"{count:,}" for count in counts)
    return tr("Test figures, calibration among them, are on {count} test sentences.", count=shown)


def _heading(metric: Metric, visible: Sequence[str] | None, csv: str = "") -> Column:
    """A metric's column, on the page if it is `visible`; a duration has its unit in each cell."""
    first = "descending" if metric.better == "higher" else "ascending"
    hidden = visible is not None and metric.key not in visible
    return Column(charts.title(metric), tr(metric.help), first, csv=csv or metric.title, hidden=hidden)


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
