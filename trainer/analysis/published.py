"""Figures of the published report, for comparison with runs, and the contradictions within that report."""

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
ACCURACY = mark(
    "validation accuracy {stated} in the table; {last} in the last epoch of its log, {best} in the best (epoch {epoch})"
)
ACCURACY_KEPT = mark(
    "validation accuracy {stated} in the table; {last} in the last epoch of its log, {best} in the best "
    "(epoch {epoch}), which the report says it kept"
)
NO_ACCURACY = mark("no validation accuracy in the table; {last} in the last epoch of its log")
PEAK = mark("memory {stated} MB in the table is what was allocated after an epoch; the peak in its log is {peak} MB")
NO_PEAK = mark("memory {stated} MB is what was allocated after an epoch; its log has no peak")
OTHER_MEMORY = mark("memory {stated} MB in the table, {logged} MB after each epoch in its log; no peak")
TIME = mark("training time {stated} min in the table; the epochs of its log take {logged} min")
NO_FIGURES = mark("no training time, parameters or test figures in the table")
STILL = mark("its validation loss stayed between {low} and {high} over {epochs} epochs: as if nothing had trained")
SHARES = mark(
    "{wrong} of {all} validation accuracies are no share of {stated} sentences; all are shares of {tenth}, "
    "a tenth of the training set, which would leave {rest} to train on"
)
_SHARES = {"wrong": 15, "all": 15, "stated": "872", "tenth": "1,500", "rest": "13,500"}
FINDINGS = (
    ("full", ACCURACY_KEPT, {"stated": "93.87%", "last": "93.87%", "best": "93.93%", "epoch": 10}),
    ("full", NO_PEAK, {"stated": "1,756"}),
    ("full", TIME, {"stated": "67.13", "logged": "64.66"}),
    ("full", SHARES, _SHARES),
    ("lora", ACCURACY, {"stated": "89.45%", "last": "92.00%", "best": "92.40%", "epoch": 13}),
    ("lora", PEAK, {"stated": "444", "peak": "2,429"}),
    ("lora", SHARES, _SHARES),
    ("qlora", ACCURACY, {"stated": "89.37%", "last": "89.91%", "best": "90.37%", "epoch": 13}),
    ("qlora", PEAK, {"stated": "113", "peak": "1,372"}),
    ("adapter_fusion", NO_ACCURACY, {"last": "90.14%"}),
    ("adapter_fusion", OTHER_MEMORY, {"stated": "858.29", "logged": "859.29"}),
    ("adapter_fusion", NO_FIGURES, {}),
    ("adapter_fusion", STILL, {"low": "0.2561", "high": "0.2562", "epochs": 15}),
)
"""(method, text of a contradiction, its figures). The report is fixed; a test checks each figure with its data."""


@cache
def load() -> dict[str, Any]:
    """Content of published_report.json: source, configuration, summary (a row a method), epochs (the logs)."""
    return json.loads((Path(__file__).parent / "published_report.json").read_text(encoding="utf-8"))


def origin() -> str:
    """Text about the source and the recipe of the report, and why it is a reference and not a comparison."""
    report = load()
    configuration = report["configuration"]
    return tr(
        "Source: {source}. It trained {model} on {dataset} "
        "({training} training, {validation} validation and {test} test "
        "sentences) for {epochs} epochs at batch size {batch_size}, padded to {max_length} "
        "tokens, on an {gpu}. Its device, sentences and recipe differ from those of the runs here: "
        "read it as a reference, not as a comparison.",
        **{name: configuration[name] for name in ("model", "dataset", "epochs", "batch_size", "max_length", "gpu")},
        **{name: f"{configuration[f'{name}_set']:,}" for name in ("training", "validation", "test")},
        source=report["source"],
    )


def table() -> pd.DataFrame:
    """Summary of the report, a row a method: `method`, and every metric of `METRICS` in its unit, NaN where unknown.

    Peak memory is the peak in its logs; the memory in its own table is not a peak and is left out.
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
    """Logs of the report in the columns of `tables.curves`; NaN for unlogged seconds, and for all steps and seeds."""
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
    """Contradictions between the report's table, its logs and its description, a sentence each."""
    return [
        tr("{method}: {finding}.", method=_title(method), finding=tr(text, **values))
        for method, text, values in FINDINGS
    ]


def _epochs(method: str) -> list[dict[str, Any]]:
    return load()["epochs"].get(method, [])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _title(method: str) -> str:
    return tr(METHODS[method].title) if method in METHODS else method
