"""What the commands print: the progress of runs, JSON and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer


def store_to_read() -> Any:
    """The store, for a command that reads its runs: one that never had any gets the example runs, as in the app."""
    from trainer.publish import bundled
    from trainer.runs.store import Store

    store = Store()
    if count := bundled.bring_where_due(store.root):
        text = f"{count} example runs were copied into {store.root}. PEFT_LAB_BUNDLED=0 leaves them out."
        typer.echo(text, err=True)
    return store


def watch(store: Any, launched: Sequence[Any]) -> None:
    """Print the progress of runs until they end; Ctrl-C cancels those that have not."""
    from trainer.jobs import queue as jobs
    from trainer.jobs.progress import Progress

    runs = jobs.with_parents(store, launched)
    progress = Progress(runs, write=typer.echo, live=sys.stdout.isatty())
    try:
        for run, event in jobs.follow(store, [run.id for run in runs]):
            progress.show(run, event)
    except KeyboardInterrupt:
        typer.echo("\nCancelling; what is trained stays.", err=True)
        for run in runs:
            if store.load(run.id).state in ("queued", "running"):
                jobs.cancel(store, run.id)
        for _ in jobs.follow(store, [run.id for run in runs]):
            pass
    ended = [store.load(run.id) for run in runs]
    for run in ended:
        if run.state != "finished":
            typer.echo(f"{run.id}: {run.state}. {run.error or ''}".strip(), err=True)
    if any(run.state != "finished" for run in ended):
        raise typer.Exit(1)


def print_damaged(damaged: Sequence[Any]) -> None:
    """Print a line on standard error for each damaged run."""
    for damage in damaged:
        typer.echo(str(damage), err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, default=str))


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: columns padded to their widest cell, numbers aligned to the right."""
    widths = [max(len(str(row[i])) for row in [heading, *rows]) for i in range(len(heading))]
    numeric = [all(str(row[i])[:1] in "0123456789–-" for row in rows) for i in range(len(heading))]
    for row in [heading, *rows]:
        cells = (
            str(cell).rjust(width) if is_number else str(cell).ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())
