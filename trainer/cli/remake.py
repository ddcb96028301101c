"""The command that trains the bundled runs again and compares them: remake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from trainer.cli.output import print_table, watch
from trainer.errors import ArgumentError, UserError

if TYPE_CHECKING:
    from trainer.publish.bundled import Check


def remake(
    names: Annotated[Optional[list[str]], typer.Argument(metavar="[RUN]...", help="which; all if not given")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="replace those that are there")] = False,
    folder: Annotated[
        Optional[Path],
        typer.Option("--store", metavar="FOLDER", help="train there and keep it, so that a stopped remake goes on"),
    ] = None,
) -> None:
    """Retrain the runs that come with the program and check that their figures agree."""
    import tempfile
    from contextlib import nullcontext

    from trainer.jobs import queue as jobs
    from trainer.publish import bundled
    from trainer.runs.store import Store

    stored = bundled.shipped()
    if replace and names:
        raise ArgumentError(expected="no names beside --replace", got=", ".join(names), fix="leave them out")
    if names:
        known = Store(bundled.BUNDLED)
        stored = [run for run in map(known.load, names) if run.bundled]
    if not stored and not replace:
        raise UserError(expected="runs that came with the program", got="none", fix="make them with --replace")
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as root:
        store = Store(root)
        configs = bundled.configs() if replace else [bundled.recipe(run) for run in stored]
        watch(store, jobs.launch(store, bundled.missing(configs, store)))
        checks = [
            check
            for run in stored
            if (retrained := bundled.counterpart(run, store))
            for check in bundled.compare(run, retrained)
        ]
        if replace:
            for run_id in bundled.replace([run for run in store.list() if run.state == "finished"]):
                typer.echo(f"{run_id} written to {bundled.BUNDLED}")
    _print_checks(checks)


def _print_checks(checks: Sequence[Check]) -> None:
    """The kept and the new figures side by side. Raises `UserError` if some do not agree."""
    print_table(
        ("run", "figure", "kept", "again", ""),
        [(c.run_id, c.figure, c.stored, c.retrained, "agrees" if c.agrees else "DIFFERS") for c in checks],
    )
    if not all(check.agrees for check in checks):
        raise UserError(
            expected="figures that agree", got="some that differ", fix="look at the table; other versions may be why"
        )
