"""The Compare tab: filters, and sub-pages that are drawn when they are opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab
from trainer.ui.compare import api as compare_api
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.compare.filters import OPTIONS

FILTERS_IN_ADDRESS, FILTERS_DRAWN = "(...inputs) => labFilter(inputs)", "(...inputs) => labFilter(inputs, true)"
"""These write the filters that a person chose into the page's address, and give the address as the second input."""


def in_address(option: str) -> str:
    """The script that writes a control's value there, unless it is the one at first."""
    return f"(...inputs) => labOption(inputs, {json.dumps(option)}, {json.dumps(OPTIONS[option])})"


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
    parts = (
        (("unit", "columns", "differing"), drawing(compare_draw.redraw_table), view.table),
        (("x", "y"), drawing(compare_draw.redraw_scatter), view.scatter),
        (("axis",), drawing(compare_draw.redraw_curves, view), view.curves),
        (("cards",), drawing(compare_draw.redraw_cards), view.matrices),
        (("kind",), drawing(compare_draw.redraw_sentences), view.sentences),
        (("against", "unlike"), drawing(compare_draw.test_differences), view.pairs),
    )
    for names, handler, output in parts:
        for name in names:
            getattr(view, name).input(handler, view.inputs, output, js=in_address(name), **quiet)
    report = drawing(compare_draw.make_report, view)
    view.make.click(report, view.inputs, [view.report, view.report_note], **quiet)
    compare_api.build(lab)
    return view.sentences
