"""The command that says what a run would cost: estimate."""

from __future__ import annotations

import typer

from trainer.cli.options import (
    AsJson,
    Backbone,
    EncodingName,
    GroupColumn,
    LabelColumn,
    LabelColumns,
    Method,
    SeparatorName,
    Sets,
    SeveralLabels,
    Task,
    TestFile,
    TextColumn,
    ValidationFile,
    defaults,
    file_settings,
    parse_settings,
)
from trainer.cli.output import print_json, print_table


def estimate(
    method: Method,
    task: Task = None,
    backbone: Backbone = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    several_labels: SeveralLabels = False,
    label_columns: LabelColumns = None,
    group_column: GroupColumn = None,
    separator: SeparatorName = None,
    encoding: EncodingName = None,
    validation_file: ValidationFile = None,
    test_file: TestFile = None,
    set_: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Estimated cost of a run: parameters, memory, time."""
    from trainer.jobs.progress import duration
    from trainer.machine.device import detect, reuse_freed_memory
    from trainer.runs import estimate as estimates
    from trainer.runs import recipes
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store
    from trainer.training import simulate

    default_task, default_backbone = defaults()
    settings = file_settings(
        text_column=text_column,
        label_column=label_column,
        several_labels=several_labels,
        label_columns=label_columns,
        group_column=group_column,
        separator=separator,
        encoding=encoding,
        validation_file=validation_file,
        test_file=test_file,
    )
    settings |= parse_settings(set_)
    config = recipes.make(method=method, task=task or default_task, backbone=backbone or default_backbone, **settings)
    earlier, device = Store().list(), detect()
    reuse_freed_memory()
    simulate.ensure([config], earlier=earlier, device=device)
    cost = estimates.estimate(config, earlier=earlier, device=device)
    if as_json:
        print_json(cost.__dict__)
        return
    rows = [
        (METRICS["trainable"].title, f"{cost.trainable_parameters:,}"),
        ("Parameters in all", f"{cost.total_parameters:,}"),
        (METRICS["peak_memory"].title, f"about {cost.memory / 1e6:,.0f}"),
        (METRICS["train_minutes"].title.removesuffix(" (min)"), f"about {duration(cost.seconds)}"),
    ]
    if cost.parents_seconds:
        rows.append(
            (METRICS["parents_minutes"].title.removesuffix(" (min)"), f"about {duration(cost.parents_seconds)}")
        )
    print_table(("figure", "estimate"), rows)
    if cost.based_on == cost.memory_based_on:
        typer.echo(f"Time and memory are estimated from {cost.based_on}.")
    else:
        typer.echo(f"Time is estimated from {cost.based_on}, memory from {cost.memory_based_on}.")
