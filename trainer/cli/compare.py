"""The commands that set finished runs side by side: compare and report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from trainer.cli.options import AsJson, RunNames
from trainer.cli.output import print_damaged, print_json, print_table, store_to_read
from trainer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from trainer.runs.run import Run


def compare(
    as_json: AsJson = False,
    csv: Annotated[Optional[Path], typer.Option(metavar="FILE", help="write the table to this file")] = None,
    peft: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="write files for PEFT's method comparison to this folder")
    ] = None,
) -> None:
    """The finished runs side by side."""
    from trainer.analysis import method_comparison
    from trainer.analysis.tables import csv_table, plain, runs_table
    from trainer.runs.damage import culprits, log_failure

    stored, damaged = store_to_read().scan()
    runs = [run for run in stored if run.state == "finished"]
    try:
        table = runs_table(runs)
    except Exception:  # of any kind: one run's error is reported for it, and the others are compared
        failed = [log_failure(error, run_id=run.id, folder=run.folder) for run, error in culprits(runs, runs_table)]
        names = {damage.run_id for damage in failed}
        runs = [run for run in runs if run.id not in names]
        damaged, table = [*damaged, *failed], runs_table(runs)
    print_damaged(damaged)
    if csv is not None:
        theirs = method_comparison.columns(runs)
        numbers = {name: theirs[name].map(plain, na_action="ignore") for name in theirs.select_dtypes("Float64")}
        csv_table(runs).join(theirs.assign(**numbers)).to_csv(csv, index=False)
        typer.echo(f"{len(table)} runs written to {csv}", err=as_json)
    if peft is not None:
        files, left_out = method_comparison.write(runs, peft)
        typer.echo(f"{len(files)} runs written to {peft}", err=as_json)
        for run in left_out:
            typer.echo(f"{run.id} is left out: it has no GPU memory to compare with that of the others.", err=True)
    if as_json:
        print_json(json.loads(table.to_json(orient="records", double_precision=12)))
    elif csv is None and peft is None:
        _print_compared(runs, table)


def _print_compared(runs: Sequence[Run], table: pd.DataFrame) -> None:
    """The runs' figures as a table, and below it what stands in the way of comparing them."""
    from trainer.analysis.parents import other_tasks
    from trainer.analysis.tables import comparable
    from trainer.runs.metrics import METRICS

    keys = ["test_accuracy", "validation_accuracy", "f1", "train_minutes", "trainable", "peak_memory", "file_size"]
    if table["micro_f1"].notna().any():
        keys.insert(3, "micro_f1")
    more = ("parents_minutes", "parents_parameters", "latency", "calibration_error")
    keys += [key for key in more if table[key].notna().any()]
    heading = ("run", "method", "task", *(METRICS[key].among(set(table["multi_label"])).title for key in keys))
    rows = [
        (
            run.id,
            run.recipe.method,
            Path(run.recipe.task).name,
            *(METRICS[key].show(METRICS[key].of(run)) for key in keys),
        )
        for run in runs
    ]
    print_table(heading, rows)
    for warning in comparable(runs) + other_tasks(runs):
        typer.echo(warning)


def report(
    out: Annotated[Path, typer.Option(metavar="FILE", help="the HTML file to write")],
    runs: Annotated[str, typer.Option(metavar=RunNames, help="which runs (all finished ones if not given)")] = "",
) -> None:
    """Write a lab report: figures, statistical significance of the differences, and how each run was made."""
    from trainer.publish import report as reports

    store = store_to_read()
    selected = [store.load(name) for name in runs.split(",") if name] or store.list()
    finished = [run for run in selected if run.state == "finished"]
    if not finished:
        raise UserError(
            expected="a finished run to report", got="none", fix="train one: python -m trainer suite --preset quick"
        )
    out.write_text(reports.html(store, finished), encoding="utf-8")
    typer.echo(f"{len(finished)} runs reported in {out}")
    print_damaged(store.damaged())
