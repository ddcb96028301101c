"""Variants: groups of runs that differ only in the seed, with distinct names, means and standard deviations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trainer.methods import METHODS
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run
from trainer.texts import tr

if TYPE_CHECKING:
    import pandas as pd

COMMON = ("task", "sentences", "backbone", "device", "precision", "source")
"""Traits that distinguish runs across methods, shown by value alone; others are compared within a method, with name."""
IGNORED = {"method", "task", "backbone", "seed", "fairness", "parents", "track", "precision", "options"}


def ordered(runs: Sequence[Run]) -> list[Run]:
    """Runs in the order of the methods, and within a method of the queue."""
    order = {name: index for index, name in enumerate(METHODS)}
    return sorted(runs, key=lambda run: (order.get(run.recipe.method, len(order)), run.queue_order))


def variants(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> name of its variant, which is equal for runs of the same method and recipe, whatever their seed.

    The name is the method's title, "trained elsewhere" for an adopted adapter, and the traits that distinguish it from
    other `runs`, in the process's language.
    """
    traits = {run.id: _traits(run) for run in runs}
    varied = {name for name in COMMON if len({trait[name] for trait in traits.values() if name in trait}) > 1}
    if len({trait["task"] for trait in traits.values()}) == len(_sentences(traits.values())):
        varied -= {"sentences"}  # the task already distinguishes them
    by_method: dict[tuple[str, bool], list[Run]] = defaultdict(list)
    for run in runs:
        by_method[run.recipe.method, bool(run.adopted)].append(run)
    names = {}
    for (method, adopted), members in by_method.items():
        keys = dict.fromkeys(key for run in members for key in traits[run.id] if key not in COMMON)
        varied_within = [key for key in keys if len({traits[run.id].get(key) for run in members}) > 1]
        title = tr(METHODS[method].title) if method in METHODS else method
        title = tr("{method}, trained elsewhere", method=title) if adopted else title
        for run in members:
            own = traits[run.id]
            parts = [own[name] for name in COMMON if name in varied and name in own]
            parts += [f"{key} {own[key]}" for key in varied_within if key in own]
            names[run.id] = ", ".join([title, *parts])
    return names


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
            row[key], row[f"{key}:sd"] = members[key].mean(), members[key].std(ddof=1)
            row[f"{key}:n"] = int(members[key].count())
        rows.append(row)
    figures = [name for key in METRICS for name in (key, f"{key}:sd", f"{key}:n")]
    return pd.DataFrame(rows, columns=["variant", "method", "runs", "seeds", *figures])


def some(runs: Sequence[Run], limit: int) -> list[Run]:
    """At most `limit` of the runs, in the order of `runs`: the newest of each variant, then the second newest, ..."""
    if len(runs) <= limit:
        return list(runs)
    names, seen, ranked = variants(runs), defaultdict(int), []
    for run in sorted(runs, key=lambda run: -run.queue_order):
        ranked.append((seen[names[run.id]], -run.queue_order, run.id))
        seen[names[run.id]] += 1
    selection = {run_id for _, _, run_id in sorted(ranked)[:limit]}
    return [run for run in runs if run.id in selection]


def _traits(run: Run) -> dict[str, str]:
    """Name -> value as text, of everything known to affect a run's result except the seed."""
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
        traits["device"] = run.device_name
        traits["precision"] = run.result.train_info.precision
    if run.result and run.result.parents:
        # Each seed has its own parents, so their ids differ within a variant; their tasks do not.
        traits["parents"] = " + ".join(sorted(run.result.parents.names))
    names = {name for name in recipe if name not in IGNORED}
    if run.adopted:
        traits["source"] = run.adopted.source
        names = {"max_length"}  # the other settings describe a training that did not happen here
    settings = {name: recipe[name] for name in recipe if name in names} | recipe["options"]
    return traits | {name: _text(value) for name, value in settings.items() if value is not None}


def _sentences(traits: Iterable[dict[str, str]]) -> set[tuple[str, str]]:
    """Distinct (task, sentences) among the traits of finished runs."""
    return {(trait["task"], trait["sentences"]) for trait in traits if "sentences" in trait}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
