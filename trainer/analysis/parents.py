"""Sentences about runs that also learnt from labelled sentences of other tasks: fusions. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.methods import METHODS
from trainer.runs.run import Run
from trainer.texts import tr


def other_tasks(runs: Sequence[Run]) -> list[str]:
    """A sentence for each method and set of other tasks whose runs the finished ones among `runs` fuse.

    Their labelled sentences are an advantage over the other runs, which the figures do not tell.
    """
    fused = dict.fromkeys((run.recipe.method, others) for run in runs if (others := _others(run)))
    return [
        tr(
            "{method} also learnt from labelled sentences of other tasks ({tasks}), through the runs that it fuses.",
            method=tr(METHODS[method].title) if method in METHODS else method,
            tasks=", ".join(others),
        )
        for method, others in fused
    ]


def _others(run: Run) -> tuple[str, ...]:
    """The names of a run's parents without those of its own task, which count on from the second: movies, movies_1."""
    if not run.result or not run.result.parents:
        return ()
    stem = Path(run.recipe.task).stem
    own = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)
    names = run.result.parents.names
    return tuple(name for name in names if name != own and not name.removeprefix(f"{own}_").isdigit())
