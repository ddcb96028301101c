"""The common parts of the lesson's steps: heading, goal, task, and a question with a hidden answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.analysis import lesson
from trainer.markup import render
from trainer.runs.metrics import Metric
from trainer.runs.store import Run
from trainer.texts import mark
from trainer.ui.common.lab import Lab
from trainer.ui.common.tables import Column
from trainer.ui.lesson.steps import STEPS

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
NEEDS_TWO_RUNS = mark(
    "This step needs two finished runs on the same sentences. In the Train tab choose the preset Quick and press "
    "Train: all five methods take a few minutes on two cores."
)


@dataclass(frozen=True)
class Step:
    """A step on the page. `draw` takes the values of `inputs` and returns a dict keyed by `outputs`."""

    name: str
    inputs: list[Any]
    outputs: list[Any]
    draw: Callable[..., dict[Any, Any]]


def heading(index: int) -> str:
    """The title, minutes, goal and task of a step as HTML; before the first one an introduction."""
    steps = list(STEPS.values())
    start = sum(step.minutes for step in steps[:index])
    total = sum(step.minutes for step in steps)
    return render("lesson/heading.html", step=steps[index], number=index + 1, start=start, total=total)


def steps_list(index: int) -> str:
    """The steps as buttons, the current one marked; `tables.PICK` turns a press into the step's index."""
    return render("lesson/steps.html", steps=STEPS.values(), current=index)


def question(text: str, answer: str, *, more: str = "") -> str:
    """A question with an answer that opens on a press, as HTML; `more` is HTML below the answer."""
    return render("lesson/question.html", text=text, answer=answer, more=more)


def paragraphs(*texts: str) -> str:
    """The texts that are not empty, each as a paragraph of HTML."""
    return render("lesson/paragraphs.html", texts=texts)


def metric_heading(metric: Metric) -> Column:
    """A metric's heading with its help."""
    return Column.named(metric.title, metric.help)


def members(lab: Lab) -> dict[str, Run]:
    """Method -> the run that represents it in the lesson."""
    return lesson.members(lab.runs())
