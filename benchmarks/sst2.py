"""Validation accuracy and speed of every method on SST-2 sentences from files, on this machine.

    python -m benchmarks.sst2 --train sst2_train.tsv --validation sst2_dev.tsv --out sst2.json

The files have columns sentence and label. Fusion's other parents are the embedded products, tweets and news: the
embedded film reviews would not do, since SST was made of the same sentences. Runs go to ADAPTERS_STORE.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer.jobs import queue as jobs
from trainer.machine import measure
from trainer.runs import recipes
from trainer.runs.store import Store


def main() -> None:
    """Train the suite, print a line a run, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    store = Store()
    task = str(Path(arguments.train).resolve())
    configs = recipes.suite(
        methods_=recipes.DEFAULT_METHODS,
        seeds=[0],
        task=task,
        backbone=arguments.backbone,
        epochs=arguments.epochs,
        validation_file=str(Path(arguments.validation).resolve()),
        parent_tasks=(task, "products", "tweets", "news"),
    )
    runs = jobs.launch(store, configs)
    for _ in jobs.follow(store, [run.id for run in runs], pause=1):
        pass
    figures = [figure(store.load(run.id)) for run in runs]
    for row in figures:
        print(row)
    system = store.load(runs[0].id).result.meta_info.system_info
    arguments.out.write_text(
        json.dumps({"runs": figures, "system": system.model_dump(), "packages": measure.package_info()}, indent=1)
    )


def figure(run) -> dict[str, object]:
    """What is compared; the reason where a run failed."""
    if run.result is None:
        return {"method": run.recipe.method, "error": run.error}
    info = run.result.train_info
    return {
        "method": run.recipe.method,
        "validation_accuracy": info.best_validation_accuracy,
        "best_epoch": info.best_epoch,
        "test_accuracy": run.result.test.accuracy,
        "sentences_per_second": info.sentences_per_second,
        "train_seconds": info.train_time,
        "padded_over_real_tokens": info.padded_tokens / info.real_tokens,
        "trainable_parameters": info.num_trainable_params,
    }


if __name__ == "__main__":
    main()
