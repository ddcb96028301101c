"""Every launch of runs from the page and the endpoints: the one place where ceilings and paths are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer import methods, tasks
from trainer.config import Names, RunConfig
from trainer.errors import ArgumentError, one_of
from trainer.jobs import adoption
from trainer.jobs import queue as jobs
from trainer.machine.limits import few
from trainer.runs import recipes
from trainer.runs.run import Run
from trainer.sources import backbones
from trainer.texts import mark, tr
from trainer.ui.common import access, log
from trainer.ui.common.lab import Lab


def launch(lab: Lab, configs: Sequence[RunConfig], *, label: str = "") -> list[Run]:
    """`jobs.launch` of the current visitor. Raises `UserError` above a ceiling and for a path of the machine."""

    def begin() -> list[Run]:
        return jobs.launch(lab.store, configs, label=label)

    for config in configs:
        refuse_paths(lab, _named(config))
    return _counted(lab, "queued", begin, count=len(configs), queued=sum(map(_with_parents, configs)))


def retrain(lab: Lab, run_id: str) -> Run:
    """`jobs.retrain` of the current visitor; raises as `launch` does."""
    recipe = lab.store.load(run_id).recipe
    refuse_paths(lab, _named(recipe))
    queued = 1 + len(recipe.parents) if recipe.parents else _with_parents(recipe)
    return _counted(lab, "queued", lambda: [jobs.retrain(lab.store, run_id)], queued=queued)[0]


def resume(lab: Lab, run_id: str) -> Run:
    """`jobs.resume` of the current visitor; raises as `launch` does."""
    recipe = lab.store.load(run_id).recipe
    refuse_paths(lab, _named(recipe))
    return _counted(lab, "resumed", lambda: [jobs.resume(lab.store, run_id)], queued=1 + len(recipe.parents))[0]


def adopt(lab: Lab, source: str, *, task: str, backbone: str, **settings: Any) -> Run:
    """`adoption.adopt` of the current visitor; raises as `launch` does."""
    refuse_paths(lab, _raw(task=task, backbone=backbone, settings=settings))

    def begin() -> list[Run]:
        return [adoption.adopt(lab.store, source, task=task, backbone=backbone, **settings)]

    return _counted(lab, "adopted", begin)[0]


def check_request(lab: Lab, *, names: Sequence[str], seeds: Sequence[Any], **recipe: Any) -> None:
    """Check an endpoint's `task`, `backbone` and `settings` before anything is read. Raises as `launch` does."""
    if lab.limits.launch is not None:
        few(lab.limits.launch, len(names) * len(seeds))
    refuse_paths(lab, _raw(**recipe))


def refuse_paths(lab: Lab, named: Iterable[tuple[Names, str]]) -> None:
    """Raise `ArgumentError` for a path of the app's machine, unless everybody may change runs.

    An uploaded file is one of the store's. Whether anything is at the path makes no difference to the answer.
    """
    if lab.access.rules.open:
        return
    for kind, value in named:
        if kind is Names.BACKBONE:
            if value not in backbones.BACKBONES:
                raise one_of(mark("a backbone"), value[:80], tuple(backbones.BACKBONES))
        elif (kind is Names.FILE or tasks.is_file(value)) and Path(value) not in lab.store.files():
            raise ArgumentError(
                expected=tr("a task by its name or an uploaded file"),
                got=tr("a path on the app's machine"),
                fix=tr("choose a task in the form or upload the file there"),
            )


def _counted(lab: Lab, what: str, begin: Callable[[], list[Run]], *, count: int = 1, queued: int = 1) -> list[Run]:
    """The runs of `begin`, called if the visitor may launch so many now."""
    person = access.current_person()
    with lab.ledger.reserved(person, count, queued=queued, waiting=partial(_waiting, lab)):
        runs = begin()
    for run in runs:
        log.event(what, run=run.id, by=person)
    return runs


def _waiting(lab: Lab) -> int:
    return sum(run.state == "queued" for run in lab.store.list())


def _with_parents(config: RunConfig) -> int:
    """The number of runs that a recipe queues at most: itself and the parents that are trained as part of it."""
    return 1 + len(recipes.parents_of(config))


def _named(config: RunConfig) -> Iterator[tuple[Names, str]]:
    """(kind, value) of each field of a recipe that may hold a path."""
    yield from _of_model(RunConfig, config.model_dump())
    if config.method in methods.METHODS:
        yield from _of_model(methods.METHODS[config.method].options, config.options)


def _raw(*, task: str, backbone: str, settings: Mapping[str, Any]) -> Iterator[tuple[Names, str]]:
    """As `_named`, of settings that no recipe was made of yet; `METHOD.NAME` is that method's."""
    values = [("task", task), ("backbone", backbone), *settings.items()]
    for name, value in list(values):
        if name.rpartition(".")[2] == "options" and isinstance(value, Mapping):
            values += value.items()
    for model in (RunConfig, *(method.options for method in methods.METHODS.values())):
        for name, value in values:
            yield from _of_model(model, {str(name).rpartition(".")[2]: value})


def _of_model(model: Any, values: Mapping[str, Any]) -> Iterator[tuple[Names, str]]:
    for name, field in model.model_fields.items():
        kind = next((one for one in field.metadata if isinstance(one, Names)), None)
        value = values.get(name)
        if kind is not None:
            several = value if isinstance(value, (list, tuple)) else [value]
            yield from ((kind, one) for one in several if isinstance(one, str))
