"""Step 3: LoRA trains live, with the class's own number as its seed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis import lesson
from trainer.analysis import tables as analysis
from trainer.errors import ArgumentError, UserError, sentence
from trainer.jobs import queue as jobs
from trainer.jobs.progress import duration
from trainer.runs import estimate
from trainer.runs.metrics import METRICS
from trainer.runs.store import ENDED, Run
from trainer.texts import tr
from trainer.ui.common import charts
from trainer.ui.common.access import guarded
from trainer.ui.common.lab import Lab, escape, note, run_name
from trainer.ui.lesson.frame import QUIET, Step, members, question, words
from trainer.ui.lesson.text import say
from trainer.ui.train import queue as train_queue

SECONDS_BETWEEN_CHARTS = 4.0
"""As in the Train tab: each drawing is a new picture."""


def build(lab: Lab, kept: gr.BrowserState) -> Step:
    """Lay out the step and connect it; `kept` holds the id of the run that this browser launched."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            plan = gr.HTML()
            seed = gr.Number(1, label=say("train.seed"), info=say("train.seed_help"), precision=0)
            with gr.Row():
                go = gr.Button(say("train.go"), variant="primary", min_width=140)
                stop = gr.Button(say("train.cancel"), interactive=False, min_width=100)
            said = gr.HTML()
            status = gr.HTML()
        with gr.Column(scale=3, min_width=300):
            chart = gr.Plot(label=say("train.chart"), show_label=False, elem_classes="lab-chart")
    asked = gr.HTML()
    timer = gr.Timer(1.5, active=False)
    seen = gr.State({})
    view = [status, chart, go, stop, timer, seen]
    look = {"fn": partial(look_at, lab), "inputs": [kept, seen], "outputs": view, **QUIET}
    go.click(guarded(lab, partial(launch, lab), message=said), seed, [said, kept, seen], **QUIET).then(**look)
    stop.click(guarded(lab, partial(train_queue.cancel, lab)), kept, said, **QUIET).then(**look)
    timer.tick(**look)
    return Step("train", [kept], [plan, asked, *view], partial(draw, lab))


def draw(lab: Lab, run_id: str | None) -> list[Any]:
    """Everything that the step shows: what will train, the question, and how the run of this browser stands."""
    config = lesson.recipe(lesson.LIGHT)
    guess = estimate.estimate(config, earlier=lab.store.list(), device=lab.device)
    plan = words(
        say("train.recipe", backbone=config.backbone, sentences=f"{config.train_size:,}", task=config.task,
            epochs=config.epochs),
        say("train.estimate", time=duration(guess.seconds), basis=guess.based_on),
    )  # fmt: skip
    asked = question(
        say("train.question"),
        say("train.answer", batch=config.batch_size, validation=config.validation_size),
    )
    return [plan, asked, *look_at(lab, run_id, {})]


def launch(lab: Lab, seed: float | None) -> tuple[str, Any, Any]:
    """(what happened, the run's id, nothing seen of it yet): the quick preset's LoRA run with this seed is queued."""
    try:
        if seed is None:
            raise ArgumentError(
                expected=tr("a whole number as the seed"), got=tr("nothing"), fix=tr("type one, such as 7")
            )
        (run,) = jobs.launch(lab.store, [lesson.recipe(lesson.LIGHT, seed=int(seed))])
    except (UserError, OSError) as error:
        return note(sentence(error), "warning"), gr.skip(), gr.skip()
    return "", run.id, {}


def look_at(lab: Lab, run_id: str | None, seen: dict[str, Any]) -> list[Any]:
    """(status, chart, Train, Cancel, timer, what was seen), of the run or of an earlier one in its place."""
    run = train_queue.find(lab, run_id)
    shown = run or members(lab).get(lesson.LIGHT)
    alive = run is not None and run.state not in ENDED
    now = {"of": f"{shown.id}:{shown.state}:{_size(shown)}" if shown else "", "drawn": seen.get("drawn", 0.0)}
    draw_now = now["of"] != seen.get("of") and (not alive or time.time() - now["drawn"] > SECONDS_BETWEEN_CHARTS)
    chart = gr.skip()
    if draw_now:
        points = analysis.curves(lab.store, [shown]) if shown else None
        there = points is not None and bool((points["curve"] == "step loss").any())
        chart = gr.update(visible=there, value=charts.curves(points, "step loss", x="step") if there else None)
        now["drawn"] = time.time()
    else:
        now["of"] = seen.get("of")
    return [
        status_html(lab, run),
        chart,
        gr.update(interactive=not alive),
        gr.update(interactive=alive),
        gr.Timer(active=alive),
        now,
    ]


def status_html(lab: Lab, run: Run | None) -> str:
    """How the run stands, with its progress and time left; where none was launched, what to look at instead."""
    earlier = members(lab).get(lesson.LIGHT)
    if run is None:
        return words(say("train.none"), say("train.instead", run=run_name(earlier)) if earlier else "")
    waiting = [other.id for other in lab.store.list() if other.state == "queued"]
    text, done = train_queue.describe(lab, run, place=waiting.index(run.id) + 1 if run.id in waiting else 1)
    key = run.state if run.state in ("queued", "running", "finished") else "ended"
    said = say(f"train.{key}", text=text)
    compared = ""
    if run.state == "finished" and earlier and earlier.id != run.id and _sentences(earlier) == _sentences(run):
        metric = METRICS["test_accuracy"]
        compared = say("train.compared", seed=earlier.recipe.seed, accuracy=f"{metric.show(metric.of(earlier))}%")
    bar = (
        f'<progress max="1" value="{done:.3f}" aria-label="{escape(run_name(run))}"></progress>'
        if run.state == "running"
        else ""
    )
    state = f'<span class="lab-state lab-{run.state}">{escape(run_name(run))}</span>'
    return f'<div class="lab-run">{state}{bar}{words(said, compared)}</div>'


def _sentences(run: Run) -> str:
    return run.result["meta_info"]["dataset_info"]["fingerprint"]


def _size(run: Run) -> int:
    try:
        return (run.folder / "events.jsonl").stat().st_size
    except OSError:
        return 0
