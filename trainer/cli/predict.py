"""The command that predicts a sentence or a file of sentences: predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from trainer.cli.options import AsJson, EncodingName, RunNames, SeparatorName, TextColumn
from trainer.cli.output import print_json, print_table, store_to_read
from trainer.errors import ArgumentError, UserError


def predict(
    text: Annotated[
        Optional[str], typer.Argument(metavar="SENTENCE", help="one sentence, or a pair with || between")
    ] = None,
    runs: Annotated[
        str, typer.Option(metavar=RunNames, help="which runs predict (all finished ones if not given)")
    ] = "",
    file: Annotated[Optional[Path], typer.Option(metavar="FILE", help="a file of sentences instead")] = None,
    out: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="where to write every run's predictions (CSV)")
    ] = None,
    text_column: TextColumn = None,
    separator: SeparatorName = None,
    encoding: EncodingName = None,
    spreadsheet: Annotated[
        bool, typer.Option("--for-spreadsheet", help="write --out so that Excel shows it and computes no cell")
    ] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="scale each run's probabilities by its temperature from validation")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the label of one sentence, or of each sentence of a file, with trained runs."""
    from trainer import pairs
    from trainer.jobs import queue as jobs
    from trainer.serving import files
    from trainer.serving import predictor as inference
    from trainer.serving.prediction import temperature
    from trainer.tasks.columns import pair_columns

    if (text is None) == (file is None):
        raise ArgumentError(expected="a sentence or --file", got="both" if text else "neither", fix="give one of them")
    if file is not None and out is None:
        raise ArgumentError(expected="--out with --file", got="none", fix="say where to write the predictions")
    store = store_to_read()
    if file is None:
        table, pair = None, pairs.split(text)
    else:
        table = files.read(file, **_dialect(separator, encoding))
        column = files.text_column(table, file, text_column)
        pair = pair_columns(list(table.columns), column)
    selected = inference.choose(store, [name for name in runs.split(",") if name], pair=pair is not None)
    if not selected:
        raise UserError(
            expected="a finished run to ask", got="none", fix="train one: python -m trainer suite --preset quick"
        )
    predictor = inference.Predictor(store)
    if calibrated:
        for run in selected:
            if temperature(run) is None:
                typer.echo(f"Not scaled: {run.id}, which has no temperature.", err=True)
    if table is not None:
        _predict_file(predictor, selected, table, column, calibrated=calibrated)
        files.write(table, out, spreadsheet=spreadsheet)
        _report_file(table, selected, out, as_json)
        return
    predictions = predictor.predict(text, selected)
    if calibrated:
        predictions = [prediction.calibrated(run) for prediction, run in zip(predictions, selected, strict=True)]
    if not runs:
        for missing, trains in jobs.without_weights(store):
            fix = f"{trains.id} trains" if trains else f"train it: python -m trainer again {missing.id}"
            typer.echo(f"Left out: {missing.id}, which came without its weights ({fix}).", err=True)
    if as_json:
        print_json([prediction.__dict__ | {"cut": prediction.cut} for prediction in predictions])
        return
    for p in predictions:
        if p.cut:
            part = {"head": "the first ", "tail": "the last "}.get(p.truncation, "at both ends ")
            typer.echo(f"Cut: {p.run_id} read {part}{p.tokens_read} of the text's {p.tokens} tokens.", err=True)
    rows = [
        (p.run_id, p.method, run.task_name, p.shown, p.confidence_shown, f"{p.seconds * 1000:.1f} ms")
        for p, run in zip(predictions, selected, strict=True)
    ]
    print_table(("run", "method", "task", "predicted", "probability", "time"), rows)


def _dialect(separator: str | None, encoding: str | None) -> dict[str, str | None]:
    """The two options as a recipe has them. Raises `Problems` for values that are none of theirs."""
    from trainer.config import Dialect, check

    return check(Dialect, {"separator": separator, "encoding": encoding}).model_dump()


def _predict_file(predictor, runs, table, column: str, *, calibrated: bool) -> None:
    """Add the runs' predictions to the table, with the progress on a terminal."""
    from trainer.serving import files

    for step in files.predict(table, column, runs, predictor, calibrated=calibrated):
        if sys.stderr.isatty():
            last = step.done == step.of
            typer.echo(f"\r{step.run.id}: {step.done:,} of {step.of:,} sentences", nl=last, err=True)


def _report_file(table, runs, out: Path, as_json: bool) -> None:
    from trainer.serving import files

    cut = files.cut_sentences(table, runs)
    if as_json:
        print_json({"out": str(out), "rows": len(table), "runs": [run.id for run in runs], "cut": cut})
        return
    typer.echo(f"{len(table):,} sentences through {len(runs)} runs written to {out}")
    if cut:
        typer.echo(f"Cut: {cut:,} of them are longer than a run reads; see the columns tokens_cut.", err=True)
