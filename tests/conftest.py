"""A tiny encoder made here, sentences in memory, a store of its own for each test."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: nothing waits for a network
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GOMP_SPINCOUNT"] = "1000"  # as the program itself sets it (trainer.device.share_cores)

import random
import shutil
from pathlib import Path

import pytest

from trainer.store import Store

GOOD = ("warm", "funny", "moving", "splendid", "charming", "clever", "bright", "fine")
BAD = ("dull", "cold", "clumsy", "tedious", "hollow", "stale", "grim", "poor")
THINGS = ("film", "story", "cast", "script", "scene", "ending", "music", "camera")


def sentences(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Different (sentence, label) pairs that a model can learn."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        label = rng.choice(("bad", "good"))
        words = GOOD if label == "good" else BAD
        text = f"the {rng.choice(THINGS)} is {rng.choice(words)} and the {rng.choice(THINGS)} is {rng.choice(words)}"
        found.setdefault(f"{text} {rng.choice(THINGS)}", label)
    return list(found.items())


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch) -> Store:
    """Nothing a test does reaches the person's own runs."""
    monkeypatch.setenv("ADAPTERS_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory) -> Path:
    """A two-layer BERT with random weights and its own tokenizer, as a local folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "is", "and", *GOOD, *BAD, *THINGS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    """240 sentences with two labels as a CSV file."""
    import pandas as pd

    path = tmp_path_factory.mktemp("data") / "tiny.csv"
    pd.DataFrame(sentences(240), columns=["sentence", "label"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def second_file(tmp_path_factory) -> Path:
    """Other sentences of the same kind: a second task for a fusion."""
    import pandas as pd

    path = tmp_path_factory.mktemp("data") / "second.csv"
    pd.DataFrame(sentences(160, seed=1), columns=["sentence", "label"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. CI must have one; elsewhere the browser tests say that they were left out."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: .ci/run installs it")
        pytest.skip("no Chromium here: install Debian's package chromium to run the browser tests")
    return found
