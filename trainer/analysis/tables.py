"""Tidy tables and curves of stored runs, for charts and reports. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainer.runs.metrics import MEGABYTES, METRICS
from trainer.runs.store import Run, Store
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: what it is, and every metric in its unit (NaN where there is none)."""
    import pandas as pd

    rows = [
        {
            "run": run.id,
            "label": run.label,
            "method": run.recipe.method,
            "task": run.recipe.task,
            "backbone": run.recipe.backbone,
            "seed": run.recipe.seed,
            "state": run.state,
            "device": run.device_name,
            "splits": run.split_fingerprint,
            **{metric.key: metric.of(run) for metric in METRICS.values()},
        }
        for run in runs
    ]
    columns = ["run", "label", "method", "task", "backbone", "seed", "state", "device", "splits", *METRICS]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(METRICS, "float64"))


def comparable(runs: Sequence[Run]) -> list[str]:
    """What stands in the way of comparing these finished runs, in sentences; empty when a comparison holds."""
    finished = [run for run in runs if run.result]
    warnings = []
    splits = {run.split_fingerprint for run in finished}
    if len(splits) > 1:
        warnings.append(tr("These runs were not all trained and tested on the same sentences."))
    backbones = {run.recipe.backbone for run in finished}
    if len(backbones) > 1:
        warnings.append(tr("These runs adapt different backbones: {names}.", names=", ".join(sorted(backbones))))
    devices = {run.device_name for run in finished}
    if len(devices) > 1:
        warnings.append(tr("Times and memory come from different devices: {names}.", names=", ".join(sorted(devices))))
    precisions = {run.result.train_info.precision for run in finished}
    if len(precisions) > 1:
        names = ", ".join(sorted(precisions))
        warnings.append(tr("Times and memory come from different precisions: {names}.", names=names))
    return warnings


def curves(store: Store, runs: Sequence[Run]) -> pd.DataFrame:
    """Tidy curves of runs, finished or not: run, name, method, task, seed, curve, epoch, step, seconds, value.

    Curves are "step loss" (between reports), "memory" (MB, likewise), "training loss" and "validation loss"
    (per epoch), "validation accuracy".
    """
    import pandas as pd

    rows = []
    for run in runs:
        events, _ = store.events(run.id)
        of_run = {
            "run": run.id,
            "name": run.label or run.id,
            "method": run.recipe.method,
            "task": run.task_name,
            "seed": run.recipe.seed,
        }
        rows += [of_run | point for point in _points(events)]
    columns = ["run", "name", "method", "task", "seed", "curve", "epoch", "step", "seconds", "value"]
    return pd.DataFrame(rows, columns=columns)


def _points(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of one run's curves; what a resumed run did over again counts once, as it was last."""
    points: dict[tuple[str, int], dict[str, Any]] = {}
    seconds = 0.0
    for event in events:
        if event["type"] == "step":
            seconds = event["seconds"]
            found = [("step loss", event["loss"]), ("memory", event["memory"] * MEGABYTES)]
        elif event["type"] == "evaluation" and event["split"] == "validation":
            found = [
                ("training loss", event["train_loss"]),
                ("validation loss", event["loss"]),
                ("validation accuracy", event["accuracy"]),
            ]
        else:
            continue
        for curve, value in found:
            if value is not None:
                points[curve, event["step"]] = {
                    "curve": curve,
                    "epoch": event["epoch"],
                    "step": event["step"],
                    "seconds": seconds,
                    "value": value,
                }
    return sorted(points.values(), key=lambda point: (point["curve"], point["step"]))


MEANS = {"macro": mark("macro mean"), "weighted": mark("weighted mean")}
"""Means over the labels, and what the last rows of `per_class` are called."""


def per_class(run: Run) -> pd.DataFrame:
    """The classification report of a finished run: label, precision, recall, F1 (0 to 1) and support."""
    import pandas as pd

    test = run.result.test
    rows = [{"label": name, **dict(scores)} for name, scores in test.per_class.items()]
    total = sum(row["support"] for row in rows)
    rows += [{"label": title, **dict(getattr(test, average)), "support": total} for average, title in MEANS.items()]
    return pd.DataFrame(rows)


def pareto(x: Sequence[float], y: Sequence[float], *, x_better: str, y_better: str) -> list[bool]:
    """Which points no other point beats: at least as good in both, better in one (Pareto 1906). NaN is on no frontier.

    `x_better` and `y_better` are "higher" or "lower", as a metric has it. Equal points stand or fall together.
    """
    signs = [1.0 if better == "higher" else -1.0 for better in (x_better, y_better)]
    points = [(signs[0] * a, signs[1] * b) for a, b in zip(x, y, strict=True)]
    known = [(a, b) for a, b in points if a == a and b == b]
    return [a == a and b == b and not any(c >= a and d >= b and (c > a or d > b) for c, d in known) for a, b in points]
