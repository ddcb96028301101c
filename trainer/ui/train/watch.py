"""Live progress: updates of the list of runs, of the open panel and of the charts from the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.jobs import queue as jobs
from trainer.markup import render
from trainer.runs.run import ENDED, Run
from trainer.ui.common.lab import Lab
from trainer.ui.train import curves as train_curves
from trainer.ui.train import panel as train_panel
from trainer.ui.train import queue as train_queue
from trainer.ui.train.panel import Panel

SECONDS_BETWEEN_CHARTS = 4.0
"""The least time between two drawings of the live charts, each of which replaces the picture."""
BUSY, IDLE = 1.5, 15.0
"""Seconds between two requests of an open page: while a run trains or waits, and otherwise (train-pulse.js)."""


@dataclass(frozen=True)
class View:
    """The components that are updated. `seen` has the state that the page shows; `pulse` asks for updates."""

    seen: gr.State
    pulse: gr.HTML
    active: gr.HTML
    ended: gr.HTML
    panel: Panel

    @property
    def outputs(self) -> list[Any]:
        """Everything that `refresh` may change."""
        return [self.seen, self.pulse, self.active, self.ended, *self.panel.shown, *self.panel.curves.outputs]


def pulse_html(seconds: float) -> str:
    """What tells the page how often to ask for updates."""
    return render("train/pulse.html", seconds=seconds)


def refresh(lab: Lab, view: View, seen: dict[str, Any], chosen: str | None) -> dict[Any, Any]:
    """The updates of components whose state differs from `seen`; starts a missing worker."""
    runs = lab.runs()
    _start_worker(lab, runs)
    now = _state(lab, runs, chosen)
    changes: dict[Any, Any] = {}
    if now["busy"] != seen.get("busy"):
        changes[view.pulse] = pulse_html(BUSY if now["busy"] else IDLE)
    if now["active"] != seen.get("active"):
        changes[view.active] = train_queue.active_html(lab, runs)
    if now["ended"] != seen.get("ended"):
        changes[view.ended] = train_queue.ended_html(lab, runs)
    if chosen and now["panel"] != seen.get("panel"):
        changes |= train_panel.follow(lab, view.panel, chosen)
    at_work, drawn = any(run.state == "running" for run in runs), seen.get("drawn", 0.0)
    soon = now["of"] == seen.get("of") and at_work and time.time() - drawn <= SECONDS_BETWEEN_CHARTS
    if now["charts"] != seen.get("charts") and not soon:
        changes |= train_curves.draw(lab, view.panel.curves, runs, chosen)
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
    """The state that the lists, the panel and the charts depend on, as texts to compare."""
    damaged = "".join(f"|{damage}" for damage in lab.damaged())
    active = [run for run in runs if run.state not in ENDED]
    run = next((run for run in runs if run.id == chosen), None)
    ended = "|".join(f"{run.id}:{run.state}:{run.label}" for run in runs if run.state in ENDED)
    drawn = train_curves.drawn(runs, chosen)
    # A name depends on the others of its suite.
    names = "|".join(f"{run.id}:{run.label}" for run in runs)
    return {
        "busy": bool(active),
        "active": "|".join(f"{run.id}:{run.state}:{_size(run)}" for run in active) + names * bool(active) + damaged,
        "ended": (ended or "empty") + f"|{len(runs)}" + damaged,
        "panel": f"{chosen}:{run.state}:{run.label}:{_size(run)}:{_size(run, 'log.txt')}" if run else f"{chosen}",
        "of": f"{chosen}",
        "charts": f"{chosen}|" + "|".join(f"{run.id}:{run.label}:{_size(run)}" for run in drawn),
    }


def _size(run: Run, file: str = "events.jsonl") -> int:
    try:
        return (run.folder / file).stat().st_size
    except OSError:
        return 0
