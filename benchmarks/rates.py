"""Peak learning rate of each method, from one sweep: the same rates' spacing, tasks, seeds and sentences for all.

    python -m benchmarks.rates [--method lora ...] [--backbone minilm] [--out benchmarks/rates.json]

Trains every method at every rate of its range, on each task and seed, and chooses the rate with the highest mean
validation accuracy. Only sentences of the tasks' training and validation splits are read; the test splits are not. A
best rate at an end of the range makes the range longer at that end. Runs already in the table are not repeated, so a
sweep that was stopped goes on. A training that diverges counts as an accuracy of 0. The table has the fingerprint of
each task's splits: where they have changed, other sentences are the test, and the task's runs are trained again.
The rates in `trainer/methods/` are those of the kept table (tests/test_rates.py).
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.tasks.base import Split, divide

TABLE = Path(__file__).with_name("rates.json")
TASKS = ("movies", "tweets")
SEEDS = (0, 1, 2, 3, 4)
TRAIN, VALIDATION, TEST = 1000, 1000, 16
"""Sentences of each split. A run tests itself; here it does so on a few validation sentences, and nothing reads it."""
SETTINGS = {"epochs": 3, "batch_size": 32}
"""As in the quick preset."""
STEPS = (1, 2, 5)
"""Rates are these times a power of ten."""
RANGES = {
    "full": (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    "adapter_fusion": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
}
DEFAULT_RANGE = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
KEY = ("backbone", "method", "task", "rate", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", help="only this method; may be repeated")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--seed", action="append", type=int, help="only this seed; may be repeated")
    parser.add_argument("--train", type=int, default=TRAIN, help="training sentences")
    parser.add_argument("--processes", type=int, default=None, help="runs at once (default: cores, or 1 on a GPU)")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--show", action="store_true", help="print the kept table and train nothing")
    arguments = parser.parse_args()
    kept = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {"runs": []}
    rows = kept["runs"]
    if not arguments.show:
        rows = of_present_splits(kept)
        if len(rows) < len(kept["runs"]):
            print(f"{len(kept['runs']) - len(rows)} runs are on splits that have changed: they are trained again.")
        if any(row["train"] != arguments.train for row in rows):
            raise SystemExit(f"{arguments.out} has runs with another number of training sentences; name a new file.")
        sweep(
            rows,
            names=tuple(arguments.method or methods.DEFAULT),
            backbone=arguments.backbone,
            seeds=tuple(arguments.seed or SEEDS),
            train=arguments.train,
            processes=arguments.processes or default_processes(),
            out=arguments.out,
        )
    print(table(rows))


def sweep(
    rows: list[dict[str, Any]],
    *,
    names: Sequence[str],
    backbone: str,
    seeds: Sequence[int],
    train: int,
    processes: int,
    out: Path,
) -> None:
    """Train what `rows` lacks and add it, method by method; methods with parents last, for they take the best ones.

    Rates that the table has beyond a method's range get the seeds that they lack. Runs whose parents had another rate
    than their method's present best are trained again.
    """
    with tempfile.TemporaryDirectory() as root:
        files = {task: write_splits(task, Path(root), train=train) for task in TASKS}
        splits = fingerprints()
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=start, initargs=(processes,)) as pool:
            for name in sorted(names, key=lambda name: methods.get(name).parent_method is not None):
                parents_at = parent_rate(rows, name, backbone)
                rows[:] = [row for row in rows if is_current(row, name, backbone, parents_at)]
                rates = rates_of(rows, name, backbone)
                while True:
                    known = {tuple(row[field] for field in KEY) for row in rows}
                    jobs = [
                        {
                            "backbone": backbone, "method": name, "task": task, "rate": rate, "seed": seed,
                            "parent_rate": parents_at,
                        }
                        for seed in seeds for rate in rates for task in TASKS
                        if (backbone, name, task, rate, seed) not in known
                    ]  # fmt: skip
                    pending = [pool.submit(run, job, files[job["task"]], root, train) for job in jobs]
                    for done in as_completed(pending):
                        rows.append(done.result())
                        write(rows, out, splits)
                        print(f"{len(rows)} runs, {rows[-1]}", flush=True)
                    longer = widened(rates, best(rows, name, backbone)["rate"])
                    if longer == rates:
                        break
                    rates = longer


def rates_of(rows: Iterable[dict[str, Any]], name: str, backbone: str) -> tuple[float, ...]:
    """A method's range and the further rates that the table has of it, in ascending order."""
    known = {row["rate"] for row in rows if (row["method"], row["backbone"]) == (name, backbone)}
    return tuple(sorted(known | set(RANGES.get(name, DEFAULT_RANGE))))


def is_current(row: dict[str, Any], name: str, backbone: str, parents_at: float | None) -> bool:
    """Whether a row is of another method or backbone, or its parents have the rate `parents_at`."""
    return (row["method"], row["backbone"]) != (name, backbone) or row.get("parent_rate") == parents_at


def of_present_splits(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a table on tasks whose splits are what they were for it."""
    recorded, present = table.get("splits", {}), fingerprints()
    return [row for row in table["runs"] if recorded.get(row["task"]) == present[row["task"]]]


def fingerprints() -> dict[str, str]:
    """Fingerprint of the splits of each task of the sweep."""
    return {task: tasks.get(task).load(0).fingerprint for task in TASKS}


def default_processes() -> int:
    """One run on each core; on a GPU one run at a time."""
    from trainer.machine.device import detect

    return 1 if detect().kind == "cuda" else len(os.sched_getaffinity(0))


def start(processes: int) -> None:
    """Share the cores among the processes."""
    import torch

    from trainer.machine.device import quiet_libraries, reuse_freed_memory

    quiet_libraries()
    reuse_freed_memory()
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // processes, 1))


def write_splits(task: str, root: Path, *, train: int) -> dict[str, str]:
    """Files of a task's sentences for the sweep: split -> path. Neither file has a sentence of the task's test split.

    The training sentences are a sample of the task's training split, stratified by label; the validation sentences are
    a sample of the rest of it and of the validation split.
    """
    data = tasks.get(task).load(0)
    rest, chosen = divide(data.train, held_out=train, seed=0)
    joined = Split(*(left + right for left, right in zip(fields(rest), fields(data.validation), strict=True)))
    _, validation = divide(joined, held_out=VALIDATION, seed=0)
    paths = {}
    for name, split in (("train", chosen), ("validation", validation), ("test", validation.take(range(TEST)))):
        paths[name] = str(root / f"{task}-{name}.csv")
        with open(paths[name], "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows(
                [text, data.label_names[label]] for text, label in zip(split.texts, split.labels, strict=True)
            )
    return paths


def fields(split: Split) -> tuple[tuple, ...]:
    """The columns of a split."""
    return split.rows, split.texts, split.labels


def run(job: dict[str, Any], files: dict[str, str], root: str, train: int) -> dict[str, Any]:
    """One training of the sweep as its row of the table."""
    from trainer.errors import TrainingStopped
    from trainer.runs import recipes
    from trainer.training.train import Request
    from trainer.training.train import train as train_run

    config = recipe(job, files)
    parents = [train_parent(parent, job, root, train) for parent in recipes.parents_of(config)]
    untrained = SimpleNamespace(train_info=SimpleNamespace(train_time=0.0, file_size=0, num_trainable_params=0))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        since = time.perf_counter()
        request = Request(
            config,
            Path(folder),
            emit=lambda event: None,
            costs=False,
            parents=tuple(parents),
            parent_results=(untrained,) * len(parents),
        )
        row = {field: job[field] for field in KEY} | ({"parent_rate": job["parent_rate"]} if parents else {})
        try:
            result = train_run(request)
        except TrainingStopped as error:
            return row | {"train": train, "validation": VALIDATION, "accuracy": 0.0, "diverged": str(error)}
    info = result.train_info
    return row | {
        "train": train,
        "validation": result.meta_info.dataset_info.sizes.validation,
        "accuracy": info.best_validation_accuracy,
        "last_accuracy": info.metrics[-1].accuracy,
        "last_loss": round(info.metrics[-1].loss, 5),
        "best_epoch": info.best_epoch,
        "seconds": round(time.perf_counter() - since, 1),
    }


def recipe(job: dict[str, Any], files: dict[str, str]) -> RunConfig:
    """The recipe of one training of the sweep."""
    from trainer.runs import recipes

    options = {}
    if methods.get(job["method"]).parent_method:
        # The file stands for its task, whose own adapter would have seen the validation sentences.
        others = tuple(task for task in tasks.EMBEDDED if task != job["task"])
        options["parent_tasks"] = (files["train"], *others)
    return recipes.make(
        method=job["method"], task=files["train"], backbone=job["backbone"], seed=job["seed"],
        learning_rate=job["rate"], options=options, validation_file=files["validation"], test_file=files["test"],
        **SETTINGS,
    )  # fmt: skip


def train_parent(config: RunConfig, job: dict[str, Any], root: str, train: int) -> methods.Parent:
    """A parent of a fusion, trained once for each seed: on the sweep's file, or on another task's sentences."""
    from filelock import FileLock

    from trainer.training.train import Request
    from trainer.training.train import train as train_run

    own = tasks.is_file(config.task)
    name = "own" if own else config.task
    stem = Path(config.task).stem if own else name
    folder = Path(root) / f"parent-{Path(job['backbone']).name}-{stem}-{job['seed']}"
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "done").exists():
            changes = {"learning_rate": job["parent_rate"]} | ({} if own else {"train_size": train})
            folder.mkdir(exist_ok=True)
            train_run(Request(config.model_copy(update=changes), folder, emit=lambda event: None, costs=False))
            (folder / "done").touch()
    return methods.Parent(name, folder.name, folder / "model")


def parent_rate(rows: Iterable[dict[str, Any]], name: str, backbone: str) -> float | None:
    """The rate at which a method's parents are trained: the best of the table, else their method's own."""
    from trainer.sources import backbones

    if (parent := methods.get(name).parent_method) is None:
        return None
    chosen = best(rows, parent, backbone)
    return chosen["rate"] if chosen else methods.get(parent).learning_rate(backbones.shape_of(backbone))


def widened(rates: Sequence[float], best_rate: float) -> tuple[float, ...]:
    """The rates, with two more at the end at which the best one is; unchanged if it is at neither."""
    if best_rate == max(rates) < 1:
        return (*rates, *(rate for rate in (beside(max(rates), 1), beside(max(rates), 2)) if rate <= 1))
    if best_rate == min(rates):
        return (beside(min(rates), -2), beside(min(rates), -1), *rates)
    return tuple(rates)


def beside(rate: float, steps: int) -> float:
    """The rate that is this many steps further along 1, 2, 5, 10, 20, ..."""
    import math

    power = math.floor(math.log10(rate) + 1e-9)
    index = STEPS.index(round(rate / 10**power)) + steps
    return float(f"{STEPS[index % 3]}e{power + index // 3}")


def best(rows: Iterable[dict[str, Any]], name: str, backbone: str) -> dict[str, Any] | None:
    """The summary of a method's best rate, the lower one of two equals; None without runs."""
    summaries = [row for row in summary(rows) if (row["method"], row["backbone"]) == (name, backbone)]
    return max(summaries, key=lambda row: (row["accuracy"], -row["rate"]), default=None)


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean validation accuracy of each backbone, method and rate: the mean over tasks of the mean over seeds."""
    groups: dict[tuple, dict[str, list[float]]] = {}
    for row in rows:
        by_task = groups.setdefault((row["backbone"], row["method"], row["rate"]), {})
        by_task.setdefault(row["task"], []).append(row["accuracy"])
    summaries = []
    for (backbone, name, rate), by_task in sorted(groups.items()):
        means = {task: statistics.mean(values) for task, values in sorted(by_task.items())}
        spread = {task: statistics.stdev(values) if len(values) > 1 else None for task, values in by_task.items()}
        summaries.append(
            {
                "backbone": backbone, "method": name, "rate": rate, "accuracy": statistics.mean(means.values()),
                "tasks": means, "sd": spread, "runs": sum(map(len, by_task.values())),
            }
        )  # fmt: skip
    return summaries


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summaries as a Markdown table, the best rate of each method in bold."""
    lines = ["| backbone | method | rate | " + " | ".join(f"{task} (SD)" for task in TASKS) + " | mean | runs |"]
    lines.append("|---" * (len(TASKS) + 5) + "|")
    for row in summary(rows):
        cells = []
        for task in TASKS:
            sd = row["sd"].get(task)
            cells.append(f"{100 * row['tasks'][task]:.1f}" + (f" ({100 * sd:.1f})" if sd is not None else "")
                         if task in row["tasks"] else "")  # fmt: skip
        chosen = best(rows, row["method"], row["backbone"])["rate"] == row["rate"]
        rate = f"**{row['rate']:g}**" if chosen else f"{row['rate']:g}"
        lines.append(
            f"| {row['backbone']} | {row['method']} | {rate} | {' | '.join(cells)} | {100 * row['accuracy']:.2f} | "
            f"{row['runs']} |"
        )
    return "\n".join(lines)


def write(rows: list[dict[str, Any]], out: Path, splits: dict[str, str]) -> None:
    """Keep the table, one line a run, in a fixed order."""
    from benchmarks.common import machine

    ordered = sorted(rows, key=lambda row: tuple(row[field] for field in KEY))
    lines = ",\n".join(json.dumps(row) for row in ordered)
    partial = out.with_suffix(".part")
    about = f'"machine": {json.dumps(machine())},\n"splits": {json.dumps(splits)},\n'
    partial.write_text(f'{{{about}"runs": [\n{lines}\n]}}\n', encoding="utf-8")
    partial.replace(out)


if __name__ == "__main__":
    main()
