"""Live: runs of the task without their weights, each recipe with a button that trains it, and damaged runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer.analysis.variants import variants
from trainer.errors import UserError, sentence
from trainer.jobs import queue as jobs
from trainer.markup import render
from trainer.runs.metrics import METRICS
from trainer.texts import tr
from trainer.ui.common import launching, tables
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import damaged_html, isolated
from trainer.ui.common.lab import Lab, note
from trainer.ui.live.groups import Group, groups
from trainer.ui.live.selection import able, task_of

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def build(lab: Lab, tab: gr.Tab, page: gr.Blocks, task: gr.Dropdown) -> dict[str, Any]:
    """Lay out the note and connect it; `task` chooses the task. Returns the event that draws it again."""
    missing = gr.HTML(js_on_load=tables.PICK)
    status = gr.HTML()
    chosen = gr.State(None)
    refresh = {"fn": isolated(lab, partial(missing_html, lab)), "inputs": task, "outputs": missing, **QUIET}
    for listen in (page.load, tab.select, task.change):
        listen(**refresh)
    tab.select(lambda: "", None, status, **QUIET)
    missing.select(pressed, None, chosen, **QUIET).then(
        guarded(lab, partial(train_again, lab)), chosen, status, **QUIET
    ).then(**refresh)
    return refresh


def missing_html(lab: Lab, key: str | None = None) -> str:
    """A line for each recipe without weights as HTML, with a button that trains it, or that it is training.

    With the key of a task those of that task. Below them the number of other runs without weights, and damaged runs.
    """
    tasks = groups(able(lab))
    task = task_of(tasks, key) if tasks else None
    size = METRICS["file_size"]
    lacking = [
        (run, trains)
        for run, trains in jobs.without_weights(lab.store)
        if lab.drawable([run]) and (task is None or key is None or run.recipe.task == task.runs[0].recipe.task)
    ]
    names = variants([run for run, _ in lacking])
    runs = [
        {
            "id": run.id,
            "method": names[run.id],
            "trains": trains,
            "size": f"{size.of(run):,.0f}",
            "seconds": _seconds(run),
        }
        for run, trains in lacking
    ]
    others = _others(lab, task, [run["id"] for run in runs]) if task else 0
    return render("live/missing.html", runs=runs, others=others) + damaged_html(lab)


def _others(lab: Lab, task: Group, named: list[str]) -> int:
    """The number of the task's finished runs whose weights are not here, without those that are named."""
    of_task = [run for run in lab.runs() if run.state == "finished" and run.recipe.task == task.runs[0].recipe.task]
    return sum(not run.can_predict and run.id not in named for run in of_task)


def _seconds(run: Any) -> str:
    """The original training time in seconds, rounded up to tens, since this machine may differ."""
    return f"{-(-run.result.train_info.train_time // 10) * 10:,.0f}"


def pressed(event: gr.EventData) -> str:
    """The id of the run whose button was pressed."""
    return str(event.value)


def train_again(lab: Lab, run_id: str) -> str:
    """Queue the run's recipe. Returns a message as HTML."""
    try:
        launching.retrain(lab, run_id)
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(tr("It is queued and goes on without this page; the Train tab shows its progress."))
