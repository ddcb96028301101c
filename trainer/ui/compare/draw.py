"""Compare's handlers: they draw tables, charts and sentences of the selected runs, one sub-page at a time."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from trainer.publish import report as reports
from trainer.texts import tr, tr_count
from trainer.ui.common.fold import heading
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.visibility import seen_if
from trainer.ui.compare import pages
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare.cards import cards
from trainer.ui.compare.filters import FILTERS, FIXED, choices, elsewhere, in_words
from trainer.ui.compare.shown import Shown
from trainer.ui.compare.tables import run_names
from trainer.ui.compare.view import OVERVIEW, View


def draw(lab: Lab, view: View, page: str = OVERVIEW, *values: Any, query: str = "") -> dict[Block, Any]:
    """The updates of a sub-page, one of `view.PAGES`, and of the filters. `values` and `query`: see `Shown.of`.

    Choices that no longer exist are dropped; a task is then the one with the most configurations.
    """
    shown = Shown.of(lab, *values, query=query)
    offered = choices(shown.every)
    changes: dict[Block, Any] = {
        control: shown.offer(name, offered[name]) for name, control in zip(FILTERS, view.filters, strict=True)
    }
    line = in_words(shown.selection, shown.runs, shown.names)
    if others := elsewhere(shown.selection, shown.every):
        line = f"{line}; {others}"
    changes |= {
        view.controls: heading(line if shown.every else ""),
        view.body: gr.update(**seen_if(shown.runs)),
        **{figures: gr.update(**seen_if(shown.finished)) for figures in view.figures},
    }
    for name in FIXED:
        changes |= shown.settled(name, getattr(view, name))
    if shown.runs and (shown.finished or page == "table"):
        changes |= pages.DRAWN[page](view, shown)
    # Last: the figures read files, which may be found damaged.
    return changes | {view.summary: pages.summary(shown, query)}


def redraw(lab: Lab, view: View, page: str, query: str | None, *values: Any) -> dict[Block, Any]:
    """`draw` with the page's address, of which the browser sends the part after the question mark (compare.js)."""
    return draw(lab, view, page, *values, query=query or "")


def open_page(lab: Lab, view: View, page: str, _: str = "", query: str | None = "", *values: Any) -> dict[Block, Any]:
    """`redraw` of a sub-page that a person opens, in place of the one before, which the filters then draw again."""
    return {view.page: page} | draw(lab, view, page, *values, query=query or "")


def conclude(lab: Lab, view: View, page: str, query: str | None = "", *values: Any) -> dict[Block, Any]:
    """What may be concluded, for the overview: after it is drawn, since the tests read every run's predictions."""
    shown = Shown.of(lab, *values, query=query or "")
    if page != OVERVIEW or not shown.finished:
        return gr.skip()
    return {view.conclusion: pages.conclusion(shown), view.summary: pages.summary(shown, query or "")}


def make_report(lab: Lab, view: View, *values: Any) -> dict[Block, Any]:
    """The report on the finished runs shown, as a file to download."""
    runs = Shown.of(lab, *values).finished
    if not runs:
        return {view.report: gr.update(value=None, interactive=False), view.report_note: note(tr(pages.EMPTY))}
    page = lab.shown(reports.html(lab.store, runs))
    folder = Path(tempfile.gettempdir()) / "peft-lab-exports"
    folder.mkdir(exist_ok=True)
    path = folder / f"peft-lab-report-{hashlib.sha256(page.encode()).hexdigest()[:8]}.html"
    path.write_text(page, encoding="utf-8")
    text = tr_count("The report on {count} run is ready.", "The report on {count} runs is ready.", len(runs))
    return {view.report: gr.update(value=str(path), interactive=True), view.report_note: note(text)}


def redraw_table(lab: Lab, *values: Any) -> str:
    """The table, with other rows or columns."""
    shown = Shown.of(lab, *values)
    return pages.table(shown) if shown.runs else ""


def redraw_scatter(lab: Lab, *values: Any) -> Any:
    """The scatter chart."""
    shown = Shown.of(lab, *values)
    return pages.scatter(shown) if shown.finished else gr.skip()


def redraw_curves(lab: Lab, view: View, *values: Any) -> dict[Block, Any]:
    """The curves."""
    shown = Shown.of(lab, *values)
    return pages.curves(view, shown) if shown.finished else gr.skip()


def redraw_cards(lab: Lab, *values: Any) -> str:
    """The confusion matrices and classification reports."""
    shown = Shown.of(lab, *values)
    return cards(pages.carded(shown), run_names(shown.finished, shown.names)) if shown.finished else ""


def redraw_sentences(lab: Lab, *values: Any) -> str:
    """The sentences as HTML."""
    shown = Shown.of(lab, *values)
    return pages.sentences(shown)[0] if shown.finished else ""


def test_differences(lab: Lab, *values: Any) -> str:
    """Statistical significance of the differences between the shown configurations."""
    shown = Shown.of(lab, *values)
    if not shown.finished:
        return ""
    group, about = pages.newest_task(shown.finished)
    return about + compare_pairs.section(lab, group, shown.variants(group), shown.selection)
