"""Lesson: seven steps for a class of fifty minutes, drawn one at a time when they are opened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer.ui.common import tables
from trainer.ui.common.lab import Lab
from trainer.ui.lesson import choose as lesson_choose
from trainer.ui.lesson import cost as lesson_cost
from trainer.ui.lesson import curves as lesson_curves
from trainer.ui.lesson import drawing as lesson_drawing
from trainer.ui.lesson import frame as lesson_frame
from trainer.ui.lesson import frozen as lesson_frozen
from trainer.ui.lesson import real as lesson_real
from trainer.ui.lesson import split as lesson_split
from trainer.ui.lesson import train as lesson_train
from trainer.ui.lesson.frame import QUIET, heading, steps_list
from trainer.ui.lesson.text import STEPS, say
from trainer.ui.live import tab as live_tab

TAB = "lesson"
CSS = lesson_frame.CSS + lesson_drawing.CSS + lesson_cost.CSS + lesson_split.CSS + lesson_real.CSS + lesson_choose.CSS
TO_THE_TITLE = """() => { setTimeout(() => {
  const title = document.querySelector(".lab-lesson-title");
  title?.focus({preventScroll: true});
  title?.scrollIntoView({block: "start"});
}, 100); }"""
"""A new step is read from its beginning, by eye and by screen reader."""


@dataclass(frozen=True)
class Kept:
    """What a browser keeps of the lesson: the step, the room's guesses and sentences, the run that it trains."""

    place: gr.BrowserState
    guesses: gr.BrowserState
    run: gr.BrowserState
    room: gr.BrowserState


def states() -> Kept:
    """To be made outside the tabs: what lies in a tab is not there before the tab is opened."""
    return Kept(
        *(
            gr.BrowserState(default, storage_key=f"peft-lab-lesson-{name}", secret="the lesson holds no secret")
            for name, default in (("step", 0), ("guesses", []), ("run", None), ("sentences", []))
        )
    )


def build(lab: Lab, *, tab: gr.Tab, page: gr.Blocks, tabs: gr.Tabs, kept: Kept, live: live_tab.Live) -> None:
    """Lay out the tab and connect it; nothing is drawn before the tab is opened."""
    listed = gr.HTML(js_on_load=tables.PICK)
    head = gr.HTML()
    columns, steps = [], []
    with gr.Column(elem_classes="lab-lesson-all"):
        for name in STEPS:
            # Hidden, not absent: a column that is told twice to be absent before it is first seen never comes.
            with gr.Column(visible="hidden") as column:
                columns.append(column)
                if name == "split":
                    step, look, text = lesson_split.build(lab, kept.room)
                    look.click(_to_live, text, [live.text, tabs], **live_tab.NEWEST).then(**live.ask)
                else:
                    step = _STEPS[name](lab, kept)
                steps.append(step)
    with gr.Row():
        back = gr.Button(say("lesson.back"), interactive=False, min_width=120)
        onward = gr.Button(say("lesson.next"), variant="primary", min_width=120)

    place = kept.place
    inputs = [place, *(part for step in steps for part in step.inputs)]
    outputs = [part for step in steps for part in step.outputs]
    frame = [listed, head, *columns, back, onward]
    show = {"fn": show_step, "inputs": place, "outputs": frame, **QUIET}
    draw = {"fn": partial(draw_step, steps), "inputs": inputs, "outputs": outputs, **QUIET}
    tab.select(**show).then(**draw)
    for listen, move in (
        (partial(listed.select, chosen, None), None),
        (back.click, -1),
        (onward.click, +1),
    ):
        moved = listen(place, **QUIET) if move is None else listen(partial(step_on, move), place, place, **QUIET)
        moved.then(**show).then(**draw).then(None, None, None, js=TO_THE_TITLE, **QUIET)
    page.load(arrive, place, [place, tabs], **QUIET)


_STEPS = {
    "frozen": lambda lab, kept: lesson_frozen.build(),
    "cost": lambda lab, kept: lesson_cost.build(lab, kept.guesses),
    "train": lambda lab, kept: lesson_train.build(lab, kept.run),
    "curves": lambda lab, kept: lesson_curves.build(lab),
    "real": lambda lab, kept: lesson_real.build(lab),
    "choose": lambda lab, kept: lesson_choose.build(lab),
}


def chosen(event: gr.EventData) -> int:
    """The step that was pressed in the list."""
    return at(event.value)


def step_on(move: int, place: Any) -> int:
    """The next step or the one before; after the last one the first."""
    return at(place) + move if 0 <= at(place) + move < len(STEPS) else 0


def at(place: Any) -> int:
    """A kept or asked-for step as a number from 0; the first one where it is none."""
    try:
        found = int(place)
    except (TypeError, ValueError):
        return 0
    return found if 0 <= found < len(STEPS) else 0


def show_step(place: Any) -> list[Any]:
    """(the list of steps, the heading, which step is seen, Back, Next)."""
    here = at(place)
    last = here == len(STEPS) - 1
    return [
        steps_list(here),
        heading(here),
        *(gr.update(visible=True if i == here else "hidden") for i in range(len(STEPS))),
        gr.update(interactive=here > 0),
        gr.update(value=say("lesson.again" if last else "lesson.next")),
    ]


def draw_step(steps: list[lesson_frame.Step], place: Any, *values: Any) -> list[Any]:
    """What the seen step shows; all others stay as they are."""
    drawn, start = [], 0
    for i, step in enumerate(steps):
        own = values[start : start + len(step.inputs)]
        start += len(step.inputs)
        drawn += step.draw(*own) if i == at(place) else [gr.skip()] * len(step.outputs)
    return drawn


def arrive(place: Any, request: gr.Request) -> tuple[Any, Any]:
    """(step, tabs) of a page whose address is `?tab=lesson`, with `&step=3` at the third step; others stay."""
    asked = request.query_params
    if asked.get("tab") != TAB:
        return gr.skip(), gr.skip()
    return at(int(asked["step"]) - 1) if asked.get("step", "").isdecimal() else at(place), gr.Tabs(selected=TAB)


def _to_live(text: str | None) -> tuple[Any, gr.Tabs]:
    """(the sentence in Live, the tab)."""
    return text or gr.skip(), gr.Tabs(selected="live")
