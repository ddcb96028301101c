"""The common parts of the lesson's steps: heading, goal, task, and a question with a hidden answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trainer.analysis import lesson
from trainer.markup import render
from trainer.runs.metrics import Metric
from trainer.runs.run import Run
from trainer.texts import mark, tr
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab, method_title
from trainer.ui.common.tables import Column
from trainer.ui.lesson.papers import linked
from trainer.ui.lesson.steps import STEPS

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
SHOW_RESULTS = {"fn": None, "js": "() => labLessonResults()", **QUIET}
"""The listener that goes to what a press brought (lesson.js)."""
NEEDS_TWO_RUNS = mark(
    "This step needs two finished runs on the same sentences. In the Train tab choose the preset Quick and press "
    "Train: all five methods take a few minutes on two cores."
)


OWN = "own"
"""The key of the class's own run in `members_with_own`, beside the names of methods."""


@dataclass(frozen=True)
class Step:
    """A step on the page. `draw` takes the values of `inputs` and returns a dict keyed by `outputs`."""

    name: str
    inputs: list[Any]
    outputs: list[Any]
    draw: Callable[..., dict[Any, Any]]
    heading: gr.HTML | None = None


@contextmanager
def controls() -> Iterator[gr.HTML]:
    """Lay out the left half of a step, or its upper part on a narrow page; yields the component of its heading."""
    with gr.Column(scale=2, min_width=320, elem_classes="lab-lesson-controls"):
        yield gr.HTML()


def results() -> gr.Column:
    """The right half of a step, which stays in view beside the controls; below them on a narrow page."""
    return gr.Column(scale=3, min_width=320, elem_classes="lab-lesson-results")


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
    return render("lesson/question.html", text=linked(text), answer=linked(answer), more=more)


def paragraphs(*texts: str) -> str:
    """The texts that are not empty, each as a paragraph of HTML."""
    return render("lesson/paragraphs.html", texts=texts)


def metric_heading(metric: Metric) -> Column:
    """A metric's heading with its help."""
    return Column(charts.title(metric), tr(metric.help), csv=metric.title)


def members(lab: Lab) -> dict[str, Run]:
    """Method -> the run that represents it in the lesson."""
    return lesson.members(lab.runs())


def members_with_own(lab: Lab, run_id: str | None) -> dict[str, Run]:
    """`members`, and as `OWN` the run that the class trained in step 3, where it has finished on the same split.

    It may have fewer training sentences, as step 3 gives it; its test sentences are among theirs, and in no training.
    """
    runs, own = members(lab), lab.find(run_id)
    if own is None or not own.result or own.id in {run.id for run in runs.values()}:
        return runs
    return runs | {OWN: own} if len({_split(run) for run in (own, *runs.values())}) == 1 else runs


def _split(run: Run) -> tuple[Any, ...]:
    return run.recipe.task, run.label_names, run.recipe.split_seed, run.recipe.backbone


def title_of(key: str, run: Run) -> str:
    """The name of a run of `members_with_own` in a step."""
    if key != OWN:
        return method_title(run.recipe.method)
    return tr(
        "{method}, the class's run (seed {seed}, {count} sentences)",
        method=method_title(run.recipe.method),
        seed=run.recipe.seed,
        count=f"{run.result.meta_info.dataset_info.sizes.train:,}",
    )


def titles(runs: Mapping[str, Run]) -> dict[str, str]:
    """Run's id -> its name in a step."""
    return {run.id: title_of(key, run) for key, run in runs.items()}
