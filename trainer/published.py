"""The published report's own figures, as a reference beside runs made here, and where it disagrees with itself."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.analysis import METRICS
from trainer.methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

MARK = "published elsewhere"
HALF_STEP = 0.5e-4
"""The report rounds shares to four decimals."""


@cache
def load() -> dict[str, Any]:
    """published_report.json: source, configuration, summary (a row a method), epochs (its logs), in their own units."""
    return json.loads((Path(__file__).parent / "published_report.json").read_text(encoding="utf-8"))


def origin() -> str:
    """Where the figures come from, and why they are a reference and no comparison."""
    report = load()
    made = report["configuration"]
    return (
        f"Source: {report['source']}. It trained {made['model']} on {made['dataset']} "
        f"({made['training_set']:,} training, {made['validation_set']:,} validation and {made['test_set']:,} test "
        f"sentences) for {made['epochs']} epochs at batch size {made['batch_size']}, padded to {made['max_length']} "
        f"tokens, on an {made['gpu']}. Its device, sentences and recipe differ from those of the runs here: "
        "read it as a reference, not as a comparison."
    )


def table() -> pd.DataFrame:
    """One row a method of its summary: `method`, and every metric of `analysis.METRICS` in its unit, NaN where it has
    none. Peak memory is the peak in its logs; what its table calls memory is not a peak and is left out.
    """
    import pandas as pd

    rows = []
    for row in load()["summary"]:
        peaks = [peak for epoch in _epochs(row["method"]) if (peak := epoch.get("gpu_memory_peak_mb")) is not None]
        rows.append(
            {
                "method": row["method"],
                "test_accuracy": _percent(row["test_accuracy"]),
                "validation_accuracy": _percent(row["validation_accuracy"]),
                "precision": _percent(row["precision"]),
                "recall": _percent(row["recall"]),
                "f1": _percent(row["f1"]),
                "train_minutes": row["training_minutes"],
                "trainable": row["trainable_parameters"],
                "peak_memory": max(peaks, default=None),
            }
        )
    return pd.DataFrame(rows, columns=["method", *METRICS]).astype(dict.fromkeys(METRICS, "float64"))


def curves() -> pd.DataFrame:
    """Its logs in the form of `analysis.curves`. Seconds are missing where it logged none, steps throughout."""
    import pandas as pd

    rows = []
    for method in load()["epochs"]:
        seconds = 0.0
        for epoch in _epochs(method):
            seconds += epoch.get("epoch_seconds") or float("nan")
            shared = {"run": f"published-{method}", "name": f"{_title(method)}, {MARK}", "method": method}
            shared["task"] = load()["configuration"]["dataset"]
            shared |= {"epoch": float(epoch["epoch"]), "seconds": seconds}
            for curve, key in (
                ("training loss", "train_loss"),
                ("validation loss", "validation_loss"),
                ("validation accuracy", "validation_accuracy"),
            ):
                if epoch.get(key) is not None:
                    rows.append({**shared, "curve": curve, "value": epoch[key]})
    columns = ["run", "name", "method", "task", "seed", "curve", "epoch", "step", "seconds", "value"]
    return pd.DataFrame(rows, columns=columns)


def disagreements() -> list[str]:
    """Where its table, its logs and its own description differ, a sentence each, computed from the figures."""
    found = []
    for row in load()["summary"]:
        log = _epochs(row["method"])
        for check in (_accuracy, _memory, _time, _still, _sizes):
            if log and (text := check(row, log)):
                found.append(f"{_title(row['method'])}: {text}.")
    return found


def _accuracy(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's validation accuracy against the log's last and best epoch."""
    last, best = log[-1], max(log, key=lambda epoch: epoch["validation_accuracy"])
    at_end = f"{last['validation_accuracy']:.2%} in the last epoch of its log"
    at_best = f"{best['validation_accuracy']:.2%} in the best (epoch {best['epoch']})"
    stated = row["validation_accuracy"]
    if stated is None:
        return f"no validation accuracy in the table; {at_end}"
    if abs(stated - best["validation_accuracy"]) <= 2 * HALF_STEP:
        return ""
    text = f"validation accuracy {stated:.2%} in the table; {at_end}, {at_best}"
    if abs(stated - last["validation_accuracy"]) <= 2 * HALF_STEP:
        text += ", which the report says it kept"
    return text


def _memory(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's memory against the allocation and the peak in the log."""
    after = log[-1]["gpu_memory_mb"]
    peaks = [peak for epoch in log if (peak := epoch.get("gpu_memory_peak_mb")) is not None]
    if peaks and max(peaks) > row["gpu_mb"]:
        return (
            f"memory {row['gpu_mb']:,.0f} MB in the table is what was allocated after an epoch; "
            f"the peak in its log is {max(peaks):,.0f} MB"
        )
    if abs(after - row["gpu_mb"]) > 0.005:
        return f"memory {row['gpu_mb']:,.2f} MB in the table, {after:,.2f} MB after each epoch in its log; no peak"
    return f"memory {row['gpu_mb']:,.0f} MB is what was allocated after an epoch; its log has no peak"


def _time(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's training time against the epochs of the log, where they differ by more than 1%."""
    if row["training_minutes"] is None:
        return "no training time, parameters or test figures in the table"
    if any(epoch.get("epoch_seconds") is None for epoch in log):
        return ""
    minutes = sum(epoch["epoch_seconds"] for epoch in log) / 60
    if abs(minutes / row["training_minutes"] - 1) <= 0.01:
        return ""
    return f"training time {row['training_minutes']:.2f} min in the table; the epochs of its log take {minutes:.2f} min"


def _still(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """A validation loss that never moved."""
    losses = [epoch["validation_loss"] for epoch in log]
    if max(losses) - min(losses) > 0.001:
        return ""
    return (
        f"its validation loss stayed between {min(losses):.4f} and {max(losses):.4f} over {len(log)} epochs: "
        "as if nothing had trained"
    )


def _sizes(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """Accuracies that the stated validation set cannot give: no whole number of its sentences rounds to them."""
    made = load()["configuration"]
    stated, tenth = made["validation_set"], made["training_set"] // 10
    values = [epoch["validation_accuracy"] for epoch in log]
    wrong = [value for value in values if not _possible(value, stated)]
    if not wrong:
        return ""
    text = f"{len(wrong)} of {len(values)} validation accuracies are no share of {stated:,} sentences"
    if all(_possible(value, tenth) for value in values):
        text += (
            f"; all are shares of {tenth:,}, a tenth of the training set, which would leave "
            f"{made['training_set'] - tenth:,} to train on"
        )
    return text


def _possible(share: float, count: int) -> bool:
    """Whether some k of `count` sentences rounds to this share."""
    return abs(round(share * count) / count - share) <= HALF_STEP + 1e-9


def _epochs(method: str) -> list[dict[str, Any]]:
    return load()["epochs"].get(method, [])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _title(method: str) -> str:
    return METHODS[method].title if method in METHODS else method
