"""Runs that differ in their seed alone, named by what sets them apart from others, with mean and spread."""

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
"""Set apart runs of all methods, by their value alone; other settings are compared within a method, with their name."""
UNHEEDED = {"method", "task", "backbone", "seed", "fairness", "parents", "track", "precision", "options"}


def ordered(runs: Sequence[Run]) -> list[Run]:
    """In the order of the methods, and then of the queue."""
    order = {name: place for place, name in enumerate(METHODS)}
    return sorted(runs, key=lambda run: (order.get(run.recipe.method, len(order)), run.queue_order))


def variants(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> the name that it shares with runs of the same method and recipe, whatever their seed.

    The name is the method's title, for an adapter trained elsewhere these words, and whatever sets the recipe apart
    from others among `runs`, in the process's language.
    """
    traits = {run.id: _traits(run) for run in runs}
    everywhere = {name for name in COMMON if len({found[name] for found in traits.values() if name in found}) > 1}
    if len({found["task"] for found in traits.values()}) == len(_sentences(traits.values())):
        everywhere -= {"sentences"}  # the tasks tell them apart
    by_method: dict[tuple[str, bool], list[Run]] = defaultdict(list)
    for run in runs:
        by_method[run.recipe.method, bool(run.adopted)].append(run)
    names = {}
    for (method, adopted), members in by_method.items():
        keys = dict.fromkeys(key for run in members for key in traits[run.id] if key not in COMMON)
        inside = [key for key in keys if len({traits[run.id].get(key) for run in members}) > 1]
        title = tr(METHODS[method].title) if method in METHODS else method
        title = tr("{method}, trained elsewhere", method=title) if adopted else title
        for run in members:
            found = traits[run.id]
            parts = [found[name] for name in COMMON if name in everywhere and name in found]
            parts += [f"{key} {found[key]}" for key in inside if key in found]
            names[run.id] = ", ".join([title, *parts])
    return names


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation (n - 1 below the line) and n of each metric over the runs of a variant.

    `table` is `analysis.runs_table`'s with a column `variant`. One row a variant, in the order of first appearance:
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
    """At most `limit` runs, newest first but every variant before any variant's second, in the order of `runs`."""
    if len(runs) <= limit:
        return list(runs)
    names, seen, ranked = variants(runs), defaultdict(int), []
    for run in sorted(runs, key=lambda run: -run.queue_order):
        ranked.append((seen[names[run.id]], -run.queue_order, run.id))
        seen[names[run.id]] += 1
    kept = {run_id for _, _, run_id in sorted(ranked)[:limit]}
    return [run for run in runs if run.id in kept]


def one_each(runs: Sequence[Run], names: dict[str, str]) -> list[Run]:
    """The first run of each variant, in the order of `runs`. `names`: run id -> variant."""
    return list({names[run.id]: run for run in reversed(runs)}.values())[::-1]


def _traits(run: Run) -> dict[str, str]:
    """Everything that is known to shape a run but its seed, as text."""
    recipe = run.recipe.model_dump(mode="json")
    found = {
        "task": run.task_name,
        "backbone": run.recipe.backbone.replace("\\", "/").rsplit("/", 1)[-1],
    }
    if run.result:
        splits = run.result.meta_info.dataset_info
        # The number tells sizes apart, the fingerprint other sentences of the same number.
        found["sentences"] = tr(
            "{count} sentences ({fingerprint})",
            count=f"{splits.sizes.train:,}",
            fingerprint=splits.fingerprint[:6],
        )
        found["device"] = run.device_name
        found["precision"] = run.result.train_info.precision
    if run.result and run.result.parents:
        # Seeds have parents of their own: the tasks that they learnt are what shapes the run.
        found["parents"] = " + ".join(sorted(run.result.parents.names))
    heeded = {name for name in recipe if name not in UNHEEDED}
    if run.adopted:
        found["source"] = run.adopted.source
        heeded = {"max_length"}  # the rest of its recipe is about a training that was not this one
    settings = {name: recipe[name] for name in recipe if name in heeded} | recipe["options"]
    return found | {name: _text(value) for name, value in settings.items() if value is not None}


def _sentences(traits: Iterable[dict[str, str]]) -> set[tuple[str, str]]:
    """The (task, sentences) that finished runs have."""
    return {(found["task"], found["sentences"]) for found in traits if "sentences" in found}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
