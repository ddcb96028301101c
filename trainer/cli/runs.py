"""The commands about runs in the store: list, show, cancel, resume, again, delete, and export and load of zip files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import AsJson, RunName
from trainer.cli.output import print_damaged, print_json, print_table, store_to_read, watch
from trainer.errors import Cancelled


def list_(as_json: AsJson = False) -> None:
    """The runs in the store."""
    from trainer.runs.metrics import METRICS

    runs, damaged = store_to_read().scan()
    print_damaged(damaged)
    if as_json:
        print_json([run.as_json() | {"folder": str(run.folder)} for run in runs])
        return
    if not runs and not damaged:
        typer.echo("No runs yet. Train some: python -m trainer suite --preset quick")
        return
    accuracy = METRICS["test_accuracy"].among({run.multi_label for run in runs if run.result})
    rows = [
        (run.id, run.state, run.recipe.method, Path(run.recipe.task).name, accuracy.show(accuracy.of(run)), run.label)
        for run in runs
    ]
    print_table(("run", "state", "method", "task", accuracy.title, "label"), rows)


def show(run: RunName, as_json: AsJson = False) -> None:
    """One run: its recipe, its figures, or why it failed."""
    from trainer.analysis.tables import per_class
    from trainer.runs import recipes
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store

    store = Store()
    stored = store.load(run)
    if damage := store.check(stored.id):
        print_damaged([damage])
    if as_json:
        print_json(stored.as_json())
        return
    typer.echo(f"{stored.id}: {stored.state}" + (f" ({stored.label})" if stored.label else ""))
    if stored.error:
        typer.echo(stored.error)
    for name, value in stored.recipe.model_dump(mode="json", exclude_none=True).items():
        typer.echo(f"  {name}: {value}")
    if stored.lineage.learning_rate:
        typer.echo(f"Learning rate {recipes.rate_text(stored)}.")
    if stored.result:
        typer.echo("")
        figures = [
            (metric.among({stored.multi_label}).title, metric.show(metric.of(stored))) for metric in METRICS.values()
        ]
        print_table(("figure", "value"), [row for row in figures if row[1] != "–"])
        typer.echo("")
        typer.echo(per_class(stored).to_string(index=False, float_format=lambda value: f"{value:.4f}"))


def cancel(run: RunName) -> None:
    """Cancel a run that waits or trains. The files it has written stay."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    typer.echo(f"{jobs.cancel(Store(), run).id} is being cancelled.")


def resume(run: RunName) -> None:
    """Continue a failed or cancelled run from its last checkpoint."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    watch(store, [jobs.resume(store, run)])


def again(run: RunName) -> None:
    """Train a new run with the recipe of an ended one."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    watch(store, [jobs.retrain(store, run)])


def delete(run: RunName, yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False) -> None:
    """Remove a run and its files."""
    from trainer.runs.run import DamagedRun
    from trainer.runs.store import Store

    store = Store()
    try:
        run_id = store.load(run).id
    except DamagedRun as error:
        run_id = error.damage.run_id
    if not yes and not typer.confirm(f"Delete {run_id} and its files?"):
        raise Cancelled("Nothing was deleted.")
    store.delete(run_id)
    typer.echo(f"{run_id} is deleted.")


def export(run: RunName, out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="the file to write")]) -> None:
    """Write a run to a zip file."""
    from trainer.runs import archive
    from trainer.runs.store import Store

    typer.echo(f"Written to {archive.export(Store(), run, out)}")


def load(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a zip file that export wrote, or a folder of runs")],
) -> None:
    """Add a run from a zip file, or the runs in a folder, to the store."""
    from trainer.runs import archive
    from trainer.runs.store import Store

    if not path.is_dir():
        typer.echo(f"{archive.load(Store(), path).id} is in the store.")
        return
    loaded, left_out = archive.load_folder(Store(), path)
    for run in loaded:
        typer.echo(f"{run.id} is in the store.")
    for reason in left_out:
        typer.echo(reason, err=True)
    if left_out and not loaded:
        raise typer.Exit(1)
