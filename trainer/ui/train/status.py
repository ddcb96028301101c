"""A run's state in words: what it waits for, how far it is, what came out. Imports no Gradio."""

from __future__ import annotations

from typing import Any

from trainer.analysis import baseline
from trainer.analysis import tables as analysis
from trainer.jobs.progress import duration
from trainer.runs.run import ENDED, Run
from trainer.texts import mark, tr
from trainer.ui.common.lab import Lab


def describe(lab: Lab, run: Run, *, queue_position: int = 1) -> tuple[str, float]:
    """(a sentence on a run's state, the completed share of its steps). `queue_position` counts queued runs from 1."""
    if run.state == "finished":
        return finished_text(lab, run), 1.0
    if run.state in ENDED:
        return lab.shown(tr(run.error or "")), 0.0
    if run.state == "queued":
        before = queue_position - 1
        return tr("{count} before it in the queue", count=before) if before else tr("comes next"), 0.0
    step = last_step(lab, run)
    if step is None:
        return tr("loading the task and the backbone"), 0.0
    if step["step"] >= step["total_steps"]:
        return tr(
            "all {steps} steps are done: it is evaluated and its costs are measured", steps=f"{step['step']:,}"
        ), 1.0
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
    """A run's newest "step" event, or None."""
    events, _ = lab.store.events(run.id)
    return next((event for event in reversed(events) if event["type"] == "step"), None)


def finished_text(lab: Lab, run: Run) -> str:
    """A finished run's accuracy, and how it came about."""
    accuracy = accuracy_text(lab, run)
    if (label := baseline.only_label(run)) is not None:
        accuracy = tr("predicts one label only, {label}: {accuracy}", label=label, accuracy=accuracy)
    if run.adopted:
        return tr("{accuracy}, trained elsewhere, evaluated here", accuracy=accuracy)
    if run.bundled:
        whole = tr("{accuracy}, example run", accuracy=accuracy)
        return whole if run.can_predict else tr("{accuracy}, example run without its weights", accuracy=accuracy)
    time = duration(run.result.train_info.train_time)
    return tr("{accuracy}, trained in {time}", accuracy=accuracy, time=time)


def accuracy_text(lab: Lab, run: Run) -> str:
    """A finished run's test accuracy with its interval at 95% and its number of sentences."""
    accuracy, count = percent(run.result.test.accuracy), f"{run.result.meta_info.dataset_info.sizes.test:,}"
    if ends := interval(lab, run):
        text = (
            mark("test exact match {accuracy}% (interval {low} to {high}, {count} sentences)")
            if run.multi_label
            else mark("test accuracy {accuracy}% (interval {low} to {high}, {count} sentences)")
        )
        return tr(text, accuracy=accuracy, low=percent(ends[0]), high=percent(ends[1]), count=count)
    if run.multi_label:
        return tr("test exact match {accuracy}% ({count} sentences)", accuracy=accuracy, count=count)
    return tr("test accuracy {accuracy}% ({count} sentences)", accuracy=accuracy, count=count)


def interval(lab: Lab, run: Run) -> tuple[float, float] | None:
    """The interval of a finished run's test accuracy at 95%, as shares; None where it is not known."""
    key = run.folder, run.split_fingerprint, run.result.test.accuracy
    return lab.intervals.get(key, lambda: analysis.accuracy_interval([run], "test_accuracy", store=lab.store))


def percent(share: float) -> str:
    """A share in per cent, with one decimal place and without the sign."""
    return f"{100 * share:.1f}"
