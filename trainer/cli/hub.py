"""The commands that bring something from elsewhere or take it there: push, adopt and fetch."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from trainer.cli.options import GroupColumn, LabelColumn, RunName, TextColumn, defaults
from trainer.cli.output import watch


def push(
    run: RunName,
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="the model's repository on the Hub")],
    private: Annotated[Optional[bool], typer.Option(help="who may see it, when it is created")] = None,
    licence: Annotated[
        Optional[str], typer.Option("--license", metavar="LICENCE", help="such as mit (the backbone's if not given)")
    ] = None,
) -> None:
    """Upload a finished run to the Hugging Face Hub as a model, with a card."""
    from trainer.publish import push as pushing
    from trainer.runs.store import Store

    address, files = pushing.push(Store(), run, repo, private=private, licence=licence)
    typer.echo(f"{len(files)} files are at {address}")


def adopt(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="a local folder, or owner/name on the Hub")],
    task: Annotated[Optional[str], typer.Option(metavar="TASK", help="the task to evaluate it on")] = None,
    backbone: Annotated[Optional[str], typer.Option(metavar="BACKBONE", help="the backbone it was trained on")] = None,
    labels: Annotated[
        str, typer.Option(metavar="LABEL,LABEL", help="the labels in the adapter's order, if it is another")
    ] = "",
    label: Annotated[str, typer.Option(metavar="NAME", help="your own name for the run")] = "",
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
) -> None:
    """Evaluate a plain PEFT or AdapterHub adapter here, so that it can be compared and can predict."""
    from trainer.jobs import adoption
    from trainer.runs.store import Store

    store, (default_task, default_backbone) = Store(), defaults()
    order = [name.strip() for name in labels.split(",") if name.strip()]
    run = adoption.adopt(
        store, source, task=task or default_task, backbone=backbone or default_backbone, label=label,
        label_order=order, text_column=text_column, label_column=label_column,
        group_column=group_column,
    )  # fmt: skip
    watch(store, [run])


def fetch() -> None:
    """Fetch the embedded backbone and sentences now, so that later no network is needed."""
    from trainer.sources import assets

    for asset in (assets.MINILM, assets.SENTENCES):
        cached = assets.is_cached(asset)
        typer.echo(f"{asset.name}: " + ("already here" if cached else f"fetching {asset.megabytes} MB"))
        assets.fetch(asset)
    typer.echo(f"Kept in {assets.cache_folder()}")
