"""Adoption of adapters that were trained elsewhere: import them into the store and evaluate them for comparison."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer import methods
from trainer.errors import ArgumentError
from trainer.jobs import queue as jobs
from trainer.methods import foreign
from trainer.runs import recipes
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.sources import backbones, configs, hub
from trainer.texts import tr

MAX_BYTES = foreign.MOST_BYTES


def adopt(
    store: Store,
    source: str,
    *,
    task: str,
    backbone: str,
    label: str = "",
    label_order: Sequence[str] = (),
    owner: str | None = None,
    **settings: Any,
) -> Run:
    """Queue the evaluation of a PEFT or AdapterHub adapter from a local folder or a repository of the Hub; its run.

    `label_order` names the task's labels in the adapter's own order; if empty, the adapter's label names decide, or the
    task's order. `settings` are fields of the recipe that affect the task, such as train_size or text_column.

    Raises `ArgumentError` for another kind of adapter or one of another backbone, `UserError` for weights that do not
    fit it or are not finite, `Unreachable` if the Hub is.
    """
    folder, name = find(source)
    foreign.require_small(*(folder / file for file in hub.ADAPTER_FILES if (folder / file).is_file()))
    config = _read(folder)
    method, options = recognise(config, backbone)
    _check_backbone(config, backbone)
    recipe = recipes.make(method=method, task=task, backbone=backbone, options=options, **settings)
    if recipe.multi_label:
        raise ArgumentError(
            expected=tr("a task with one label a sentence for an adapter from elsewhere"),
            got=tr("one with several labels"),
            fix=tr("train the method here instead"),
        )
    backbones.require_sound(backbone)
    known = methods.get(method)
    known.check_source(folder, backbones.shape_of(backbone), known.options(**recipe.options))

    def fill(run_folder: Path) -> None:
        (run_folder / "source").mkdir()
        for file in hub.ADAPTER_FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, run_folder / "source" / file)

    lineage = {"adopted": {"source": name, "label_order": list(label_order)}}
    run = store.create(recipe, label=label or name, owner=owner, lineage=lineage, fill=fill)
    jobs.ensure_worker(store)
    return run


def find(source: str) -> tuple[Path, str]:
    """(folder with the adapter's files, name to show) of a local folder, or of a repository fetched from the Hub."""
    source = source.strip()
    local = Path(source).expanduser()
    if source and local.is_dir():
        absolute = local.resolve()
        folder, name = local, f"{absolute.parent.name}/{absolute.name}"
    elif source.count("/") == 1 and not source.startswith((".", "~", "/")):
        folder, name = hub.adapter_folder(source, max_bytes=MAX_BYTES), source
    else:
        raise ArgumentError(
            expected=tr("a local folder with an adapter, or its name on the Hub as owner/name"),
            got=repr(source),
            fix=tr("check the path"),
        )
    return folder, name


def recognise(config: dict[str, Any], backbone: str) -> tuple[str, dict[str, Any]]:
    """(method, its options) of an adapter, from its adapter_config.json.

    Raises `ArgumentError` for another kind of adapter, or one with settings that the method has no options for.
    """
    shape = backbones.shape_of(backbone)
    for name, method in methods.METHODS.items():
        if (options := method.recognise(config, shape)) is not None:
            return name, options
    kind = config.get("peft_type") or config.get("architecture") or tr("an unknown kind")
    raise ArgumentError(
        expected=tr("an adapter of PEFT whose method is here, or a bottleneck adapter of AdapterHub"),
        got=str(kind)[:60],
        fix=tr("choose another"),
    )


def _read(folder: Path) -> dict[str, Any]:
    """Content of adapter_config.json. Raises `ArgumentError` if it is missing or damaged."""
    if not (folder / "adapter_config.json").is_file():
        raise ArgumentError(
            expected=tr("a folder with adapter_config.json"),
            got=tr("{name} without one", name=folder.name),
            fix=tr("choose the folder that PEFT or AdapterHub saved"),
        )
    return configs.read_object(folder / "adapter_config.json")


def _check_backbone(config: dict[str, Any], backbone: str) -> None:
    """Raise `ArgumentError` if the adapter names another known backbone.

    An unknown name passes: the shapes of the weights are checked when they are loaded.
    """
    named = config.get("base_model_name_or_path") or config.get("model_name")
    short = str(named).rsplit("/", 1)[-1]
    for known in backbones.BACKBONES.values():
        if known.name != backbone and known.hub_id.rsplit("/", 1)[-1] == short:
            raise ArgumentError(
                expected=tr("an adapter for {backbone}", backbone=backbone),
                got=tr("one for {backbone}", backbone=str(named)[:200]),
                fix=tr("choose the backbone {backbone}", backbone=known.name),
            )
