"""Step 7: which method when, with its price in this store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer import methods
from trainer.analysis import lesson
from trainer.analysis.figures import show
from trainer.markup import render
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common.lab import Lab
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.lesson.frame import Step, members, metric_heading, question
from trainer.ui.lesson.papers import linked
from trainer.ui.live.groups import backbone_name

FIGURES = ("test_accuracy", "file_size", "train_minutes", "peak_memory")
TASKS = 40
"""The number of tasks in the exit question."""
RULES = {
    "full": mark(
        "There is one task, enough labelled sentences and memory, and the last point of accuracy counts. Test "
        "whether it gives one."
    ),
    "lora": mark("Many tasks share one backbone, or what is saved and sent must be small."),
    "qlora": mark(
        "The frozen weights themselves do not fit into the memory. On an encoder as small as MiniLM it saves nothing."
    ),
    "adapter": mark("Modules are to be added, exchanged and combined later; bottlenecks can be fused."),
    "adapter_fusion": mark("There are few sentences for this task, and adapters of related tasks exist already."),
}
"""Advice for each method; others show their summary."""


@dataclass(frozen=True)
class View:
    """The components that the step fills."""

    rules: gr.HTML
    question: gr.HTML


def build(lab: Lab) -> Step:
    """Lay out the step."""
    with gr.Column():
        heading, view = gr.HTML(), View(gr.HTML(), gr.HTML())
    return Step("choose", [], [view.rules, view.question], partial(draw, lab, view), heading)


def draw(lab: Lab, view: View) -> dict[Any, Any]:
    """The table of rules with this store's figures, and the exit question."""
    runs = members(lab)
    return {view.rules: rules(runs), view.question: exit_question(lab, runs)}


def rules(runs: dict[str, Run]) -> str:
    """The rules as HTML: a row a method with advice, its figures in this store, and the paper."""
    columns = [
        Column.named(mark("Choose"), numeric=False),
        Column.named(mark("When"), numeric=False),
        *(metric_heading(METRICS[key]) for key in FIGURES),
        Column.named(mark("The method's paper"), numeric=False),
    ]
    rows = []
    for name, method in ((name, methods.get(name)) for name in methods.DEFAULT):
        run = runs.get(name)
        figures = [METRICS[key].of(run) if run else None for key in FIGURES]
        rows.append(
            [
                Cell(tr(method.title)),
                Cell(tr(RULES.get(name, method.summary))),
                *(Cell(show(METRICS[key], value), value) for key, value in zip(FIGURES, figures, strict=True)),
                Cell(method.paper, markup=linked(method.paper)),
            ]
        )
    grid = table(columns, rows, name="what-to-choose", title=tr("What to choose when"), sortable=False)
    return render("lesson/rules.html", table=grid, sources=_sources(runs))


def _sources(runs: dict[str, Run]) -> list[str]:
    sources = []
    if runs:
        run = next(iter(runs.values()))
        meta = run.result.meta_info
        sources.append(
            tr(
                "Figures are of the runs in this store: {backbone}, {sentences} training sentences, on {device}. "
                "Another backbone, task or device gives others.",
                backbone=backbone_name(run),
                sentences=f"{meta.dataset_info.sizes.train:,}",
                device=meta.system_info.device,
            )
        )
    if len(runs) < len(methods.DEFAULT):
        sources.append(tr("A dash means that no run of that method is in the store."))
    return sources


def exit_question(lab: Lab, runs: dict[str, Run]) -> str:
    """The exit question on storage for many tasks, with an answer from the lesson's costs."""
    light, reference = (
        lesson.cost(name, runs, device=lab.device).figures["file_size"] for name in (lesson.LIGHT, lesson.REFERENCE)
    )
    answer = tr(
        "A small module a task over one frozen encoder: LoRA or an adapter. Here {tasks} tasks with LoRA take "
        "{light_size} beside the encoder of {encoder_size}; {tasks} fully fine-tuned models take "
        "{reference_size}. Where related tasks have adapters already, AdapterFusion is worth a try.",
        tasks=TASKS,
        light_size=size(TASKS * light),
        encoder_size=size(reference),
        reference_size=size(TASKS * reference),
    )
    html = question(
        tr(
            "An app must serve {tasks} tasks over one shared encoder, each with a few hundred labelled sentences. "
            "What do you train, and what does it weigh?",
            tasks=TASKS,
        ),
        answer,
    )
    return render("lesson/exit.html", question=html)


def size(megabytes: float) -> str:
    """Megabytes, or gigabytes from a thousand on."""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
