"""The layout of the Compare tab: a line of filters, and a sub-page for each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.analysis.comparisons import MOST_TOGETHER
from trainer.runs.metrics import METRICS
from trainer.texts import mark, tr
from trainer.ui import static
from trainer.ui.common import charts, tables
from trainer.ui.common.choice import Dropdown, Radio
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import remark
from trainer.ui.common.visibility import seen_if
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare.filters import AUTOMATIC, AXES, OPTIONS
from trainer.ui.compare.tables import COLUMNS

PAGES = {
    "overview": mark("Overview"),
    "table": mark("Table"),
    "significance": mark("Significance"),
    "errors": mark("Errors"),
    "curves": mark("Curves"),
    "costs": mark("Costs"),
}
"""Id of each sub-page, which is its `view` in the page's address -> title."""
OVERVIEW = "overview"
LOSSES = ("training loss", "validation loss")
CURVES = (*LOSSES, "validation accuracy", "memory")
COSTS = charts.BAR_METRICS[1:]
MOST_CARDS = 4
"""The most runs whose confusion matrices and reports are shown at once."""
ABOUT = {
    "unit": mark(
        "A mean comes with the sample standard deviation over seeds: one run may be luck (Reimers and Gurevych 2017, "
        "https://arxiv.org/abs/1707.09861)."
    ),
    "bars": mark(
        "One bar per configuration, from zero. Over several seeds it is their mean, with a dot for each and a line of "
        "one sample standard deviation to each side. The pale part of a fusion's bar is what the runs it fuses cost."
    ),
    "scatter": mark(
        "The line joins the ringed runs of the Pareto frontier (Pareto 1906): no other is at least as good in both "
        "figures and better in one. Runs on different sentences have none: one test set says nothing of another. What "
        "was published elsewhere is hollow, grey and on no frontier. A dotted line leads to where a fusion is with its "
        "parents' cost."
    ),
    "reliability": mark(
        "A point is the test sentences whose predicted label got a probability in one of 15 equal intervals: how sure "
        "the run was of them, and what share was right. Calibrated probabilities lie on the diagonal, too sure ones "
        "below it; a small point is few sentences (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."
    ),
    "curves": mark(
        "Training and validation loss share one range. A long curve is drawn with every second, third, ... point. "
        "Memory is what is allocated on a GPU, and on a CPU what the process grew by."
    ),
    "cards": mark(
        "Matrices: rows are true labels, columns predicted ones, percentages shares of the row. Precision, recall and "
        "F1 as in van Rijsbergen 1979, chapter 7."
    ),
}
"""Explanations next to a control or a chart."""


@dataclass(frozen=True)
class View:
    """The tab's components. `controls` and `figures` are hidden while they have no content, `body` if no run is shown.

    `address` has the query of the page's address, and its event `select` comes when Back or Forward changes the filters
    in it. `page` is the id of the open sub-page, one of `PAGES`, and `figures` are the contents of those that need a
    finished run. `filters` are in the order of `filters.FILTERS`, `costs` in that of `COSTS`, `curves` of `CURVES`.
    """

    address: gr.HTML
    page: gr.State
    tabs: dict[str, gr.Tab]
    controls: gr.HTML
    filters: list[gr.Dropdown]
    reference: gr.Checkbox
    machines: gr.Checkbox
    summary: gr.HTML
    body: gr.Column
    figures: list[gr.Column]
    conclusion: gr.HTML
    key: gr.HTML
    accuracy: gr.Plot
    overview_note: gr.HTML
    make: gr.Button
    report: gr.DownloadButton
    report_note: gr.HTML
    unit: gr.Radio
    columns: gr.Dropdown
    differing: gr.Checkbox
    table: gr.HTML
    notes: gr.HTML
    against: gr.Dropdown
    unlike: gr.Checkbox
    pairs: gr.HTML
    cards: gr.Dropdown
    matrices: gr.HTML
    kind: gr.Radio
    sentences: gr.HTML
    errors_note: gr.HTML
    reliability: gr.Plot
    axis: gr.Radio
    curves: list[gr.Plot]
    curves_note: gr.HTML
    costs: list[gr.Plot]
    x: gr.Dropdown
    y: gr.Dropdown
    scatter: gr.Plot
    costs_note: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """The controls, in the order of the fields of `filters.Selection`."""
        return [*self.filters, *(getattr(self, name) for name in OPTIONS)]

    @property
    def outputs(self) -> list[Any]:
        """The components that change when a sub-page is drawn."""
        return [
            self.page, *self.filters, self.reference, self.machines,
            self.controls, self.summary, self.body, *self.figures,
            self.conclusion, self.key, self.accuracy, self.overview_note, self.report, self.report_note,
            self.unit, self.columns, self.differing, self.table, self.notes, self.against, self.unlike, self.pairs,
            self.cards, self.matrices, self.kind, self.sentences, self.errors_note, self.reliability,
            self.axis, *self.curves, self.curves_note, *self.costs, self.x, self.y, self.scatter, self.costs_note,
        ]  # fmt: skip


def build() -> View:
    """Lay out the tab."""
    made: dict[str, Any] = {"page": gr.State(OVERVIEW), "tabs": {}, "figures": []}
    made["address"] = gr.HTML(js_on_load=static.read("compare-address.js"), elem_classes="lab-off")
    with fold("", elem_id="lab-filters") as made["controls"]:
        made["filters"] = _filters()
        with gr.Row():
            made["machines"] = gr.Checkbox(
                False,
                label=tr("Compare machines"),
                info=tr("Runs of one recipe on two machines are two configurations."),
            )
            made["reference"] = gr.Checkbox(
                False,
                label=tr("Show the published report's figures"),
                info=tr(
                    "A course report on BERT base and SST-2, as a reference: its device, sentences and recipe differ."
                ),
            )
    made["summary"] = gr.HTML(remark(tr("The runs are being read…")))  # until the first sub-page is drawn
    contents = (_overview, _table, _significance, _errors, _curves, _costs)
    # Visible from the start: an address may name a sub-page before anything is drawn.
    with gr.Column() as made["body"], gr.Tabs(elem_id="compare-pages"):
        for (name, title), content in zip(PAGES.items(), contents, strict=True):
            with gr.Tab(tr(title), id=name) as made["tabs"][name]:
                if name == "table":
                    made |= content()
                    continue
                with gr.Column(**seen_if(False)) as figures:
                    made |= content()
                made["figures"].append(figures)
    return View(**made)


def _filters() -> list[gr.Dropdown]:
    """Lay out the filters: the task, and others of its runs; no choice means all."""
    several, every = {"multiselect": True, "min_width": 200}, tr("All if none is chosen.")
    finished = [(tr("finished"), "finished")]
    about_task = tr("Runs on the same sentences compare.")
    with gr.Row():
        first = [
            Dropdown([], value=None, label=tr("Task"), info=about_task, min_width=200),
            Dropdown([], label=tr("Backbone"), info=every, **several),
            Dropdown([], label=tr("Method"), info=every, **several),
        ]
    with gr.Row():
        second = [
            Dropdown(finished, value=["finished"], label=tr("State"), info=every, **several),
            Dropdown([], label=tr("Label"), info=every, **several),
            Dropdown([], label=tr("Seed"), info=every, **several),
        ]
    return [*first, *second]


def _overview() -> dict[str, Any]:
    conclusion = gr.HTML(elem_classes="lab-conclusion")
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            key = gr.HTML(elem_classes="lab-key")
        with gr.Column(scale=3, min_width=320):
            accuracy = _plot(tr(METRICS["test_accuracy"].title))
    note = gr.HTML()
    with gr.Row():
        make = gr.Button(tr("Make report"), min_width=140)
        report = gr.DownloadButton(tr("Download the report"), interactive=False, variant="primary", min_width=140)
    return {
        "conclusion": conclusion,
        "key": key,
        "accuracy": accuracy,
        "overview_note": note,
        "make": make,
        "report": report,
        "report_note": gr.HTML(),
    }


def _table() -> dict[str, Any]:
    with gr.Row():
        unit = gr.Radio(
            [(tr("Individual runs"), "run"), (tr("Mean over seeds"), "mean")],
            value=None,
            label=tr("Show"),
            min_width=280,
        )
        with gr.Column(scale=2, min_width=280), fold(tr("Columns")):
            columns = gr.Dropdown(
                [(tr(METRICS[key].title), key) for key in COLUMNS],
                value=[],
                multiselect=True,
                label=tr("Figures"),
                info=tr("The usual ones if none is chosen; the CSV file has all."),
            )
            differing = gr.Checkbox(
                False,
                label=tr("Settings: only what differs"),
                info=tr("A column for each setting in which the runs shown differ."),
            )
    table = gr.HTML(elem_classes="lab-results")
    notes = gr.HTML()
    _about("unit")
    return {"unit": unit, "columns": columns, "differing": differing, "table": table, "notes": notes}


def _significance() -> dict[str, Any]:
    gr.Markdown("## " + tr("Statistical significance"))
    with fold(tr("What is compared")), gr.Row():
        about = tr(
            "Automatic: every two of up to {most} configurations; of more, each with the one of the best validation "
            "accuracy.",
            most=MOST_TOGETHER,
        )
        against = Dropdown(compare_pairs.choices([]), value=AUTOMATIC, label=tr("Compare with"), info=about)
        unlike = gr.Checkbox(
            False,
            label=tr("Test unlike configurations too"),
            info=tr("Those that differ in backbone, precision, sentences or batch size."),
        )
    pairs = gr.HTML()
    gr.HTML(remark(tr(compare_pairs.ABOUT)))
    return {"against": against, "unlike": unlike, "pairs": pairs}


def _errors() -> dict[str, Any]:
    cards = Dropdown(
        [],
        value=[],
        multiselect=True,
        max_choices=MOST_CARDS,
        label=tr("Show"),
        info=tr("Classification reports, with confusion matrices, of up to {count} runs.", count=MOST_CARDS),
    )
    matrices = gr.HTML()
    gr.Markdown("## " + tr("Error analysis"))
    kind = Radio(
        [(tr("Models disagree"), "split")],
        value="split",
        label=tr("Test sentences"),
        info=tr(
            "Changed by quantisation: a run over a 4-bit backbone predicts another label than the same recipe without."
        ),
    )
    sentences = gr.HTML(js_on_load=tables.PICK)
    note = gr.HTML()
    with fold(tr("Are the probabilities right?"), wide=True):
        reliability = _plot(tr("Are the probabilities right?"), "lab-chart-tall")
        _about("reliability")
    _about("cards")
    return {
        "cards": cards,
        "matrices": matrices,
        "kind": kind,
        "sentences": sentences,
        "errors_note": note,
        "reliability": reliability,
    }


def _curves() -> dict[str, Any]:
    axis = gr.Radio(
        list(zip((tr("Epoch"), tr("Step"), tr("Training time")), AXES, strict=True)),
        value=AXES[0],
        label=tr("Curves over"),
    )
    plots = _plots([charts.curve_title(curve) for curve in CURVES])
    note = gr.HTML()
    gr.HTML(remark(tr("An epoch is one pass over the training sentences, a step one batch.")))
    _about("curves")
    return {"axis": axis, "curves": plots, "curves_note": note}


def _costs() -> dict[str, Any]:
    bars = _plots([tr(METRICS[key].title) for key in COSTS])
    note = gr.HTML()
    _about("bars")
    every = [(tr(metric.title), key) for key, metric in METRICS.items()]
    with fold(tr("One figure against another"), wide=True):
        with gr.Row():
            x = gr.Dropdown(every, value="train_minutes", label=tr("X axis"), min_width=260)
            y = gr.Dropdown(every, value="test_accuracy", label=tr("Y axis"), min_width=260)
        scatter = _plot(tr("One figure against another"), "lab-chart-tall")
        _about("scatter")
    return {"costs": bars, "costs_note": note, "x": x, "y": y, "scatter": scatter}


def _plots(labels: Sequence[str]) -> list[gr.Plot]:
    """Lay out charts, two in a row."""
    plots = []
    for start in range(0, len(labels), 2):
        with gr.Row(elem_classes="lab-charts"):
            plots += [_plot(label) for label in labels[start : start + 2]]
    return plots


def _plot(label: str, *classes: str) -> gr.Plot:
    return gr.Plot(label=label, show_label=False, min_width=320, elem_classes=["lab-chart", *classes])


def _about(key: str) -> gr.HTML:
    text = ABOUT[key]
    return gr.HTML(remark(tr(text)))
