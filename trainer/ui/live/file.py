"""A file of sentences in, a file of every run's predictions out."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.runs.store import Run
from trainer.serving import files as questions
from trainer.serving import predictor as inference
from trainer.tasks.own_file import TEXT_NAMES, missing
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import access, tables, uploads
from trainer.ui.common.lab import Lab, endpoint, method_title, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.live.ask import vanished

ABOUT = mark(
    "CSV, TSV, JSON Lines, Parquet, or text with one sentence a line. The runs chosen above predict each sentence; "
    "your columns stay, and each run adds its label and the label's probability. A file is computed in the machine's "
    "quickest precision, close calls again in float32: labels are those of single sentences, probabilities within "
    "about 0.02 of theirs."
)
PREVIEW_ROWS = 5
CUT = 120
"""Characters of a cell in the preview."""

_stops: dict[str, threading.Event] = {}
"""Of each page that predicts a file now: set to stop it."""
_written: dict[str, Path] = {}
"""Of each page, the folder of its last predictions. Gradio serves a copy, which does not stay either."""


def build(lab: Lab, page: gr.Blocks, chosen: gr.Dropdown) -> None:
    """Lay out the section and connect it. It asks the runs chosen above, every finished run if none is."""
    with gr.Accordion(tr("A file of sentences"), open=False):
        gr.HTML(note(tr(ABOUT)))
        file = gr.File(label=tr("File of sentences"), file_types=list(questions.SUFFIXES), height=140)
        with gr.Row():
            column = gr.Dropdown(
                [], label=tr("Text column"), info=tr("Recognised by its usual name, or choose it."), value=None
            )
            go = gr.Button(tr("Predict the file"), variant="primary", min_width=160)
            stop_button = gr.Button(tr("Stop"), min_width=100)
        status = gr.HTML(min_height=70)
        preview = gr.HTML()
        result = gr.DownloadButton(tr("Download the predictions"), interactive=False, variant="primary")
    file.change(opened, file, [column, status, preview, result], api_visibility="private")
    go.click(
        endpoint(predict_file, lab),
        [file, column, chosen],
        [status, preview, result],
        api_visibility="private",
        show_progress_on=status,
        concurrency_limit=4,
    )
    stop_button.click(stop, None, status, api_visibility="private", show_progress="hidden", queue=False)
    page.unload(left)


def opened(file: str | None) -> tuple[Any, str, str, Any]:
    """(text column, status, preview, result) for a file that was just chosen."""
    nothing = gr.update(value=None, interactive=False)
    if not file:
        return gr.update(choices=[], value=None), "", "", nothing
    try:
        table = questions.read(Path(file))
        shown = preview_html(table, tr("The file, first rows"))
    except (UserError, OSError, ValueError) as error:
        return gr.update(choices=[], value=None), note(sentence(error), "warning"), "", nothing
    columns = list(table.columns)
    try:
        found = questions.text_column(table, Path(file))
        text = tr_count(
            "{count} row; the sentences are in {column}.",
            "{count} rows; the sentences are in {column}.",
            len(table),
            column=found,
        )
    except UserError:
        found, text = (
            None,
            tr_count(
                "{count} row; choose the column that holds the sentences.",
                "{count} rows; choose the column that holds the sentences.",
                len(table),
            ),
        )
    return gr.update(choices=columns, value=found), note(text), shown, nothing


def predict_file(
    lab: Lab,
    file: str | None,
    column: str | None,
    chosen: list[str] | None,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio finds it)
) -> tuple[str, Any, Any]:
    """(status, preview, file) once every run has predicted every sentence, or why not."""
    nothing = gr.update(value=None, interactive=False)
    stopped = _stops[request.session_hash] = threading.Event()
    try:
        if not file:
            text = tr("Expected a file of sentences, got none; choose one.")
            return note(text, "warning"), gr.skip(), nothing
        table = questions.read(Path(file))
        if len(table) > uploads.ROWS and not access.may_change(lab, request):
            raise uploads.too_many_rows(len(table))
        if column not in table.columns:
            usual = ", ".join(TEXT_NAMES[:3])
            text = tr(
                "Expected the column with the sentences, got none; choose it (usual names are {names}).", names=usual
            )
            return note(text, "warning"), gr.skip(), nothing
        runs, said = _chosen(lab, chosen)
        if not runs:
            text = said or tr("No trained runs yet. Train some in the Train tab.")
            return note(text, "warning"), gr.skip(), nothing
        for step in questions.predict(table, column, runs, lab.predictor):
            if stopped.is_set():
                return note(_stopped(step, len(runs)), "warning"), gr.skip(), nothing
            done, of = (step.place - 1) * step.of + step.done, len(runs) * step.of
            progress((done, of), desc=_standing(step, len(runs)), unit=tr("sentences"))
        _remove(request)
        folder = _written[request.session_hash] = Path(tempfile.mkdtemp(prefix="peft-lab-"))
        out = folder / f"{Path(file).stem[:80]}-predictions.csv"
        questions.write(table, out)
        shown = note(_done(step.of, len(runs), without=len(table) - step.of)) + (note(said, "warning") if said else "")
        return shown, preview_html(table, tr("Predictions, first rows")), gr.update(value=str(out), interactive=True)
    except (UserError, OSError, RuntimeError, MemoryError, ValueError) as error:
        return note(lab.shown(sentence(error)), "warning"), gr.skip(), nothing
    finally:
        if _stops.get(request.session_hash) is stopped:
            del _stops[request.session_hash]


def _stopped(step: questions.Done, runs: int) -> str:
    named = {"done": f"{step.done:,}", "of": f"{step.of:,}", "place": step.place, "runs": runs}
    return tr("Stopped at {done} of {of} sentences of run {place} of {runs}. No file was written.", **named)


def _standing(step: questions.Done, runs: int) -> str:
    named = {"done": f"{step.done:,}", "of": f"{step.of:,}", "place": step.place, "runs": runs}
    method = method_title(step.run.recipe.method)
    return tr("{method} (run {place} of {runs}): {done} of {of} sentences", method=method, **named)


def _done(sentences: int, runs: int, *, without: int) -> str:
    """What was predicted; `without` counts rows that have no text."""
    through = tr_count("{count} run", "{count} runs", runs)
    said = [
        tr_count("{count} sentence through {runs}.", "{count} sentences through {runs}.", sentences, runs=through)
    ]  # fmt: skip
    if without:
        said.append(
            tr_count(
                "{count} row without a text kept, their predictions empty.",
                "{count} rows without a text kept, their predictions empty.",
                without,
            )
        )
    return " ".join(said)


def _chosen(lab: Lab, chosen: list[str] | None) -> tuple[list[Run], str]:
    """(the runs, one sentence on those that are gone): all of them, a file has no page to fit on."""
    every = inference.choose(lab.store)
    if not chosen:
        return every, ""
    runs = [run for run in every if run.id in set(chosen)]
    here = {run.id for run in every}
    gone = [name for name in chosen if name not in here]
    return runs, vanished(gone, asked="others" if runs else "nobody") if gone else ""


def stop(request: gr.Request) -> str:
    """Stop what this page predicts; it ends after the sentences that are on their way."""
    if request.session_hash not in _stops:
        return note(tr("Nothing is being predicted."))
    _halt(request)
    return note(tr("Stopping."))


def left(request: gr.Request) -> None:
    """The page was closed: nobody waits for its file, and its sentences go."""
    _halt(request)
    _remove(request)


def _halt(request: gr.Request) -> None:
    if (event := _stops.get(request.session_hash)) is not None:
        event.set()


def _remove(request: gr.Request) -> None:
    if (folder := _written.pop(request.session_hash, None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


def preview_html(table: Any, title: str) -> str:
    """The first rows as text, in a table of this title."""
    columns = [Column(str(name), numeric=False) for name in table.columns]
    rows = [tuple(_cell(value) for value in row) for row in table.head(PREVIEW_ROWS).itertuples(index=False, name=None)]
    shown = min(PREVIEW_ROWS, len(table))
    heading = note(
        tr_count("The first {shown} of {count} row:", "The first {shown} of {count} rows:", len(table), shown=shown)
    )
    shown = tables.table(columns, rows, name="preview", title=title, sortable=False)
    return f'{heading}<div class="lab-preview">{shown}</div>'


def _cell(value: Any) -> Cell:
    if missing(value):
        return Cell("")
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return Cell(text if len(text) <= CUT else text[: CUT - 1] + "…")
