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
from trainer.runs.store import Run
from trainer.texts import tr
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab, remark
from trainer.ui.train import groups
from trainer.ui.train.queue import recent

LIVE_CURVES = {"step loss": "step", "validation loss": "epoch", "validation accuracy": "epoch", "memory": "seconds"}
"""The live charts: curve -> horizontal axis."""
MOST = 10
"""The most runs of a suite whose curves are drawn together; of a larger one those of the same task and seed."""


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
                curve: gr.Plot(show_label=False, label=charts.curve_title(curve), min_width=280, visible=False)
                for curve in LIVE_CURVES
            }
    return Curves(about, plots)


def draw(lab: Lab, curves: Curves, runs: Sequence[Run], run_id: str | None) -> dict[Any, Any]:
    """A chart for each of `LIVE_CURVES` of the chosen run's suite, else the newest; hidden before the first point."""
    suite, names = drawn(runs, run_id), groups.names(runs)
    if not suite:
        return {curves.about: ""} | {plot: gr.update(visible=False) for plot in curves.plots.values()}
    points = analysis.curves(lab.store, suite)
    points["name"] = points["run"].map(names)
    changes: dict[Any, Any] = {}
    for curve, over in LIVE_CURVES.items():
        there = len(points) > 0 and bool((points["curve"] == curve).any())
        chart = charts.curves(points, curve, x=over) if there else None
        changes[curves.plots[curve]] = gr.update(visible=there, value=chart)
    about = _about(suite[0], len(suite), names[suite[0].id]) if len(points) else ""
    return {curves.about: remark(about)} | changes


def drawn(runs: Sequence[Run], run_id: str | None) -> list[Run]:
    """The chosen run, else the newest, and the other runs of its suite; of a large one those of its task and seed."""
    run = next((run for run in runs if run.id == run_id), None) or next(iter(recent(runs)), None)
    if run is None:
        return []
    suite = [other for other in runs if other.suite == run.suite and other.suite] or [run]
    if len(suite) <= MOST:
        return [run, *(other for other in suite if other.id != run.id)]
    alike = [
        other
        for other in suite
        if (other.recipe.task, other.recipe.seed) == (run.recipe.task, run.recipe.seed) and other.id != run.id
    ]
    return [run, *alike[: MOST - 1]]


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
    return baseline.chance_loss(labels)
