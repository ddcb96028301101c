"""A person's own file in the Train tab: stored, its columns chosen, its first rows shown."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from trainer import tasks
from trainer.config import Encoding
from trainer.errors import UserError, sentence
from trainer.tasks import label_sets, tables
from trainer.tasks.columns import (
    LABEL_NAMES,
    recognise,
    recognise_text,
    text_choices,
)
from trainer.tasks.separated import SEPARATORS
from trainer.tasks.tables import SEPARATOR_NAMES
from trainer.texts import tr
from trainer.ui.common import confirm
from trainer.ui.common.access import guarded
from trainer.ui.common.choice import Dropdown
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.visibility import seen_if
from trainer.ui.train.form import COLUMNS
from trainer.ui.train.preview import preview_html

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class View:
    """The components for a file that is chosen as the task."""

    columns: gr.Group
    text: gr.Dropdown
    label: gr.Dropdown
    group: gr.Dropdown
    preview: gr.HTML
    several: gr.Checkbox
    label_columns: gr.Dropdown


def build(lab: Lab, fields: dict[str, Any]) -> None:
    """Lay out the upload, the columns and the preview; adds the columns to `fields`."""
    with fold(tr("Your own sentences")):
        gr.Markdown(
            tr(
                "A table with a column of text, or two for pairs, and a column of labels, any number of classes. A "
                "sentence may have several labels: as a|b, as a list, or as a column of 0 and 1 for each label."
            )
        )
        upload = gr.File(
            label=tr("CSV, TSV, JSON, Parquet or Excel file"),
            file_types=list(tables.READERS),
            type="filepath",
            height=170,
        )
        with gr.Row():
            fields["separator"] = gr.Dropdown(
                [(tr("Recognised"), ""), *((tr(SEPARATOR_NAMES[sign]), name) for name, sign in SEPARATORS.items())],
                value="",
                label=tr("Separator"),
                info=tr("What stands between the columns of a text file."),
                min_width=140,
            )
            fields["encoding"] = gr.Dropdown(
                [(tr("UTF-8, or UTF-16"), ""), *((name, name) for name in typing.get_args(Encoding))],
                value="",
                label=tr("Encoding"),
                info=tr("Of an older text file, often cp1252."),
                min_width=140,
            )
        message = gr.HTML()
    with gr.Group(**seen_if(False)) as columns:
        with gr.Row():
            fields["text_column"] = Dropdown([], label=tr("Text column"), info=tr("What is read."), min_width=140)
            fields["label_column"] = Dropdown([], label=tr("Label column"), info=tr("What is learnt."), min_width=140)
            fields["group_column"] = Dropdown(
                [], label=tr("Group column"), info=tr("What stays together."), min_width=140
            )
        # In a row a checkbox and its help would be too narrow.
        fields["several_labels"] = gr.Checkbox(
            False,
            label=tr("Several labels"),
            info=tr("A cell of the label column is a list, or has | between its labels."),
        )
        fields["label_columns"] = Dropdown(
            [],
            value=[],
            multiselect=True,
            label=tr("Label columns"),
            info=tr("In place of a label column: those with 0 and 1, one a label."),
        )
        preview = gr.HTML(elem_classes="lab-inset")
        delete, hide = confirm.with_confirmation(
            tr("Delete this file from the store"),
            tr("Delete the file? Runs that were trained on it stay, but cannot be trained again."),
            tr("Yes, delete it"),
        )
    deleted = gr.HTML()
    task, *chosen = (fields[name] for name in ("task", *COLUMNS))
    text, label, group, separator, encoding, several, label_columns = chosen
    view = View(columns, text, label, group, preview, several, label_columns)
    quiet = {"api_visibility": "private", "show_progress": "minimal"}
    keeper = guarded(lab, partial(keep, lab), message=message, adds=True)
    upload.upload(keeper, [upload, separator, encoding], [message, task, upload], **quiet)
    opened = [columns, text, label, group, preview, several, label_columns]
    for listen in (task.change, separator.input, encoding.input):
        listen(partial(open_file, view), [task, *chosen], opened, **quiet)
    remover = guarded(lab, partial(remove, lab), message=deleted)
    delete.click(remover, task, [deleted, task, message], **quiet).then(**hide)
    task.input(lambda: "", None, deleted, **quiet)
    for column in (text, group, several):
        column.input(preview_html, [task, *chosen], preview, **quiet)
    labels = [label, several, label_columns, preview]
    label.input(partial(choose_label, view), [task, *chosen], labels, **quiet)
    label_columns.input(partial(choose_label_columns, view), [task, *chosen], labels, **quiet)


def task_choices(lab: Lab) -> list[tuple[str, str]]:
    """(title, name) of the tasks, and of the files in this store."""
    return [(tr(task.title), name) for name, task in tasks.TASKS.items()] + [
        (tr("Your file: {name}", name=path.name), str(path)) for path in lab.store.files()
    ]


def keep(lab: Lab, path: str | None, separator: str | None = None, encoding: str | None = None) -> tuple[str, Any, Any]:
    """Copy an uploaded file to the store and choose it as the task. Returns (a message, the task, an empty upload)."""
    if not path:
        return "", gr.skip(), gr.skip()
    try:
        tables.read(Path(path), separator or None, encoding or None)
        stored = lab.store.store_file(Path(path))
    except (UserError, OSError) as error:
        return note(sentence(error), "warning"), gr.skip(), None
    update = gr.update(choices=task_choices(lab), value=str(stored))
    return note(tr("{name} is chosen as the task. It is kept in the store.", name=stored.name)), update, None


def remove(lab: Lab, task: str | None) -> tuple[str, Any, Any]:
    """Delete the file that is chosen as the task from the store. Returns (a message, the task, an empty message)."""
    path = Path(task or "")
    try:
        lab.store.delete_file(path)
    except (UserError, OSError) as error:
        return note(lab.shown(sentence(error)), "warning"), gr.skip(), gr.skip()
    done = tr("{name} is deleted. Runs that were trained on it stay.", name=path.name)
    return note(done), gr.update(choices=task_choices(lab), value=next(iter(tasks.TASKS))), ""


def open_file(
    view: View,
    task: str | None,
    text: str | None,
    label: str | None,
    group: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    several: bool = False,
    label_columns: Sequence[str] | None = None,
) -> dict[Any, Any]:
    """The columns of a file chosen as the task: the earlier choice if it has them, else recognised by name.

    Several labels are recognised by the cells, and label columns where no column has a usual name. A group column is
    never recognised: whether sentences belong together is for a person to say. `separator` and `encoding` are empty
    where the content decides.
    """
    if not task or not tasks.is_file(task):
        nothing = gr.update(value=None)
        return {
            view.columns: gr.update(**seen_if(False)), view.text: nothing, view.label: nothing, view.group: nothing,
            view.preview: "", view.several: gr.update(value=False), view.label_columns: gr.update(value=[]),
        }  # fmt: skip
    try:
        frame = tables.read_table(Path(task), separator or None, encoding or None)
    except UserError as error:
        return {view.columns: gr.update(**seen_if(True)), view.preview: note(str(error), "warning")}
    columns = list(frame.columns)
    texts = text_choices(columns)
    text = text if text in texts else recognise_text(columns)
    label = label if label in columns else recognise(columns, LABEL_NAMES)
    group = group if group in columns else ""
    # Of an earlier file with some of these names, the columns that it shares would be a part of the labels.
    of_labels = list(label_columns or ())
    of_labels = of_labels if set(of_labels) <= set(columns) else []
    if label is None and not of_labels:
        of_labels = label_sets.mark_columns(frame)
    label = None if of_labels else label
    several = _looks_several(frame, label)
    return {
        view.columns: gr.update(**seen_if(True)),
        view.text: gr.update(choices=texts, value=text),
        view.label: gr.update(choices=columns, value=label),
        view.group: gr.update(choices=[(tr("(no groups)"), ""), *columns], value=group),
        view.several: gr.update(value=several),
        view.label_columns: gr.update(choices=columns, value=of_labels),
        view.preview: preview_html(task, text, label, group, separator, encoding, several, of_labels),
    }


def choose_label(view: View, task: str | None, text: str | None, label: str | None, *rest: Any) -> dict[Any, Any]:
    """The preview with this label column in place of label columns, and whether its cells have several labels."""
    group, separator, encoding, *_ = rest
    several = False
    if task and tasks.is_file(task):
        with suppress(UserError):
            several = _looks_several(tables.read_table(Path(task), separator or None, encoding or None), label)
    return {
        view.several: several,
        view.label_columns: [],
        view.preview: preview_html(task, text, label, group, separator, encoding, several),
    }


def choose_label_columns(
    view: View, task: str | None, text: str | None, label: str | None, *rest: Any
) -> dict[Any, Any]:
    """The preview with these label columns in place of a label column; with the latter again where none is left."""
    *dialect, _, label_columns = rest
    if not label_columns:
        return {view.preview: preview_html(task, text, label, *rest)}
    preview = preview_html(task, text, None, *dialect, False, label_columns)
    return {view.label: None, view.several: False, view.preview: preview}


def _looks_several(frame: pd.DataFrame, label: str | None) -> bool:
    return label in frame and label_sets.looks_several(frame[label]) is not None
