"""Groups of the list of runs: a person's own suites, newest first, then the example runs. Imports no Gradio."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.analysis.names import short_names
from trainer.methods import METHODS
from trainer.runs.run import ENDED, Run
from trainer.texts import tr, tr_count

EXAMPLES = "examples"
"""Key of the group of the runs that come with the program."""


@dataclass(frozen=True)
class Group:
    """Runs of one suite that have ended, newest first, or the example runs. `key` is the same at every drawing."""

    key: str
    title: str
    runs: tuple[Run, ...]


def key_of(run: Run) -> str:
    """The key of a run's group."""
    return EXAMPLES if run.bundled else run.suite or run.id


def names(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> its short name among the runs of its group; those that are alone in theirs are named together."""
    sizes, members = Counter(map(key_of, runs)), defaultdict(list)
    for run in runs:
        members[key_of(run) if sizes[key_of(run)] > 1 else ""].append(run)
    return {run_id: name for group in members.values() for run_id, name in short_names(group).items()}


def ended(runs: Sequence[Run]) -> list[Group]:
    """The groups of the ended runs; `runs` are in the order of the queue."""
    members = defaultdict(list)
    for run in reversed(runs):
        if run.state in ENDED:
            members[key_of(run)].append(run)
    examples = members.pop(EXAMPLES, [])
    groups = [Group(key, _title(group), tuple(group)) for key, group in members.items()]
    if examples:
        title = tr("Example runs that come with the program ({count})", count=len(examples))
        groups.append(Group(EXAMPLES, title, tuple(_sorted(examples))))
    return groups


def about(run: Run) -> str:
    """The task and the backbone of a run."""
    return f"{run.task_name}, {Path(run.recipe.backbone).name}"


def _title(runs: Sequence[Run]) -> str:
    """What the runs of a suite share, their number, and when the first was launched."""
    shared = {run.label for run in runs}, {about(run) for run in runs}
    what = ", ".join(next(iter(values)) for values in shared if len(values) == 1 and "" not in values)
    what = what or ", ".join(dict.fromkeys(run.task_name for run in runs))
    time = min(run.created_at for run in runs)[:16].replace("T", " ")
    return tr_count(
        "{what}: {count} run, {time} UTC", "{what}: {count} runs, {time} UTC", len(runs), what=what, time=time
    )


def _sorted(runs: Sequence[Run]) -> list[Run]:
    """Example runs by task, method in the usual order, and seed."""
    order = list(METHODS)
    return sorted(
        runs,
        key=lambda run: (
            run.task_name,
            order.index(run.recipe.method) if run.recipe.method in order else len(order),
            run.recipe.seed,
        ),
    )
