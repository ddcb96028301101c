"""Compare's cards: the confusion matrix and the classification report of a run on its test split."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.analysis import tables as analysis
from trainer.markup import render
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common import tables
from trainer.ui.common.tables import Cell, Column
from trainer.ui.compare.tables import run_names

MAX_LABELS = 20
"""The most labels of a confusion matrix that is drawn."""


def cards(runs: Sequence[Run], names: dict[str, str]) -> str:
    """Cards with confusion matrix and classification report on the test split, one a finished run, as HTML."""
    unique = run_names(runs, names)
    shown = [
        {
            "name": unique[run.id],
            "labels": len(run.label_names),
            "multi_label": run.multi_label,
            "confusion": _confusion(run, unique[run.id]),
            "report": _report(run, unique[run.id]),
            "absent": ", ".join(analysis.absent(run)),
        }
        for run in runs
    ]
    return render(
        "compare/cards.html", cards=shown, wide=any(run.multi_label or len(run.label_names) > 3 for run in runs)
    )


def _confusion(run: Run, name: str) -> str | None:
    """The confusion matrix as a table: counts and shares of the true label's sentences; None for too many labels."""
    if run.multi_label:
        return _by_label(run, name)
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


def _by_label(run: Run, name: str) -> str:
    """Of a multi-label run the counts of each label as a table: sentences with it and without, predicted and not."""
    headings = (
        mark("Has it, predicted"),
        mark("Has it, not predicted"),
        mark("Lacks it, predicted"),
        mark("Lacks it, not predicted"),
    )
    columns = [Column.named(mark("Label"), numeric=False), *map(Column.named, headings)]
    columns.append(Column.named(mark("Threshold (%)"), mark("The probability from which the label is predicted.")))
    rows = []
    for label, ((neither, wrong), (missed, right)) in run.result.test.label_confusion.items():
        threshold = 100 * run.result.thresholds[label]
        counts = [Cell(f"{n:,}", n) for n in (right, missed, wrong, neither)]
        rows.append([Cell(label), *counts, Cell(f"{threshold:.1f}", threshold)])
    title = tr("Predictions of each label by {run}", run=name)
    return tables.table(columns, rows, name=f"confusion-{run.id}", title=title, sortable=False)


def _report(run: Run, name: str) -> str:
    """The classification report as a table: precision, recall, F1 and support of each label, and their means."""
    scores = (mark("Precision (%)"), mark("Recall (%)"), mark("F1 (%)"))
    columns = [Column.named(mark("Label"), numeric=False), *map(Column.named, scores)]
    columns.append(Column.named(mark("Support"), mark("Test sentences with this label.")))
    if run.multi_label:
        about = mark("Area under precision against recall as the threshold moves.")
        columns.append(Column.named(mark("Average precision (%)"), about))
    labels = len(run.result.test.per_class)
    rows = [
        [
            # The rows after the labels are the means; a label may have the same name as a mean.
            _mean(row["label"]) if index >= labels else Cell(row["label"]),
            *(Cell(f"{100 * row[score]:.1f}", 100 * row[score]) for score in ("precision", "recall", "f1")),
            Cell(f"{row['support']:,}", row["support"]),
            *([_percent(row.get("average_precision"))] if run.multi_label else []),
        ]
        for index, row in enumerate(analysis.per_class(run).to_dict("records"))
    ]
    title = tr("Classification report of {run}", run=name)
    return tables.table(columns, rows, name=f"report-{run.id}", title=title, sortable=False)


def _percent(share: float | None) -> Cell:
    known = share is not None and share == share
    return Cell(f"{100 * share:.1f}", 100 * share) if known else Cell("–")


def _mean(title: str) -> Cell:
    return Cell(tr(title), title)
