"""One run in the Train tab: its recipe and log, and the buttons that cancel, resume, rename, export or delete it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from trainer import tasks
from trainer.jobs.progress import describe as event_text
from trainer.markup import render
from trainer.runs import recipes
from trainer.runs.store import ENDED, Run
from trainer.texts import mark, tr
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.train import queue as train_queue
from trainer.ui.train.queue import DAMAGED, describe, find

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
LOG_LINES = 25
AFTER_THE_END = mark(
    "The name is what lists and charts call the run; an empty one takes it away. "
    "Resume goes on from the last checkpoint of a run that failed or was cancelled. Train again queues a new run with "
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
    """The components of the panel."""

    whole: gr.Accordion
    run: gr.Dropdown
    label: gr.Textbox
    message: gr.HTML
    buttons: Buttons
    confirm: Confirm
    details: gr.HTML
    log: gr.Textbox

    @property
    def shown(self) -> list[Any]:
        """The components that change with the run and its state."""
        buttons = self.buttons
        able = [buttons.rename, buttons.cancel, buttons.resume, buttons.again, buttons.delete, buttons.zip]
        return [self.details, self.log, self.label, *able]


def build() -> Panel:
    """Lay out the panel of one run."""
    title = tr("One run: log, cancel, resume, train again, rename, download, delete")
    with gr.Accordion(title, open=False) as whole:
        run = gr.Dropdown([], label=tr("Run"), info=tr("Or press its name in the list above."), value=None)
        label = gr.Textbox(label=tr("Name"), max_length=80, interactive=False)
        message = gr.HTML()
        buttons = _buttons()
        gr.HTML(note(tr(AFTER_THE_END)))
        confirm = _confirm()
        details = gr.HTML(note(tr("Choose a run.")))
        log = gr.Textbox(label=tr("Log"), lines=8, max_lines=14, interactive=False, elem_classes="lab-log")
    return Panel(whole, run, label, message, buttons, confirm, details, log)


def _buttons() -> Buttons:
    with gr.Row():
        return Buttons(
            rename=gr.Button(tr("Rename"), interactive=False, min_width=90),
            cancel=gr.Button(tr("Cancel"), interactive=False, min_width=90),
            resume=gr.Button(tr("Resume"), interactive=False, min_width=90),
            again=gr.Button(tr("Train again"), interactive=False, min_width=110),
            zip=gr.Button(tr("Make a zip"), interactive=False, min_width=110),
            file=gr.DownloadButton(tr("Download the zip"), interactive=False, min_width=110),
            delete=gr.Button(tr("Delete"), interactive=False, min_width=90),
        )


def _confirm() -> Confirm:
    with gr.Group(visible=False) as group:
        question = gr.HTML(elem_classes="lab-inset")
        with gr.Row():
            yes = gr.Button(tr("Yes, delete it"), variant="stop", min_width=120)
            no = gr.Button(tr("Keep it"), min_width=120)
    return Confirm(group, question, yes, no)


def connect(lab: Lab, panel: Panel, refresh: dict[str, Any]) -> None:
    """Connect the panel's controls; `refresh` is the event that updates the list of runs."""
    run, message, buttons, confirm = panel.run, panel.message, panel.buttons, panel.confirm
    opened = {"fn": isolated(lab, partial(open_run, lab, panel)), "inputs": run, "outputs": panel.shown, **QUIET}
    hide = {"fn": lambda: gr.update(visible=False), "inputs": None, "outputs": confirm.group, **QUIET}
    run.change(**opened).then(**hide).then(
        lambda: gr.update(value=None, interactive=False), None, buttons.file, **QUIET
    )
    run.input(lambda: "", None, message, **QUIET)
    for button, act in (
        (buttons.cancel, train_queue.cancel),
        (buttons.resume, train_queue.resume),
        (buttons.again, train_queue.again),
    ):
        button.click(guarded(lab, partial(act, lab)), run, message, **QUIET).then(**refresh).then(**opened)
    for listen in (buttons.rename.click, panel.label.submit):
        listen(guarded(lab, partial(train_queue.rename, lab)), [run, panel.label], message, **QUIET).then(**refresh)
    export = partial(train_queue.as_zip, lab)
    buttons.zip.click(export, run, [message, buttons.file], api_visibility="private", show_progress="minimal")
    buttons.delete.click(partial(ask_to_delete, lab), run, [confirm.group, confirm.question], **QUIET)
    confirm.no.click(**hide)
    delete = guarded(lab, partial(train_queue.delete, lab))
    confirm.yes.click(delete, run, message, **QUIET).then(**hide).then(**refresh).then(**opened)


# Handlers


def open_run(lab: Lab, panel: Panel, run_id: str | None) -> dict[Any, Any]:
    """The chosen run: its recipe, log and name, and the buttons that its state allows."""
    run, buttons = find(lab, run_id), panel.buttons
    able = {
        buttons.rename: run is not None,
        buttons.cancel: run is not None and run.state in ("queued", "running"),
        buttons.resume: run is not None and run.state in ("failed", "cancelled"),
        buttons.again: run is not None and run.state in ENDED and not run.adopted,
        buttons.delete: run is not None and run.state != "running",
        buttons.zip: run is not None and run.state in ENDED,
    }
    damage = lab.damage(run_id) if run_id else None
    able[buttons.delete] |= run is None and damage is not None
    changes: dict[Any, Any] = {button: gr.update(interactive=yes) for button, yes in able.items()}
    if run is None and damage is not None:
        broken = note(lab.shown(str(damage)), "warning")
        return {panel.details: broken, panel.log: "", panel.label: gr.update(value="", interactive=False)} | changes
    if run is None:
        about = tr(
            "Choose a run to see its recipe and its log, "
            "and to cancel, resume, train again, rename, download or delete it."
        )
        return {
            panel.details: note(about),
            panel.log: "",
            panel.label: gr.update(value="", interactive=False),
        } | changes
    label = gr.update(value=run.label, interactive=True)
    details = note(lab.shown(str(damage)) if damage else "", "warning") + Markup(details_html(lab, run))
    return {panel.details: details, panel.log: log_text(lab, run), panel.label: label} | changes


def tail(lab: Lab, panel: Panel, chosen: str | None, log: str) -> dict[Any, Any]:
    """The panel, if the run's log has grown, as it does when the state changes; a typed name is not replaced."""
    run = find(lab, chosen)
    if run is None or log_text(lab, run) == log:
        return gr.skip()
    changes = open_run(lab, panel, chosen)
    del changes[panel.label]
    return changes


def picked(event: gr.EventData) -> tuple[str, Any, str]:
    """Open the panel on the run whose name was pressed in the list."""
    return str(event.value), gr.update(open=True), ""


def ask_to_delete(lab: Lab, chosen: str | None) -> tuple[Any, str]:
    """Show the question before a run is deleted."""
    run = find(lab, chosen)
    if run is None and not (chosen and lab.damage(chosen)):
        return gr.update(visible=False), ""
    name = run_name(run) if run else tr(DAMAGED)
    text = tr("Delete {run} ({id}) and its files? This cannot be undone.", run=name, id=chosen)
    return gr.update(visible=True), note(text, "warning")


def details_html(lab: Lab, run: Run) -> str:
    """A run's state, parents, recipe and options as HTML."""
    recipe = run.recipe.model_dump(mode="json", exclude_none=True, exclude={"options", "parents", "track"})
    options = {f"{run.recipe.method}.{name}": value for name, value in run.recipe.options.items()}

    def as_text(pairs: Any) -> list[tuple[str, str]]:
        return [(name, lab.shown(_value(value))) for name, value in pairs]

    return render("train/details.html", facts=as_text(_facts(lab, run)), recipe=as_text({**recipe, **options}.items()))


def _facts(lab: Lab, run: Run) -> list[tuple[str, str]]:
    waiting = [other.id for other in lab.runs() if other.state == "queued"]
    text, _ = describe(lab, run, queue_position=waiting.index(run.id) + 1 if run.id in waiting else 1)
    state = tr(run.state)
    lines = [(tr("Run"), run.id), (tr("State"), f"{state}: {text}" if text else state), (tr("Created"), run.created_at)]
    if run.adopted:
        lines.append((tr("From"), run.adopted.source))
    else:
        lines.append((tr("Learning rate"), recipes.rate_text(run)))
    if run.bundled:
        lines.append((tr("Comes with the program, made by"), run.bundled.command))
        if not run.can_predict:
            lines.append((tr("Weights"), tr("did not come with it; press Train again to have them")))
    if run.recipe.parents:
        parents = (find(lab, parent) for parent in run.recipe.parents)
        names = [run_name(parent) if parent else tr("a deleted run") for parent in parents]
        lines.append((tr("Parents"), ", ".join(names)))
    if run.can_predict and not run.adopted:
        lines.append((tr("Publish"), f"python -m trainer push {run.id} --repo OWNER/NAME"))
    if run.result:
        lines += [(tr("Notes on the data"), tasks.note_shown(text)) for text in run.result.meta_info.dataset_info.notes]
    return lines


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def log_text(lab: Lab, run: Run) -> str:
    """The last lines of a run's events, and of its libraries' output in log.txt."""
    events, _ = lab.store.events(run.id)
    parts = [text for event in events if (text := event_text(event))][-LOG_LINES:]
    try:
        with (run.folder / "log.txt").open(encoding="utf-8", errors="replace") as file:
            written = [line.rstrip() for line in deque(file, LOG_LINES)]
    except OSError:
        written = []
    if written:
        parts += ["", "log.txt:", *written]
    return lab.shown("\n".join(parts))
