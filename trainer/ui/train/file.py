"""A person's own file in the Train tab: stored, its columns chosen, its first rows shown."""

from __future__ import annotations

import typing
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from trainer import tasks
from trainer.config import Encoding
from trainer.errors import ArgumentError, UserError, sentence
from trainer.markup import render
from trainer.tasks import cells, own_file, tables
from trainer.tasks.columns import (
    GROUP_NAMES,
    LABEL_NAMES,
    pair_columns,
    recognise,
    recognise_text,
    text_choices,
    unusual,
)
from trainer.tasks.separated import SEPARATORS
from trainer.tasks.tables import SEPARATOR_NAMES
from trainer.texts import tr
from trainer.ui.common import confirm
from trainer.ui.common.access import guarded
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.common.visibility import seen_if
from trainer.ui.train.form import COLUMNS

ROWS = 5


@dataclass(frozen=True)
class View:
    """The components for a file that is chosen as the task."""

    columns: gr.Group
    text: gr.Dropdown
    label: gr.Dropdown
    group: gr.Dropdown
    preview: gr.HTML


def build(lab: Lab, fields: dict[str, Any]) -> None:
    """Lay out the upload, the columns and the preview; adds the columns to `fields`."""
    with fold(tr("Your own sentences")):
        gr.Markdown(
            tr("A table with a column of text, or two for pairs, and a column of labels, any number of classes.")
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
            fields["text_column"] = gr.Dropdown([], label=tr("Text column"), info=tr("What is read."), min_width=140)
            fields["label_column"] = gr.Dropdown(
                [], label=tr("Label column"), info=tr("What is learnt."), min_width=140
            )
            fields["group_column"] = gr.Dropdown(
                [], label=tr("Group column"), info=tr("What stays together."), min_width=140
            )
        preview = gr.HTML(elem_classes="lab-inset")
        delete, hide = confirm.with_confirmation(
            tr("Delete this file from the store"),
            tr("Delete the file? Runs that were trained on it stay, but cannot be trained again."),
            tr("Yes, delete it"),
        )
    deleted = gr.HTML()
    task, *chosen = (fields[name] for name in ("task", *COLUMNS))
    text, label, group, separator, encoding = chosen
    view = View(columns, text, label, group, preview)
    quiet = {"api_visibility": "private", "show_progress": "minimal"}
    keeper = guarded(lab, partial(keep, lab), message=message, adds=True)
    upload.upload(keeper, [upload, separator, encoding], [message, task, upload], **quiet)
    opened = [columns, text, label, group, preview]
    for listen in (task.change, separator.input, encoding.input):
        listen(partial(open_file, view), [task, *chosen], opened, **quiet)
    remover = guarded(lab, partial(remove, lab), message=deleted)
    delete.click(remover, task, [deleted, task, message], **quiet).then(**hide)
    task.input(lambda: "", None, deleted, **quiet)
    for column in (text, label, group):
        column.input(preview_html, [task, *chosen], preview, **quiet)


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
    *dialect: str | None,
) -> dict[Any, Any]:
    """The columns of a file chosen as the task: the earlier choice if it has them, else recognised by name.

    A group column is never recognised: whether sentences belong together is for a person to say. `dialect` is the
    separator and the encoding, empty where the content decides.
    """
    if not task or not tasks.is_file(task):
        nothing = gr.update(value=None)
        return {
            view.columns: gr.update(**seen_if(False)), view.text: nothing, view.label: nothing, view.group: nothing,
            view.preview: "",
        }  # fmt: skip
    try:
        columns = list(tables.read_table(Path(task), *(value or None for value in dialect)).columns)
    except UserError as error:
        return {view.columns: gr.update(**seen_if(True)), view.preview: note(str(error), "warning")}
    texts = text_choices(columns)
    text = text if text in texts else recognise_text(columns)
    label = label if label in columns else recognise(columns, LABEL_NAMES)
    group = group if group in columns else ""
    return {
        view.columns: gr.update(**seen_if(True)),
        view.text: gr.update(choices=texts, value=text),
        view.label: gr.update(choices=columns, value=label),
        view.group: gr.update(choices=[(tr("(no groups)"), ""), *columns], value=group),
        view.preview: preview_html(task, text, label, group, *dialect),
    }


def preview_html(
    task: str | None, text: str | None, label: str | None, group: str | None = None, *dialect: str | None
) -> str:
    """The first rows of a file with the number of rows and of each label, as HTML; or an error sentence."""
    if not task or not tasks.is_file(task):
        return ""
    try:
        read = tables.read(Path(task), *(value or None for value in dialect))
        frame = read.frame
        if text is None or label is None:
            raise unusual(frame, Path(task)) or ArgumentError(
                expected=tr("a text and a label column"),
                got=tr("one that is not chosen"),
                fix=tr("choose both columns"),
            )
        separator, encoding = (*(value or None for value in dialect), None, None)[:2]
        usable = own_file.FileTask(
            task, text, label, group_column=group or None, separator=separator, encoding=encoding
        ).usable()
    except UserError as error:
        return note(str(error), "warning")
    # Of the sentences that are split into training, validation and test, not of the file's rows.
    counts = Counter(usable.label_names[index] for index in usable.sentences.labels)
    spread = ", ".join(f"{name}: {count:,}" for name, count in counts.most_common(8))
    if len(counts) > 8:
        spread = tr("{labels}, and {count} more", labels=spread, count=len(counts) - 8)
    texts = pair_columns(list(frame.columns), text) or (text,)
    columns, first = [*texts, label, *([group] if group else [])], frame.head(ROWS)
    rows = [[_cell(row[column], column, text=column in texts) for column in columns] for _, row in first.iterrows()]
    shown = table(
        [Column(column, numeric=False) for column in columns],
        rows,
        name="preview",
        title=tr("The first rows of {name}", name=Path(task).name),
        sortable=False,
        csv=False,
    )
    summary = tr("{rows} rows, {labels} labels ({spread}).", rows=f"{len(frame):,}", labels=len(counts), spread=spread)
    left_out = [tr("{sentence}.", sentence=tasks.note_shown(note)) for note in usable.notes]
    about = [tr("Each text is a pair of sentences.")] if usable.pairs else []
    about += _about_groups(usable, list(frame.columns), columns)
    how = filter(None, [read.dialect.shown()])
    return render("train/preview.html", summary=" ".join([summary, *how, *left_out, *about]), table=shown)


def _about_groups(usable: own_file.Usable, columns: list[str], chosen: list[str]) -> list[str]:
    """A sentence with the number of groups, or one that a column with a usual name may be chosen; else none."""
    if usable.sentences.groups is not None:
        count = len(set(usable.sentences.groups))
        return [tr("{count} groups, each in one split.", count=f"{count:,}")]
    usual = recognise([column for column in columns if column not in chosen], GROUP_NAMES)
    if usual is None:
        return []
    return [tr("If sentences with the same {column} belong together, choose it as the group column.", column=usual)]


def _cell(value: object, column: str, *, text: bool) -> Cell:
    """A cell as training reads it."""
    if cells.missing(value):
        return Cell("")
    shown = cells.sentence(value, column) if text else cells.label(value, column)
    return Cell(shown if len(shown) <= 160 else shown[:159] + "…")
