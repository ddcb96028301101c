"""Compare's handlers: they draw tables, charts and sentences of the selected runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd
from gradio.blocks import Block
from markupsafe import Markup

from trainer.analysis import parents, published, reliability
from trainer.analysis import tables as analysis
from trainer.analysis.variants import means, some, variants
from trainer.markup import render
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run
from trainer.texts import mark, tr
from trainer.ui.common import charts
from trainer.ui.common.isolation import damaged_html
from trainer.ui.common.lab import Lab, remark
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare import sentences as compare_sentences
from trainer.ui.compare import tables as compare_tables
from trainer.ui.compare.filters import AUTOMATIC, FILTERS, Selection, choices, known_metrics, select, settle
from trainer.ui.compare.tables import cards, over_seeds, results, run_names, with_variant
from trainer.ui.compare.view import CURVES, LOSSES, View

MAX_BARS, MAX_CURVES, MAX_CARDS = 24, 20, 12
EMPTY = mark("No finished runs yet. Train some in the Train tab: they appear here.")
NOTHING = mark("No run fits these filters. Take a choice out of one of them.")


def draw(lab: Lab, view: View, *values: Any) -> dict[Block, Any]:
    """The updates of all components. `values`: the fields of `Selection`; missing ones have their defaults.

    Choices that no longer exist are dropped; the task is then the newest. A control whose value still exists gets no
    value: a person may have chosen another one since.
    """
    every, chosen = lab.runs(), Selection.of(*values)
    selection = settle(chosen, every)
    runs = select(selection, every)
    finished = [run for run in runs if run.state == "finished"]
    offered = choices(every)
    changes: dict[Block, Any] = {
        control: _offer(name, offered[name], chosen, selection)
        for name, control in zip(FILTERS, view.filters, strict=True)
    }
    changes |= {
        view.controls: gr.update(visible=bool(every)),
        view.body: gr.update(visible=bool(runs)),
        view.figures: gr.update(visible=bool(finished)),
        view.table: _table(lab, runs, selection) if runs else "",
        view.notes: compare_tables.published_notes() if selection.reference and runs else "",
    }
    if finished:
        changes |= _figures(lab, view, finished, chosen, selection)
    # Last: the figures read files, which may be found damaged.
    return changes | {view.summary: _summary(every, runs) + damaged_html(lab)}


def _figures(lab: Lab, view: View, finished: list[Run], chosen: Selection, selection: Selection) -> dict[Block, Any]:
    """The updates of charts, cards and sentences of the finished runs."""
    names = variants(finished)
    sentences, kinds = _sentences(lab, finished, selection.kind)
    against = compare_pairs.choices(variants(_newest_task(finished)[0]).values())
    if selection.against not in {value for _, value in against}:
        selection = replace(selection, against=AUTOMATIC)
    metrics = [(tr(METRICS[key].title), key) for key in known_metrics(finished)]
    bars = charts.bar_charts(_bar_rows(finished, names), reference=_reference(selection))
    return {
        **dict(zip(view.bars, bars, strict=True)),
        view.x: _offer("x", metrics, chosen, selection),
        view.y: _offer("y", metrics, chosen, selection),
        view.scatter: _scatter(finished, names, selection),
        view.reliability: _reliability(lab, finished, names),
        **_curves(lab, view, finished, selection),
        view.matrices: cards(some(finished, MAX_CARDS), names),
        view.against: _offer("against", against, chosen, selection),
        view.pairs: "",  # removes the tests of other runs
        view.kind: _offer("kind", kinds, chosen, selection),
        view.sentences: sentences,
    }


def _offer(name: str, offered: list[Any], chosen: Selection, selection: Selection) -> Any:
    """The update of a control's choices, and of its value if it no longer exists."""
    value = getattr(selection, name)
    if value == getattr(chosen, name):
        return gr.update(choices=offered)
    return gr.update(choices=offered, value=list(value) if isinstance(value, tuple) else value)


def redraw_unit(lab: Lab, view: View, *values: Any) -> dict[Block, Any]:
    """The table and the scatter chart, with a row and a mark for each run or mean."""
    runs, finished, selection = _selected(lab, *values)
    changes: dict[Block, Any] = {view.table: _table(lab, runs, selection)}
    if finished:
        changes[view.scatter] = _scatter(finished, variants(finished), selection)
    return changes


def redraw_scatter(lab: Lab, *values: Any) -> Any:
    """The scatter chart."""
    _, finished, selection = _selected(lab, *values)
    return _scatter(finished, variants(finished), selection) if finished else gr.skip()


def redraw_curves(lab: Lab, view: View, *values: Any) -> dict[Block, Any]:
    """The curves."""
    _, finished, selection = _selected(lab, *values)
    return _curves(lab, view, finished, selection) if finished else gr.skip()


def redraw_sentences(lab: Lab, *values: Any) -> str:
    """The sentences as HTML."""
    _, finished, selection = _selected(lab, *values)
    return _sentences(lab, finished, selection.kind)[0] if finished else ""


def test_differences(lab: Lab, *values: Any) -> str:
    """Statistical significance of the differences between the shown recipes; on request, since it takes a second."""
    _, finished, selection = _selected(lab, *values)
    if not finished:
        return ""
    group, about = _newest_task(finished)
    return about + compare_pairs.section(lab, group, variants(group), selection)


def _selected(lab: Lab, *values: Any) -> tuple[list[Run], list[Run], Selection]:
    """(the runs that pass the filters, the finished ones of them, the selection)."""
    every = lab.runs()
    selection = settle(Selection.of(*values), every)
    runs = select(selection, every)
    return runs, [run for run in runs if run.state == "finished"], selection


def _summary(every: list[Run], runs: list[Run]) -> Markup:
    """The number of runs shown, reasons why they cannot be compared, and what is left out, as HTML."""
    empty = ""
    if not runs:
        empty = tr(NOTHING) if any(run.state == "finished" for run in every) else tr(EMPTY)
    warnings = [] if empty else analysis.comparable(runs) + parents.other_tasks(runs)
    lines = [] if empty else _summary_lines(every, runs)
    return render("compare/summary.html", empty=empty, lines=lines, warnings=warnings)


def _summary_lines(every: list[Run], runs: list[Run]) -> list[str]:
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
    return lines


def _table(lab: Lab, runs: list[Run], selection: Selection) -> str:
    finished = [run for run in runs if run.state == "finished"]
    if selection.unit == "mean" and finished:
        return over_seeds(finished, variants(finished), reference=selection.reference, store=lab.store)
    return results(runs, variants(runs), reference=selection.reference, store=lab.store)


def _bar_rows(finished: list[Run], names: dict[str, str]) -> pd.DataFrame:
    """All runs of at most `MAX_BARS` variants, those with the newest runs."""
    newest = list(dict.fromkeys(names[run.id] for run in sorted(finished, key=lambda run: -run.queue_order)))[:MAX_BARS]
    return with_variant([run for run in finished if names[run.id] in newest], names)


def _scatter(finished: list[Run], names: dict[str, str], selection: Selection) -> Any:
    table = with_variant(finished, names)
    if selection.unit == "mean":
        table = means(table).assign(name=lambda rows: rows["variant"])
    elif table["variant"].is_unique:
        table = table.assign(name=table["variant"])
    x, y = METRICS[selection.x], METRICS[selection.y]
    return charts.scatter(table, x, y, reference=_reference(selection), frontier=compare_tables.same_splits(finished))


def _reliability(lab: Lab, finished: list[Run], names: dict[str, str]) -> Any:
    shown = some(finished, MAX_CARDS)
    points = reliability.bins(lab.store, shown)
    return charts.reliability(points.assign(name=points["run"].map(run_names(shown, names))))


def _curves(lab: Lab, view: View, finished: list[Run], selection: Selection) -> dict[Block, Any]:
    shown = some(finished, MAX_CURVES)
    points = analysis.curves(lab.store, shown)
    points = points.assign(name=points["run"].map(run_names(shown, variants(finished))))
    other = published.curves() if selection.reference else None
    both = points if other is None or selection.axis == "step" else pd.concat([points, other])
    domain = charts.value_range(both, LOSSES)
    return {
        plot: charts.curves(
            points, curve, x=selection.axis, reference=other, domain=domain if curve in LOSSES else None
        )
        for curve, plot in zip(CURVES, view.curves, strict=True)
    }


def _sentences(lab: Lab, finished: list[Run], kind: str) -> tuple[str, list[tuple[str, str]]]:
    """(sentences as HTML, kinds as choices) of the newest group of runs that share their test sentences."""
    group, about = _newest_group(finished)
    shown = some(group, MAX_CARDS)
    inside = variants(group)
    html, kinds = compare_sentences.section(lab, shown, run_names(shown, inside), kind)
    return about + html, kinds


def _newest_group(finished: list[Run]) -> tuple[list[Run], Markup]:
    """(the runs on the same sentences as the newest one, a note if these are not all)."""
    newest = max(finished, key=lambda run: run.queue_order)
    return _group([run for run in finished if _fingerprint(run) == _fingerprint(newest)], newest, finished)


def _newest_task(finished: list[Run]) -> tuple[list[Run], Markup]:
    """(the runs of the newest one's task, whatever the sentences of it, a note if these are not all)."""
    newest = max(finished, key=lambda run: run.queue_order)
    task = newest.task_name, newest.label_names
    return _group([run for run in finished if (run.task_name, run.label_names) == task], newest, finished)


def _group(group: list[Run], newest: Run, finished: list[Run]) -> tuple[list[Run], Markup]:
    if len(group) == len(finished):
        return group, Markup("")
    text = tr("Of the newest task among these runs: {task}.", task=newest.recipe.task)
    return group, remark(text)


def _reference(selection: Selection) -> pd.DataFrame | None:
    return published.table() if selection.reference else None


def _fingerprint(run: Run) -> str:
    return run.split_fingerprint
