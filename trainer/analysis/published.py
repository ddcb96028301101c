"""Figures of the published report, for comparison with runs, and the contradictions within that report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
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
FASTEST = mark("said to be the fastest, with {minutes} min in the table; {other} took {less}")
SPLITS = mark(
    "the splits are said to be the same; the validation accuracies of {one} are shares of {one_validation} sentences, "
    "which leave {one_training} to train on ({one_steps} steps an epoch), those of {other} are shares of "
    "{other_validation}, beside {other_training} ({other_steps} steps)"
)
OF_VALIDATION = mark(
    "validation accuracy {stated} in the table is no share of the {logged} sentences of its log; "
    "it is {count} of {size}, the validation set that is stated"
)
OF_TEST = mark(
    "validation accuracy {stated} in the table is no share of the {logged} sentences of its log; "
    "it is {count} of {size}, the size of the test set"
)
REPORT_OF_TEST = mark(
    "its classification report, said to be of validation, is of {size} sentences ({per_label} of each label): "
    "the test set; {validation} were stated for validation"
)
ALL = "all"
"""In place of a method: a contradiction between methods."""
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
Finding = tuple[str, str, dict[str, Any]]


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
        for method, text, values in (*FINDINGS, *computed())
    ]


def counts(share: float, sentences: int, *, decimals: int = 4) -> tuple[int, ...]:
    """Numbers of `sentences` whose share, rounded to `decimals`, is `share`; empty if it is no share of that many."""
    near, error = round(share * sentences), 0.5 * 10**-decimals + 1e-9
    reach = int(error * sentences) + 1
    return tuple(
        k for k in range(max(near - reach, 0), min(near + reach, sentences) + 1) if abs(k / sentences - share) <= error
    )


def logged_validation(method: str) -> int | None:
    """Number of validation sentences of which all accuracies of a method's log are shares: the stated one or a tenth.

    A tenth of the training set was then held out of it. None if both or neither fit.
    """
    configuration = load()["configuration"]
    shares = {epoch["validation_accuracy"] for epoch in _epochs(method)}
    fits = [
        size
        for size in (configuration["validation_set"], configuration["training_set"] // 10)
        if all(counts(share, size) for share in shares)
    ]
    return fits[0] if len(fits) == 1 else None


def training(method: str) -> tuple[int, int] | None:
    """(training sentences, steps an epoch) that `logged_validation` leaves; None if it is not known."""
    configuration, validation = load()["configuration"], logged_validation(method)
    if validation is None:
        return None
    sentences = configuration["training_set"] - (0 if validation == configuration["validation_set"] else validation)
    return sentences, math.ceil(sentences / configuration["batch_size"])


def computed() -> list[Finding]:
    """Contradictions that follow from the report's numbers, as in `FINDINGS`."""
    return [*_fastest(), *_splits(), *_impossible_shares(), *_classification_report()]


def _fastest() -> Iterator[Finding]:
    minutes = {row["method"]: row["training_minutes"] for row in load()["summary"] if row["training_minutes"]}
    fastest, stated = min(minutes, key=minutes.__getitem__), load()["statements"]["fastest"]
    if fastest != stated:
        shown = {"minutes": f"{minutes[stated]:.2f}", "other": _title(fastest), "less": f"{minutes[fastest]:.2f}"}
        yield stated, FASTEST, shown


def _splits() -> Iterator[Finding]:
    trained: dict[tuple[int, int], list[str]] = {}
    for method in load()["epochs"]:
        if known := training(method):
            trained.setdefault(known, []).append(method)
    if len(trained) < 2 or not load()["statements"]["same_splits"]:
        return
    values: dict[str, Any] = {}
    for key, ((sentences, steps), members) in zip(("one", "other"), sorted(trained.items()), strict=True):
        values |= {
            key: ", ".join(map(_title, members)),
            f"{key}_validation": f"{logged_validation(members[0]):,}",
            f"{key}_training": f"{sentences:,}",
            f"{key}_steps": steps,
        }
    yield ALL, SPLITS, values


def _impossible_shares() -> Iterator[Finding]:
    for row in load()["summary"]:
        stated, logged = row["validation_accuracy"], logged_validation(row["method"])
        if stated is None or logged is None or counts(stated, logged):
            continue
        for key, text in (("validation_set", OF_VALIDATION), ("test_set", OF_TEST)):
            size = load()["configuration"][key]
            if fitting := counts(stated, size):
                shown = {"stated": f"{stated:.2%}", "logged": f"{logged:,}", "count": f"{fitting[0]:,}"}
                yield row["method"], text, shown | {"size": f"{size:,}"}


def _classification_report() -> Iterator[Finding]:
    report, configuration = load()["classification_report_lora"], load()["configuration"]
    support = [report[label]["support"] for label in ("negative", "positive")]
    stated = configuration[load()["statements"]["classification_report_of"]]
    if sum(support) == configuration["test_set"] != stated:
        shown = {"size": f"{sum(support):,}", "per_label": f"{support[0]:,}", "validation": f"{stated:,}"}
        yield "lora", REPORT_OF_TEST, shown


def _epochs(method: str) -> list[dict[str, Any]]:
    return load()["epochs"].get(method, [])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _title(method: str) -> str:
    if method == ALL:
        return tr("All methods")
    return tr(METHODS[method].title) if method in METHODS else method
