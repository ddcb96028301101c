"""The Lesson tab: seven steps for a class of fifty minutes, each drawn when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer.texts import tr
from trainer.ui import static
from trainer.ui.common import tables
from trainer.ui.common.isolation import damaged_html, isolated
from trainer.ui.common.lab import Lab, endpoint
from trainer.ui.lesson import choose as lesson_choose
from trainer.ui.lesson import cost as lesson_cost
from trainer.ui.lesson import curves as lesson_curves
from trainer.ui.lesson import frame as lesson_frame
from trainer.ui.lesson import frozen as lesson_frozen
from trainer.ui.lesson import real as lesson_real
from trainer.ui.lesson import split as lesson_split
from trainer.ui.lesson import train as lesson_train
from trainer.ui.lesson.frame import QUIET, heading, steps_list
from trainer.ui.lesson.steps import STEPS
from trainer.ui.live import tab as live_tab

TAB = "lesson"


@dataclass(frozen=True)
class Stored:
    """The lesson's values that a browser stores: the step, the room's guesses and sentences, the run that it trains."""

    index: gr.BrowserState
    guesses: gr.BrowserState
    run: gr.BrowserState
    room: gr.BrowserState


@dataclass(frozen=True)
class View:
    """The frame around the steps: the list of steps, damaged runs, a heading and a column a step, the buttons."""

    contents: gr.HTML
    damaged: gr.HTML
    headings: Sequence[gr.HTML]
    columns: Sequence[gr.Column]
    back: gr.Button
    onward: gr.Button


def states() -> Stored:
    """The stored values; call outside the tabs, whose components do not exist before a tab is opened."""
    return Stored(
        *(
            gr.BrowserState(default, storage_key=f"peft-lab-lesson-{name}", secret="the lesson holds no secret")
            for name, default in (("step", 0), ("guesses", []), ("run", None), ("sentences", []))
        )
    )


def build(lab: Lab, *, tab: gr.Tab, page: gr.Blocks, tabs: gr.Tabs, stored: Stored, live: live_tab.Live) -> None:
    """Lay out the tab and connect it; nothing is drawn before the tab is opened."""
    with gr.Column(elem_classes="lab-lesson"):
        contents = gr.HTML(js_on_load=tables.PICK, elem_classes="lab-lesson-list")
        damaged = gr.HTML()
        steps = {}
        for name in STEPS:
            # Not by `seen_if`: a step is drawn when it is opened.
            with gr.Column(visible="hidden") as column, gr.Row(elem_classes="lab-lesson-row"):
                if name == "split":
                    step, live_button, text = lesson_split.build(lab, stored.room, stored.run)
                    to_live = partial(open_live, live, tabs)
                    live_button.click(to_live, text, [live.text, tabs], **live_tab.NEWEST).then(**live.predict)
                else:
                    step = BUILDERS[name](lab, stored)
            steps[column] = step
        with gr.Row(elem_classes="lab-lesson-buttons"):
            back = gr.Button(tr("Back"), interactive=False, min_width=100)
            onward = gr.Button(tr("Next step"), variant="primary", min_width=100)
            present = gr.Button(tr("Presentation mode"), min_width=100, elem_id="lab-present")
    headings = [step.heading for step in steps.values()]
    view = View(contents, damaged, headings, list(steps), back, onward)
    _connect(lab, view, list(steps.values()), tab=tab, index=stored.index)
    present.click(None, None, None, js="() => labPresent()", **QUIET)
    # In the browser: an answer of the server may come after a person has pressed another step.
    page.load(None, stored.index, stored.index, js=static.read("lesson.js"), **QUIET)
    # The tab may have been opened, and its step drawn, before the address was read.
    page.load(endpoint(arrive, tabs), None, tabs, **QUIET).then(
        None, None, None, js="() => window.labLessonArrive?.()", **QUIET
    )


def _connect(lab: Lab, view: View, steps: list[lesson_frame.Step], *, tab: gr.Tab, index: gr.BrowserState) -> None:
    """Connect the events that open a step: they show its frame, draw its content, and focus its heading.

    The content is `isolated`; the damaged runs are listed after it, for it reads their files.
    """
    frame = [view.contents, *view.headings, *view.columns, view.back, view.onward]
    show = {"fn": partial(show_step, view), "inputs": index, "outputs": frame, **QUIET}
    draw = {
        "fn": isolated(lab, partial(draw_step, steps, index)),
        "inputs": {index, *(part for step in steps for part in step.inputs)},
        "outputs": [part for step in steps for part in step.outputs],
        **QUIET,
    }
    damaged = {"fn": partial(damaged_html, lab), "inputs": None, "outputs": view.damaged, **QUIET}
    opened = tab.select(**show).then(**draw).then(**damaged)
    opened.then(None, index, None, js="index => labLessonStep(index, false)", **QUIET)
    for moved in (
        view.contents.select(chosen, None, index, **QUIET),
        view.back.click(partial(step_on, -1), index, index, **QUIET),
        view.onward.click(partial(step_on, +1), index, index, **QUIET),
    ):
        moved.then(**show).then(**draw).then(**damaged).then(
            None, index, None, js="index => labLessonStep(index, true)", **QUIET
        )


BUILDERS = {
    "frozen": lambda lab, stored: lesson_frozen.build(),
    "cost": lambda lab, stored: lesson_cost.build(lab, stored.guesses),
    "train": lambda lab, stored: lesson_train.build(lab, stored.run),
    "curves": lambda lab, stored: lesson_curves.build(lab, stored.run),
    "real": lambda lab, stored: lesson_real.build(lab, stored.run),
    "choose": lambda lab, stored: lesson_choose.build(lab),
}


def chosen(event: gr.EventData) -> int:
    """The step that was pressed in the list."""
    return at(event.value)


def step_on(move: int, index: Any) -> int:
    """The index of the next or the previous step; after the last one the first."""
    return at(index) + move if 0 <= at(index) + move < len(STEPS) else 0


def at(index: Any) -> int:
    """A valid step index from a value of the browser or an address; 0 for an invalid one."""
    try:
        number = int(index)
    except (TypeError, ValueError):
        return 0
    return number if 0 <= number < len(STEPS) else 0


def show_step(view: View, index: Any) -> dict[Any, Any]:
    """The list of steps, the heading, the column of the step, Back and Next."""
    here = at(index)
    last = here == len(STEPS) - 1
    return {
        view.contents: steps_list(here),
        **{component: heading(i) if i == here else "" for i, component in enumerate(view.headings)},
        **{column: gr.update(visible=True if i == here else "hidden") for i, column in enumerate(view.columns)},
        view.back: gr.update(interactive=here > 0),
        view.onward: gr.update(value=tr("Back to the first step") if last else tr("Next step")),
    }


def draw_step(steps: list[lesson_frame.Step], index: gr.BrowserState, values: dict[Any, Any]) -> dict[Any, Any]:
    """The updates of the current step only. `values` has the inputs of all steps."""
    step = steps[at(values[index])]
    return step.draw(*(values[component] for component in step.inputs))


def arrive(tabs: gr.Tabs, request: gr.Request) -> dict[Any, Any]:
    """The tab of a page whose address is `?tab=lesson`; lesson.js opens the address's step.

    `?present=1` alone opens the lesson too; the page itself then draws it for a projector (lesson.js).
    """
    if request.query_params.get("tab", TAB if request.query_params.get("present") == "1" else "") != TAB:
        return gr.skip()
    return {tabs: gr.Tabs(selected=TAB)}


def open_live(live: live_tab.Live, tabs: gr.Tabs, text: str | None) -> dict[Any, Any]:
    """Open the Live tab with the sentence."""
    selected = {tabs: gr.Tabs(selected="live")}
    return selected | {live.text: text} if text else selected
