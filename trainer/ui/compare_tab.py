"""Compare: the results table, the report's four bar charts, and the curves."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer import analysis
from trainer.analysis import METRICS
from trainer.store import Run
from trainer.ui import charts
from trainer.ui.lab import Lab, endpoint, escape, method_title, run_name, task_name

COLUMNS = (
    "trainable",
    "train_minutes",
    "peak_memory",
    "validation_accuracy",
    "test_accuracy",
    "precision",
    "recall",
    "f1",
    "file_size",
    "utilisation",
    "parents_minutes",
    "parents_parameters",
)
CURVES = ("training loss", "validation loss", "validation accuracy")


def build(lab: Lab, tab: gr.Tab) -> gr.State:
    """Lay out the tab and connect it; it is drawn anew whenever it is opened. Returns the sentence to ask in Live."""
    sentence = gr.State("")
    task = gr.Dropdown([], label="Task and backbone", info="Runs on the same sentences compare.", value=None)
    warnings = gr.HTML()
    table = gr.HTML()
    with gr.Row():
        first = [gr.Plot(label=METRICS[key].title, show_label=False, min_width=320) for key in charts.BAR_METRICS[:2]]
    with gr.Row():
        second = [gr.Plot(label=METRICS[key].title, show_label=False, min_width=320) for key in charts.BAR_METRICS[2:]]
    axis = gr.Radio(
        [("Epoch", "epoch"), ("Step", "step"), ("Training time", "seconds")], value="epoch", label="Curves over"
    )
    with gr.Row():
        lines = [gr.Plot(label=curve.capitalize(), show_label=False, min_width=320) for curve in CURVES]
    outputs = [task, warnings, table, *first, *second, *lines]
    draw_here = partial(draw, lab)
    for listen in (tab.select, task.input, axis.input):
        listen(draw_here, [task, axis], outputs, api_visibility="private", show_progress="minimal")
    gr.api(endpoint(compare_api, lab), api_name="compare")
    gr.api(endpoint(runs_api, lab), api_name="runs")
    return sentence


def groups(lab: Lab) -> dict[str, list[Run]]:
    """Finished runs that compare: the same splits and backbone, newest group first."""
    found: dict[str, list[Run]] = {}
    for run in reversed(lab.store.list()):
        if run.state == "finished":
            splits = run.result["meta_info"]["dataset_info"]
            name = f"{task_name(run)}, {run.recipe.backbone}, {splits['sizes']['train']:,} training sentences"
            found.setdefault(f"{name} ({splits['fingerprint'][:6]})", []).append(run)
    order = {name: place for place, name in enumerate(charts.COLOURS)}
    return {
        name: sorted(runs, key=lambda run: (order.get(run.recipe.method, 99), run.place))
        for name, runs in found.items()
    }


def draw(lab: Lab, group: str | None, axis: str) -> list[Any]:
    """Everything on the tab for one group of runs; the newest group when none or a vanished one is chosen."""
    every = groups(lab)
    if not every:
        empty = '<div class="lab-empty">No finished runs yet. Train some in the Train tab: they appear here.</div>'
        return [gr.update(choices=[], value=None), "", empty, *[None] * (len(charts.BAR_METRICS) + len(CURVES))]
    group = group if group in every else next(iter(every))
    runs = every[group]
    table = analysis.runs_table(runs)
    points = analysis.curves(lab.store, runs)
    return [
        gr.update(choices=list(every), value=group),
        "".join(f'<div class="lab-warning">{escape(text)}</div>' for text in analysis.comparable(runs)),
        table_html(runs),
        *charts.bar_charts(table),
        *(charts.curves(points, curve, x=axis) for curve in CURVES),
    ]


def table_html(runs: list[Run]) -> str:
    """The results table; the best value of a column is bold and marked, columns that nobody fills are left out."""
    shown = [METRICS[key] for key in COLUMNS if any(METRICS[key].of(run) is not None for run in runs)]
    best = {}
    for metric in shown:
        values = [metric.of(run) for run in runs if metric.of(run) is not None]
        if metric.better and len(values) > 1 and not metric.key.startswith("parents"):
            best[metric.key] = max(values) if metric.better == "higher" else min(values)
    heading = "".join(f'<th scope="col">{escape(metric.title)}</th>' for metric in shown)
    rows = []
    for run in runs:
        cells = []
        for metric in shown:
            value = metric.of(run)
            mark = value is not None and value == best.get(metric.key)
            text = escape(metric.show(value)) + (' <span title="best">★</span>' if mark else "")
            cells.append(f'<td class="{"lab-best" if mark else ""}">{text}</td>')
        rows.append(f'<tr><th scope="row">{escape(run_name(run))}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="lab-table" tabindex="0" role="region" aria-label="Results"><table><thead><tr>'
        f'<th scope="col">Run</th>{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        '<div class="lab-note">★ marks the best value. Peak memory is what the run added: allocated on the GPU, or '
        "resident above the process's start on a CPU. Fusion's parents are counted apart.</div>"
    )


def compare_api(lab: Lab) -> list[dict]:
    """Every finished run with its figures: one object a run, each figure in its unit (see /runs for states)."""
    import json

    table = analysis.runs_table([run for run in lab.store.list() if run.state == "finished"])
    return json.loads(table.to_json(orient="records", double_precision=12))


def runs_api(lab: Lab) -> list[dict]:
    """Every run in the store: id, label, state, method, title, task, backbone, seed, error."""
    return [
        {
            "id": run.id,
            "label": run.label,
            "state": run.state,
            "method": run.recipe.method,
            "title": method_title(run.recipe.method),
            "task": run.recipe.task,
            "backbone": run.recipe.backbone,
            "seed": run.recipe.seed,
            "error": run.error,
        }
        for run in lab.store.list()
    ]
