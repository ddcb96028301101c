"""One run in the Train tab: state, buttons that cancel, resume, rename, export or delete it, curves, recipe and log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from trainer.markup import render
from trainer.runs.run import ENDED
from trainer.texts import mark, tr
from trainer.ui import static
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.common.visibility import seen_if
from trainer.ui.train import curves as train_curves
from trainer.ui.train import queue as train_queue
from trainer.ui.train.curves import Curves
from trainer.ui.train.details import details_html, log_text, title_html
from trainer.ui.train.queue import DAMAGED, find

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
AFTER_THE_END = mark(
    "The name is what lists and charts call the run; an empty one takes it away. "
    "Resume goes on from the last checkpoint of a run that failed or was cancelled. Retrain queues a new run with "
    "the same recipe."
)


@dataclass(frozen=True)
class Buttons:
    """The buttons for actions on the chosen run."""

    rename: gr.Button
    cancel: gr.Button
    resume: gr.Button
    again: gr.Button
    zip: gr.Button
    file: gr.DownloadButton
    delete: gr.Button


@dataclass(frozen=True)
class Confirm:
    """The confirmation before a run is deleted, hidden until Delete is pressed."""

    group: gr.Group
    question: gr.HTML
    yes: gr.Button
    no: gr.Button


@dataclass(frozen=True)
class Panel:
    """The components of the panel. `run` has the chosen run's id, empty for none; `head` and `rest` are open with one.

    The curves stand between them, and are shown without a chosen run too.
    """

    run: gr.Textbox
    message: gr.HTML
    head: gr.Column
    title: gr.HTML
    close: gr.Button
    label: gr.Textbox
    buttons: Buttons
    confirm: Confirm
    curves: Curves
    rest: gr.Column
    details: gr.HTML
    log: gr.Textbox

    @property
    def shown(self) -> list[Any]:
        """The components that change with the run and its state."""
        buttons = self.buttons
        able = [buttons.rename, buttons.cancel, buttons.resume, buttons.again, buttons.delete, buttons.zip]
        return [self.head, self.title, self.label, self.rest, self.details, self.log, *able]


def build() -> Panel:
    """Lay out the panel of one run, closed."""
    run = gr.Textbox("", label=tr("Run"), visible="hidden")
    message = gr.HTML()
    with gr.Column(**seen_if(False, "lab-run-panel")) as head:
        with gr.Row(elem_classes="lab-run-panel-top"):
            title = gr.HTML()
            close = gr.Button(tr("Close"), size="sm", min_width=90, scale=0)
        buttons, label = _buttons()
        confirm = _confirm()
        log = gr.Textbox(label=tr("Log"), lines=6, max_lines=6, interactive=False, elem_classes="lab-log")
    curves = train_curves.build()
    with gr.Column(**seen_if(False, "lab-run-panel")) as rest:
        details = gr.HTML(js_on_load=static.read("train-list.js"))
        gr.HTML(note(tr(AFTER_THE_END)))
    return Panel(run, message, head, title, close, label, buttons, confirm, curves, rest, details, log)


def _buttons() -> tuple[Buttons, gr.Textbox]:
    """(the buttons, the field with the name)."""
    off = {"interactive": False, "size": "md"}
    with gr.Row():
        cancel = gr.Button(tr("Cancel"), min_width=90, **off)
        resume = gr.Button(tr("Resume"), min_width=90, **off)
        again = gr.Button(tr("Retrain"), min_width=90, **off)
        export = gr.Button(tr("Export"), min_width=90, **off)
        file = gr.DownloadButton(tr("Download the zip"), min_width=140, size="md", **seen_if(False))
        delete = gr.Button(tr("Delete"), min_width=90, **off)
    with gr.Row(elem_classes="lab-run-name-row"):
        label = gr.Textbox(label=tr("Name"), max_length=80, interactive=False, min_width=160)
        rename = gr.Button(tr("Rename"), min_width=110, scale=0, **off)
    return Buttons(rename, cancel, resume, again, export, file, delete), label


def _confirm() -> Confirm:
    with gr.Group(**seen_if(False)) as group:
        question = gr.HTML(elem_classes="lab-inset")
        with gr.Row():
            yes = gr.Button(tr("Yes, delete it"), variant="stop", min_width=120)
            no = gr.Button(tr("Keep it"), min_width=120)
    return Confirm(group, question, yes, no)


def connect(lab: Lab, panel: Panel, refresh: dict[str, Any]) -> None:
    """Connect the panel's controls; `refresh` is the event that updates the list of runs."""
    run, message, buttons, confirm = panel.run, panel.message, panel.buttons, panel.confirm
    opened = {"fn": isolated(lab, partial(open_run, lab, panel)), "inputs": run, "outputs": panel.shown, **QUIET}
    hide = {"fn": lambda: gr.update(**seen_if(False)), "inputs": None, "outputs": confirm.group, **QUIET}
    # In the browser: the focus goes back to the run's name in the list.
    panel.close.click(None, run, None, js=static.read("train-closed.js"), **QUIET)
    closed = panel.close.click(partial(close_run, panel), None, [run, message, *panel.shown], **QUIET)
    closed.then(**hide).then(**refresh)
    for button, act in (
        (buttons.cancel, train_queue.cancel),
        (buttons.resume, train_queue.resume),
        (buttons.again, train_queue.again),
    ):
        button.click(guarded(lab, partial(act, lab)), run, message, **QUIET).then(**refresh).then(**opened)
    for listen in (buttons.rename.click, panel.label.submit):
        renamed = listen(guarded(lab, partial(train_queue.rename, lab)), [run, panel.label], message, **QUIET)
        renamed.then(**refresh).then(**opened)
    export = partial(train_queue.as_zip, lab)
    buttons.zip.click(export, run, [message, buttons.file], api_visibility="private", show_progress="minimal")
    buttons.delete.click(partial(ask_to_delete, lab), run, [confirm.group, confirm.question], **QUIET)
    confirm.no.click(**hide)
    delete = guarded(lab, partial(train_queue.delete, lab))
    gone = {"fn": partial(close_gone, lab, panel), "inputs": run, "outputs": [run, *panel.shown], **QUIET}
    deleted = confirm.yes.click(delete, run, message, **QUIET).then(**gone).then(**hide)
    deleted.then(None, run, None, js="(run) => labRunClosed(run)", **QUIET).then(**refresh)


def choose(lab: Lab, panel: Panel, refresh: dict[str, Any], lists: list[gr.HTML]) -> None:
    """Open the panel on the run whose name is pressed in one of the lists, or that the page's address names."""
    opened = isolated(lab, partial(open_run, lab, panel))
    outputs = [panel.run, panel.message, panel.confirm.group, panel.buttons.file, *panel.shown]
    for one in lists:
        chosen = one.select(picked, None, panel.run, **QUIET)
        shown = chosen.then(partial(open_chosen, panel, opened), panel.run, outputs[1:], **QUIET)
        shown.then(None, panel.run, None, js=static.read("train-opened.js"), **QUIET)
        shown.then(**refresh)  # after an event of the browser alone nothing would follow


# Handlers


def picked(event: gr.EventData) -> str:
    """The id of the run whose name was pressed in the list; empty for none."""
    return str(event.value or "")


def open_chosen(panel: Panel, opened: Any, run_id: str | None) -> dict[Any, Any]:
    """`open_run` without the messages, questions and files of another run; a sentence for a run that is gone."""
    hidden, changes = gr.update(**seen_if(False)), opened(run_id)
    gone = run_id and not changes[panel.title]
    message = note(tr("This run is no longer in the store."), "warning") if gone else ""
    return changes | {panel.message: message, panel.confirm.group: hidden, panel.buttons.file: hidden}


def open_run(lab: Lab, panel: Panel, run_id: str | None) -> dict[Any, Any]:
    """The panel of the chosen run: state, name, recipe, log, and the buttons that its state allows; closed for none."""
    run, buttons = find(lab, run_id), panel.buttons
    damage = lab.damage(run_id) if run_id else None
    able = {
        buttons.rename: run is not None,
        buttons.cancel: run is not None and run.state in ("queued", "running"),
        buttons.resume: run is not None and run.state in ("failed", "cancelled"),
        buttons.again: run is not None and run.state in ENDED and not run.adopted,
        buttons.delete: run.state != "running" if run else damage is not None,
        buttons.zip: run is not None and run.state in ENDED,
    }
    there = run is not None or damage is not None
    changes: dict[Any, Any] = dict.fromkeys((panel.head, panel.rest), gr.update(**seen_if(there, "lab-run-panel")))
    changes |= {button: gr.update(interactive=yes) for button, yes in able.items()}
    changes[panel.label] = gr.update(value=run.label if run else "", interactive=run is not None)
    broken = note(lab.shown(str(damage)) if damage else "", "warning")
    if run is None:
        name = {"run_id": run_id, "name": run_id, "state": DAMAGED, "text": "", "progress": None}
        title = render("train/title.html", **name) if damage else ""
        return changes | {panel.title: title, panel.details: broken, panel.log: ""}
    return changes | {
        panel.title: title_html(lab, run),
        panel.details: broken + Markup(details_html(lab, run)),
        panel.log: log_text(lab, run),
    }


def close_run(panel: Panel) -> dict[Any, Any]:
    """The panel closed, without a chosen run."""
    hidden = gr.update(**seen_if(False, "lab-run-panel"))
    return {panel.run: "", panel.message: "", panel.head: hidden, panel.rest: hidden, panel.title: ""}


def close_gone(lab: Lab, panel: Panel, run_id: str | None) -> Any:
    """`close_run`, but for the message, where the run is no longer in the store; no change otherwise."""
    if find(lab, run_id) is not None or (run_id and lab.damage(run_id) is not None):
        return gr.skip()
    return {component: change for component, change in close_run(panel).items() if component is not panel.message}


def follow(lab: Lab, panel: Panel, run_id: str) -> dict[Any, Any]:
    """The panel again, after the run's state or log changed; a name that is being typed is not replaced.

    Nor is a panel opened: it may have been closed since the request.
    """
    changes = open_run(lab, panel, run_id)
    del changes[panel.head], changes[panel.rest]
    changes[panel.label].pop("value")
    return changes


def ask_to_delete(lab: Lab, chosen: str | None) -> tuple[Any, str]:
    """Show the question before a run is deleted."""
    run = find(lab, chosen)
    if run is None and not (chosen and lab.damage(chosen)):
        return gr.update(**seen_if(False)), ""
    name = run_name(run) if run else tr(DAMAGED)
    text = tr("Delete {run} ({id}) and its files? This cannot be undone.", run=name, id=chosen)
    return gr.update(**seen_if(True)), note(text, "warning")
