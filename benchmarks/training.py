"""Training: this project against the plain recipe of most tutorials, on the same sentences, batch size and epochs.

    python -m benchmarks.training speed --out speed.json
    python -m benchmarks.training accuracy --out accuracy.json

The plain recipe pads every sentence to 128 tokens and computes in float32 with the library's own trainer, dropout and
attention. A careful recipe (`benchmarks.careful`) is the third way: `speed --ways plain careful ours`. Each way trains
in a process of its own, in turn. `speed` times a few hundred sentences of every method; `accuracy` trains to the end
with several seeds, tests the difference on the test sentences (McNemar's exact test) and compares the
seconds to the plain recipe's best validation accuracy less 0.3 points. On a machine with CUDA both use it; `--random
bert-base` takes that encoder's shape with random weights, for speed and memory without a download.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trainer.machine.device import environment_for_training, reuse_freed_memory, share_cores

METHODS = ("full", "lora", "qlora", "adapter", "adapter_fusion")
PLAIN_LENGTH = 128
BELOW_BEST = 0.003
WAYS = ("plain", "careful", "ours")
FUSED = ("movies", "products")


def main() -> None:
    """Run one of the two comparisons, or (as a child process) one training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "accuracy", "child"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--methods", nargs="+", default=None, choices=METHODS)
    parser.add_argument("--task", default="movies")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--random", default=None, help="a backbone whose shape is taken with random weights")
    parser.add_argument("--sentences", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=["plain", "ours"], choices=WAYS, help="for speed")
    parser.add_argument("--order", default=None)
    arguments = parser.parse_args()
    if arguments.what != "child" and arguments.out is None:
        parser.error("--out is needed")
    if arguments.what == "child":
        child(json.loads(arguments.order))
        return
    share_cores()
    with tempfile.TemporaryDirectory() as root:
        from benchmarks import common

        backbone = arguments.backbone
        if arguments.random:
            backbone = str(common.random_backbone(arguments.random, Path(root) / arguments.random))
        measured = speed if arguments.what == "speed" else accuracy
        figures = measured(arguments, backbone, Path(root))
        common.write(arguments.out, {"backbone": arguments.random or backbone, "batch_size": 32, **figures})


def speed(arguments: argparse.Namespace, backbone: str, root: Path) -> dict[str, Any]:
    """Sentences a second, padding and peak memory of each method both ways; medians over the repeats."""
    count, chosen = arguments.sentences or 512, arguments.methods or METHODS
    results: dict[tuple[str, str], list[dict]] = {(method, way): [] for method in chosen for way in arguments.ways}
    for seed in range(arguments.repeats):
        for (method, way), rows in results.items():
            order = {"way": way, "method": method, "seed": seed, "epochs": 1, "train_size": count,
                     "validation_size": 32, "test_size": 32}  # fmt: skip
            rows.append(train(order, arguments.task, backbone, root))
            print(method, way, round(rows[-1]["rate"], 1), flush=True)
    figures = {method: _figures({way: results[method, way] for way in arguments.ways}) for method in chosen}
    outcome = {"sentences": count, "repeats": arguments.repeats, "methods": figures}
    if {"lora", "qlora"} <= figures.keys() and "ours" in arguments.ways:
        pairs = zip(results["lora", "ours"], results["qlora", "ours"], strict=True)
        outcome["qlora_step_over_lora_step"] = round(statistics.median(a["rate"] / b["rate"] for a, b in pairs), 2)
    return outcome


def _figures(rows: dict[str, list[dict]]) -> dict[str, Any]:
    """One method's figures, each by the way; ratios are medians of ours over another way in the same repeat."""
    figures = {
        "sentences_per_second": {
            way: round(statistics.median(one["rate"] for one in results), 1) for way, results in rows.items()
        },
        "padded_over_real": {way: round(one[0]["padded"] / one[0]["real"], 3) for way, one in rows.items()},
        "peak_memory_mb": {way: round(max(r["memory"] for r in one) / 1e6) for way, one in rows.items()},
    }
    if "ours" in rows:
        figures["utilisation"] = rows["ours"][-1]["utilisation"]
    for name, way in (("ratio", "plain"), ("ratio_to_careful", "careful")):
        if {"ours", way} <= rows.keys():
            pairs = zip(rows["ours"], rows[way], strict=True)
            figures[name] = round(statistics.median(ours["rate"] / other["rate"] for ours, other in pairs), 2)
    return figures


def accuracy(arguments: argparse.Namespace, backbone: str, root: Path) -> dict[str, Any]:
    """Test accuracy of several seeds both ways, the paired test, and the seconds to a like validation accuracy."""
    from trainer.analysis import paired

    figures = {}
    for method in arguments.methods or ("full", "lora"):
        runs: dict[str, list[dict]] = {"plain": [], "ours": []}
        for seed in arguments.seeds:
            for way, results in runs.items():
                order = {"way": way, "method": method, "seed": seed, "epochs": arguments.epochs,
                         "train_size": arguments.sentences}  # fmt: skip
                results.append(train(order, arguments.task, backbone, root))
                print(method, way, seed, {k: v for k, v in results[-1].items() if k != "right"}, flush=True)
        # A test a seed: the seeds share their test sentences, so that pooled they would count each three times.
        tests = [paired.compare(o["right"], p["right"]) for p, o in zip(runs["plain"], runs["ours"], strict=True)]
        figures[method] = {
            "sentences_per_second": {
                way: round(statistics.median(one["rate"] for one in results), 1) for way, results in runs.items()
            },
            "test_accuracy": {way: [round(one["accuracy"], 4) for one in results] for way, results in runs.items()},
            "test_sentences": tests[0].sentences,
            "difference": round(statistics.mean(one.difference for one in tests), 4),
            "by_seed": [
                {
                    "difference": round(one.difference, 4),
                    "difference_95%": [round(one.low, 4), round(one.high, 4)],
                    "right_only_ours": one.only_a,
                    "right_only_plain": one.only_b,
                    "p_holm": round(p, 3),
                }
                for one, p in zip(tests, paired.holm([one.p for one in tests]), strict=True)
            ],
            "seconds_to_plain_best_less_0.3_points": [
                [round(p, 1), o and round(o, 1)] for p, o in map(times, runs["plain"], runs["ours"])
            ],
            "ratios": [o and round(p / o, 1) for p, o in map(times, runs["plain"], runs["ours"])],
        }
    return {"task": arguments.task, "sentences": arguments.sentences, "epochs": arguments.epochs,
            "seeds": arguments.seeds, "methods": figures}  # fmt: skip


def times(plain: dict, ours: dict) -> tuple[float, float | None]:
    """Training seconds of each until the plain recipe's best validation accuracy less 0.3 points; None if never."""
    target = max(value for _, value in plain["validation"]) - BELOW_BEST
    reached = [next((s for s, value in one["validation"] if value >= target), None) for one in (plain, ours)]
    return reached[0], reached[1]


def train(order: dict[str, Any], task: str, backbone: str, root: Path) -> dict[str, Any]:
    """One training in a process of its own, its threads waiting as the way has it: plainly as the libraries do."""
    order = order | {"task": task, "backbone": backbone, "root": str(root)}
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if order["way"] == "ours":
        environment |= environment_for_training()
    command = [sys.executable, "-m", "benchmarks.training", "child", "--order", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def child(order: dict[str, Any]) -> None:
    """Train as the order says and print what was measured, in one line of JSON."""
    from trainer.runs import recipes
    from trainer.training.train import Request

    way, root = order.pop("way"), Path(order.pop("root"))
    config = recipes.make(**order, batch_size=32, precision="fp32" if way == "plain" else "auto")
    folder = Path(tempfile.mkdtemp(dir=root))
    request = Request(config, folder, lambda event: None, parents=parents(config, root))
    print(json.dumps({"plain": plainly, "careful": carefully, "ours": ourselves}[way](request)))


def parents(config, root: Path) -> tuple:
    """For a fusion: adapters as they are before training; their speed is that of trained ones."""
    from trainer import methods
    from trainer.machine.device import detect
    from trainer.methods import Parent, Setup
    from trainer.sources import backbones

    method = methods.get(config.method)
    if not method.parent_method:
        return ()
    parent_method, parents = methods.get(method.parent_method), []
    for name in FUSED:
        folder = root / f"parent-{name}"
        if not folder.is_dir():
            setup = Setup(backbones.locate(config.backbone), ("a", "b"), parent_method.options(), detect(), "fp32")
            parent_method.save(parent_method.build(setup), folder, setup)
        parents.append(Parent(name, name, folder))
    return tuple(parents)


def ourselves(request) -> dict[str, Any]:
    """What the command line does."""
    import pandas as pd

    from trainer.training.train import train as train_here

    reuse_freed_memory()
    untrained = SimpleNamespace(train_info=SimpleNamespace(train_time=0.0, file_size=0, num_trainable_params=0))
    result = train_here(dataclasses.replace(request, parent_results=(untrained,) * len(request.parents)))
    info = result.train_info
    rows = pd.read_parquet(request.folder / "predictions.parquet").query("split == 'test'")
    return {
        "rate": info.sentences_per_second,
        "real": info.real_tokens,
        "padded": info.padded_tokens,
        "memory": info.process_peak,
        "utilisation": info.accelerator_utilisation_avg,
        "validation": [(row.train_seconds, row.accuracy) for row in info.metrics],
        "accuracy": result.test.accuracy,
        "right": (rows["label"] == rows["predicted"]).tolist(),
    }


def carefully(request) -> dict[str, Any]:
    """The libraries with care (`benchmarks.careful`), in the device's best precision."""
    from benchmarks import careful
    from trainer import methods, tasks
    from trainer.machine import measure
    from trainer.machine.device import detect
    from trainer.runs.result import Memory
    from trainer.sources import backbones

    config, device, data = request.config, detect(), tasks.from_config(request.config)
    with measure.Meter(device) as meter:
        figures = careful.train(
            method=config.method,
            options=methods.get(config.method).options(**config.options).model_dump(),
            backbone=backbones.locate(config.backbone).folder,
            splits={split: (getattr(data, split).texts, getattr(data, split).labels) for split in tasks.SPLITS},
            label_names=data.label_names,
            parents={parent.name: parent.folder for parent in request.parents},
            output=request.folder,
            settings={
                "seed": config.seed, "num_train_epochs": config.epochs, "learning_rate": config.learning_rate,
                "per_device_train_batch_size": config.batch_size, "per_device_eval_batch_size": 64,
                "warmup_ratio": config.warmup_ratio, "weight_decay": config.weight_decay,
                "lr_scheduler_type": config.lr_scheduler, "use_cpu": device.kind == "cpu",
            },
            precision=device.choose("auto"),
            max_length=config.max_length,
        )  # fmt: skip
        memory = Memory(**meter.result()).process_peak
    return figures | {"memory": memory, "utilisation": None}


def library_trainer(method) -> type:
    """The trainer that the method's library documents; AdapterHub's adds the fusion's regulariser itself."""
    if method.library == "adapters":
        from adapters import AdapterTrainer

        return AdapterTrainer
    from transformers import Trainer

    return Trainer


def plainly(request) -> dict[str, Any]:
    """The library's trainer on sentences padded to 128 tokens, in float32."""
    import torch
    from transformers import AutoTokenizer, TrainerCallback, TrainingArguments, set_seed
    from transformers.trainer_callback import PrinterCallback

    from trainer import methods, tasks
    from trainer.engine import forward
    from trainer.machine import measure
    from trainer.machine.device import detect
    from trainer.methods import Setup
    from trainer.runs.result import Memory
    from trainer.sources import backbones
    from trainer.training import evaluate as evaluation

    config, device = request.config, detect()
    data, backbone = tasks.from_config(config), backbones.locate(config.backbone)
    tokeniser = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True)
    method = methods.get(config.method)
    set_seed(config.seed)
    options = method.options(**config.options)
    with measure.Meter(device) as meter:
        model = method.build(Setup(backbone, data.label_names, options, device, "fp32", request.parents))
        padded = tokeniser(
            list(data.train.texts), truncation=True, padding="max_length", max_length=PLAIN_LENGTH, return_tensors="pt"
        )

        class Padded(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(data.train)

            def __getitem__(self, i: int) -> dict:
                return {
                    "input_ids": padded["input_ids"][i],
                    "attention_mask": padded["attention_mask"][i],
                    "labels": data.train.labels[i],
                }

        def evaluated(split: str):
            ids = forward.tokenise(tokeniser, getattr(data, split).texts, PLAIN_LENGTH)
            logits = forward.predict_logits(
                trainer.model, ids, pad_id=tokeniser.pad_token_id, batch_size=64, device=device, precision="fp32"
            )
            return evaluation.score(logits, getattr(data, split).labels)

        class Epochs(TrainerCallback):
            """Training seconds and validation accuracy at each epoch's end; the best state is stored, as ours is."""

            seconds, seen, best, state = 0.0, [], -1.0, None

            def on_epoch_begin(self, *_, **__) -> None:
                self.since = time.perf_counter()

            def on_epoch_end(self, *_, **__) -> None:
                self.seconds += time.perf_counter() - self.since
                accuracy = evaluated("validation").accuracy
                self.seen.append((self.seconds, accuracy))
                if accuracy > self.best:
                    self.best = accuracy
                    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
                    self.state = {n: t.clone() for n, t in trainer.model.state_dict().items() if n in trained}

        arguments = TrainingArguments(
            output_dir=str(request.folder), per_device_train_batch_size=config.batch_size,
            num_train_epochs=config.epochs, learning_rate=config.learning_rate, warmup_ratio=config.warmup_ratio,
            weight_decay=config.weight_decay, lr_scheduler_type=config.lr_scheduler, save_strategy="no",
            logging_strategy="no", report_to=[], disable_tqdm=True, seed=config.seed, use_cpu=device.kind == "cpu",
            remove_unused_columns=False, label_names=["labels"],
        )  # fmt: skip
        trainer = library_trainer(method)(model=model, args=arguments, train_dataset=Padded())
        trainer.remove_callback(PrinterCallback)
        epochs = Epochs()
        trainer.add_callback(epochs)
        trainer.train()
        memory = Memory(**meter.result()).process_peak
    trainer.model.load_state_dict(epochs.state, strict=False)
    tested = evaluated("test")
    return {
        "rate": len(data.train) * config.epochs / epochs.seconds,
        "real": int(padded["attention_mask"].sum()) * config.epochs,
        "padded": padded["input_ids"].numel() * config.epochs,
        "memory": memory,
        "validation": epochs.seen,
        "accuracy": tested.accuracy,
        "right": (tested.predicted == tested.labels).tolist(),
    }


if __name__ == "__main__":
    main()
