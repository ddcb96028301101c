"""What Live offers when it is opened: tasks, runs, examples, and a sentence that waits to be predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from trainer.runs.run import Run
from trainer.ui.common.lab import Lab
from trainer.ui.common.visibility import seen_if
from trainer.ui.live import examples as live_examples
from trainer.ui.live import link as live_link
from trainer.ui.live.groups import groups
from trainer.ui.live.selection import able, choices, empty, labels_of, missing, resolve, task_choices, task_of
from trainer.ui.live.session import Session
from trainer.ui.live.view import View, box


def offer(
    lab: Lab,
    view: View,
    key: str | None,
    chosen: list[str] | None,
    guess: str | None,
    text: str | None,
    session: Session,
) -> dict[Any, Any]:
    """The current tasks and runs, their examples and labels, when the tab is opened.

    The first time that there are runs, and nothing is in the box, an example waits to be predicted.
    """
    drawn, runs = _offered(lab, view, key, chosen)
    labels = labels_of(runs)
    drawn[view.guess] = gr.update(choices=labels, value=guess if guess in labels else None)
    return drawn | _waiting(lab, view, runs, session) if session.fresh and not (text or "").strip() else drawn


def change_task(lab: Lab, view: View, key: str | None, session: Session) -> dict[Any, Any]:
    """The runs and examples of the task that was chosen, of which one waits to be predicted."""
    drawn, runs = _offered(lab, view, key, None)
    session = replace(session, text="", turn=session.turns.predict(), board=None, fresh=False)
    return drawn | _waiting(lab, view, runs, session)


def _offered(lab: Lab, view: View, key: str | None, chosen: list[str] | None) -> tuple[dict[Any, Any], list[Run]]:
    """(the tasks, the task's runs, their examples and labels; the runs that predict)."""
    tasks = groups(able(lab))
    task = task_of(tasks, key, chosen)
    offered = choices(task)
    chosen = [run_id for run_id in chosen or () if run_id in dict(offered).values()]
    runs, _ = resolve(lab, chosen, task.key if task else None)
    return {
        view.task: gr.update(choices=task_choices(tasks), value=task and task.key, **seen_if(len(tasks) > 1)),
        view.runs: gr.update(choices=offered, value=chosen),
        view.examples: live_examples.html(live_examples.fitting(lab, runs)),
        view.guess: gr.update(choices=labels_of(runs), value=None),
        view.bring: gr.update(**seen_if(not tasks)),
        view.text: gr.update(**box(runs)),
    }, runs


def _waiting(lab: Lab, view: View, runs: list[Run], session: Session) -> dict[Any, Any]:
    """The first example of the runs' task, which waits to be predicted; the text of an empty Live without."""
    if _begun(session):
        return {}
    example = live_examples.first(lab, runs)
    if example is None:
        return {view.predictions: empty(lab), view.session: session}
    return _to_predict(view, example.text, session)


def _begun(session: Session) -> bool:
    """Whether a person has begun to predict a sentence of theirs while the first offer was on its way."""
    return session.fresh and bool(session.turns.prediction)


def _to_predict(view: View, text: str, session: Session) -> dict[Any, Any]:
    """A sentence that waits to be predicted."""
    return {view.offered: text, view.predictions: "", view.session: replace(session, waiting=text, fresh=False)}


def suit(lab: Lab, view: View, chosen: list[str] | None, key: str | None = None) -> dict[Any, Any]:
    """The examples and the labels to guess for the chosen runs."""
    runs, _ = resolve(lab, chosen, key)
    return {
        view.examples: live_examples.html(live_examples.fitting(lab, runs)),
        view.guess: gr.update(choices=labels_of(runs), value=None),
    }


def arrive(lab: Lab, view: View, session: Session, request: gr.Request) -> dict[Any, Any]:
    """The components of a page when it opens, by its address: with its sentence, or with an example."""
    link = live_link.parse(str(request.query_params))
    if link is None:
        drawn, runs = _offered(lab, view, None, None)
        here = live_link.opens_live(str(request.query_params))
        return drawn | (_waiting(lab, view, runs, session) if here else {view.predictions: empty(lab)})
    known = {run.id for run in able(lab)}
    chosen = [run_id for run_id in link.runs if run_id in known]
    gone = [run_id for run_id in link.runs if run_id not in known]
    session = replace(session, notice=missing(gone, instead="others" if chosen else "every") if gone else "")
    drawn, runs = _offered(lab, view, link.task, chosen)
    drawn |= {view.tabs: gr.Tabs(selected=live_link.TAB), view.calibrated: link.calibrated}
    if not link.text.strip():
        return drawn | _waiting(lab, view, runs, session)
    return drawn | _to_predict(view, link.text, session)
