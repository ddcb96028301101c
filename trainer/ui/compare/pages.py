"""Compare's sub-pages: the updates of each, and their parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd
from gradio.blocks import Block
from markupsafe import Markup

from trainer.analysis import baseline, parents, published, reliability
from trainer.analysis import conclusion as analysis_conclusion
from trainer.analysis import tables as analysis
from trainer.analysis.variants import means, some
from trainer.markup import render
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common import charts
from trainer.ui.common.isolation import damaged_html
from trainer.ui.common.lab import remark
from trainer.ui.common.visibility import seen_if
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare import sentences as compare_sentences
from trainer.ui.compare import tables as compare_tables
from trainer.ui.compare.cards import cards
from trainer.ui.compare.filters import AUTOMATIC, known_metrics, missing
from trainer.ui.compare.shown import Shown
from trainer.ui.compare.tables import over_seeds, results, run_names, with_variant
from trainer.ui.compare.view import COSTS, CURVES, LOSSES, MOST_CARDS, View

MAX_BARS, MAX_CURVES, MAX_CARDS, FIRST_CARDS = 12, 20, 12, 2
MOST_CHARACTERS = 200
"""The most that is shown of an address's unknown values."""
EMPTY = mark("No finished runs yet. Train some in the Train tab: they appear here.")
NOTHING = mark("No run fits these filters. Take a choice out of one of them.")


# The sub-pages


def _overview_page(view: View, shown: Shown) -> dict[Block, Any]:
    (bars,) = _bars(shown, charts.BAR_METRICS[:1])
    about = compare_tables.about_means(shown.finished)
    return {
        view.conclusion: conclusion(shown, only_known=True),
        view.key: compare_tables.key_figures(shown.finished, shown.names, store=shown.lab.store),
        view.accuracy: bars,
        view.overview_note: remark(" ".join([*_few_bars(shown), about])),
        view.report: gr.update(value=None, interactive=False),
        view.report_note: "",
    }


def _table_page(view: View, shown: Shown) -> dict[Block, Any]:
    changes = {view.table: table(shown)}
    lines = []
    if len({run.split_fingerprint for run in shown.finished}) > 1:
        lines.append(tr("Nothing is marked best across different sentences; choose one task for that."))
    if len(shown.runs) > compare_tables.MAX_ROWS:
        lines.append(tr("The table has the newest {count}; Mean over seeds has all.", count=compare_tables.MAX_ROWS))
    origin = compare_tables.published_notes() if shown.selection.reference else ""
    return changes | {view.notes: (remark(" ".join(lines)) if lines else Markup("")) + origin}


def _significance_page(view: View, shown: Shown) -> dict[Block, Any]:
    group, about = newest_task(shown.finished)
    names = shown.variants(group)
    against = compare_pairs.choices(names.values())
    if shown.selection.against not in {value for _, value in against}:
        shown = replace(shown, selection=replace(shown.selection, against=AUTOMATIC))
    return {
        view.against: shown.offer("against", against),
        view.pairs: about + compare_pairs.section(shown.lab, group, names, shown.selection),
    }


def _errors_page(view: View, shown: Shown) -> dict[Block, Any]:
    section, kinds = sentences(shown)
    names = run_names(shown.finished, shown.names)
    chosen = carded(shown)
    picked = replace(shown, selection=replace(shown.selection, cards=tuple(run.id for run in chosen)))
    lines = []
    if len(shown.finished) > MAX_CARDS:
        text = tr(
            "Sentences and probabilities are of {count} runs, the newest of each configuration first.",
            count=MAX_CARDS,
        )
        lines.append(text)
    if any(shown.multi_label):
        lines.append(
            tr("With several labels a sentence, calibration is not measured: each label has a probability of its own.")
        )
    return {
        view.cards: picked.offer("cards", [(names[run.id], run.id) for run in shown.finished]),
        view.matrices: cards(chosen, names),
        view.kind: shown.offer("kind", kinds),
        view.sentences: section,
        view.errors_note: remark(" ".join(lines)) if lines else "",
        view.reliability: _reliability(shown),
    }


def _curves_page(view: View, shown: Shown) -> dict[Block, Any]:
    labels = sorted({len(run.label_names) for run in shown.finished if not run.multi_label})
    lines = [baseline.chance_loss(0, multi_label=True)] * any(run.multi_label for run in shown.finished)
    lines += [
        tr(
            "Loss is cross-entropy in nats: guessing among {count} labels gives {loss}.",
            count=count,
            loss=f"{math.log(count):.2f}",
        )
        for count in labels
    ]
    if len(shown.finished) > MAX_CURVES:
        text = tr(
            "Curves show {shown} of {count} runs, the newest of each configuration first.",
            shown=MAX_CURVES,
            count=f"{len(shown.finished):,}",
        )
        lines.insert(0, text)
    return {**curves(view, shown), view.curves_note: remark(" ".join(lines))}


def _costs_page(view: View, shown: Shown) -> dict[Block, Any]:
    multi_label = shown.multi_label
    metrics = [(tr(METRICS[key].among(multi_label).title), key) for key in known_metrics(shown.finished)]
    known = {key for _, key in metrics}
    bars = {
        plot: gr.update(value=chart, **seen_if(key in known, "lab-chart"))
        for key, plot, chart in zip(COSTS, view.costs, _bars(shown, COSTS), strict=True)
    }
    return {
        **bars,
        view.costs_note: remark(" ".join(_few_bars(shown))),
        view.x: shown.offer("x", metrics),
        view.y: shown.offer("y", metrics),
        view.scatter: scatter(shown),
    }


DRAWN: dict[str, Callable[[View, Shown], dict[Block, Any]]] = {
    "overview": _overview_page,
    "table": _table_page,
    "significance": _significance_page,
    "errors": _errors_page,
    "curves": _curves_page,
    "costs": _costs_page,
}
"""Sub-page of `view.PAGES` -> its updates."""

# Their parts


def summary(shown: Shown, query: str = "") -> Markup:
    """Why nothing is shown or some runs are not, why the runs cannot be compared, and the damaged ones, as HTML."""
    empty, line = "", ""
    if not shown.runs:
        empty = tr(NOTHING) if any(run.state == "finished" for run in shown.every) else tr(EMPTY)
    elif not shown.finished:
        line = tr("None of them has finished: figures come when one has.")
    if shown.every and (gone := missing(query, shown.every)):
        gone_text = tr("The address names what no run here has: {values}.", values=", ".join(gone)[:MOST_CHARACTERS])
        line = f"{gone_text} {line}".strip()
    warnings = [] if empty else analysis.comparable(shown.runs) + parents.other_tasks(shown.runs)
    return render("compare/summary.html", empty=empty, line=line, warnings=warnings) + damaged_html(shown.lab)


def conclusion(shown: Shown, *, only_known: bool = False) -> str:
    """What may be concluded, as HTML; `only_known`: that it is being computed, where its tests are not known yet."""
    group, about = newest_task(shown.finished)
    names = shown.variants(group)
    if only_known and not compare_pairs.is_known(shown.lab, group, names):
        return render("compare/conclusion.html", sentences=[tr("Testing which differences are significant …")])
    lines = analysis_conclusion.conclusion(
        compare_pairs.compared(shown.lab, group, names),
        analysis_conclusion.trained_parameters(group, names),
        len(set(names.values())),
    )
    return render("compare/conclusion.html", sentences=lines) + about


def table(shown: Shown) -> str:
    selection = shown.selection
    options = {
        "reference": selection.reference,
        "store": shown.lab.store,
        "visible": selection.columns or compare_tables.USUAL,
        "settings": selection.differing,
    }
    if selection.unit == "mean" and shown.finished:
        return over_seeds(shown.finished, shown.names, **options)
    return results(shown.runs, shown.names, **options)


def _bars(shown: Shown, keys: tuple[str, ...]) -> list[Any]:
    """A bar chart a metric, of at most `MAX_BARS` configurations, those with the newest runs."""
    newest = sorted(shown.finished, key=lambda run: -run.queue_order)
    names = list(dict.fromkeys(shown.names[run.id] for run in newest))[:MAX_BARS]
    rows = with_variant([run for run in shown.finished if shown.names[run.id] in names], shown.names)
    return charts.bar_charts(rows, reference=shown.reference, keys=keys)


def _few_bars(shown: Shown) -> list[str]:
    """A sentence on the configurations without a bar, if there are any."""
    count = len({shown.names[run.id] for run in shown.finished})
    if count <= MAX_BARS:
        return []
    return [tr("Bars show the newest {shown} of {count} configurations.", shown=MAX_BARS, count=count)]


def scatter(shown: Shown) -> Any:
    table = with_variant(shown.finished, shown.names)
    if shown.selection.unit == "mean":
        table = means(table).assign(name=lambda rows: rows["variant"])
    elif table["variant"].is_unique:
        table = table.assign(name=table["variant"])
    x, y = (METRICS[key].among(shown.multi_label) for key in (shown.selection.x, shown.selection.y))
    comparable = compare_tables.same_splits(shown.finished)
    return charts.scatter(table, x, y, reference=shown.reference, frontier=comparable)


def _reliability(shown: Shown) -> Any:
    runs = shown.some(MAX_CARDS)
    points = reliability.bins(shown.lab.store, runs)
    named = points.assign(name=points["run"].map(run_names(runs, shown.names)))
    chart = charts.reliability(named) if len(points) else None
    return gr.update(value=chart, **seen_if(chart is not None, "lab-chart", "lab-chart-tall"))


def curves(view: View, shown: Shown) -> dict[Block, Any]:
    runs, axis = shown.some(MAX_CURVES), shown.selection.axis
    points = analysis.curves(shown.lab.store, runs)
    points = points.assign(name=points["run"].map(run_names(runs, shown.names)))
    other = published.curves() if shown.selection.reference else None
    both = points if other is None or axis == "step" else pd.concat([points, other])
    domain = charts.value_range(both, LOSSES)
    return {
        plot: charts.curves(
            points,
            curve,
            x=axis,
            reference=other,
            domain=domain if curve in LOSSES else None,
            exact=all(shown.multi_label),
        )
        for curve, plot in zip(CURVES, view.curves, strict=True)
    }


def carded(shown: Shown) -> list[Run]:
    """The runs whose confusion matrices are shown: those chosen, else the first few."""
    chosen = [run for run in shown.finished if run.id in shown.selection.cards]
    return chosen[:MOST_CARDS] or shown.some(FIRST_CARDS)


def sentences(shown: Shown) -> tuple[str, list[tuple[str, str]]]:
    """(sentences as HTML, kinds as choices) of the newest group of runs that share their test sentences."""
    group, about = _newest_group(shown.finished)
    inside = shown.variants(group)
    few = some(group, MAX_CARDS, inside)
    html, kinds = compare_sentences.section(shown.lab, few, run_names(few, inside), shown.selection.kind)
    return about + html, kinds


def _newest_group(finished: list[Run]) -> tuple[list[Run], Markup]:
    """(the runs on the same sentences as the newest one, a note if these are not all)."""
    newest = max(finished, key=lambda run: run.queue_order)
    same = [run for run in finished if run.split_fingerprint == newest.split_fingerprint]
    return _group(same, newest, finished)


def newest_task(finished: list[Run]) -> tuple[list[Run], Markup]:
    """(the runs of the newest one's task, whatever the sentences of it, a note if these are not all)."""
    newest = max(finished, key=lambda run: run.queue_order)
    task = newest.task_name, newest.label_names
    return _group([run for run in finished if (run.task_name, run.label_names) == task], newest, finished)


def _group(group: list[Run], newest: Run, finished: list[Run]) -> tuple[list[Run], Markup]:
    if len(group) == len(finished):
        return group, Markup("")
    text = tr("Of the newest task among these runs: {task}.", task=newest.task_name)
    return group, remark(text)
