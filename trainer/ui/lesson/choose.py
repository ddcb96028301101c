"""Step 7: which method when, with its price in this store."""

from __future__ import annotations

from functools import partial

import gradio as gr

from trainer import methods
from trainer.analysis import lesson
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run
from trainer.texts import tr
from trainer.ui.common.lab import Lab, escape
from trainer.ui.common.tables import Cell, table
from trainer.ui.lesson.frame import Step, heading_of, members, metric_heading, question, words
from trainer.ui.lesson.text import TEXTS, say
from trainer.ui.live.groups import backbone_name

FIGURES = ("test_accuracy", "file_size", "train_minutes", "peak_memory")
TASKS = 40
"""How many the exit question asks about."""

CSS = """
.lab-choose .lab-table td.lab-words { min-width: 16em; }
.lab-choose .lab-table tbody th { vertical-align: middle; }
"""


def build(lab: Lab) -> Step:
    """Lay out the step."""
    shown, asked = gr.HTML(), gr.HTML()
    return Step("choose", [], [shown, asked], partial(draw, lab))


def draw(lab: Lab) -> list[str]:
    """(the table of rules with this store's figures, the exit question)."""
    runs = members(lab)
    return [rules(runs), exit_question(lab, runs)]


def rules(runs: dict[str, Run]) -> str:
    """A row a method: when to choose it, its figures here, and the paper."""
    columns = [
        heading_of("choose.column.method", numeric=False),
        heading_of("choose.column.when", numeric=False),
        *(metric_heading(METRICS[key]) for key in FIGURES),
        heading_of("choose.column.paper", numeric=False),
    ]
    rows = []
    for name, method in methods.METHODS.items():
        run = runs.get(name)
        figures = [METRICS[key].of(run) if run else None for key in FIGURES]
        key = f"choose.when.{name}"
        rows.append(
            [
                Cell(tr(method.title)),
                Cell(say(key) if key in TEXTS else tr(method.summary)),
                *(Cell(METRICS[key].show(value), value) for key, value in zip(FIGURES, figures, strict=True)),
                Cell(method.paper),
            ]
        )
    grid = table(columns, rows, name="what-to-choose", title=say("choose.table"), sortable=False)
    return f'<div class="lab-choose">{grid}</div>{words(*_sources(runs))}'


def _sources(runs: dict[str, Run]) -> list[str]:
    said = []
    if runs:
        run = next(iter(runs.values()))
        meta = run.result["meta_info"]
        said.append(
            say(
                "choose.figures",
                backbone=backbone_name(run),
                sentences=f"{meta['dataset_info']['sizes']['train']:,}",
                device=meta["system_info"]["device"],
            )
        )
    if len(runs) < len(methods.METHODS):
        said.append(say("choose.no_figures"))
    return said


def exit_question(lab: Lab, runs: dict[str, Run]) -> str:
    """Storage for many tasks, from the lesson's costs."""
    light, reference = (
        lesson.cost(name, runs, device=lab.device).figures["file_size"] for name in (lesson.LIGHT, lesson.REFERENCE)
    )
    answer = say(
        "choose.answer",
        tasks=TASKS,
        light_size=size(TASKS * light),
        encoder_size=size(reference),
        reference_size=size(TASKS * reference),
    )
    end = f"<p><strong>{escape(say('choose.end'))}</strong></p>"
    return question(say("choose.question", tasks=TASKS), answer) + end


def size(megabytes: float) -> str:
    """Megabytes, or gigabytes from a thousand on."""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
