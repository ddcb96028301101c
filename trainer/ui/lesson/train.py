"""Step 3: live training of LoRA, with the class's own number as its seed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis import lesson
from trainer.analysis import tables as analysis
from trainer.errors import ArgumentError, UserError, sentence
from trainer.jobs.progress import duration
from trainer.markup import render
from trainer.runs import estimate
from trainer.runs.metrics import METRICS
from trainer.runs.run import ENDED, Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import charts, launching
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.common.visibility import seen_if
from trainer.ui.lesson.frame import QUIET, Step, controls, members, paragraphs, question, results
from trainer.ui.train import queue as train_queue

SECONDS_BETWEEN_CHARTS = 4.0
"""The least time between two drawings of the chart, as in the Train tab."""
STATES = {
    "running": mark("The run trains: {text}."),
    "finished": mark("The run has finished: {text}."),
}
OTHER_STATE = mark("The run has ended: {text}")


@dataclass(frozen=True)
class View:
    """The components that the step fills; `stored` has the id of the run that this browser launched."""

    stored: gr.BrowserState
    plan: gr.HTML
    launched: gr.HTML
    status: gr.HTML
    chart: gr.Plot
    go: gr.Button
    stop: gr.Button
    timer: gr.Timer
    seen: gr.State
    question: gr.HTML


def build(lab: Lab, stored: gr.BrowserState) -> Step:
    """Lay out the step and connect it."""
    with controls() as heading:
        plan = gr.HTML()
        seed = gr.Number(
            1,
            label=tr("The class's number"),
            info=tr("A whole number from 0 on. It seeds the new weights, the order of the sentences and dropout."),
            precision=0,
        )
        with gr.Row():
            go = gr.Button(tr("Train LoRA"), variant="primary", min_width=140)
            stop = gr.Button(tr("Cancel"), interactive=False, min_width=100)
        launched = gr.HTML()
        question_html = gr.HTML()
    with results():
        status = gr.HTML()
        chart = gr.Plot(label=tr("Training loss by step"), show_label=False, elem_classes="lab-chart")
    timer = gr.Timer(1.5, active=False)
    view = View(stored, plan, launched, status, chart, go, stop, timer, gr.State({}), question_html)
    drawn = [view.status, view.chart, view.go, view.stop, view.timer, view.seen]
    refresh = {
        "fn": isolated(lab, partial(look_at, lab, view)),
        "inputs": [stored, view.seen],
        "outputs": drawn,
        **QUIET,
    }
    started = [view.launched, view.stored, view.seen]
    go.click(guarded(lab, partial(launch, lab, view), message=launched), seed, started, **QUIET).then(**refresh)
    stop.click(guarded(lab, partial(train_queue.cancel, lab)), stored, view.launched, **QUIET).then(**refresh)
    timer.tick(**refresh)
    return Step("train", [stored], [view.plan, view.question, *drawn], partial(draw, lab, view), heading)


def draw(lab: Lab, view: View, run_id: str | None) -> dict[Any, Any]:
    """The plan of the training, the question, and the state of the run that this browser launched."""
    config = lesson.recipe(lesson.LIGHT)
    guess = estimate.estimate(config, earlier=lab.runs(), device=lab.device)
    plan = paragraphs(
        tr(
            "What will train: LoRA on {backbone} with {sentences} sentences of the task {task}, {epochs} epochs.",
            backbone=config.backbone,
            sentences=f"{config.train_size:,}",
            task=config.task,
            epochs=config.epochs,
        ),
        tr(
            "About {time} of training on this machine, estimated from {basis}.",
            time=duration(guess.seconds),
            basis=guess.based_on,
        ),
    )
    answer = tr(
        "An untrained head gives both labels about the same probability, and the loss of a coin flip between two "
        "labels is ln 2 = 0.69. The line jumps because each of its points is one step or a few, each over "
        "{batch} other sentences, some of them harder. The validation loss is steadier: it is always over the "
        "same {validation} sentences.",
        batch=config.batch_size,
        validation=config.validation_size,
    )
    drawn = {
        view.plan: plan,
        view.question: question(
            tr("The first losses are near 0.69. Why there, and why does the line then jump up and down?"), answer
        ),
    }
    return drawn | look_at(lab, view, run_id, {})


def launch(lab: Lab, view: View, seed: float | None) -> dict[Any, Any]:
    """Queue the quick preset's LoRA run with this seed. Returns the run's id, or an error sentence."""
    try:
        if seed is None:
            raise ArgumentError(
                expected=tr("a whole number as the seed"), got=tr("nothing"), fix=tr("type one, such as 7")
            )
        (run,) = launching.launch(lab, [lesson.recipe(lesson.LIGHT, seed=int(seed))])
    except (UserError, OSError) as error:
        return {view.launched: note(sentence(error), "warning")}
    return {view.launched: "", view.stored: run.id, view.seen: {}}


def look_at(lab: Lab, view: View, run_id: str | None, seen: dict[str, Any]) -> dict[Any, Any]:
    """The updates with the run's status and chart, or an earlier run's if there is none.

    `seen` is the state at the last drawing ("of") and its time ("drawn"): a chart is drawn again when something
    changed, at most once in `SECONDS_BETWEEN_CHARTS` while the run trains.
    """
    run = train_queue.find(lab, run_id)
    shown = run or members(lab).get(lesson.LIGHT)
    alive = run is not None and run.state not in ENDED
    drawn = {
        view.status: status_html(lab, run),
        view.go: gr.update(interactive=not alive),
        view.stop: gr.update(interactive=alive),
        view.timer: gr.Timer(active=alive),
    }
    now = f"{shown.id}:{shown.state}:{_size(shown)}" if shown else ""
    last = seen.get("drawn", 0.0)
    if now == seen.get("of") or (alive and time.time() - last <= SECONDS_BETWEEN_CHARTS):
        return drawn | {view.seen: {"of": seen.get("of"), "drawn": last}}
    points = analysis.curves(lab.store, [shown]) if shown else None
    there = points is not None and bool((points["curve"] == "step loss").any())
    chart = charts.curves(points, "step loss", x="step") if there else None
    return drawn | {
        view.chart: gr.update(value=chart, **seen_if(there, "lab-chart")),
        view.seen: {"of": now, "drawn": time.time()},
    }


def status_html(lab: Lab, run: Run | None) -> str:
    """The run's state, progress and remaining time as HTML; without a run, a reference to an earlier one."""
    earlier = members(lab).get(lesson.LIGHT)
    if run is None:
        return paragraphs(
            tr("Nothing trains yet."),
            tr(
                "If you cannot train now, look at the chart: it is of {run}, which was trained earlier.",
                run=run_name(earlier),
            )
            if earlier
            else "",
        )
    text, done = train_queue.describe(lab, run)
    compared = ""
    if run.state == "finished" and earlier and earlier.id != run.id and _sentences(earlier) == _sentences(run):
        metric = METRICS["test_accuracy"]
        accuracy = f"{metric.show(metric.of(earlier))}%"
        compared = tr(
            "The run of the store with seed {seed} has {accuracy} right on the same test sentences.",
            seed=earlier.recipe.seed,
            accuracy=accuracy,
        )
    state = _waits_for(lab, run) if run.state == "queued" else tr(STATES.get(run.state, OTHER_STATE), text=text)
    return render("lesson/run.html", run=run, name=run_name(run), done=done, texts=[state, compared])


def _waits_for(lab: Lab, run: Run) -> str:
    """What a queued run waits for: the run that trains, those that come before it, or the process that begins it."""
    runs = lab.runs()
    running = next((other for other in runs if other.state == "running"), None)
    queued = [other.id for other in runs if other.state == "queued"]
    before = queued.index(run.id) if run.id in queued else 0
    parts = []
    if running is not None:
        text, _ = train_queue.describe(lab, running)
        parts.append(tr("The run waits for {run}, which trains now: {text}.", run=run_name(running), text=text))
    if before:
        parts.append(
            tr_count(
                "{count} more run comes before it in the queue.",
                "{count} more runs come before it in the queue.",
                before,
            )
        )
    return " ".join(parts) or tr("The run waits for its process, which starts in a few seconds.")


def _sentences(run: Run) -> str:
    return run.split_fingerprint


def _size(run: Run) -> int:
    try:
        return (run.folder / "events.jsonl").stat().st_size
    except OSError:
        return 0
