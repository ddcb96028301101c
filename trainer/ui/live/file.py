"""Predictions for a file of sentences: upload, progress, preview and download."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from trainer.analysis.names import short_names
from trainer.errors import Problems, UserError, sentence
from trainer.markup import render
from trainer.runs.run import Run
from trainer.serving import files
from trainer.serving.prediction import temperature
from trainer.tasks.columns import TEXT_NAMES, text_choices
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import access, uploads
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import Lab, note
from trainer.ui.live import selection
from trainer.ui.live.file_preview import preview_html, text_column

if TYPE_CHECKING:
    import pandas as pd

ABOUT = mark(
    "CSV, TSV, JSON Lines, Parquet, or text with one sentence a line. The runs above predict each sentence; your "
    "columns stay, and each run adds its label and the label's probability under its name. The first row of the last "
    "column says how they were made. A file is computed in the machine's quickest precision, close calls again in "
    "float32: labels are those of single sentences, probabilities within about 0.02 of theirs."
)
SEVERAL = mark("A run with several labels a sentence adds them as a|b, and a column with each label's probability.")


@dataclass(frozen=True)
class View:
    """The components of the section. Handlers return dicts keyed by these."""

    file: gr.File
    column: gr.Dropdown
    status: gr.HTML
    preview: gr.HTML
    result: gr.DownloadButton


def build(lab: Lab, page: gr.Blocks, *, task: gr.Dropdown, chosen: gr.Dropdown, calibrated: gr.Checkbox) -> None:
    """Lay out the section and connect it. The runs chosen in `chosen` predict, or one of each recipe of the `task`.

    The box `calibrated` says whether their probabilities are scaled by temperature.
    """
    with fold(tr("A file of sentences")):
        gr.HTML(note(f"{tr(ABOUT)} {tr(SEVERAL)}"))
        file = gr.File(label=tr("File of sentences"), file_types=list(files.SUFFIXES), height=140)
        with gr.Row():
            column = gr.Dropdown(
                [], label=tr("Text column"), info=tr("Recognised by its usual name, or choose it."), value=None
            )
            go = gr.Button(tr("Predict the file"), variant="primary", min_width=160)
            stop = gr.Button(tr("Stop"), min_width=100)
        status = gr.HTML(min_height=70)
        preview = gr.HTML()
        result = gr.DownloadButton(tr("Download the predictions"), interactive=False, variant="primary")
    view = View(file, column, status, preview, result)
    section = Section(lab, view)
    file.change(partial(opened, view), file, [column, status, preview, result], api_visibility="private")
    go.click(
        section.predict_file,
        [file, column, chosen, calibrated, task],
        [status, preview, result],
        api_visibility="private",
        show_progress_on=status,
        concurrency_limit=4,
    )
    stop.click(section.stop, None, status, api_visibility="private", show_progress="hidden", queue=False)
    page.unload(section.left)


def opened(view: View, file: str | None) -> dict[Any, Any]:
    """The columns, a status and a preview of a newly chosen file; removes the earlier predictions."""
    drawn = {
        view.column: gr.update(choices=[], value=None),
        view.status: "",
        view.preview: "",
        view.result: _no_result(),
    }
    if not file:
        return drawn
    try:
        table = files.read(Path(file))
        preview = preview_html(table, tr("The file, first rows"))
    except (UserError, OSError, ValueError) as error:
        return drawn | {view.status: note(sentence(error), "warning")}
    column, text = text_column(table, Path(file))
    return drawn | {
        view.column: gr.update(choices=text_choices(list(table.columns)), value=column),
        view.status: note(text),
        view.preview: preview,
    }


class Section:
    """The handlers that predict a file, with their state for each page session."""

    def __init__(self, lab: Lab, view: View) -> None:
        self.lab, self.view = lab, view
        self._stops: dict[str | None, threading.Event] = {}
        """Session -> the event that stops its current prediction."""
        self._folders: dict[str | None, Path] = {}
        """Session -> the folder of its last predictions. Gradio serves a copy, which it deletes later."""

    def predict_file(
        self,
        file: str | None,
        column: str | None,
        chosen: list[str] | None,
        calibrated: bool,
        key: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio finds it by this default)
    ) -> dict[Any, Any]:
        """Every run's predictions of every sentence as a file, with a status and a preview; or an error sentence.

        `key` is that of the task whose runs predict.
        """
        view, session = self.view, request.session_hash
        stopped = self._stops[session] = threading.Event()
        try:
            table = self._read(file, column, request)
            runs, notice = _chosen(self.lab, chosen, key)
            names, predictor = _columns(runs, table), self.lab.predictor
            for step in files.predict(table, column, runs, predictor, calibrated=calibrated, names=names):
                if stopped.is_set():
                    return self._problem(_stopped(step, len(runs)))
                done, of = (step.run_number - 1) * step.of + step.done, len(runs) * step.of
                progress((done, of), desc=_progress(step, names[step.run.id], len(runs)), unit=tr("sentences"))
            files.say_how(table, runs, names, calibrated=calibrated)
            path = self._write(table, Path(file or ""), request)
            done = _done(step.of, runs, table=table, names=names) + (f" {_scaled(runs)}" if calibrated else "")
            status = render("live/file_status.html", done=done, notice=notice)
            preview = preview_html(table, tr("Predictions, first rows"))
            return {view.status: status, view.preview: preview, view.result: gr.update(value=path, interactive=True)}
        except (UserError, OSError, RuntimeError, MemoryError, ValueError) as error:
            return self._problem(self.lab.shown(sentence(error)))
        finally:
            if self._stops.get(session) is stopped:
                del self._stops[session]

    def _problem(self, text: str) -> dict[Any, Any]:
        return {self.view.status: note(text, "warning"), self.view.result: _no_result()}

    def _read(self, file: str | None, column: str | None, request: gr.Request) -> pd.DataFrame:
        """The file's table. Raises `UserError` without a file or its text column, and for too many rows."""
        if not file:
            raise Problems([tr("Expected a file of sentences, got none; choose one.")])
        table = files.read(Path(file))
        if len(table) > uploads.ROWS and not access.may_change(self.lab, request):
            raise uploads.too_many_rows(len(table))
        if column not in text_choices(list(table.columns)):
            usual = ", ".join(TEXT_NAMES[:3])
            text = tr(
                "Expected the column with the sentences, got none; choose it (usual names are {names}).", names=usual
            )
            raise Problems([text])
        return table

    def _write(self, table: pd.DataFrame, file: Path, request: gr.Request) -> str:
        """The path of the predictions as CSV, in a new folder that replaces the page's earlier one."""
        self._remove(request)
        folder = self._folders[request.session_hash] = Path(tempfile.mkdtemp(prefix="peft-lab-"))
        path = folder / f"{file.stem[:80]}-predictions.csv"
        files.write(table, path, spreadsheet=True)
        return str(path)

    def stop(self, request: gr.Request) -> str:
        """Stop this page's prediction, after the current chunk of sentences."""
        if request.session_hash not in self._stops:
            return note(tr("Nothing is being predicted."))
        self._halt(request)
        return note(tr("Stopping."))

    def left(self, request: gr.Request) -> None:
        """Stop the prediction of a closed page, and delete its file."""
        self._halt(request)
        self._remove(request)

    def _halt(self, request: gr.Request) -> None:
        if (event := self._stops.get(request.session_hash)) is not None:
            event.set()

    def _remove(self, request: gr.Request) -> None:
        if (folder := self._folders.pop(request.session_hash, None)) is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _no_result() -> dict[str, Any]:
    return gr.update(value=None, interactive=False)


def _columns(runs: Sequence[Run], table: pd.DataFrame) -> dict[str, str]:
    """Run id -> the name of its column: its short name, with a number where the file has a column of that name."""
    names = {}
    for run_id, name in short_names(runs).items():
        free = (f"{name} ({number})" if number > 1 else name for number in count(1))
        names[run_id] = next(one for one in free if one not in table.columns and one not in names.values())
    return names


def _chosen(lab: Lab, chosen: list[str] | None, key: str | None) -> tuple[list[Run], str]:
    """(the task's runs that predict, and sentences on others that were chosen). Raises `UserError` without runs."""
    runs, notices = selection.resolve(lab, chosen, key, most=sys.maxsize)
    notice = " ".join(notices)
    if not runs:
        raise Problems([notice or tr("No trained runs yet. Train some in the Train tab.")])
    return runs, notice


def _stopped(step: files.Done, runs: int) -> str:
    values = {"done": f"{step.done:,}", "of": f"{step.of:,}", "number": step.run_number, "runs": runs}
    return tr("Stopped at {done} of {of} sentences of run {number} of {runs}. No file was written.", **values)


def _progress(step: files.Done, name: str, runs: int) -> str:
    values = {"done": f"{step.done:,}", "of": f"{step.of:,}", "number": step.run_number, "runs": runs}
    return tr("{method} (run {number} of {runs}): {done} of {of} sentences", method=name, **values)


def _scaled(runs: Sequence[Run]) -> str:
    """A sentence on how many of the runs' probabilities are scaled by temperature."""
    count = sum(temperature(run) is not None for run in runs)
    return tr("Scaled by temperature: the probabilities of {count} of {runs} runs.", count=count, runs=len(runs))


def _done(sentences: int, runs: Sequence[Run], *, table: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Sentences with the numbers of predicted sentences, of those that were cut, and of rows without a text."""
    through = tr_count("{count} run", "{count} runs", len(runs))
    done = tr_count("{count} sentence through {runs}.", "{count} sentences through {runs}.", sentences, runs=through)
    if cut := files.cut_sentences(table, runs, names):
        text = tr_count(
            "{count} of them is longer than a run reads and was cut: the column {column} says by how many tokens.",
            "{count} of them are longer than a run reads and were cut: the column {column} says by how many tokens.",
            cut,
            column=files.CUT,
        )
        done = f"{done} {text}"
    if not (without := len(table) - sentences):
        return done
    empty_rows = tr_count(
        "{count} row without a text kept, their predictions empty.",
        "{count} rows without a text kept, their predictions empty.",
        without,
    )
    return f"{done} {empty_rows}"
