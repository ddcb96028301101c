"""The published report's own figures, as a reference beside runs made here, and where it disagrees with itself."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.methods import METHODS
from trainer.runs.metrics import METRICS
from trainer.texts import mark, tr

if TYPE_CHECKING:
    import pandas as pd

MARK = mark("published elsewhere")
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
    return tr(
        "Source: {source}. It trained {model} on {dataset} "
        "({training} training, {validation} validation and {test} test "
        "sentences) for {epochs} epochs at batch size {batch_size}, padded to {max_length} "
        "tokens, on an {gpu}. Its device, sentences and recipe differ from those of the runs here: "
        "read it as a reference, not as a comparison.",
        **{name: made[name] for name in ("model", "dataset", "epochs", "batch_size", "max_length", "gpu")},
        **{name: f"{made[f'{name}_set']:,}" for name in ("training", "validation", "test")},
        source=report["source"],
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
            shared = {
                "run": f"published-{method}",
                "name": tr("{method}, published elsewhere", method=_title(method)),
                "method": method,
            }
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
                found.append(tr("{method}: {finding}.", method=_title(row["method"]), finding=text))
    return found


def _accuracy(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's validation accuracy against the log's last and best epoch."""
    last, best = log[-1], max(log, key=lambda epoch: epoch["validation_accuracy"])
    stated, at_end = row["validation_accuracy"], f"{last['validation_accuracy']:.2%}"
    if stated is None:
        return tr("no validation accuracy in the table; {last} in the last epoch of its log", last=at_end)
    if abs(stated - best["validation_accuracy"]) <= 2 * HALF_STEP:
        return ""
    text = mark(
        "validation accuracy {stated} in the table; {last} in the last epoch of its log, {best} in the best "
        "(epoch {epoch})"
    )
    if abs(stated - last["validation_accuracy"]) <= 2 * HALF_STEP:
        text = mark(
            "validation accuracy {stated} in the table; {last} in the last epoch of its log, {best} in the best "
            "(epoch {epoch}), which the report says it kept"
        )
    at_best = f"{best['validation_accuracy']:.2%}"
    return tr(text, stated=f"{stated:.2%}", last=at_end, best=at_best, epoch=best["epoch"])


def _memory(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's memory against the allocation and the peak in the log."""
    after = log[-1]["gpu_memory_mb"]
    peaks = [peak for epoch in log if (peak := epoch.get("gpu_memory_peak_mb")) is not None]
    if peaks and max(peaks) > row["gpu_mb"]:
        return tr(
            "memory {stated} MB in the table is what was allocated after an epoch; the peak in its log is {peak} MB",
            stated=f"{row['gpu_mb']:,.0f}",
            peak=f"{max(peaks):,.0f}",
        )
    if abs(after - row["gpu_mb"]) > 0.005:
        return tr(
            "memory {stated} MB in the table, {logged} MB after each epoch in its log; no peak",
            stated=f"{row['gpu_mb']:,.2f}",
            logged=f"{after:,.2f}",
        )
    return tr(
        "memory {stated} MB is what was allocated after an epoch; its log has no peak", stated=f"{row['gpu_mb']:,.0f}"
    )


def _time(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The table's training time against the epochs of the log, where they differ by more than 1%."""
    if row["training_minutes"] is None:
        return tr("no training time, parameters or test figures in the table")
    if any(epoch.get("epoch_seconds") is None for epoch in log):
        return ""
    minutes = sum(epoch["epoch_seconds"] for epoch in log) / 60
    if abs(minutes / row["training_minutes"] - 1) <= 0.01:
        return ""
    return tr(
        "training time {stated} min in the table; the epochs of its log take {logged} min",
        stated=f"{row['training_minutes']:.2f}",
        logged=f"{minutes:.2f}",
    )


def _still(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """A validation loss that never moved."""
    losses = [epoch["validation_loss"] for epoch in log]
    if max(losses) - min(losses) > 0.001:
        return ""
    return tr(
        "its validation loss stayed between {low} and {high} over {epochs} epochs: as if nothing had trained",
        low=f"{min(losses):.4f}",
        high=f"{max(losses):.4f}",
        epochs=len(log),
    )


def _sizes(row: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """Accuracies that the stated validation set cannot give: no whole number of its sentences rounds to them."""
    made = load()["configuration"]
    stated, tenth = made["validation_set"], made["training_set"] // 10
    values = [epoch["validation_accuracy"] for epoch in log]
    wrong = [value for value in values if not _possible(value, stated)]
    if not wrong:
        return ""
    figures = {"wrong": len(wrong), "all": len(values), "stated": f"{stated:,}"}
    if all(_possible(value, tenth) for value in values):
        return tr(
            "{wrong} of {all} validation accuracies are no share of {stated} sentences; all are shares of {tenth}, "
            "a tenth of the training set, which would leave {rest} to train on",
            **figures,
            tenth=f"{tenth:,}",
            rest=f"{made['training_set'] - tenth:,}",
        )
    return tr("{wrong} of {all} validation accuracies are no share of {stated} sentences", **figures)


def _possible(share: float, count: int) -> bool:
    """Whether some k of `count` sentences rounds to this share."""
    return abs(round(share * count) / count - share) <= HALF_STEP + 1e-9


def _epochs(method: str) -> list[dict[str, Any]]:
    return load()["epochs"].get(method, [])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _title(method: str) -> str:
    return tr(METHODS[method].title) if method in METHODS else method
