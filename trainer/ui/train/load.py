"""Loading instead of training: exported runs, a folder of runs, an adapter trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.markup import render
from trainer.runs import archive
from trainer.texts import tr, tr_count
from trainer.ui.common import launching
from trainer.ui.common.access import guarded
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.train import form as train_form


@dataclass(frozen=True)
class Controls:
    """The components for loading, and its message."""

    zips: gr.File
    folder: gr.Textbox
    load: gr.Button
    source: gr.Textbox
    labels: gr.Textbox
    adopt: gr.Button
    message: gr.HTML


def build() -> Controls:
    """Lay out the part of the tab."""
    with fold(tr("Load instead of training")):
        gr.Markdown("#### " + tr("Runs of this app"))
        zips = gr.File(
            label=tr("Exported runs (zip)"), file_types=[".zip"], file_count="multiple", type="filepath", height=120
        )
        folder = gr.Textbox(
            label=tr("A folder of runs"),
            info=tr("Every ended run in it is copied into the store."),
            placeholder=tr("/path/on/the/machine/that/runs/this/app"),
        )
        load = gr.Button(tr("Load the folder"))
        gr.Markdown("#### " + tr("An adapter from elsewhere"))
        source = gr.Textbox(
            label=tr("PEFT or AdapterHub adapter"),
            info=tr("A local folder, or owner/name on the Hub. It is evaluated on the task and backbone chosen above."),
            placeholder=tr("owner/name"),
        )
        labels = gr.Textbox(
            label=tr("Its labels in their order"),
            info=tr("Only where the order is not the task's, such as: positive, negative."),
            placeholder=tr("as in the task"),
        )
        adopt_button = gr.Button(tr("Load and evaluate"))
        message = gr.HTML()
    return Controls(zips, folder, load, source, labels, adopt_button, message)


def connect(lab: Lab, controls: Controls, fields: dict[str, Any], refresh: dict[str, Any]) -> None:
    """Connect the controls; `fields` are the form's, `refresh` is the event that updates the list of runs."""
    busy = {"api_visibility": "private", "show_progress": "minimal"}
    zips, folder = (guarded(lab, partial(act, lab), adds=True) for act in (load_zips, load_folder))
    controls.zips.upload(zips, controls.zips, controls.message, **busy).then(**refresh)
    for listen in (controls.load.click, controls.folder.submit):
        listen(folder, controls.folder, controls.message, **busy).then(**refresh)
    evaluate = guarded(lab, train_form.named(adopt, list(fields), lab))
    for listen in (controls.adopt.click, controls.source.submit):
        listen(evaluate, [*fields.values(), controls.source, controls.labels], controls.message, **busy).then(**refresh)


# Handlers


def load_zips(lab: Lab, paths: list[str] | None) -> str:
    """Import exported runs into the store. Returns a sentence for each file."""
    notes = []
    for path in paths or []:
        try:
            notes.append((tr("{run} is in the store.", run=run_name(archive.load(lab.store, Path(path)))), "note"))
        except (UserError, OSError) as error:
            notes.append((sentence(error), "warning"))
    return render("common/notes.html", notes=notes or [(tr("Choose one or more zip files."), "note")])


def load_folder(lab: Lab, path: str) -> str:
    """Import the runs in a folder of this machine into the store."""
    if not (path or "").strip():
        return note(tr("Type the path of a folder on the machine that runs this app."), "warning")
    try:
        loaded, left_out = archive.load_folder(lab.store, Path(path.strip()).expanduser())
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    count = tr_count("{count} run loaded.", "{count} runs loaded.", len(loaded))
    return render("common/notes.html", notes=[(count, "note"), *((text, "warning") for text in left_out)])


def adopt(lab: Lab, form: dict[str, Any], source: str, labels: str) -> str:
    """Queue the evaluation of an adapter trained elsewhere on the form's task and backbone."""
    if not (source or "").strip():
        text = tr("Type the path of a folder with an adapter, or its name on the Hub as owner/name.")
        return note(text, "warning")
    order = [name.strip() for name in (labels or "").split(",") if name.strip()]
    try:
        suite = train_form.suite_of({**form, "methods": []})
        shared = (
            "train_size",
            "validation_size",
            "test_size",
            "split_seed",
            "max_length",
            "truncation",
            "batch_size",
            "precision",
        )
        settings = {name: suite[name] for name in (*shared, *train_form.COLUMNS) if name in suite}
        run = launching.adopt(
            lab, source, task=suite["task"], backbone=suite["backbone"], label=suite["label"],
            label_order=order, **settings,
        )  # fmt: skip
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(tr("{run} is queued to be evaluated.", run=run_name(run)))
