"""Compare: which runs, their results as tables and charts, and the sentences on which they differ."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from trainer.analysis import published
from trainer.analysis import tables as analysis
from trainer.analysis.variants import means, some, variants
from trainer.methods import METHODS
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run
from trainer.texts import mark, tr
from trainer.ui.common import charts, tables
from trainer.ui.common.lab import Lab, endpoint, escape
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare import sentences as compare_sentences
from trainer.ui.compare import tables as compare_tables
from trainer.ui.compare.filters import FILTERS, Wanted, choices, known_metrics, select, settle
from trainer.ui.compare.tables import cards, over_seeds, results, run_names, with_variant

LOSSES = ("training loss", "validation loss")
CURVES = (*LOSSES, "validation accuracy", "memory")
MAX_BARS, MAX_CURVES, MAX_CARDS = 24, 20, 12
EMPTY = mark("No finished runs yet. Train some in the Train tab: they appear here.")
SAID = {
    "unit": mark(
        "A mean comes with the sample standard deviation over seeds: one run may be luck (Reimers and Gurevych 2017, "
        "https://arxiv.org/abs/1707.09861)."
    ),
    "bars": mark(
        "A bar a recipe, from zero. Over several seeds it is their mean, with a dot for each and a line of one sample "
        "standard deviation to each side."
    ),
    "scatter": mark(
        "The line joins the ringed runs of the Pareto frontier (Pareto 1906): no other is at least as good in both "
        "figures and better in one. Runs on different sentences have none: one test set says nothing of another. What "
        "was published elsewhere is hollow, grey and on no frontier."
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
"""What stands beside a control or a chart."""
NOTHING = mark("No run fits these filters. Take a choice out of one of them.")

CSS = compare_tables.CSS + compare_sentences.CSS


def build(lab: Lab, tab: gr.Tab) -> gr.HTML:
    """Lay out the tab and connect it; it is drawn anew whenever it is opened. Returns the sentences to press."""
    with gr.Column(visible=False) as controls:
        filters = _filters()
        reference = gr.Checkbox(
            False,
            label=tr("Show the published report's figures"),
            info=tr("A course report on BERT base and SST-2, as a reference: its device, sentences and recipe differ."),
        )
    summary = gr.HTML()
    with gr.Column(visible=False) as body:
        gr.Markdown("## " + tr("Results"))
        about = SAID["unit"]
        unit = gr.Radio(
            [(tr("Each run"), "run"), (tr("Mean over seeds"), "mean")],
            value="run",
            label=tr("A row for"),
            info=tr(about),
        )
        table = gr.HTML(elem_classes="lab-results")
        notes = gr.HTML()
    with gr.Column(visible=False) as figures:
        gr.Markdown("## " + tr("Charts"))
        _said("bars")
        bars = []
        for start in (0, 2):
            with gr.Row():
                bars += [_plot(tr(METRICS[key].title)) for key in charts.BAR_METRICS[start : start + 2]]
        with gr.Row():
            every = [(tr(metric.title), key) for key, metric in METRICS.items()]
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
        _said("scatter")
        gr.Markdown("## " + tr("While training"))
        axis = gr.Radio(
            [(tr("Epoch"), "epoch"), (tr("Step"), "step"), (tr("Training time"), "seconds")],
            value="epoch",
            label=tr("Curves over"),
            info=tr("An epoch is one pass over the training sentences, a step one batch."),
        )
        _said("curves")
        lines = []
        for start in (0, 2):
            with gr.Row():
                lines += [_plot(charts.curve_title(curve)) for curve in CURVES[start : start + 2]]
        gr.Markdown("## " + tr("Confusion matrices and classification reports"))
        _said("cards")
        matrices = gr.HTML()
        gr.Markdown("## " + tr("Which differences hold"))
        gr.HTML(f'<div class="lab-note">{escape(tr(compare_pairs.SAID))}</div>')
        test = gr.Button(tr("Test the differences"), size="sm")
        pairs = gr.HTML()
        gr.Markdown("## " + tr("Which sentences"))
        kind = gr.Radio(
            [(tr("Some right, some wrong"), "split")],
            value="split",
            label=tr("Test sentences"),
            info=tr("Changed by 4-bit: a run over a 4-bit backbone says otherwise than the same recipe without."),
        )
        sentences = gr.HTML(js_on_load=tables.PICK)
    inputs = [*filters, reference, unit, x, y, axis, kind]
    outputs = [
        *filters,
        controls,
        summary,
        body,
        figures,
        table,
        notes,
        *bars,
        x,
        y,
        scatter,
        *lines,
        matrices,
        pairs,
        kind,
    ]
    outputs.append(sentences)
    quiet = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    # One dependency: what is chosen while the tab is drawn is drawn next, whichever filter it is of.
    chosen = [tab.select, *(control.input for control in (*filters, reference))]
    gr.on(chosen, partial(draw, lab), inputs, outputs, show_progress_on=summary, **quiet)
    unit.input(partial(redraw_unit, lab), inputs, [table, scatter], show_progress_on=table, **quiet)
    for control in (x, y):
        control.input(partial(redraw_scatter, lab), inputs, scatter, **quiet)
    axis.input(partial(redraw_curves, lab), inputs, lines, **quiet)
    kind.input(partial(redraw_sentences, lab), inputs, sentences, **quiet)
    test.click(partial(test_differences, lab), inputs, pairs, show_progress_on=pairs, **quiet)
    gr.api(endpoint(compare_api, lab), api_name="compare")
    gr.api(endpoint(runs_api, lab), api_name="runs")
    return sentences


def _filters() -> list[gr.Dropdown]:
    """The task, and what narrows its runs down; no choice means all."""
    several, every = {"multiselect": True, "min_width": 200}, tr("All if none is chosen.")
    finished = [(tr("finished"), "finished")]
    with gr.Row():
        found = [
            gr.Dropdown(
                [], value=None, label=tr("Task"), info=tr("Runs on the same sentences compare."), min_width=200
            ),
            gr.Dropdown([], label=tr("Backbone"), info=every, **several),
            gr.Dropdown([], label=tr("Method"), info=every, **several),
        ]
    with gr.Row():
        found += [
            gr.Dropdown(finished, value=["finished"], label=tr("State"), info=every, **several),
            gr.Dropdown([], label=tr("Label"), info=every, **several),
            gr.Dropdown([], label=tr("Seed"), info=every, **several),
        ]
    return found


def _plot(label: str, *classes: str) -> gr.Plot:
    return gr.Plot(label=label, show_label=False, min_width=320, elem_classes=["lab-chart", *classes])


def _said(key: str) -> gr.HTML:
    text = SAID[key]
    return gr.HTML(f'<div class="lab-note">{escape(tr(text))}</div>')


def draw(lab: Lab, *given: Any) -> list[Any]:
    """Everything on the tab, in the order of its outputs. `given`: the fields of `Wanted`, those missing as they are.

    What was chosen and is there no more is dropped; the task is then the newest. A control whose value still holds is
    sent none: a person may have chosen another since.
    """
    every, asked = lab.store.list(), Wanted.of(*given)
    wanted = settle(asked, every)
    runs = select(wanted, every)
    finished = [run for run in runs if run.state == "finished"]
    offered = choices(every)
    filters = [_offer(name, offered[name], asked, wanted) for name in FILTERS]
    if not finished:
        drawn = [gr.skip()] * (len(charts.BAR_METRICS) + 3 + len(CURVES) + 4)
    else:
        names = variants(finished)
        html, kinds = _sentences(lab, finished, wanted.kind)
        known = [(tr(METRICS[key].title), key) for key in known_metrics(finished)]
        drawn = [
            *charts.bar_charts(_bar_rows(finished, names), reference=_reference(wanted)),
            _offer("x", known, asked, wanted),
            _offer("y", known, asked, wanted),
            _scatter(finished, names, wanted),
            *_curves(lab, finished, names, wanted),
            cards(some(finished, MAX_CARDS), names),
            "",  # the tests of other runs go
            _offer("kind", kinds, asked, wanted),
            html,
        ]
    return [
        *filters,
        gr.update(visible=bool(every)),
        _summary(every, runs),
        gr.update(visible=bool(runs)),
        gr.update(visible=bool(finished)),
        _table(runs, wanted) if runs else "",
        compare_tables.published_notes() if wanted.reference and runs else "",
        *drawn,
    ]


def _offer(name: str, offered: list[Any], asked: Wanted, wanted: Wanted) -> Any:
    """A control's choices, and its value only where that could not stay."""
    value = getattr(wanted, name)
    if value == getattr(asked, name):
        return gr.update(choices=offered)
    return gr.update(choices=offered, value=list(value) if isinstance(value, tuple) else value)


def redraw_unit(lab: Lab, *given: Any) -> list[Any]:
    """The table and the scatter, which have a row and a mark a run or a mean."""
    runs, finished, wanted = _again(lab, *given)
    return [_table(runs, wanted), _scatter(finished, variants(finished), wanted) if finished else gr.skip()]


def redraw_scatter(lab: Lab, *given: Any) -> Any:
    """The scatter alone."""
    _, finished, wanted = _again(lab, *given)
    return _scatter(finished, variants(finished), wanted) if finished else gr.skip()


def redraw_curves(lab: Lab, *given: Any) -> list[Any]:
    """The curves alone."""
    _, finished, wanted = _again(lab, *given)
    return _curves(lab, finished, variants(finished), wanted) if finished else [gr.skip()] * len(CURVES)


def redraw_sentences(lab: Lab, *given: Any) -> str:
    """The sentences alone."""
    _, finished, wanted = _again(lab, *given)
    return _sentences(lab, finished, wanted.kind)[0] if finished else ""


def test_differences(lab: Lab, *given: Any) -> str:
    """Which differences between the shown recipes hold; not drawn unasked, for it takes a second."""
    _, finished, _ = _again(lab, *given)
    if not finished:
        return ""
    group, said = _newest_group(finished)
    return said + compare_pairs.section(lab, group, variants(group))


def _again(lab: Lab, *given: Any) -> tuple[list[Run], list[Run], Wanted]:
    every = lab.store.list()
    wanted = settle(Wanted.of(*given), every)
    runs = select(wanted, every)
    return runs, [run for run in runs if run.state == "finished"], wanted


def _summary(every: list[Run], runs: list[Run]) -> str:
    """How many runs are shown, what stands in the way of comparing them, and what is left out."""
    if not any(run.state == "finished" for run in every) and not runs:
        return f'<div class="lab-empty" role="status">{escape(tr(EMPTY))}</div>'
    if not runs:
        return f'<div class="lab-empty" role="status">{escape(tr(NOTHING))}</div>'
    finished = [run for run in runs if run.state == "finished"]
    lines = [tr("{shown} of {count} runs shown.", shown=f"{len(runs):,}", count=f"{len(every):,}")]
    if not finished:
        lines.append(tr("None of them has finished: figures come when one has."))
    groups = len({_fingerprint(run) for run in finished})
    if groups > 1:
        lines.append(tr("Nothing is marked best across different sentences; choose one task for that."))
    if len(runs) > compare_tables.MAX_ROWS:
        lines.append(tr("The table has the newest {count}; Mean over seeds has all.", count=compare_tables.MAX_ROWS))
    count = len(set(variants(finished).values()))
    if count > MAX_BARS:
        lines.append(tr("Bars show {shown} of {count} recipes.", shown=MAX_BARS, count=count))
    if len(finished) > MAX_CURVES:
        text = tr(
            "Curves show {shown} of {count} runs, the newest of each recipe first.",
            shown=MAX_CURVES,
            count=f"{len(finished):,}",
        )
        lines.append(text)
    if len(finished) > MAX_CARDS:
        text = tr(
            "Confusion matrices and sentences are of {count} runs, the newest of each recipe first.", count=MAX_CARDS
        )
        lines.append(text)
    warnings = "".join(f'<div class="lab-warning">{escape(text)}</div>' for text in analysis.comparable(runs))
    return f'<div class="lab-note" role="status">{escape(" ".join(lines))}</div>{warnings}'


def _table(runs: list[Run], wanted: Wanted) -> str:
    finished = [run for run in runs if run.state == "finished"]
    if wanted.unit == "mean" and finished:
        return over_seeds(finished, variants(finished), reference=wanted.reference)
    return results(runs, variants(runs), reference=wanted.reference)


def _bar_rows(finished: list[Run], names: dict[str, str]) -> pd.DataFrame:
    """All runs of at most `MAX_BARS` variants, those with the newest runs."""
    newest = list(dict.fromkeys(names[run.id] for run in sorted(finished, key=lambda run: -run.place)))[:MAX_BARS]
    return with_variant([run for run in finished if names[run.id] in newest], names)


def _scatter(finished: list[Run], names: dict[str, str], wanted: Wanted) -> Any:
    table = with_variant(finished, names)
    if wanted.unit == "mean":
        table = means(table).assign(name=lambda rows: rows["variant"])
    elif table["variant"].is_unique:
        table = table.assign(name=table["variant"])
    x, y = METRICS[wanted.x], METRICS[wanted.y]
    return charts.scatter(table, x, y, reference=_reference(wanted), frontier=compare_tables.alike(finished))


def _curves(lab: Lab, finished: list[Run], names: dict[str, str], wanted: Wanted) -> list[Any]:
    shown = some(finished, MAX_CURVES)
    points = analysis.curves(lab.store, shown)
    points = points.assign(name=points["run"].map(run_names(shown, names)))
    other = published.curves() if wanted.reference else None
    both = points if other is None or wanted.axis == "step" else pd.concat([points, other])
    domain = charts.value_range(both, LOSSES)
    return [
        charts.curves(points, curve, x=wanted.axis, reference=other, domain=domain if curve in LOSSES else None)
        for curve in CURVES
    ]


def _sentences(lab: Lab, finished: list[Run], kind: str) -> tuple[str, list[tuple[str, str]]]:
    """Of the newest group among the runs: only one test set can be shared."""
    group, said = _newest_group(finished)
    shown = some(group, MAX_CARDS)
    inside = variants(group)
    html, kinds = compare_sentences.section(lab, shown, run_names(shown, inside), kind)
    return said + html, kinds


def _newest_group(finished: list[Run]) -> tuple[list[Run], str]:
    """(the runs on the sentences of the newest one, a note where these are not all)."""
    newest = max(finished, key=lambda run: run.place)
    group = [run for run in finished if _fingerprint(run) == _fingerprint(newest)]
    if len(group) == len(finished):
        return group, ""
    text = tr("Of the newest task among these runs: {task}.", task=newest.recipe.task)
    return group, f'<div class="lab-note">{escape(text)}</div>'


def _reference(wanted: Wanted) -> pd.DataFrame | None:
    return published.table() if wanted.reference else None


def _fingerprint(run: Run) -> str:
    return run.split_fingerprint


def compare_api(lab: Lab) -> list[dict]:
    """Every finished run with its figures: one object a run, each figure in its unit (see /runs for states)."""
    import json

    table = analysis.runs_table([run for run in lab.store.list() if run.state == "finished"])
    for column in ("task", "backbone"):
        table[column] = table[column].map(lab.shown)
    return json.loads(table.to_json(orient="records", double_precision=12))


def runs_api(lab: Lab) -> list[dict]:
    """Every run in the store: id, label, state, method, title, task, backbone, seed, error."""
    return [
        {
            "id": run.id,
            "label": run.label,
            "state": run.state,
            "method": run.recipe.method,
            "title": METHODS[run.recipe.method].title if run.recipe.method in METHODS else run.recipe.method,
            "task": lab.shown(run.recipe.task),
            "backbone": lab.shown(run.recipe.backbone),
            "seed": run.recipe.seed,
            "error": run.error and lab.shown(run.error),
        }
        for run in lab.store.list()
    ]
