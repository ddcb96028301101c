"""The Compare tab: filters, and sub-pages that are drawn when they are opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import gradio as gr

from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab
from trainer.ui.compare import api as compare_api
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.compare.filters import Selection

FILTERS_IN_ADDRESS, FILTERS_DRAWN = "(...inputs) => labFilter(inputs)", "(...inputs) => labFilter(inputs, true)"
"""These write the filters that a person chose into the page's address, and give the address as the second input."""
UNIT_IN_ADDRESS = f"(...inputs) => labUnit(inputs, {[field.name for field in fields(Selection)].index('unit')})"
"""This writes the unit of the table's rows there."""


def build(lab: Lab, tab: gr.Tab) -> gr.HTML:
    """Lay out the tab and connect it; its open sub-page is drawn with it. Returns the component with the sentences.

    Every handler that draws runs is `isolated`.
    """

    def drawing(handler: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
        return isolated(lab, partial(handler, lab, *fixed))

    view = compare_view.build()
    quiet = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    inside = [view.page, view.address, *view.inputs]
    draw, conclude = drawing(compare_draw.redraw, view), drawing(compare_draw.conclude, view)
    # One event for all filters: a change of any of them while the tab is drawn is drawn next.
    changed = [control.input for control in (*view.filters, view.reference, view.machines)]
    drawing_page = {"outputs": view.outputs, "show_progress_on": view.summary, "js": FILTERS_IN_ADDRESS, **quiet}
    drawn = [gr.on([tab.select, view.address.select, *changed], draw, inside, **drawing_page)]
    for name, page in view.tabs.items():
        opened = drawing(compare_draw.open_page, view, name)
        drawn.append(page.select(opened, inside, **drawing_page))
    concluding = {"outputs": [view.conclusion, view.summary], "show_progress_on": view.conclusion}
    overviews = drawn[0], drawn[1 + list(view.tabs).index(compare_view.OVERVIEW)]
    for one in drawn:
        if one in overviews:
            one.then(conclude, inside, js=FILTERS_DRAWN, **concluding, **quiet)
        else:
            one.then(None, inside, None, js=FILTERS_DRAWN, **quiet)
    for control in (view.unit, view.columns, view.differing):
        written = UNIT_IN_ADDRESS if control is view.unit else None
        control.input(drawing(compare_draw.redraw_table), view.inputs, view.table, js=written, **quiet)
    for control in (view.x, view.y):
        control.input(drawing(compare_draw.redraw_scatter), view.inputs, view.scatter, **quiet)
    view.axis.input(drawing(compare_draw.redraw_curves, view), view.inputs, view.curves, **quiet)
    view.cards.input(drawing(compare_draw.redraw_cards), view.inputs, view.matrices, **quiet)
    view.kind.input(drawing(compare_draw.redraw_sentences), view.inputs, view.sentences, **quiet)
    test = drawing(compare_draw.test_differences)
    gr.on([view.against.input, view.unlike.input], test, view.inputs, view.pairs, **quiet)
    report = drawing(compare_draw.make_report, view)
    view.make.click(report, view.inputs, [view.report, view.report_note], **quiet)
    compare_api.build(lab)
    return view.sentences
