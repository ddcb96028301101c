"""From what a person asked for to complete recipes, with every problem named before anything starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer import methods, tasks
from trainer.config import Names, RunConfig, Strict, describe
from trainer.errors import ArgumentError, Problems, UserError, one_of
from trainer.runs.store import Run
from trainer.sources import backbones
from trainer.texts import mark, tr

FIELDS = tuple(RunConfig.model_fields)
OWN_ARGUMENTS = ("method", "methods_", "task", "backbone", "seed", "seeds")
"""Fields that `make` and `suite` take by themselves, and that no setting may give a second time."""
DEFAULT_METHODS = tuple(methods.METHODS)


def make(*, method: str, task: str, backbone: str, **settings: Any) -> RunConfig:
    """One complete recipe: the method's own learning rate and options where none are given.

    A setting that is no field of `RunConfig` is taken as one of the method's own. Raises `Problems`.
    """
    problems = []
    if method not in methods.METHODS:
        problems.append(str(one_of(mark("a method"), method, DEFAULT_METHODS)))
    shape = None
    try:
        shape = backbones.shape_of(backbone)
    except ArgumentError as error:
        problems.append(str(error))

    own = settings.pop("options", {})
    if not isinstance(own, dict):
        expected = tr("a valid dictionary")
        problems.append(
            tr("{name}: expected {expected}, got {got}; change it.", name="options", expected=expected, got=repr(own))
        )
        own = {}
    own = dict(own)
    own |= {name: settings.pop(name) for name in list(settings) if name not in FIELDS}
    settings = {name: value for name, value in settings.items() if value is not None}
    known = methods.METHODS.get(method)
    if known:
        if settings.get("fairness") == "same" and settings.get("learning_rate") is None:
            problems.append(
                tr("learning_rate: expected a value for fairness=same, got none; give one for all methods.")
            )
        if shape:
            settings.setdefault("learning_rate", known.learning_rate(shape))
        try:
            own = _absolute(known.options, known.options(**own).model_dump(mode="json"), problems)
        except ValidationError as error:
            problems += describe(error)
    try:
        named = _absolute(RunConfig, {"task": task, "backbone": backbone, **settings}, problems)
        config = RunConfig(**{"method": method, "options": own, "learning_rate": 1e-3, **named})
    except ValidationError as error:
        problems += describe(error)
    if problems:
        raise Problems(problems)
    return config


def suite(
    *, methods_: Sequence[str], seeds: Sequence[int], task: str, backbone: str, **settings: Any
) -> list[RunConfig]:
    """Recipes of several methods and seeds that can be compared.

    A method's own option goes to those that have it; `METHOD.NAME` goes to that method alone, a field of the recipe
    such as `lora.learning_rate` too. Raises `Problems` with every problem of every recipe, each once.
    """
    refuse_own_arguments(settings)
    common = {name: value for name, value in settings.items() if "." not in name}
    problems = _misplaced(methods_, settings)
    if not methods_:
        problems.append(
            tr("Expected at least one method ({names}), got none; choose one.", names=", ".join(DEFAULT_METHODS))
        )
    if not seeds:
        problems.append(tr("Expected at least one seed, got none; give one, such as 0."))
    configs = []
    for method in methods_:
        fields = _options(method)
        fitting = {name: value for name, value in common.items() if name in FIELDS or name in fields}
        fitting |= {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{method}.")}
        for seed in seeds:
            try:
                configs.append(make(method=method, task=task, backbone=backbone, seed=seed, **fitting))
            except Problems as found:
                problems += found.problems
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return configs


def command(
    *, methods_: Sequence[str], seeds: Sequence[int], task: str, backbone: str, label: str = "", **settings: Any
) -> str:
    """The command line that queues the same suite; settings that are None are left out."""
    words = ["python", "-m", "trainer", "suite"]
    for name in methods_:
        words += ["--method", name]
    words += ["--task", task, "--backbone", backbone]
    for seed in seeds:
        words += ["--seed", str(seed)]
    if label:
        words += ["--label", label]
    for name, value in settings.items():
        if value is True and name == "track":
            words.append("--track")
        elif value is not None and not (name == "track" and value is False):
            words += ["--set", f"{name}={_plain(value)}"]
    return shlex.join(words)


def command_of(config: RunConfig) -> str:
    """The command line that trains one recipe; the parents of a fusion are then trained with it."""
    own = methods.get(config.method).options(**config.options).model_dump(mode="json", exclude_defaults=True)
    left_out = {"method", "task", "backbone", "seed", "options", "parents", "track"}
    changed = config.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    return command(
        methods_=[config.method], seeds=[config.seed], task=config.task, backbone=config.backbone, **changed | own
    )


def _plain(value: Any) -> str:
    """A value as `--set` reads it: a word as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def refuse_own_arguments(settings: dict[str, Any]) -> None:
    """Raise `Problems` for settings that have an argument of their own."""
    if problems := [
        tr("{name}: expected as an argument of its own, got it among the settings; give it there.", name=name)
        for name in settings
        if name.rpartition(".")[2] in OWN_ARGUMENTS
    ]:
        raise Problems(problems)


def _options(method: str) -> set[str]:
    return set(methods.METHODS[method].options.model_fields) if method in methods.METHODS else set()


def _misplaced(methods_: Sequence[str], settings: dict[str, Any]) -> list[str]:
    """Settings that would reach no run, each as a sentence."""
    taken = set().union(*(_options(method) for method in methods_))
    problems = []
    for name in sorted(settings):
        method, dot, _ = name.partition(".")
        if dot and method not in methods_:
            problems.append(
                tr(
                    "{name}: expected a chosen method before the dot, got {method}; choose it or drop this.",
                    name=name,
                    method=repr(method),
                )
            )
        elif not dot and name not in FIELDS and name not in taken:
            problems.append(
                tr(
                    "{name}: expected a setting of the recipe or of a chosen method, got an unknown one; check it.",
                    name=name,
                )
            )
    return problems


def parents_of(config: RunConfig) -> list[RunConfig]:
    """Recipes of the parents that are trained as part of a run, when none are named; empty for most methods.

    They share the run's seeds, sizes and optimisation, and take their own method's learning rate and options.
    """
    method = methods.get(config.method)
    if method.parent_method is None or config.parents:
        return []
    options = method.options(**config.options)
    own_file = {"text_column", "label_column", "validation_file", "test_file"}
    shared = config.model_dump(exclude={"method", "task", "options", "parents", "learning_rate", "backbone"} | own_file)
    if config.fairness == "same":
        shared["learning_rate"] = config.learning_rate
    found = []
    for task in method.parent_tasks(config.task, options):
        columns = config.model_dump(include=own_file) if task == config.task else {}
        found.append(
            make(
                method=method.parent_method,
                task=task,
                backbone=config.backbone,
                options=method.parent_options(options),
                **shared,
                **columns,
            )
        )
    return found


def options_of_parents(method: methods.Method, task: str, options: Any) -> tuple[Any, ...]:
    """The options of each parent that is trained as part of a run; empty for a method that fuses none."""
    if method.parent_method is None:
        return ()
    own = methods.get(method.parent_method).options(**method.parent_options(options))
    return (own,) * len(method.parent_tasks(task, options))


def fused_options(config: RunConfig, runs: Sequence[Run]) -> tuple[Any, ...]:
    """The options of each run that a recipe fuses: of a named parent as it is among `runs`, else as it is by default.

    Empty for a method that fuses none.
    """
    method = methods.get(config.method)
    options = method.options(**config.options)
    if method.parent_method is None or not config.parents:
        return options_of_parents(method, config.task, options)
    parent = methods.get(method.parent_method)
    known = {run.id: run.recipe.options for run in runs if run.recipe.method == parent.name}
    found = []
    for name in config.parents:
        try:
            found.append(parent.options(**known[name]))
        except (KeyError, ValidationError):  # not among the runs, or of another version
            found.append(parent.options(**method.parent_options(options)))
    return tuple(found)


def content(config: RunConfig) -> dict[str, str]:
    """Field of the recipe -> the SHA-256 of what it names on this machine: its files, a local backbone's weights.

    A path alone does not tell what a run is trained on. What does not exist is left out.
    """
    found = tasks.contents(config)
    if config.backbone not in backbones.BACKBONES:
        with suppress(UserError, OSError):
            found["backbone"] = backbones.locate(config.backbone).sha256()
    return found


def content_of(run: Run) -> dict[str, str] | None:
    """The content that was there when the run began; None where that is not recorded."""
    return run.lineage.content


Identity = tuple[str, tuple[tuple[str, str], ...]]
"""(fingerprint of a recipe, content of what it names): what is equal in two runs gives equal results."""


def identity(config: RunConfig) -> Identity:
    """The identity that a run of this recipe would have if it began now."""
    return config.fingerprint(), tuple(sorted(content(config).items()))


def identity_of(run: Run) -> Identity:
    """The identity of a run: with the content that was there when it began, for one that waits with today's.

    A run of a version that did not record the content has none, so that it equals no recipe that names a file.
    """
    recorded = content_of(run)
    if recorded is None:
        recorded = content(run.recipe) if run.state == "queued" else {}
    return run.recipe.fingerprint(), tuple(sorted(recorded.items()))


def _absolute(model: type[Strict], values: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """`values` of a model with every path in them made absolute, as its fields say (`Names`).

    A relative path means something else to a worker that was started elsewhere. A sentence for each task or file that
    does not exist is added to `problems`; values of a wrong type are left to the model.
    """
    found = dict(values)
    for name, field in model.model_fields.items():
        kind, value = next((kind for kind in field.metadata if isinstance(kind, Names)), None), values.get(name)
        if kind is not None and isinstance(value, str):
            found[name] = _absolute_one(kind, name, value, problems)
        elif kind is not None and isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            found[name] = [_absolute_one(kind, name, one, problems) for one in value]
    return found


def _absolute_one(kind: Names, name: str, value: str, problems: list[str]) -> str:
    path = Path(value).expanduser()
    if kind is Names.TASK and value not in tasks.TASKS and not (tasks.is_file(value) and path.is_file()):
        problems.append(str(_unknown_task(value)))
    if kind is Names.FILE and not path.is_file():
        got = tr("{path}, which does not exist", path=value)
        problems.append(
            tr("{name}: expected {expected}, got {got}; change it.", name=name, expected=tr("a file"), got=got)
        )
    is_path = {
        Names.TASK: tasks.is_file(value),
        Names.FILE: True,
        Names.BACKBONE: value not in backbones.BACKBONES and path.is_dir(),
    }
    return str(path.resolve()) if is_path[kind] else value


def _unknown_task(task: str) -> ArgumentError:
    if tasks.is_file(task):
        return ArgumentError(
            expected=tr("a file"), got=tr("{path}, which does not exist", path=task), fix=tr("check the path")
        )
    return one_of(mark("a task or the path of a file"), task, tuple(tasks.TASKS))
