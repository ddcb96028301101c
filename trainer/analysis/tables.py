"""Tidy DataFrames of stored runs, for charts and reports: metrics, curves, classification reports. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.analysis import intervals
from trainer.runs.metrics import MEGABYTES, METRICS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd


RATES = {"tuned": mark("tuned"), "published": mark("published"), "chosen": mark("chosen")}
"""How a learning rate was set (`lineage.learning_rate`) -> its name on the page."""


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Table with a row a run: id, label and recipe, then every metric in its unit (NaN if the run has none).

    Accuracies of runs that are `multi_label` are exact match.
    """
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
            "multi_label": run.multi_label,
            **{metric.key: metric.of(run) for metric in METRICS.values()},
        }
        for run in runs
    ]
    about = ["run", "label", "method", "task", "backbone", "seed", "state", "device", "splits", "multi_label"]
    columns = [*about, *METRICS]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(METRICS, "float64"))


def plain(value: float) -> str:
    """A number for a file: nine significant digits, without the noise of binary fractions and, where it can, exponent.

    8.399999999999999 is 8.4, 22713216.0 is 22713216; empty for NaN.
    """
    if value != value:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.9g}"


def base_name(path: str) -> str:
    """The last part of a path or of a name with slashes: no folder of the machine is shown."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def csv_table(runs: Sequence[Run]) -> pd.DataFrame:
    """`runs_table` as texts for a CSV file: plain numbers, and of a file or folder its name without the folders."""
    table = runs_table(runs)
    for column in ("task", "backbone"):
        table[column] = table[column].map(base_name)
    return table.assign(**{key: [plain(value) for value in table[key]] for key in METRICS})


def comparable(runs: Sequence[Run]) -> list[str]:
    """Warnings about comparing the finished runs among these, a sentence each; empty if they are comparable."""
    finished = [run for run in runs if run.result]
    warnings = []
    splits = {run.split_fingerprint for run in finished}
    if len(splits) > 1:
        warnings.append(tr("These runs were not all trained and tested on the same sentences."))
    backbones = {run.recipe.backbone for run in finished}
    if len(backbones) > 1:
        warnings.append(
            tr("These runs adapt different backbones: {names}.", names=", ".join(sorted(map(base_name, backbones))))
        )
    devices = {run.device_name for run in finished}
    if len(devices) > 1:
        warnings.append(tr("Times and memory come from different devices: {names}.", names=", ".join(sorted(devices))))
    precisions = {run.result.train_info.precision for run in finished}
    if len(precisions) > 1:
        names = ", ".join(sorted(precisions))
        warnings.append(tr("Times and memory come from different precisions: {names}.", names=names))
    batches = {run.result.train_info.batch_size for run in finished if not run.adopted}
    if len(batches) > 1:
        names = ", ".join(map(str, sorted(batches)))
        warnings.append(tr("These runs were trained in batches of different size: {names}.", names=names))
    rates = {run.lineage.learning_rate for run in finished if run.lineage.learning_rate}
    if len(rates) > 1:
        names = ", ".join(tr(RATES[rate]) for rate in RATES if rate in rates)
        warnings.append(tr("Their learning rates were set in different ways: {names}.", names=names))
    trained = [run for run in finished if run.result.train_info.peak is not None]
    counted = [run.result.train_info.step_memory is not None for run in trained]
    if any(counted) and not all(counted):
        warnings.append(
            tr(
                "Some of these runs are from before the memory of a training step was counted: "
                "do not compare their peak memory with that of the others."
            )
        )
    return warnings


ACCURACIES = {"test_accuracy": "test", "validation_accuracy": "validation"}
"""Metrics that are the share of a split's sentences -> the split."""


def accuracy_interval(runs: Sequence[Run], key: str, *, store: Store | None = None) -> tuple[float, float] | None:
    """95% interval of an accuracy of `ACCURACIES`, as shares, over finished runs that differ in their seed alone.

    Where the sentences come in groups, their predictions in `store` tell how alike those of a group are. None for other
    metrics, and for groups without predictions.
    """
    split, about = ACCURACIES.get(key), runs[0].result.meta_info.dataset_info
    if split is None or not (sentences := getattr(about.sizes, split)):
        return None
    shares = [METRICS[key].of(run) / METRICS[key].scale for run in runs]
    if about.group is None:
        return intervals.accuracy(shares, sentences)
    effects = [effect for run in runs if store and (effect := _design_effect(store.predictions(run.id), split))]
    if not effects:
        return None
    groups = getattr(about.groups, split) if about.groups else None
    return intervals.accuracy(shares, sentences, design_effect=sum(effects) / len(effects), groups=groups)


def _design_effect(predictions: pd.DataFrame | None, split: str) -> float | None:
    """`intervals.design_effect` of a split; None without predictions or their groups."""
    part = predictions[predictions["split"] == split] if predictions is not None else None
    if part is None or part.empty or (codes := group_codes(part)) is None:
        return None
    return intervals.design_effect((part["predicted"] == part["label"]).to_numpy(), codes)


def group_codes(frame: pd.DataFrame) -> np.ndarray | None:
    """Integers (sentences,), equal for sentences of one group (see dataset_info.group); None if there are no groups.

    `frame` has predictions. A sentence without a group is one of its own.
    """
    if "group" not in frame or frame["group"].isna().all():
        return None
    codes, names = frame["group"].factorize()
    alone = codes < 0
    codes[alone] = len(names) + np.arange(alone.sum())
    return codes


def curves(store: Store, runs: Sequence[Run]) -> pd.DataFrame:
    """Curves of runs in any state, a row a point: run, name, method, task, seed, curve, epoch, step, seconds, value.

    `curve` is "step loss" (mean since the previous step event) or "memory" (MB), by step; or "training loss",
    "validation loss" or "validation accuracy" (0 to 1), by epoch.
    """
    import pandas as pd

    rows = []
    for run in runs:
        events, _ = store.events(run.id)
        shared = {
            "run": run.id,
            "name": run.label or run.id,
            "method": run.recipe.method,
            "task": run.task_name,
            "seed": run.recipe.seed,
        }
        rows += [shared | point for point in _points(events)]
    columns = ["run", "name", "method", "task", "seed", "curve", "epoch", "step", "seconds", "value"]
    return pd.DataFrame(rows, columns=columns)


def _points(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of one run's curves. A step that a resumed run repeated counts once, with its last value."""
    points: dict[tuple[str, int], dict[str, Any]] = {}
    seconds = 0.0
    for event in events:
        if event["type"] == "step":
            seconds = event["seconds"]
            values = [("step loss", event["loss"]), ("memory", event["memory"] * MEGABYTES)]
        elif event["type"] == "evaluation" and event["split"] == "validation":
            values = [
                ("training loss", event["train_loss"]),
                ("validation loss", event["loss"]),
                ("validation accuracy", event["accuracy"]),
            ]
        else:
            continue
        for curve, value in values:
            if value is not None:
                points[curve, event["step"]] = {
                    "curve": curve,
                    "epoch": event["epoch"],
                    "step": event["step"],
                    "seconds": seconds,
                    "value": value,
                }
    return sorted(points.values(), key=lambda point: (point["curve"], point["step"]))


MEANS = {"micro": mark("micro average"), "macro": mark("macro average"), "weighted": mark("weighted average")}
"""Means over the labels -> their titles in the last rows of `per_class`."""


def per_class(run: Run) -> pd.DataFrame:
    """Classification report, a row a label and then the means: label, precision, recall, f1 (0 to 1), support.

    Of a multi-label run with the micro average too, and with each label's average precision.

    The macro mean is over the labels that some test sentence has: see `absent`.
    """
    import pandas as pd

    test = run.result.test
    own = None if run.multi_label else {"average_precision"}  # which single labels have not each
    rows = [{"label": name, **scores.model_dump(exclude=own)} for name, scores in test.per_class.items()]
    total, present = sum(row["support"] for row in rows), [row for row in rows if row["support"]]
    # Runs of earlier versions counted a label without sentences as 0 in their macro mean.
    means = {name: sum(row[name] for row in present) / (len(present) or 1) for name in ("precision", "recall", "f1")}
    rows += [
        {"label": title, **(means if average == "macro" else dict(getattr(test, average))), "support": total}
        for average, title in MEANS.items()
        if getattr(test, average) is not None
    ]
    return pd.DataFrame(rows)


def absent(run: Run) -> list[str]:
    """Labels that no test sentence of a finished run has; they are left out of its macro mean."""
    return [name for name, scores in run.result.test.per_class.items() if scores.support == 0]


def pareto(x: Sequence[float], y: Sequence[float], *, x_better: str, y_better: str) -> list[bool]:
    """Whether each point is on the Pareto frontier: none is at least as good in both and better in one (Pareto 1906).

    `x_better` and `y_better` are a metric's better direction, "higher" or "lower". Points with NaN are never on it.
    """
    signs = [1.0 if better == "higher" else -1.0 for better in (x_better, y_better)]
    points = [(signs[0] * a, signs[1] * b) for a, b in zip(x, y, strict=True)]
    known = [(a, b) for a, b in points if a == a and b == b]
    return [a == a and b == b and not any(c >= a and d >= b and (c > a or d > b) for c, d in known) for a, b in points]
