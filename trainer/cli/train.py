"""The commands that train by a recipe: suite and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Optional

import typer

from trainer.cli.options import (
    Backbone,
    EncodingName,
    GroupColumn,
    LabelColumn,
    LabelColumns,
    Method,
    RunNames,
    SeparatorName,
    Sets,
    SeveralLabels,
    Task,
    TestFile,
    TextColumn,
    Track,
    ValidationFile,
    defaults,
    file_settings,
    parse_settings,
)
from trainer.cli.output import watch
from trainer.errors import one_of


def suite(
    preset: Annotated[Optional[str], typer.Option(metavar="PRESET", help="quick, report or best")] = None,
    method: Annotated[
        Optional[list[str]], typer.Option(metavar="METHOD", help="a method; may be repeated (all if not given)")
    ] = None,
    task: Task = None,
    backbone: Backbone = None,
    seed: Annotated[Optional[list[int]], typer.Option(metavar="NUMBER", help="a seed; may be repeated")] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    several_labels: SeveralLabels = False,
    label_columns: LabelColumns = None,
    group_column: GroupColumn = None,
    separator: SeparatorName = None,
    encoding: EncodingName = None,
    validation_file: ValidationFile = None,
    test_file: TestFile = None,
    label: Annotated[str, typer.Option(metavar="NAME", help="your own name for the runs")] = "",
    track: Track = False,
    set_: Sets = None,
) -> None:
    """Train several methods on the same sentences, so that they can be compared."""
    from trainer.runs import recipes
    from trainer.runs.presets import PRESETS

    named = PRESETS.get(preset or "")
    if preset is not None and named is None:
        raise one_of("a preset", preset, tuple(PRESETS))
    settings = dict(named.settings) if named else {}
    settings |= file_settings(
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
    settings |= {"track": track} | parse_settings(set_)
    default_task, default_backbone = defaults()
    configs = recipes.suite(
        methods_=method or (named.methods if named else recipes.DEFAULT_METHODS),
        seeds=seed or (named.seeds if named else (0,)),
        task=task or (named.task if named else default_task),
        backbone=backbone or (named.backbone if named else default_backbone),
        **settings,
    )
    _train(configs, label)


def run(
    method: Method,
    task: Task = None,
    backbone: Backbone = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="seeds weights, batches and dropout")] = 0,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    several_labels: SeveralLabels = False,
    label_columns: LabelColumns = None,
    group_column: GroupColumn = None,
    separator: SeparatorName = None,
    encoding: EncodingName = None,
    validation_file: ValidationFile = None,
    test_file: TestFile = None,
    parents: Annotated[str, typer.Option(metavar=RunNames, help="adapter runs to fuse (trained if not given)")] = "",
    label: Annotated[str, typer.Option(metavar="NAME", help="your own name for the run")] = "",
    track: Track = False,
    set_: Sets = None,
) -> None:
    """Train one run."""
    from trainer.runs import recipes
    from trainer.runs.store import Store

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
    # Its own options may be written as a suite's, with the method's name before them.
    settings |= {"track": track} | {n.removeprefix(f"{method}."): value for n, value in parse_settings(set_).items()}
    if parents:
        settings["parents"] = tuple(Store().load(name).id for name in parents.split(","))
    config = recipes.make(
        method=method, task=task or default_task, backbone=backbone or default_backbone, seed=seed, **settings
    )
    _train([config], label)


def _train(configs: Sequence[Any], label: str) -> None:
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    typer.echo(_plan(configs, store.list()))
    for warning in _unread(configs):
        typer.echo(warning, err=True)
    watch(store, jobs.launch(store, configs, label=label))


def _unread(configs: Sequence[Any]) -> list[str]:
    """Sentences on what the backbones will not read of the training sentences."""
    from trainer.runs import lengths

    different = {(one.task, one.backbone, one.max_length): one for one in configs}
    fits = [(one, lengths.fit(one)) for one in different.values()]
    return [warning for one, fit in fits if fit for warning in fit.warnings(one.backbone)]


def _plan(configs: Sequence[Any], earlier: Sequence[Any]) -> str:
    """What will train and for about how long, in one line: `earlier` runs on this machine tell the speed."""
    from trainer import tasks
    from trainer.jobs.progress import duration
    from trainer.machine.device import detect
    from trainer.runs import estimate

    costs = estimate.estimates(configs, earlier=earlier, beside=configs, device=detect())
    sentences = sorted({tasks.extent(config)[0] for config in configs})
    epochs = sorted({config.epochs for config in configs})
    seconds = sum(cost.seconds + cost.parents_seconds for cost in costs)
    basis = estimate.bases(cost.based_on for cost in costs)
    runs = "1 run" if len(configs) == 1 else f"{len(configs)} runs, one after another"
    return (
        f"{runs}: {' or '.join(f'{count:,}' for count in sentences)} training sentences, "
        f"{' or '.join(map(str, epochs))} {'epoch' if epochs == [1] else 'epochs'}. "
        f"About {duration(seconds)} of training here, estimated from {basis}."
    )
