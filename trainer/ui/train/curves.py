"""Curves in the Train tab: those of the chosen run's suite, else of the newest suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer import tasks
from trainer.analysis import baseline
from trainer.analysis import tables as analysis
from trainer.errors import UserError
from trainer.runs.run import Run
from trainer.texts import tr
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab, remark
from trainer.ui.common.visibility import seen_if
from trainer.ui.train import groups
from trainer.ui.train.queue import recent

LIVE_CURVES = {"step loss": "step", "validation loss": "epoch", "validation accuracy": "epoch", "memory": "seconds"}
"""The live charts: curve -> horizontal axis."""
MOST = 10
"""The most runs of a suite whose curves are drawn together; see `drawn`."""


@dataclass(frozen=True)
class Curves:
    """The charts by curve, and what they show in words."""

    about: gr.HTML
    plots: dict[str, gr.Plot]

    @property
    def outputs(self) -> list[Any]:
        """Everything that `draw` may change."""
        return [self.about, *self.plots.values()]


def build() -> Curves:
    """Lay out the charts, hidden before the first point."""
    with gr.Column(elem_classes="lab-curves"):
        about = gr.HTML()
        with gr.Row():
            plots = {
                curve: gr.Plot(show_label=False, label=charts.curve_title(curve), min_width=280, **seen_if(False))
                for curve in LIVE_CURVES
            }
    return Curves(about, plots)


def draw(lab: Lab, curves: Curves, runs: Sequence[Run], run_id: str | None) -> dict[Any, Any]:
    """A chart for each of `LIVE_CURVES` of the chosen run's suite, else the newest; hidden before the first point."""
    suite, names = drawn(runs, run_id), groups.names(runs)
    if not suite:
        return {curves.about: ""} | {plot: gr.update(**seen_if(False)) for plot in curves.plots.values()}
    points = analysis.curves(lab.store, suite)
    points["name"] = points["run"].map(names)
    changes: dict[Any, Any] = {}
    for curve, over in LIVE_CURVES.items():
        there = len(points) > 0 and bool((points["curve"] == curve).any())
        exact = all(run.multi_label for run in suite)
        chart = charts.curves(points, curve, x=over, exact=exact) if there else None
        changes[curves.plots[curve]] = gr.update(value=chart, **seen_if(there))
    with_points = set(points["run"])
    begun = [run for run in suite if run.id in with_points]
    about = _about(begun[0], len(begun), names[begun[0].id]) if begun else ""
    return {curves.about: remark(about)} | changes


def drawn(runs: Sequence[Run], run_id: str | None) -> list[Run]:
    """The chosen run, else the newest, and the other runs of its suite whose curves are drawn with it.

    Of a suite of several seeds those of the same task, so that a line's pattern is its seed; of a large one those of
    the same task and seed.
    """
    run = next((run for run in runs if run.id == run_id), None) or next(iter(recent(runs)), None)
    if run is None:
        return []
    others = [other for other in runs if other.suite == run.suite and other.suite and other.id != run.id]
    if any(other.recipe.seed != run.recipe.seed for other in others):
        others = [other for other in others if other.recipe.task == run.recipe.task]
    if len(others) >= MOST:
        others = [other for other in others if other.recipe.task == run.recipe.task]
        others = [other for other in others if other.recipe.seed == run.recipe.seed][: MOST - 1]
    return [run, *others]


def _about(run: Run, count: int, name: str) -> str:
    """Which runs the curves are of, and the loss of guessing."""
    together = tr("Curves of {run} and of runs launched with it.", run=name)
    alone = tr("Curves of {run}.", run=name)
    return f"{together if count > 1 else alone} {_loss_of_guessing(run)}"


def _loss_of_guessing(run: Run) -> str:
    """A sentence on the loss of guessing; empty where the number of labels is not known."""
    try:
        labels = len(run.label_names) or tasks.extent(run.recipe)[1]
    except (UserError, OSError):
        return ""
    return baseline.chance_loss(labels, multi_label=run.multi_label)
