"""The layout of the Compare tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.analysis.comparisons import MOST_TOGETHER
from trainer.runs.metrics import METRICS
from trainer.texts import mark, tr
from trainer.ui.common import charts, tables
from trainer.ui.common.lab import remark
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare.filters import AUTOMATIC

LOSSES = ("training loss", "validation loss")
CURVES = (*LOSSES, "validation accuracy", "memory")
ABOUT = {
    "unit": mark(
        "A mean comes with the sample standard deviation over seeds: one run may be luck (Reimers and Gurevych 2017, "
        "https://arxiv.org/abs/1707.09861)."
    ),
    "bars": mark(
        "A bar a recipe, from zero. Over several seeds it is their mean, with a dot for each and a line of one sample "
        "standard deviation to each side. The pale part of a fusion's bar is what the runs that it fuses cost."
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
        "Training and validation loss share one range. A long curve is drawn with every second, third, ... point. Loss "
        "is cross-entropy in nats: 0.69 is a coin flip between two labels. Memory is what is allocated on a GPU, and "
        "on a CPU what the process grew by."
    ),
    "cards": mark(
        "Rows are true labels, columns predicted ones; a percentage is the share of its row. Precision, recall and F1 "
        "as in van Rijsbergen 1979, chapter 7."
    ),
}
"""Explanations next to a control or a chart."""


@dataclass(frozen=True)
class View:
    """The tab's components. `controls`, `body` and `figures` are hidden while they have no content.

    `filters` are in the order of `filters.FILTERS`, `bars` in that of `charts.BAR_METRICS`, `curves` of `CURVES`.
    """

    controls: gr.Column
    filters: list[gr.Dropdown]
    reference: gr.Checkbox
    summary: gr.HTML
    body: gr.Column
    unit: gr.Radio
    table: gr.HTML
    notes: gr.HTML
    figures: gr.Column
    bars: list[gr.Plot]
    x: gr.Dropdown
    y: gr.Dropdown
    scatter: gr.Plot
    reliability: gr.Plot
    axis: gr.Radio
    curves: list[gr.Plot]
    matrices: gr.HTML
    against: gr.Dropdown
    unlike: gr.Checkbox
    test: gr.Button
    pairs: gr.HTML
    kind: gr.Radio
    sentences: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """The controls, in the order of the fields of `filters.Selection`."""
        return [
            *self.filters, self.reference, self.unit, self.x, self.y, self.axis, self.kind, self.against, self.unlike,
        ]  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """The components that change when the tab is drawn."""
        return [
            *self.filters, self.controls, self.summary, self.body, self.figures, self.table, self.notes, *self.bars,
            self.x, self.y, self.scatter, *self.curves, self.matrices, self.against, self.pairs, self.kind,
            self.sentences, self.reliability,
        ]  # fmt: skip


def build() -> View:
    """Lay out the tab."""
    made: dict[str, Any] = {}
    with gr.Column(visible=False) as made["controls"]:
        made["filters"] = _filters()
        made["reference"] = gr.Checkbox(
            False,
            label=tr("Show the published report's figures"),
            info=tr("A course report on BERT base and SST-2, as a reference: its device, sentences and recipe differ."),
        )
    made["summary"] = gr.HTML()
    with gr.Column(visible=False) as made["body"]:
        made |= _results()
    with gr.Column(visible=False) as made["figures"]:
        made |= _charts() | _curves() | _details() | _sentences()
    return View(**made)


def _filters() -> list[gr.Dropdown]:
    """Lay out the filters: the task, and others of its runs; no choice means all."""
    several, every = {"multiselect": True, "min_width": 200}, tr("All if none is chosen.")
    finished = [(tr("finished"), "finished")]
    about_task = tr("Runs on the same sentences compare.")
    with gr.Row():
        first = [
            gr.Dropdown([], value=None, label=tr("Task"), info=about_task, min_width=200),
            gr.Dropdown([], label=tr("Backbone"), info=every, **several),
            gr.Dropdown([], label=tr("Method"), info=every, **several),
        ]
    with gr.Row():
        second = [
            gr.Dropdown(finished, value=["finished"], label=tr("State"), info=every, **several),
            gr.Dropdown([], label=tr("Label"), info=every, **several),
            gr.Dropdown([], label=tr("Seed"), info=every, **several),
        ]
    return [*first, *second]


def _results() -> dict[str, Any]:
    gr.Markdown("## " + tr("Results"))
    unit = gr.Radio(
        [(tr("Each run"), "run"), (tr("Mean over seeds"), "mean")],
        value="run",
        label=tr("A row for"),
        info=tr(ABOUT["unit"]),
    )
    return {"unit": unit, "table": gr.HTML(elem_classes="lab-results"), "notes": gr.HTML()}


def _charts() -> dict[str, Any]:
    gr.Markdown("## " + tr("Charts"))
    _about("bars")
    bars = _plots([tr(METRICS[key].title) for key in charts.BAR_METRICS])
    every = [(tr(metric.title), key) for key, metric in METRICS.items()]
    with gr.Row():
        x = gr.Dropdown(
            every,
            value="train_minutes",
            label=tr("Horizontal axis"),
            info=tr("Any figure of the table."),
            min_width=260,
        )
        y = gr.Dropdown(
            every,
            value="test_accuracy",
            label=tr("Vertical axis"),
            info=tr("Any other, held against it."),
            min_width=260,
        )
    scatter = _plot(tr("One figure against another"), "lab-chart-tall")
    _about("scatter")
    calibration = _plot(tr("Are the probabilities right?"), "lab-chart-tall")
    _about("reliability")
    return {"bars": bars, "x": x, "y": y, "scatter": scatter, "reliability": calibration}


def _curves() -> dict[str, Any]:
    gr.Markdown("## " + tr("While training"))
    axis = gr.Radio(
        [(tr("Epoch"), "epoch"), (tr("Step"), "step"), (tr("Training time"), "seconds")],
        value="epoch",
        label=tr("Curves over"),
        info=tr("An epoch is one pass over the training sentences, a step one batch."),
    )
    _about("curves")
    return {"axis": axis, "curves": _plots([charts.curve_title(curve) for curve in CURVES])}


def _details() -> dict[str, Any]:
    gr.Markdown("## " + tr("Confusion matrices and classification reports"))
    _about("cards")
    matrices = gr.HTML()
    return {"matrices": matrices} | _differences()


def _differences() -> dict[str, Any]:
    """Lay out the tests of differences."""
    gr.Markdown("## " + tr("Which differences are significant"))
    gr.HTML(remark(tr(compare_pairs.ABOUT)))
    about = tr(
        "Automatic: every two of up to {most} recipes; of more, each with the one of the best validation accuracy.",
        most=MOST_TOGETHER,
    )
    against = gr.Dropdown(compare_pairs.choices([]), value=AUTOMATIC, label=tr("Compare with"), info=about)
    unlike = gr.Checkbox(
        False,
        label=tr("Test unlike recipes too"),
        info=tr("Those that differ in backbone, precision, sentences or batch size."),
    )
    test = gr.Button(tr("Test the differences"), size="sm")
    return {"against": against, "unlike": unlike, "test": test, "pairs": gr.HTML()}


def _sentences() -> dict[str, Any]:
    gr.Markdown("## " + tr("Which sentences"))
    kind = gr.Radio(
        [(tr("Some right, some wrong"), "split")],
        value="split",
        label=tr("Test sentences"),
        info=tr("Changed by 4-bit: a run over a 4-bit backbone says otherwise than the same recipe without."),
    )
    return {"kind": kind, "sentences": gr.HTML(js_on_load=tables.PICK)}


def _plots(labels: list[str]) -> list[gr.Plot]:
    """Lay out charts, two in a row."""
    plots = []
    for start in range(0, len(labels), 2):
        with gr.Row():
            plots += [_plot(label) for label in labels[start : start + 2]]
    return plots


def _plot(label: str, *classes: str) -> gr.Plot:
    return gr.Plot(label=label, show_label=False, min_width=320, elem_classes=["lab-chart", *classes])


def _about(key: str) -> gr.HTML:
    text = ABOUT[key]
    return gr.HTML(remark(tr(text)))
