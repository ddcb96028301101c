"""The queue of the Train tab: what trains, who comes next, and what can be done to one chosen run."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from trainer import tasks
from trainer.analysis import tables as analysis
from trainer.errors import UserError, sentence
from trainer.jobs import queue as jobs
from trainer.jobs.progress import describe as event_text
from trainer.jobs.progress import duration
from trainer.runs import archive
from trainer.runs.metrics import METRICS
from trainer.runs.store import ENDED, Run
from trainer.texts import tr
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab, escape, note, run_name, task_name

SHOWN = 12
"""Ended runs in the list, newest first; Compare has them all."""
LOG_LINES = 25
LIVE_CURVES = {"step loss": "step", "validation loss": "epoch", "validation accuracy": "epoch", "memory": "seconds"}
"""The live charts, and what each is drawn over."""


def recent(runs: Sequence[Run]) -> list[Run]:
    """The runs of the list: what trains, what waits in its order, then the newest of what has ended."""
    running = [run for run in runs if run.state == "running"]
    waiting = [run for run in runs if run.state == "queued"]
    return running + waiting + [run for run in reversed(runs) if run.state in ENDED][:SHOWN]


def queue_html(lab: Lab, runs: Sequence[Run] | None = None) -> str:
    """The list of runs, each with its state, progress and time left, or why it failed."""
    runs = lab.store.list() if runs is None else runs
    if not runs:
        text = tr("No runs yet. Press Train: the Quick preset trains all five methods here in a few minutes.")
        return f'<div class="lab-empty">{escape(text)}</div>'
    shown, place = recent(runs), 0
    parts = []
    for run in shown:
        place += run.state == "queued"
        parts.append(_run_html(lab, run, place))
    ended = sum(run.state in ENDED for run in runs)
    more = ""
    if ended > SHOWN:
        text = tr("{count} older runs are in Compare and in the list below.", count=f"{ended - SHOWN:,}")
        more = note(text)
    title = escape(tr("Runs"))
    return f'<div class="lab-queue" role="list" aria-label="{title}">{"".join(parts)}</div>{more}'


def _run_html(lab: Lab, run: Run, place: int) -> str:
    text, share = describe(lab, run, place=place)
    bar = (
        f'<progress max="1" value="{share:.3f}" aria-label="{escape(run_name(run))}"></progress>'
        if run.state == "running"
        else ""
    )
    about = escape(tr("More about this run"))
    under = f'<div class="lab-small">{escape(_about(run))}</div>' if run.label else ""
    return (
        f'<div class="lab-run" role="listitem"><div class="lab-run-head">'
        f'<button type="button" class="lab-run-name" data-pick="{escape(run.id)}" title="{about}">'
        f"{escape(run_name(run))}</button>"
        f'<span class="lab-state lab-{run.state}">{escape(tr(run.state))}</span></div>{under}{bar}'
        f'<div class="lab-run-text">{escape(text)}</div></div>'
    )


def _about(run: Run) -> str:
    return f"{task_name(run)}, {Path(run.recipe.backbone).name}"


def describe(lab: Lab, run: Run, *, place: int = 1) -> tuple[str, float]:
    """(what a run does or how it ended, the share of its steps that are done). `place` counts the waiting from 1."""
    if run.state == "finished":
        metric, time = METRICS["test_accuracy"], METRICS["train_minutes"]
        accuracy = metric.show(metric.of(run))
        if run.adopted:
            return tr("test accuracy {accuracy}%, trained elsewhere, evaluated here", accuracy=accuracy), 1.0
        minutes = time.show(time.of(run))
        if run.bundled:
            came = tr("test accuracy {accuracy}%, came with the program", accuracy=accuracy)
            bare = tr("test accuracy {accuracy}%, came with the program without its weights", accuracy=accuracy)
            return came if run.answers else bare, 1.0
        return tr("test accuracy {accuracy}%, trained in {minutes} min", accuracy=accuracy, minutes=minutes), 1.0
    if run.state in ENDED:
        error = run.error or ""
        return lab.shown(tr(error)), 0.0
    if run.state == "queued":
        text = tr("comes next") if place == 1 else tr("{count} before it in the queue", count=place - 1)
        return text, 0.0
    step = last_step(lab, run)
    if step is None:
        return tr("loading the task and the backbone"), 0.0
    text = tr(
        "epoch {epoch} of {epochs}, step {step} of {steps}, loss {loss}, {speed} sentences/s, {time} left",
        epoch=f"{step['epoch']:.1f}",
        epochs=run.recipe.epochs,
        step=f"{step['step']:,}",
        steps=f"{step['total_steps']:,}",
        loss=f"{step['loss']:.3f}",
        speed=f"{step['sentences_per_second']:,.0f}",
        time=duration(step["seconds_left"]),
    )
    return text, step["step"] / step["total_steps"]


def last_step(lab: Lab, run: Run) -> dict[str, Any] | None:
    """The newest report of a run's progress."""
    events, _ = lab.store.events(run.id)
    return next((event for event in reversed(events) if event["type"] == "step"), None)


def choices(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(name, id) of every run, in the order of the list and then the older ones."""
    first = recent(runs)
    listed = {run.id for run in first}
    rest = [run for run in reversed(runs) if run.id not in listed]
    return [(f"{run_name(run)}: {tr(run.state)} ({run.id[-8:]})", run.id) for run in [*first, *rest]]


# One run


def open_run(lab: Lab, run_id: str | None) -> list[Any]:
    """What the panel shows of a run, in the order of `train_tab.PANEL`: details, log, name, and the buttons."""
    run = find(lab, run_id)
    if run is None:
        empty = note(
            tr(
                "Choose a run to see its recipe and its log, "
                "and to cancel, resume, train again, rename, download or delete it."
            )
        )
        return [empty, "", gr.update(value="", interactive=False), *[gr.update(interactive=False)] * 6]
    can = {
        "cancel": run.state in ("queued", "running"),
        "resume": run.state in ("failed", "cancelled"),
        "again": run.state in ENDED and not run.adopted,
        "delete": run.state != "running",
        "zip": run.state in ENDED,
    }
    return [
        details_html(lab, run),
        log_text(lab, run),
        gr.update(value=run.label, interactive=True),
        gr.update(interactive=True),
        *(gr.update(interactive=can[name]) for name in ("cancel", "resume", "again", "delete", "zip")),
    ]


def find(lab: Lab, run_id: str | None) -> Run | None:
    """The run by its id, or None where none is chosen or it is gone."""
    try:
        return lab.store.load(run_id) if run_id else None
    except UserError:
        return None


def details_html(lab: Lab, run: Run) -> str:
    """A run in full: how it stands, what it builds on, its recipe."""
    waiting = [other.id for other in lab.store.list() if other.state == "queued"]
    text, _ = describe(lab, run, place=waiting.index(run.id) + 1 if run.id in waiting else 1)
    state = tr(run.state)
    lines = [(tr("Run"), run.id), (tr("State"), f"{state}: {text}" if text else state), (tr("Created"), run.created_at)]
    if run.adopted:
        lines.append((tr("From"), run.adopted.source))
    if run.bundled:
        lines.append((tr("Comes with the program, made by"), run.bundled.command))
        if not run.answers:
            lines.append((tr("Weights"), tr("did not come with it; press Train again to have them")))
    if run.recipe.parents:
        parents = (find(lab, parent) for parent in run.recipe.parents)
        names = [run_name(parent) if parent else tr("a deleted run") for parent in parents]
        lines.append((tr("Parents"), ", ".join(names)))
    if run.answers and not run.adopted:
        lines.append((tr("Publish"), f"python -m trainer push {run.id} --repo OWNER/NAME"))
    if run.result:
        lines += [(tr("Notes on the data"), tasks.note_shown(text)) for text in run.result.meta_info.dataset_info.notes]
    recipe = run.recipe.model_dump(mode="json", exclude_none=True, exclude={"options", "parents", "track"})
    options = {f"{run.recipe.method}.{name}": value for name, value in run.recipe.options.items()}
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(lab.shown(_value(value)))}</dd>" for name, value in lines)
    every = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(lab.shown(_value(value)))}</dd>"
        for name, value in {**recipe, **options}.items()
    )
    heading = escape(tr("Recipe"))
    return (
        f'<dl class="lab-details">{listed}</dl>'
        f'<details><summary>{heading}</summary><dl class="lab-details">{every}</dl></details>'
    )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def log_text(lab: Lab, run: Run) -> str:
    """The tail of what a run reported, and of what its libraries wrote."""
    events, _ = lab.store.events(run.id)
    told = [text for event in events if (text := event_text(event))]
    parts = told[-LOG_LINES:]
    try:
        with (run.folder / "log.txt").open(encoding="utf-8", errors="replace") as file:
            written = [line.rstrip() for line in deque(file, LOG_LINES)]
    except OSError:
        written = []
    if written:
        parts += ["", "log.txt:", *written]
    return lab.shown("\n".join(parts))


# What can be done to a run: each returns a sentence for the page


def cancel(lab: Lab, run_id: str | None) -> str:
    """Stop the chosen run."""

    def act(run: Run) -> str:
        return tr("{run} is being cancelled.", run=run_name(jobs.cancel(lab.store, run.id)))

    return _do(lab, run_id, act)


def resume(lab: Lab, run_id: str | None) -> str:
    """Queue the chosen run again."""

    def act(run: Run) -> str:
        jobs.resume(lab.store, run.id)
        return tr("{run} is queued and goes on from its last checkpoint.", run=run_name(run))

    return _do(lab, run_id, act)


def again(lab: Lab, run_id: str | None) -> str:
    """Queue a new run with the chosen run's recipe."""

    def act(run: Run) -> str:
        jobs.again(lab.store, run.id)
        return tr("A new run with the recipe of {run} is queued.", run=run_name(run))

    return _do(lab, run_id, act)


def rename(lab: Lab, run_id: str | None, label: str) -> str:
    """Give the chosen run another name; an empty one takes the name away."""

    def act(run: Run) -> str:
        changed = lab.store.update(run.id, label=" ".join((label or "").split())[:80])
        return tr("The run is called {run} now.", run=run_name(changed))

    return _do(lab, run_id, act)


def delete(lab: Lab, run_id: str | None) -> str:
    """Remove the chosen run and its files."""

    def act(run: Run) -> str:
        lab.store.delete(run.id)
        lab.predictor.forget(run.id)
        return tr("{run} is deleted.", run=run_name(run))

    return _do(lab, run_id, act)


def as_zip(lab: Lab, run_id: str | None) -> tuple[str, Any]:
    """(what happened, the run as a zip file to download)."""
    made: list[str] = []

    def act(run: Run) -> str:
        folder = Path(tempfile.gettempdir()) / "peft-lab-exports"
        folder.mkdir(exist_ok=True)
        path = folder / f"{run.id}.zip"
        path.unlink(missing_ok=True)
        made.append(str(archive.export(lab.store, run.id, path)))
        return tr("{name} is ready to download.", name=path.name)

    said = _do(lab, run_id, act)
    return said, gr.update(value=made[0] if made else None, interactive=bool(made))


def _do(lab: Lab, run_id: str | None, act: Any) -> str:
    try:
        run = find(lab, run_id)
        return note(act(run) if run else tr("Choose a run first."))
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")


# Live charts


def live_charts(lab: Lab, runs: Sequence[Run], run_id: str | None) -> list[Any]:
    """A chart for each of `LIVE_CURVES` of the chosen run's suite, else the newest; hidden before the first point."""
    run = next((run for run in runs if run.id == run_id), None) or next(iter(recent(runs)), None)
    if run is None:
        return [gr.update(visible=False)] * len(LIVE_CURVES)
    suite = [other for other in runs if other.suite == run.suite and other.suite] or [run]
    points = analysis.curves(lab.store, suite)
    drawn = []
    for curve, over in LIVE_CURVES.items():
        there = len(points) > 0 and bool((points["curve"] == curve).any())
        drawn.append(gr.update(visible=there, value=charts.curves(points, curve, x=over) if there else None))
    return drawn
