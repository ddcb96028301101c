"""What each step's process has: a backbone and sentences made here, and a record of checks."""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.gpu.steps import METHODS

GOOD = ("warm", "funny", "moving", "splendid", "charming", "clever", "bright", "fine")
BAD = ("dull", "cold", "clumsy", "tedious", "hollow", "stale", "grim", "poor")
SYLLABLES = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wu", "za")
OTHER = tuple(a + b + c for a in SYLLABLES for b in SYLLABLES for c in ("n", "r", "s", "l"))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Scale:
    """How large the encoder and the work are: BERT base on a GPU, tiny on a CPU.

    `memory_batch` sentences of `memory_tokens` tokens are a batch of the memory step; `spread` is the standard
    deviation of random weights, larger in a tiny encoder, which else computes nearly the same for every sentence.
    """

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    spread: float
    sentences: int
    epochs: int
    memory_batch: int
    memory_tokens: int
    speed_sentences: int
    file_sentences: int


BASE = Scale(
    layers=12, hidden=768, heads=12, intermediate=3072, vocabulary=30522, spread=0.04, sentences=360, epochs=3,
    memory_batch=32, memory_tokens=128, speed_sentences=2048, file_sentences=2000,
)  # fmt: skip
TINY = Scale(
    layers=2, hidden=64, heads=2, intermediate=128, vocabulary=1200, spread=0.2, sentences=160, epochs=3,
    memory_batch=8, memory_tokens=128, speed_sentences=64, file_sentences=100,
)  # fmt: skip


class Kit:
    """A step's tools: `check` records an outcome, the rest makes inputs. All files lie under `root`."""

    def __init__(self, step: str, root: Path) -> None:
        self.step, self.root = step, root
        self.folder = root / step
        self.folder.mkdir(parents=True, exist_ok=True)
        self._since = time.monotonic()

    def check(self, check: str, passed: bool | None, figure: Any = None, *, goal: str | None = None) -> None:
        """Record one outcome, with the seconds since the last one. `passed` None: only measured."""
        now = time.monotonic()
        if isinstance(figure, float):
            figure = float(f"{figure:.4g}")
        row = {"step": self.step, "check": check, "passed": None if passed is None else bool(passed), "figure": figure,
               "goal": goal, "seconds": round(now - self._since, 2)}  # fmt: skip
        self._since = now
        with (self.root / f"{self.step}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @cached_property
    def device(self):
        """What the program itself detects."""
        from trainer.machine.device import detect

        return detect()

    @property
    def scale(self) -> Scale:
        return BASE if self.device.kind == "cuda" else TINY

    @cached_property
    def backbone(self) -> Path:
        """A BERT of the scale's shape with random weights and a tokenizer of this module's words, made once.

        In a step that checks a method it has no dropout: in the few steps there, a loss would fall and rise with it.
        """
        import torch
        from filelock import FileLock
        from transformers import BertConfig, BertModel, BertTokenizerFast

        scale, dropout = self.scale, 0.0 if self.step in METHODS else 0.1
        folder = self.root / ("backbone" if dropout else "backbone-without-dropout")
        with FileLock(f"{folder}.lock"):
            if not (folder / "config.json").is_file():
                folder.mkdir(exist_ok=True)
                words = [*SPECIAL, "the", "is", "and", *GOOD, *BAD, *OTHER]
                words += [f"[unused{number}]" for number in range(scale.vocabulary - len(words))]
                (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
                BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
                torch.manual_seed(0)
                config = BertConfig(
                    vocab_size=scale.vocabulary, hidden_size=scale.hidden, num_hidden_layers=scale.layers,
                    num_attention_heads=scale.heads, intermediate_size=scale.intermediate,
                    initializer_range=scale.spread,
                    hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
                )  # fmt: skip
                BertModel(config).save_pretrained(folder, safe_serialization=True)
        return folder

    def file(self, name: str, count: int, *, seed: int = 0, least: int = 4, most: int = 60) -> Path:
        """A CSV file of made sentences, between `least` and `most` words long."""
        import pandas as pd

        path = self.folder / f"{name}.csv"
        rows = sentences(count, seed=seed, least=least, most=most)
        pd.DataFrame(rows, columns=["sentence", "label"]).to_csv(path, index=False)
        return path

    def recipe(self, method: str, task: Path, **settings: Any):
        """A recipe on the kit's backbone. The rates are high: random weights learn little else in a few steps."""
        from trainer.runs import recipes

        rate = 1e-4 if method == "full" else 1e-3
        defaults = {"epochs": self.scale.epochs, "batch_size": 16, "learning_rate": rate, "warmup_ratio": 0.1}
        return recipes.make(method=method, task=str(task), backbone=str(self.backbone), **(defaults | settings))

    def parents(self, config) -> tuple:
        """For a fusion: two adapters as they are before training; () for other methods."""
        from benchmarks.training import parents

        return parents(config, self.folder)

    def request(self, config, folder: Path):
        """What `trainer.training.train.train` takes, its events in `folder`/events.jsonl; parents as in `parents`."""
        from trainer.training.train import Request

        folder.mkdir(parents=True, exist_ok=True)

        def emit(event: Any) -> None:
            with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event.as_dict()) + "\n")

        parents = self.parents(config)
        untrained = SimpleNamespace(train_info=SimpleNamespace(train_time=0.0, file_size=0, num_trainable_params=0))
        return Request(config, folder, emit, parents=parents, parent_results=(untrained,) * len(parents))

    def precisions(self) -> tuple[str, ...]:
        """bf16, fp16 and fp32, those that the device does."""
        return tuple(name for name in ("bf16", "fp16", "fp32") if name in self.device.precisions)


def sentences(count: int, *, seed: int = 0, least: int = 4, most: int = 60) -> list[tuple[str, str]]:
    """Different (sentence, label) pairs: a third of a sentence's words say its label, the others say nothing.

    Lengths are uniform between `least` and `most` words; each word is a token.
    """
    rng, rows = random.Random(seed), {}
    while len(rows) < count:
        label = rng.choice(("bad", "good"))
        length = rng.randint(least, most)
        telling = max(length // 3, 1)
        words = rng.choices(GOOD if label == "good" else BAD, k=telling) + rng.choices(OTHER, k=length - telling)
        rng.shuffle(words)
        rows.setdefault(" ".join(words), label)
    return list(rows.items())


def main() -> None:
    """In a step's process: kit MODULE STEP ROOT ARGUMENTS."""
    from trainer.machine.device import reuse_freed_memory, share_cores

    module, step, root, *arguments = sys.argv[1:]
    share_cores()
    kit = Kit(step, Path(root))
    if kit.device.kind == "cpu":
        reuse_freed_memory()
    importlib.import_module(f"benchmarks.gpu.{module}").run(kit, *arguments)


if __name__ == "__main__":
    main()
