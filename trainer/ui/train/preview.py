"""The preview of a person's own file in the Train tab: its first rows and its labels as training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer import tasks
from trainer.errors import ArgumentError, UserError
from trainer.markup import render
from trainer.tasks import cells, label_sets, own_file, tables
from trainer.tasks.columns import GROUP_NAMES, pair_columns, recognise, unusual
from trainer.texts import tr
from trainer.ui.common.lab import note
from trainer.ui.common.tables import Cell, Column, table

ROWS = 5


def preview_html(
    task: str | None,
    text: str | None,
    label: str | None,
    group: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    several: bool = False,
    label_columns: Sequence[str] | None = None,
) -> str:
    """The first rows of a file with the number of rows and of each label, as HTML; or an error sentence."""
    if not task or not tasks.is_file(task):
        return ""
    path = Path(task)
    try:
        read = tables.read(path, separator or None, encoding or None)
        frame = read.frame
        if text is None or (label is None and not label_columns):
            raise unusual(frame, path) or ArgumentError(
                expected=tr("a text and a label column"),
                got=tr("one that is not chosen"),
                fix=tr("choose both columns"),
            )
        own = own_file.FileTask(
            task, text, label, several_labels=several, label_columns=label_columns or (), group_column=group or None,
            separator=separator or None, encoding=encoding or None,
        )  # fmt: skip
        usable, labels = own.usable(), own.labels(frame, path)
    except UserError as error:
        return note(str(error), "warning")
    # Of the sentences that are split into training, validation and test, not of the file's rows.
    counts = usable.sentences.counts
    spread = ", ".join(f"{usable.label_names[index]}: {count:,}" for index, count in counts.most_common(8))
    if len(counts) > 8:
        spread = tr("{labels}, and {count} more", labels=spread, count=len(counts) - 8)
    texts = pair_columns(list(frame.columns), text) or (text,)
    groups = [group] if group else []
    rows = [
        [*(_text(row[name], name) for name in texts), _label(own_labels), *(_group(row[name], name) for name in groups)]
        for (_, row), own_labels in zip(frame.head(ROWS).iterrows(), labels, strict=False)
    ]
    shown = table(
        [Column(column, numeric=False) for column in (*texts, label or tr("Labels"), *groups)],
        rows,
        name="preview",
        title=tr("The first rows of {name}", name=path.name),
        sortable=False,
        csv=False,
    )
    summary = tr("{rows} rows, {labels} labels ({spread}).", rows=f"{len(frame):,}", labels=len(counts), spread=spread)
    left_out = [tr("{sentence}.", sentence=tasks.note_shown(note)) for note in usable.notes]
    if "repeated" in "".join(usable.notes):
        left_out.append(tr("Sentences that differ in numbers, punctuation or user names alone count as repeated."))
    about = [tr("Each text is a pair of sentences.")] if usable.pairs else []
    about += [_about_sets(usable)] if usable.multi_label else []
    if not usable.multi_label and (cell := label_sets.looks_joined(usable.label_names)):
        about.append(tr("{cell} may stand for several labels: write them as a|b to train on several.", cell=repr(cell)))
    about += _about_groups(usable, list(frame.columns), [*texts, label, *(label_columns or ()), *groups])
    how = filter(None, [read.dialect.shown()])
    return render("train/preview.html", summary=" ".join([summary, *how, *left_out, *about]), table=shown)


def _about_sets(usable: own_file.Usable) -> str:
    """A sentence with the number of sentences that have several labels."""
    several = sum(len(label) > 1 for label in usable.sentences.labels)
    return tr(
        "Read as several labels a sentence: {several} of {count} sentences have more than one.",
        several=f"{several:,}",
        count=f"{len(usable.sentences):,}",
    )


def _about_groups(usable: own_file.Usable, columns: list[str], chosen: list[str]) -> list[str]:
    """A sentence with the number of groups, or one that a column with a usual name may be chosen; else none."""
    if usable.sentences.groups is not None:
        count = len(set(usable.sentences.groups))
        return [tr("{count} groups, each in one split.", count=f"{count:,}")]
    usual = recognise([column for column in columns if column not in chosen], GROUP_NAMES)
    if usual is None:
        return []
    return [tr("If sentences with the same {column} belong together, choose it as the group column.", column=usual)]


def _text(value: object, column: str) -> Cell:
    """A cell of the text, as training reads it."""
    return _short("" if cells.missing(value) else cells.sentence(value, column))


def _group(value: object, column: str) -> Cell:
    """A cell of the group, as training reads it."""
    return _short("" if cells.missing(value) else cells.label(value, column))


def _label(names: tuple[str, ...] | None) -> Cell:
    """A row's labels, as training reads them; empty for a row that is not labelled."""
    return _short("" if names is None else label_sets.joined(names) or tr("no label"))


def _short(text: str) -> Cell:
    return Cell(text if len(text) <= 160 else text[:159] + "…")
