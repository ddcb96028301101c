"""The Compare tab: filters, results as tables and charts, and the sentences on which runs differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab
from trainer.ui.compare import api as compare_api
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view


def build(lab: Lab, tab: gr.Tab) -> gr.HTML:
    """Lay out the tab and connect it; it is drawn whenever it is opened. Returns the component with the sentences.

    Every handler that draws runs is `isolated`.
    """

    def drawing(handler: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
        return isolated(lab, partial(handler, lab, *fixed))

    view = compare_view.build()
    quiet = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    draw, unit = drawing(compare_draw.draw, view), drawing(compare_draw.redraw_unit, view)
    # One event for all filters: a change of any of them while the tab is drawn is drawn next.
    chosen = [tab.select, *(control.input for control in (*view.filters, view.reference))]
    gr.on(chosen, draw, view.inputs, view.outputs, show_progress_on=view.summary, **quiet)
    view.unit.input(unit, view.inputs, [view.table, view.scatter], show_progress_on=view.table, **quiet)
    for control in (view.x, view.y):
        control.input(drawing(compare_draw.redraw_scatter), view.inputs, view.scatter, **quiet)
    view.axis.input(drawing(compare_draw.redraw_curves, view), view.inputs, view.curves, **quiet)
    view.kind.input(drawing(compare_draw.redraw_sentences), view.inputs, view.sentences, **quiet)
    test = drawing(compare_draw.test_differences)
    tested = [view.test.click, view.against.input, view.unlike.input]
    gr.on(tested, test, view.inputs, view.pairs, show_progress_on=view.pairs, **quiet)
    compare_api.build(lab)
    return view.sentences
