"""Live progress: updates of the list of runs and of the charts from the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.analysis import tables as analysis
from trainer.jobs import queue as jobs
from trainer.runs.store import ENDED, Run
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab
from trainer.ui.train import queue as train_queue

SECONDS_BETWEEN_CHARTS = 4.0
"""The least time between two drawings of the live charts, each of which replaces the picture."""
LIVE_CURVES = {"step loss": "step", "validation loss": "epoch", "validation accuracy": "epoch", "memory": "seconds"}
"""The live charts: curve -> horizontal axis."""


@dataclass(frozen=True)
class View:
    """The components that are updated. `seen` has the state that the page shows: list, choice of runs, charts."""

    seen: gr.State
    queue: gr.HTML
    run: gr.Dropdown
    plots: dict[str, gr.Plot]

    @property
    def outputs(self) -> list[Any]:
        """Everything that `refresh` may change."""
        return [self.seen, self.queue, self.run, *self.plots.values()]


def plots() -> dict[str, gr.Plot]:
    """Lay out the live charts, by curve."""
    with gr.Row():
        return {
            curve: gr.Plot(show_label=False, label=charts.curve_title(curve), min_width=280, visible=False)
            for curve in LIVE_CURVES
        }


def refresh(lab: Lab, view: View, seen: dict[str, Any], chosen: str | None) -> dict[Any, Any]:
    """The updates of components whose state differs from `seen`; starts a missing worker."""
    runs = lab.runs()
    _start_worker(lab, runs)
    now = _state(lab, runs, chosen)
    changes: dict[Any, Any] = {}
    if now["list"] != seen.get("list"):
        changes[view.queue] = train_queue.queue_html(lab, runs)
    if now["runs"] != seen.get("runs"):
        offered = train_queue.choices(runs, lab.damaged())
        value = chosen if chosen in {run_id for _, run_id in offered} else None
        changes[view.run] = gr.update(choices=offered, value=value)
    at_work, drawn = any(run.state == "running" for run in runs), seen.get("drawn", 0.0)
    if now["charts"] != seen.get("charts") and (not at_work or time.time() - drawn > SECONDS_BETWEEN_CHARTS):
        changes |= live_charts(lab, view, runs, chosen)
        drawn = time.time()
    else:
        now["charts"] = seen.get("charts")
    now["drawn"] = drawn
    if now != seen:
        changes[view.seen] = now
    return changes or gr.skip()


def _start_worker(lab: Lab, runs: Sequence[Run]) -> None:
    """Start a worker if runs wait without one."""
    waits = any(run.state not in ENDED for run in runs)
    if waits and not jobs.worker_is_alive(lab.store) and lab.may_start_worker():
        jobs.ensure_worker(lab.store)


def _state(lab: Lab, runs: Sequence[Run], chosen: str | None) -> dict[str, Any]:
    """The state that the list, the choice of runs and the charts depend on, as texts to compare."""
    listed = train_queue.recent(runs)
    damaged = "".join(f"|{damage}" for damage in lab.damaged())
    return {
        "list": ("|".join(f"{run.id}:{run.state}:{run.label}:{_size(run)}" for run in listed) or "empty") + damaged,
        "runs": ("|".join(f"{run.id}:{run.state}:{run.label}" for run in runs) or "empty") + damaged,
        "charts": f"{chosen}|" + "|".join(f"{run.id}:{_size(run)}" for run in listed),
    }


def _size(run: Run) -> int:
    try:
        return (run.folder / "events.jsonl").stat().st_size
    except OSError:
        return 0


def live_charts(lab: Lab, view: View, runs: Sequence[Run], run_id: str | None) -> dict[Any, Any]:
    """A chart for each of `LIVE_CURVES` of the chosen run's suite, else the newest; hidden before the first point."""
    run = next((run for run in runs if run.id == run_id), None) or next(iter(train_queue.recent(runs)), None)
    if run is None:
        return {plot: gr.update(visible=False) for plot in view.plots.values()}
    suite = [other for other in runs if other.suite == run.suite and other.suite] or [run]
    points = analysis.curves(lab.store, suite)
    changes = {}
    for curve, over in LIVE_CURVES.items():
        there = len(points) > 0 and bool((points["curve"] == curve).any())
        chart = charts.curves(points, curve, x=over) if there else None
        changes[view.plots[curve]] = gr.update(visible=there, value=chart)
    return changes
