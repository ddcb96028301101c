"""Compare's filters: the selection, its choices, the runs that pass it, and it in words. Imports no Gradio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qs

from trainer.analysis.disputes import KINDS
from trainer.analysis.tables import base_name
from trainer.analysis.variants import ordered, variants
from trainer.runs.metrics import METRICS
from trainer.runs.run import STATES, Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common.lab import method_title, task_name

ALL = "all"
FILTERS = ("task", "backbone", "method", "state", "label", "seed")
AUTOMATIC, EVERY_PAIR = "automatic", "every pair"
"""Values of `Selection.against`; any other is the name of the configuration that the others are compared with."""
MOST_NAMED = 100
"""The most values of one filter that an address may name."""
UNITS = ("run", "mean")
"""Values of `Selection.unit`: a row a run, or one a configuration with the mean over its seeds."""
AXES = ("epoch", "step", "seconds")
"""Values of `Selection.axis`, under the curves."""
UNLABELLED = mark("(no label)")
SPLIT_FIELDS = (
    "task", "text_column", "label_column", "several_labels", "label_columns", "group_column", "separator", "encoding",
    "validation_file", "test_file", "split_seed", "train_size", "validation_size", "test_size",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The values of the tab's controls. A filter without a value lets all runs through.

    `columns` are keys of metrics, the usual ones if empty; `cards` are ids of runs, the first few if empty.
    """

    task: str | None = None
    backbone: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    state: tuple[str, ...] = ("finished",)
    label: tuple[str, ...] = ()
    seed: tuple[int, ...] = ()
    reference: bool = False
    unit: str | None = None
    x: str = "train_minutes"
    y: str = "test_accuracy"
    axis: str = "epoch"
    kind: str = "split"
    against: str = AUTOMATIC
    unlike: bool = False
    machines: bool = False
    columns: tuple[str, ...] = ()
    differing: bool = False
    cards: tuple[str, ...] = ()

    @classmethod
    def of(cls, *values: Any) -> Selection:
        """A selection from the controls' values, in the order of the fields; missing ones have their defaults."""
        return cls(*(tuple(value) if isinstance(value, list) else value for value in values))


OPTIONS = {field.name: field.default for field in fields(Selection) if field.name not in FILTERS}
"""Name of each control that is no filter -> its value at first."""
FIXED = ("reference", "machines", "unit", "columns", "differing", "unlike", "axis", "x", "y")
"""Those that every drawing sets; the choices of the others come with their own sub-page."""


def of_address(selection: Selection, query: str) -> Selection:
    """The selection that an address names as compare.js writes it: `?tab=compare&method=lora&seed=1&unit=mean`.

    A control that it does not name has its default; the task then stays as it is, unless it is named empty. An empty
    query changes nothing. A state that is not one of a run's stands for all. A ticked box is `1`. With `&chosen=1` the
    `FIXED` controls stay as they are, but for the table's unit, which the server chooses where nobody has.
    """
    if not query:
        return selection
    values = parse_qs(query.removeprefix("?"), keep_blank_values=True)
    named = {name: tuple(values.get(name, ())[:MOST_NAMED]) for name in FILTERS[1:]}
    states = tuple(state for state in named["state"] if state in STATES)
    changes: dict[str, Any] = named | {
        "state": states if named["state"] else Selection.state,
        "seed": tuple(int(seed) for seed in named["seed"] if seed.isdecimal() and len(seed) < 20),
    }
    for name, default in OPTIONS.items():
        if "chosen" in values and name in FIXED and name != "unit":
            continue
        given = values.get(name, [])[:MOST_NAMED]
        if isinstance(default, bool):
            changes[name] = given == ["1"]
        elif isinstance(default, tuple):
            changes[name] = tuple(given)
        else:
            changes[name] = given[0] if given else default
    if "task" in values:
        changes["task"] = values["task"][0] or None
    return replace(selection, **changes)


def groups(runs: Sequence[Run]) -> dict[str, str]:
    """Fingerprint -> title of each set of splits that finished runs were trained on, the newest first."""
    titles: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: -run.queue_order):
        if run.state == "finished" and run.split_fingerprint not in titles:
            count = run.result.meta_info.dataset_info.sizes.train
            title = tr("{task}, {count} training sentences", task=task_name(run), count=f"{count:,}")
            titles[run.split_fingerprint] = title
    many = Counter(titles.values())
    # Two sets of as many sentences of one task are told apart by their fingerprints.
    return {key: title if many[title] == 1 else f"{title} ({key[:6]})" for key, title in titles.items()}


def choices(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The choices of each filter."""
    return {
        "task": [*((title, key) for key, title in groups(runs).items()), (tr("All tasks"), ALL)],
        "backbone": [(base_name(name), name) for name in dict.fromkeys(run.recipe.backbone for run in runs)],
        "method": [(method_title(name), name) for name in dict.fromkeys(run.recipe.method for run in ordered(runs))],
        "state": [(tr(state), state) for state in STATES],
        "label": [(name or tr(UNLABELLED), name or UNLABELLED) for name in dict.fromkeys(run.label for run in runs)],
        "seed": sorted({run.recipe.seed for run in runs}),
    }


def settle(selection: Selection, runs: Sequence[Run]) -> Selection:
    """A selection without values that no longer exist.

    A missing task is replaced by the one with the most configurations, of equal ones the newest; a missing unit by the
    mean where a configuration has several runs; an axis without values in the selected runs by its default, or by the
    first metric that has some.
    """
    offered = choices(runs)
    changes: dict[str, Any] = {}
    for name in FILTERS[1:]:
        known = {choice[1] if isinstance(choice, tuple) else choice for choice in offered[name]}
        changes[name] = tuple(value for value in getattr(selection, name) or () if value in known)
    tasks = [key for _, key in offered["task"]]
    changes["task"] = selection.task if selection.task in tasks else _widest(tasks, runs)
    changes["columns"] = tuple(key for key in selection.columns or () if key in METRICS)
    changes["cards"] = tuple(selection.cards or ())
    changes["kind"] = selection.kind if selection.kind in KINDS else "split"
    changes["axis"] = selection.axis if selection.axis in AXES else AXES[0]
    selection = replace(selection, **changes)
    shown = select(selection, runs)
    if selection.unit not in UNITS:
        finished = [run for run in shown if run.state == "finished"]
        several = len(set(variants(finished, machines=selection.machines).values())) < len(finished)
        selection = replace(selection, unit="mean" if several else "run")
    known = known_metrics(shown)
    for name, default in (("y", "test_accuracy"), ("x", "train_minutes")):
        if known and getattr(selection, name) not in known:
            others = [key for key in known if name == "y" or key != selection.y]
            selection = replace(selection, **{name: default if default in known else (others or known)[0]})
    return selection


def _widest(tasks: Sequence[str], runs: Sequence[Run]) -> str:
    """The one of these tasks (see `groups`) whose finished runs have the most configurations."""
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == "finished":
            by_task.setdefault(run.split_fingerprint, []).append(run)
    return max(tasks, key=lambda task: len(set(variants(by_task.get(task, ())).values())))


def in_words(selection: Selection, runs: Sequence[Run], names: dict[str, str]) -> str:
    """The filters and what passes them as one line. `runs` passed; `names`: run id -> configuration."""
    backbones = dict.fromkeys(base_name(run.recipe.backbone) for run in runs)
    values = {
        "task": _few(dict.fromkeys(map(task_name, runs))),
        "backbone": _few(backbones),
        "runs": tr_count("{count} run", "{count} runs", len(runs)),
        "configurations": tr_count(
            "{count} configuration", "{count} configurations", len({names[run.id] for run in runs})
        ),
    }
    only = [
        *map(method_title, selection.method),
        *map(str, selection.label),
        *(tr("seed {seed}", seed=seed) for seed in selection.seed),
    ]
    text = (
        mark("Finished runs of {task} on {backbone}: {runs}, {configurations}")
        if selection.state == ("finished",)
        else mark("Runs of {task} on {backbone}: {runs}, {configurations}")
    )
    line = tr(text, **values)
    return f"{line} ({', '.join(only)})" if only else line


def elsewhere(selection: Selection, runs: Sequence[Run]) -> str:
    """How many finished runs stay out because they are on other sentences, in words; empty if none does."""
    if selection.task == ALL:
        return ""
    count = sum(run.state == "finished" and run.split_fingerprint != selection.task for run in runs)
    if not count:
        return ""
    return tr_count(
        "{count} more on other sentences",
        "{count} more on other sentences",
        count,
    )


def missing(query: str, runs: Sequence[Run]) -> list[str]:
    """The values that an address names for the filters and that no run has."""
    values, offered = parse_qs(query.removeprefix("?")), choices(runs)
    known = {
        name: {str(choice[1] if isinstance(choice, tuple) else choice) for choice in offered[name]} for name in FILTERS
    }
    return [
        value
        for name in FILTERS
        for value in values.get(name, ())[:MOST_NAMED]
        if value not in known[name] and (name, value) != ("state", ALL)
    ]


def _few(names: Iterable[str]) -> str:
    """Up to three names, and how many more there are."""
    known = list(names)
    return ", ".join(known[:3]) + (f" +{len(known) - 3}" if len(known) > 3 else "") or "–"


def known_metrics(runs: Sequence[Run]) -> list[str]:
    """Keys of the metrics that at least one of these runs has: the choices of an axis."""
    return [key for key, metric in METRICS.items() if any(metric.of(run) is not None for run in runs)]


def select(selection: Selection, runs: Sequence[Run]) -> list[Run]:
    """The runs that pass every filter, in the order of the methods and then of the queue.

    A run that has not finished counts to the task of finished runs with the same split settings.
    """
    split_of = {_split(run): _fingerprint(run) for run in runs if run.state == "finished"}
    return ordered(
        [
            run
            for run in runs
            if (selection.task == ALL or (_fingerprint(run) or split_of.get(_split(run))) == selection.task)
            and (not selection.backbone or run.recipe.backbone in selection.backbone)
            and (not selection.method or run.recipe.method in selection.method)
            and (not selection.state or run.state in selection.state)
            and (not selection.label or (run.label or UNLABELLED) in selection.label)
            and (not selection.seed or run.recipe.seed in selection.seed)
        ]
    )


def _fingerprint(run: Run) -> str | None:
    return run.split_fingerprint if run.state == "finished" else None


def _split(run: Run) -> tuple[Any, ...]:
    return tuple(getattr(run.recipe, name) for name in SPLIT_FIELDS)
