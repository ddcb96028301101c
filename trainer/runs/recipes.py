"""Complete recipes from a person's settings; every problem is reported before a run starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer import methods, tasks
from trainer.config import Names, RunConfig, Strict, describe
from trainer.errors import ArgumentError, Problems, UserError, one_of
from trainer.runs.result import RateSource
from trainer.runs.run import Run
from trainer.sources import backbones
from trainer.texts import mark, tr

FIELDS = tuple(RunConfig.model_fields)
OWN_ARGUMENTS = ("method", "methods_", "task", "backbone", "seed", "seeds")
"""Arguments of `make` and `suite`; settings may not repeat them."""
DEFAULT_METHODS = methods.DEFAULT
RATE_SOURCES: dict[RateSource, str] = {
    "tuned": mark("tuned on validation sentences, in one sweep for all methods"),
    "published": mark("published with the method or its library"),
    "chosen": mark("chosen by a person"),
}
"""How a learning rate came about -> its text."""


def make(*, method: str, task: str, backbone: str, **settings: Any) -> RunConfig:
    """One complete recipe. The method's own learning rate and options fill in those that are not in `settings`.

    A setting that is no field of `RunConfig` is taken as an option of the method. Raises `Problems`.
    """
    problems = []
    if method not in methods.METHODS:
        problems.append(str(one_of(mark("a method"), method, tuple(methods.METHODS))))
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
    for name in [name for name in own if known and name not in _options(method)]:
        problems.append(_unknown_setting(name, (method,)))
        del own[name]
    if known:
        if settings.get("fairness") == "same" and settings.get("learning_rate") is None:
            problems.append(
                tr("learning_rate: expected a value for fairness=same, got none; give one for all methods.")
            )
        if shape:
            settings.setdefault("learning_rate", known.learning_rate(shape))
        try:
            options = known.options(**own)
            own = _absolute(known.options, options.model_dump(mode="json"), problems)
            if shape:
                known.check_options(shape, options)
        except ValidationError as error:
            problems += describe(error)
        except ArgumentError as error:
            problems.append(str(error))
    try:
        named = _absolute(RunConfig, {"task": task, "backbone": backbone, **settings}, problems)
        config = RunConfig(**{"method": method, "options": own, "learning_rate": 1e-3, **named})
        problems += _of_no_file(config)
    except ValidationError as error:
        problems += describe(error)
    if problems:
        raise Problems(problems)
    return config


def _of_no_file(config: RunConfig) -> list[str]:
    """A sentence for each column or file that a recipe names although its task is no file."""
    if tasks.is_file(config.task):
        return []
    return [
        tr(
            "{name}: expected none, since {task} is no file, got {value}; leave it out.",
            name=name,
            task=config.task,
            value=repr(value),
        )
        for name in tasks.FILE_FIELDS
        if (value := getattr(config, name)) != RunConfig.model_fields[name].default
    ]


def suite(
    *, methods_: Sequence[str], seeds: Sequence[int], task: str, backbone: str, **settings: Any
) -> list[RunConfig]:
    """Recipes of several methods and seeds, for runs that can be compared.

    An option goes to each method that has it. `METHOD.NAME` sets an option or a field of the recipe, such as
    `lora.learning_rate`, for that method alone. Raises `Problems` with every problem of every recipe, each once.
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
    configs: list[RunConfig] = []
    of_methods: dict[str, set[str]] = {}
    for method in methods_:
        fields = _options(method)
        fitting = {name: value for name, value in common.items() if name in FIELDS or name in fields}
        fitting |= {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{method}.")}
        for seed in seeds:
            try:
                configs.append(make(method=method, task=task, backbone=backbone, seed=seed, **fitting))
            except Problems as error:
                for problem in error.problems:
                    of_methods.setdefault(problem, set()).add(method)
    problems += [_titled(problem, some) if len(methods_) > 1 else problem for problem, some in of_methods.items()]
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return configs


def _titled(problem: str, methods_: Collection[str]) -> str:
    """A problem with its method's title where one of PEFT's further methods alone has it."""
    name = next(iter(methods_))
    return problem if len(methods_) > 1 or name in DEFAULT_METHODS else f"{tr(methods.get(name).title)}: {problem}"


def command(
    *, methods_: Sequence[str], seeds: Sequence[int], task: str, backbone: str, label: str = "", **settings: Any
) -> str:
    """Command line that queues the same suite. Settings that are None are left out."""
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
    """Command line that trains one recipe, and for a fusion its parents too."""
    own = methods.get(config.method).options(**config.options).model_dump(mode="json", exclude_defaults=True)
    left_out = {"method", "task", "backbone", "seed", "options", "parents", "track"}
    changed = config.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    return command(
        methods_=[config.method], seeds=[config.seed], task=config.task, backbone=config.backbone, **changed | own
    )


def _plain(value: Any) -> str:
    """A value in the form that `--set` parses: strings as they are, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def parse_settings(pairs: Sequence[str], *, example: str = "learning_rate=3e-4", own: bool = False) -> dict[str, Any]:
    """Settings by name, from NAME=VALUE pairs. A value is parsed as JSON if it can be; a list may be written a,b.

    Raises `Problems` for pairs without a name or "=", for a name that comes twice, and for settings that have an
    argument of their own; with `own` for a name without its method, as in `METHOD.NAME`. `example` is a right one.
    """
    settings: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name or (own and "." not in name):
            form = "METHOD.NAME=VALUE" if own else "NAME=VALUE"
            problems.append(
                tr("Expected {form}, got {pair}; write, say, {example}.", form=form, pair=repr(pair), example=example)
            )
            continue
        if name in settings:
            problems.append(tr("{name}: expected once, got it twice; leave one out.", name=name))
            continue
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = tuple(value.split(",")) if "," in value else value
        several = ("target_modules", "parent_tasks", "parents", "label_columns")
        if name.rpartition(".")[2] in several and isinstance(settings[name], str):
            settings[name] = (settings[name],)
    if problems:
        raise Problems(problems)
    refuse_own_arguments(settings)
    return settings


def refuse_own_arguments(settings: dict[str, Any]) -> None:
    """Raise `Problems` for settings that must be passed as an argument of their own."""
    if problems := [
        tr("{name}: expected as an argument of its own, got it among the settings; give it there.", name=name)
        for name in settings
        if name.rpartition(".")[2] in OWN_ARGUMENTS
    ]:
        raise Problems(problems)


def _options(method: str) -> set[str]:
    """Names of a method's options; empty for an unknown method."""
    return set(methods.METHODS[method].options.model_fields) if method in methods.METHODS else set()


def _misplaced(methods_: Sequence[str], settings: dict[str, Any]) -> list[str]:
    """A sentence for each setting that applies to none of the methods."""
    known = set().union(*(_options(method) for method in methods_))
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
        elif not dot and name not in FIELDS and name not in known:
            problems.append(_unknown_setting(name, methods_))
    return problems


def _unknown_setting(name: str, methods_: Sequence[str]) -> str:
    """The sentence for a setting that neither the recipe nor one of the methods has: lists those, names the nearest."""
    options = {option: None for method in methods_ for option in sorted(_options(method))}
    names = [field for field in FIELDS if field not in (*OWN_ARGUMENTS, "options")] + list(options)
    return str(one_of(mark("a setting"), name, names))


def parents_of(config: RunConfig) -> list[RunConfig]:
    """Recipes of the parents that are trained as part of a run; empty if the recipe names parents or needs none.

    They share the run's seeds, sizes and optimisation; learning rate and options are their own method's.
    """
    method = methods.get(config.method)
    if method.parent_method is None or config.parents:
        return []
    options = method.options(**config.options)
    own_file = set(tasks.FILE_FIELDS)
    shared = config.model_dump(exclude={"method", "task", "options", "parents", "learning_rate", "backbone"} | own_file)
    if config.fairness == "same":
        shared["learning_rate"] = config.learning_rate
    parents = []
    for task in method.parent_tasks(config.task, options):
        columns = config.model_dump(include=own_file) if task == config.task else {}
        parents.append(
            make(
                method=method.parent_method,
                task=task,
                backbone=config.backbone,
                options=method.parent_options(options),
                **shared,
                **columns,
            )
        )
    return parents


def rate_source(config: RunConfig) -> RateSource | None:
    """How a recipe's learning rate came about; None if its backbone cannot be read.

    A value that equals the method's own counts as the method's own, whoever set it.
    """
    try:
        shape = backbones.shape_of(config.backbone)
    except (UserError, OSError):
        return None
    return methods.get(config.method).rate_source(shape, config.learning_rate)


def rate_text(run: Run) -> str:
    """A run's learning rate and how it came about, for people; the rate alone where that was not recorded."""
    source, rate = run.lineage.learning_rate, f"{run.recipe.learning_rate:g}"
    return f"{rate}: {tr(RATE_SOURCES[source])}" if source else rate


def options_of_parents(method: methods.Method, task: str, options: Any) -> tuple[Any, ...]:
    """Options of each parent that is trained as part of a run; empty for a method without parents."""
    if method.parent_method is None:
        return ()
    own = methods.get(method.parent_method).options(**method.parent_options(options))
    return (own,) * len(method.parent_tasks(task, options))


def fused_options(config: RunConfig, runs: Sequence[Run]) -> tuple[Any, ...]:
    """Options of each run that a recipe fuses; empty for a method without parents.

    Those of a named parent come from `runs`; a parent that is not there has the default options.
    """
    method = methods.get(config.method)
    options = method.options(**config.options)
    if method.parent_method is None or not config.parents:
        return options_of_parents(method, config.task, options)
    parent = methods.get(method.parent_method)
    known = {run.id: run.recipe.options for run in runs if run.recipe.method == parent.name}
    fused = []
    for name in config.parents:
        try:
            fused.append(parent.options(**known[name]))
        except (KeyError, ValidationError):  # not among the runs, or from another version
            fused.append(parent.options(**method.parent_options(options)))
    return tuple(fused)


def content(config: RunConfig) -> dict[str, str]:
    """Field of the recipe -> SHA-256 of the file, or of the local backbone's weights, that it names on this machine.

    A path alone does not identify what a run is trained on. Files that do not exist are left out. "splits" stands for
    how the task is split, where that has changed since the first version.
    """
    hashes = tasks.contents(config)
    if config.backbone not in backbones.BACKBONES:
        with suppress(UserError, OSError):
            hashes["backbone"] = backbones.locate(config.backbone).sha256()
    return hashes


def content_of(run: Run) -> dict[str, str] | None:
    """`content` of the recipe as recorded when the run began; None if it was not recorded."""
    return run.lineage.content


Identity = tuple[str, tuple[tuple[str, str], ...]]
"""(fingerprint of a recipe, sorted items of its `content`). Runs with equal identities give equal results."""


def identity(config: RunConfig) -> Identity:
    """Identity of a run of this recipe that would begin now."""
    return config.fingerprint(), tuple(sorted(content(config).items()))


def identity_of(run: Run) -> Identity:
    """Identity of a run: with its content when it began, or for a queued run with the present content.

    A run of a version that did not record the content has an empty one: it equals no recipe that names a file, and
    none of a task that is split otherwise since.
    """
    recorded = content_of(run)
    if recorded is None:
        recorded = content(run.recipe) if run.state == "queued" else {}
    return run.recipe.fingerprint(), tuple(sorted(recorded.items()))


def _absolute(model: type[Strict], values: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """`values` of a model with relative paths made absolute, in the fields that are marked with `Names`.

    A worker that was started in another folder would resolve a relative path differently. A sentence for each task or
    file that does not exist is added to `problems`; values of a wrong type are left for the model to report.
    """
    absolute = dict(values)
    for name, field in model.model_fields.items():
        kind, value = next((kind for kind in field.metadata if isinstance(kind, Names)), None), values.get(name)
        if kind is not None and isinstance(value, str):
            absolute[name] = _absolute_one(kind, name, value, problems)
        elif kind is not None and isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            absolute[name] = [_absolute_one(kind, name, one, problems) for one in value]
    return absolute


def _absolute_one(kind: Names, name: str, value: str, problems: list[str]) -> str:
    """One value of the field `name` made absolute if it is a path; see `_absolute`."""
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
