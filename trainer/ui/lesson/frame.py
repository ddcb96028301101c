"""What every step of the lesson has: its heading, goal and task, and a question whose answer is hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.analysis import lesson
from trainer.runs.metrics import Metric
from trainer.runs.store import Run
from trainer.texts import tr
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.tables import Column
from trainer.ui.lesson.text import MINUTES, STEPS, english, say

QUIET = {"api_visibility": "private", "show_progress": "hidden"}

CSS = """
.lab-lesson-steps ol { list-style: none; margin: 8px 0 !important; padding: 0 !important; display: grid; gap: 6px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 165px), 1fr)); }
.lab-lesson-steps li { margin: 0 !important; }
.lab-lesson-steps .lab-pick { height: 100%; line-height: 1.35; }
.lab-lesson-steps .lab-pick[aria-current] { border-color: var(--color-accent); border-width: 2px; font-weight: 700; }
.lab-lesson-steps .lab-pick[aria-current]::before { content: "▶ "; }
.lab-lesson-all { gap: 0 !important; }
.lab-lesson-title { font-size: 24px; font-weight: 700; margin: 8px 0 2px; outline-offset: 4px; }
.lab-lesson-words { font-size: 18px; line-height: 1.5; margin: 6px 0; max-width: 75ch; }
.lab-question { border-left: 4px solid var(--color-accent); padding: 4px 14px; margin: 10px 0; font-size: 18px;
  line-height: 1.5; max-width: 80ch; }
.lab-question h3 { font-size: 18px; font-weight: 700; margin: 4px 0; }
.lab-question summary, .lab-shut > summary { cursor: pointer; font-size: 18px; padding: 4px 0; width: fit-content;
  text-decoration: underline; text-underline-offset: 4px; }
.lab-question summary:focus-visible, .lab-shut > summary:focus-visible { outline: 2px solid var(--color-accent);
  outline-offset: 2px; }
.lab-question ul, .lab-said ul { list-style: disc outside; padding-left: 1.3em; }
.lab-said p { font-size: 18px; line-height: 1.5; margin: 6px 0; max-width: 80ch; }
@media (max-width: 600px) { .lab-lesson-steps ol { grid-template-columns: 1fr 1fr; }
  /* So that four tabs stand beside one another on a phone, none behind a menu. */
  .tab-container button { padding-left: 9px !important; padding-right: 9px !important; } }
"""


@dataclass(frozen=True)
class Step:
    """A step on the page: what is drawn when it is opened. `draw` takes the values of `inputs`."""

    name: str
    inputs: list[Any]
    outputs: list[Any]
    draw: Callable[..., list[Any]]


def heading(place: int) -> str:
    """Title, minutes, goal and task of a step, counted from 0."""
    name = STEPS[place]
    start = sum(MINUTES[before] for before in STEPS[:place])
    when = say("lesson.when", start=start, end=start + MINUTES[name])
    title = say("lesson.heading", number=place + 1, title=say(f"{name}.title"))
    intro = ""
    if place == 0:
        name_it, about = say("lesson.title", minutes=sum(MINUTES.values())), say("lesson.intro")
        intro = f'<p class="lab-lesson-words"><strong>{escape(name_it)}</strong> {escape(about)}</p>'
    return (
        f'{intro}<h2 class="lab-lesson-title" tabindex="-1">{escape(title)}</h2>'
        f'<div class="lab-small">{escape(when)}</div>'
        f'<p class="lab-lesson-words"><strong>{escape(say("lesson.goal"))}:</strong> '
        f"{escape(say(f'{name}.goal'))}</p>"
        f'<p class="lab-lesson-words"><strong>{escape(say("lesson.do"))}:</strong> '
        f"{escape(say(f'{name}.do'))}</p>"
    )


def steps_list(place: int) -> str:
    """The steps as buttons, the current one marked; tables.PICK turns a press into the step's number."""
    items = ""
    for i, name in enumerate(STEPS):
        text = say("lesson.entry", number=i + 1, title=say(f"{name}.title"), minutes=MINUTES[name])
        current = ' aria-current="step"' if i == place else ""
        items += f'<li><button type="button" class="lab-pick" data-pick="{i}"{current}>{escape(text)}</button></li>'
    return f'<nav class="lab-lesson-steps" aria-label="{escape(say("lesson.steps"))}"><ol>{items}</ol></nav>'


def question(asked: str, answer: str, *, more: str = "") -> str:
    """A question with its answer behind a press; `more` is HTML under the answer."""
    return (
        f'<section class="lab-question"><h3>{escape(say("lesson.question"))}</h3><p>{escape(asked)}</p>'
        f"{shut(say('lesson.show'), f'<p>{escape(answer)}</p>{more}')}</section>"
    )


def shut(title: str, html: str) -> str:
    """HTML behind a press, hidden until then."""
    return f'<details class="lab-shut"><summary>{escape(title)}</summary>{html}</details>'


def words(*texts: str) -> str:
    """Paragraphs, escaped."""
    return '<div class="lab-said">' + "".join(f"<p>{escape(text)}</p>" for text in texts if text) + "</div>"


def heading_of(key: str, *, numeric: bool = True) -> Column:
    """A table's heading by its key; in a CSV file it is English in every language."""
    return Column(say(key), numeric=numeric, csv=english(key))


def metric_heading(metric: Metric) -> Column:
    """A metric's heading with its help; in a CSV file it is English in every language."""
    return Column(tr(metric.title), tr(metric.help), csv=metric.title)


def members(lab: Lab) -> dict[str, Run]:
    """Method -> the run that the lesson shows."""
    return lesson.members(lab.store.list())


def missing(method: str) -> str:
    """What to train where a step lacks a run."""
    return note(say("lesson.missing", method=method_title(method)), "warning")
