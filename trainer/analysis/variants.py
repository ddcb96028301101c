"""Variants: groups of runs that differ in the seed alone, with short names, means and standard deviations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from trainer.analysis.names import short_names
from trainer.methods import METHODS
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd

COMMON = ("task", "sentences", "backbone", "precision", "device", "parents", "source")
"""Traits that are no setting of the recipe, or not of its method alone."""
TITLES = {
    "task": mark("task"),
    "sentences": mark("sentences"),
    "backbone": mark("backbone"),
    "precision": mark("numeric precision"),
    "device": mark("device"),
    "parents": mark("parents"),
    "source": mark("source"),
}
"""Trait -> title; a setting of a recipe has its own name."""
IGNORED = {"method", "task", "backbone", "seed", "fairness", "parents", "track", "precision", "options"}
_NUMBER = re.compile(r" \(\d+\)$")


def ordered(runs: Sequence[Run]) -> list[Run]:
    """Runs in the order of the methods, and within a method of the queue."""
    order = {name: index for index, name in enumerate(METHODS)}
    return sorted(runs, key=lambda run: (order.get(run.recipe.method, len(order)), run.queue_order))


def variants(runs: Sequence[Run], *, machines: bool = False) -> dict[str, str]:
    """Run id -> name of its variant, which is equal for runs of the same method and recipe, whatever their seed.

    The names are those of `names.short_names`, without the seed: the label that all its runs have and others have not,
    or the method, and what tells it from the other variants. The device tells variants apart only with `machines`.
    """
    members = _members(runs, machines=machines)
    shown = [_representative(own) for own in members]
    short = short_names(shown)
    traits = {run.id: _traits(run, machines=machines) for run in shown}
    names = _apart([short[run.id] for run in shown], [traits[run.id] for run in shown])
    by_run = {run.id: name for own, name in zip(members, names, strict=True) for run in own}
    return {run.id: by_run[run.id] for run in runs}


def _members(runs: Sequence[Run], *, machines: bool) -> list[list[Run]]:
    """The runs of each variant, in the order of its first run.

    What is known of a finished run alone, such as its sentences, does not set an unfinished one apart from it.
    """
    groups: dict[Hashable, list[Run]] = {}
    order = {run.id: index for index, run in enumerate(runs)}
    for run in sorted(runs, key=lambda run: run.result is None):
        known = frozenset(_traits(run, machines=machines).items())
        key = run.recipe.method, bool(run.adopted), known
        if run.result is None:
            key = next((other for other in groups if other[:2] == key[:2] and known <= other[2]), key)
        groups.setdefault(key, []).append(run)
    return sorted(groups.values(), key=lambda own: min(order[run.id] for run in own))


def _representative(runs: Sequence[Run]) -> Run:
    """The newest finished run of a variant, else its newest, with the label that all have and no seed of its own."""
    newest = max(runs, key=lambda run: (run.result is not None, run.queue_order))
    known = [run for run in runs if run.result] or runs
    label = newest.label if len({run.label for run in known}) == 1 else ""
    return newest.model_copy(update={"label": label, "recipe": newest.recipe.model_copy(update={"seed": 0})})


def _apart(names: Sequence[str], traits: Sequence[dict[str, str]]) -> list[str]:
    """The names; those that would be equal but for a number have the traits that differ in its place."""
    taken = set(names)
    plain = [base if (base := _NUMBER.sub("", name)) in taken else name for name in names]
    apart = list(names)
    for name in {name for name in plain if plain.count(name) > 1}:
        same = [index for index, other in enumerate(plain) if other == name]
        keys = dict.fromkeys([*COMMON, *(key for index in same for key in traits[index])])
        varied = [key for key in keys if len({traits[index].get(key) for index in same}) > 1]
        longer = [
            ", ".join([name, *(_told(key, traits[index]) for key in varied if traits[index].get(key))])
            for index in same
        ]
        if len(set(longer)) == len(same):
            for index, text in zip(same, longer, strict=True):
                apart[index] = text
    return apart


def _told(key: str, traits: dict[str, str]) -> str:
    """A trait in a name: a setting of the recipe with its own name, others by value alone."""
    value = _shown(key, traits[key])
    return value if key in COMMON else f"{key}={value}"


def differing(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Title -> run id -> value of each setting in which runs that have it differ, the device among them."""
    traits = {run.id: _traits(run, machines=True) for run in runs}
    keys = dict.fromkeys([*COMMON, *(key for own in traits.values() for key in own)])
    values = {key: {run_id: own[key] for run_id, own in traits.items() if key in own} for key in keys}
    return {
        TITLES.get(key, key): {run_id: _shown(key, value) for run_id, value in known.items()}
        for key, known in values.items()
        if len(set(known.values())) > 1
    }


def _shown(key: str, value: str | None) -> str:
    """A trait's value for people: of a path its last part, so that no folder of the machine is shown."""
    is_path = key == "source" or key.endswith("_file")
    return str(value).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if is_path else str(value or "")


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation (divisor n - 1) and n of each metric over the runs of each variant.

    `table` is that of `tables.runs_table` with a column `variant`. One row a variant, in the order of first appearance:
    variant, method, runs, seeds, and for each metric its mean under its key, `<key>:sd` (NaN below two) and `<key>:n`.
    """
    import pandas as pd

    rows = []
    for name, members in table.groupby("variant", sort=False):
        row: dict[str, Any] = {"variant": name, "method": members["method"].iloc[0]}
        row |= {"runs": len(members), "seeds": members["seed"].nunique()}
        for key in METRICS:
            row[key], row[f"{key}:sd"] = members[key].mean(), _deviation(members[key])
            row[f"{key}:n"] = int(members[key].count())
        rows.append(row)
    figures = [name for key in METRICS for name in (key, f"{key}:sd", f"{key}:n")]
    return pd.DataFrame(rows, columns=["variant", "method", "runs", "seeds", *figures])


def _deviation(values: pd.Series) -> float:
    """The sample standard deviation; 0 for equal values, of which the mean's rounding would leave some noise."""
    return 0.0 if values.count() > 1 and values.nunique() == 1 else values.std(ddof=1)


def some(runs: Sequence[Run], limit: int, names: dict[str, str] | None = None) -> list[Run]:
    """At most `limit` of the runs, in the order of `runs`: the newest of each variant, then the second newest, ...

    `names`: run id -> variant, if they are known.
    """
    if len(runs) <= limit:
        return list(runs)
    names, seen, ranked = names or variants(runs), defaultdict(int), []
    for run in sorted(runs, key=lambda run: -run.queue_order):
        ranked.append((seen[names[run.id]], -run.queue_order, run.id))
        seen[names[run.id]] += 1
    selection = {run_id for _, _, run_id in sorted(ranked)[:limit]}
    return [run for run in runs if run.id in selection]


def _traits(run: Run, *, machines: bool) -> dict[str, str]:
    """Name -> value as text, of everything known to affect a run's result except the seed; the device if `machines`."""
    recipe = run.recipe.model_dump(mode="json")
    traits = {
        "task": run.task_name,
        "backbone": run.recipe.backbone.replace("\\", "/").rsplit("/", 1)[-1],
    }
    if run.result:
        splits = run.result.meta_info.dataset_info
        # Sets of equal size can hold other sentences: the fingerprint distinguishes them.
        traits["sentences"] = tr(
            "{count} sentences ({fingerprint})",
            count=f"{splits.sizes.train:,}",
            fingerprint=splits.fingerprint[:6],
        )
        traits["precision"] = run.result.train_info.precision
        if machines:
            traits["device"] = run.device_name
    if run.result and run.result.parents:
        # Each seed has its own parents, so their ids differ within a variant; their tasks do not.
        traits["parents"] = " + ".join(sorted(run.result.parents.names))
    names = {name for name in recipe if name not in IGNORED}
    if run.adopted:
        traits["source"] = run.adopted.source
        names = {"max_length", "truncation"}  # the other settings describe a training that did not happen here
    settings = {name: recipe[name] for name in recipe if name in names} | recipe["options"]
    # One that is not set is known too: empty.
    return traits | {name: "" if value is None else _text(value) for name, value in settings.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
