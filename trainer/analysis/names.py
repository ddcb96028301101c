"""Short names of runs, unique among those that are shown together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from trainer.config import RunConfig
from trainer.methods import METHODS
from trainer.runs.run import Run
from trainer.tasks import FILE_FIELDS
from trainer.texts import tr

LEFT_OUT = {"method", "task", "backbone", "seed", "fairness", "parents", "track", "precision", "options"}
"""Fields of a recipe that a name has otherwise, or that are no part of what is compared."""
HELD_OUT = ("validation_size", "test_size")
"""Fields that change no model: named only where they alone tell runs apart."""
MOST = 3
"""The most settings in a name; the others are in the table's columns."""


@dataclass(frozen=True)
class Setting:
    """A setting's value as text; `usual` for the default, and for a learning rate that is the method's own."""

    text: str = ""
    usual: bool = True


def short_names(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> its name among these runs, unique: its own label, or its method, and what tells it from the others.

    `LoRA`, `LoRA r=16`, `LoRA, seed 1`. A label that every run has tells nothing and is left out. A setting at its
    default is not named, a seed only where it alone tells runs apart; runs of one recipe and seed are numbered in the
    order of the queue. The device is no part of a name, nor is an id.
    """
    shared = len(runs) > 1 and len({run.label for run in runs}) == 1
    names: dict[str, str] = {}
    for label, labelled in _grouped(runs, lambda run: "" if shared else run.label):
        by_title = _grouped(labelled, _title)
        for title, members in by_title:
            own = ", ".join(filter(None, (label, title if not label or len(by_title) > 1 else "")))
            names |= {run_id: own + details for run_id, details in _details(members).items()}
    return _numbered({run.id: names[run.id] for run in runs}, runs)


def _grouped(runs: Iterable[Run], key: Any) -> list[tuple[Any, list[Run]]]:
    """(key, its runs) in the order in which the keys appear."""
    groups: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return list(groups.items())


def _title(run: Run) -> str:
    method = run.recipe.method
    title = tr(METHODS[method].title) if method in METHODS else method
    return tr("{method}, trained elsewhere", method=title) if run.adopted else title


def _details(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> what tells it from the other runs of its method: settings, task, backbone, and at last the seed."""
    settings = {run.id: _settings(run) for run in runs}
    keys = dict.fromkeys(key for own in settings.values() for key in own)
    varied = [key for key in keys if key not in HELD_OUT and _differs(key, runs, settings)]
    parts = [part for part in (_task, _backbone) if len({part(run) for run in runs}) > 1]
    details = {}
    for run in runs:
        shown = [(key, settings[run.id][key]) for key in varied if key in settings[run.id]]
        own = [f" {key}={setting.text}" for key, setting in shown if not setting.usual]
        own = [*own[:MOST], " …"] if len(own) > MOST else own
        details[run.id] = "".join([*own, *(f", {part(run)}" for part in parts)])
    for add in (_origin, _seed, _held_out):
        for same in _equal(runs, details):
            if len({add(run) for run in same}) > 1:
                details |= {run.id: details[run.id] + add(run) for run in same}
    return details


def _differs(key: str, runs: Sequence[Run], settings: dict[str, dict[str, Setting]]) -> bool:
    """Whether a setting differs among the runs; one of how a file is read, among the runs of one file."""
    groups = [members for _, members in _grouped(runs, lambda run: run.recipe.task)] if key in FILE_FIELDS else [runs]
    return any(len({settings[run.id].get(key, Setting()).text for run in members}) > 1 for members in groups)


def _equal(runs: Sequence[Run], names: dict[str, str]) -> list[list[Run]]:
    """The groups of several runs that have one name."""
    return [same for _, same in _grouped(runs, lambda run: names[run.id]) if len(same) > 1]


def _settings(run: Run) -> dict[str, Setting]:
    """Each setting of a run and of its method by name; of an adapter that was trained elsewhere its source alone."""
    if run.adopted:  # the settings describe a training that did not happen here
        return {"source": Setting(_last(run.adopted.source), False)}
    recipe, method = run.recipe, METHODS.get(run.recipe.method)
    own = method.options.model_fields if method else {}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in own.items()}
    defaults |= {name: field.default for name, field in RunConfig.model_fields.items() if name not in LEFT_OUT}
    values = defaults | recipe.options | {name: getattr(recipe, name) for name in defaults if name not in own}
    if run.lineage.learning_rate in ("tuned", "published"):  # the method's own
        defaults["learning_rate"] = recipe.learning_rate
    return {name: Setting(_text(value), _text(value) == _text(defaults.get(name))) for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else _last(str(value))


def _last(path: str) -> str:
    """The last part of a path: a name shows no folder of the machine."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _task(run: Run) -> str:
    return run.task_name


def _backbone(run: Run) -> str:
    return _last(run.recipe.backbone)


def _origin(run: Run) -> str:
    return ", " + tr("example run") if run.bundled else ""


def _seed(run: Run) -> str:
    return ", " + tr("seed {seed}", seed=run.recipe.seed)


def _held_out(run: Run) -> str:
    sizes = [(name, getattr(run.recipe, name)) for name in HELD_OUT]
    return "".join(f" {name}={size}" for name, size in sizes if size is not None)


def _numbered(names: dict[str, str], runs: Sequence[Run]) -> dict[str, str]:
    """The names, those that several runs have with a number from the second of the queue on."""
    taken, unique = Counter(names.values()), dict(names)
    numbers: dict[str, Any] = defaultdict(partial(count, 1))
    for run in sorted(runs, key=lambda run: run.queue_order):
        name = names[run.id]
        if taken[name] > 1 and (number := next(numbers[name])) > 1:
            unique[run.id] = next(new for n in count(number) if (new := f"{name} ({n})") not in unique.values())
    return unique
