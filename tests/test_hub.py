"""SST-2, TREC-6 and a backbone through the Hub's own client, from a stand-in that speaks its HTTP API on loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import hub_stand_in
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hub():
    """A stand-in with small files in the shapes of the real ones; yields (address, files)."""
    server, made = hub_stand_in.serve()
    yield made.address, made.files
    server.shutdown()


def python(code: str, hub: str, home: Path) -> str:
    """Run code in a process that knows the stand-in as its Hub."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120,
        env=os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def parquet(rows: dict, features) -> bytes:
    import io

    from datasets import Dataset

    buffer = io.BytesIO()
    Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def test_sst2_takes_the_reports_sizes_and_shares_no_phrase(hub, tmp_path):
    """Whole sentences and phrases of the embedded reviews in the shape of SST-2's Parquet files."""
    from datasets import ClassLabel, Features, Value

    from trainer import tasks

    address, files = hub
    movies = tasks.get("movies").load(0)
    features = Features({"idx": Value("int32"), "sentence": Value("string"), "label": ClassLabel(names=["n", "p"])})
    texts, labels = [], []
    for text, label in zip(movies.train.texts, movies.train.labels, strict=True):
        words = text.lower().split()
        spans = {(0, len(words)), (0, len(words) // 2), (len(words) // 3, len(words)), (2, 6), (0, 3)}
        for start, end in sorted(spans):
            texts.append(" ".join(words[start:end]))
            labels.append(label)
    train = {"idx": range(len(texts)), "sentence": texts, "label": labels}
    held = movies.validation.take(range(872))
    validation = {"idx": range(872), "sentence": held.texts, "label": held.labels}
    for split, rows in (("train", train), ("validation", validation)):
        name = f"stanfordnlp/sst2/data/{split}-00000-of-00001.parquet"
        files[name] = parquet({key: list(value) for key, value in rows.items()}, features)
    code = (
        "from trainer import tasks; d = tasks.get('sst2').load(0)\n"
        "print(len(d.train), len(d.validation), len(d.test), sum(d.test.labels), d.label_names, d.fingerprint)\n"
        "t = [f' {x} ' for x in d.train.texts]; joined = '|'.join(t)\n"
        "print(sum(f' {x} ' in joined for x in d.test.texts))\n"
        "held = '|'.join(f' {x} ' for x in d.test.texts)\n"
        "print(sum(x in held for x in t))\n"
    )
    first, inside, around = python(code, address, tmp_path / "home").splitlines()
    assert first.startswith("15000 872 3000 1500 ('negative', 'positive')")
    assert (inside, around) == ("0", "0")
    # A second process with the Hub gone reads the local cache and finds the same splits.
    files.clear()
    again = python(code, "http://127.0.0.1:9", tmp_path / "home").splitlines()
    assert again[0] == first


def test_trec6_keeps_its_label_names_and_test_set(hub, tmp_path):
    from datasets import ClassLabel, Features, Value

    address, files = hub
    names = ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]
    features = Features({"text": Value("string"), "coarse_label": ClassLabel(names=names)})
    numerals = [str(i).translate(str.maketrans("0123456789", "abcdefghij")) for i in range(300)]
    rows = {"text": [f"What is number {i} ?" for i in numerals], "coarse_label": [i % 6 for i in range(300)]}
    asked = {"text": [f"Who is {i} ?" for i in range(48)] + ["What is number a?", "what is number 7 b"]}
    asked["coarse_label"] = [0] * 50
    files["CogComp/trec/default/train/0000.parquet"] = parquet(rows, features)
    files["CogComp/trec/default/test/0000.parquet"] = parquet(asked, features)
    code = (
        "from trainer import tasks; d = tasks.get('trec6').load(0)\n"
        "print(d.label_names, len(d.train) + len(d.validation), len(d.test), "
        "set(d.test.texts) & set(d.train.texts + d.validation.texts))"
    )
    assert python(code, address, tmp_path / "home").strip() == f"{tuple(names)} 298 50 set()"


def test_a_backbone_comes_at_its_pinned_revision(hub, tiny_backbone, tmp_path):
    address, files = hub
    for path in tiny_backbone.iterdir():
        files[f"google/bert_uncased_L-2_H-128_A-2/{path.name}"] = path.read_bytes()
    code = "from trainer.sources import backbones; b = backbones.locate('bert-tiny'); print(b.folder.name, b.sha256())"
    revision, sha = python(code, address, tmp_path / "home").split()
    assert revision == "30b0a37ccaaa32f332884b96992754e246e48c5f"
    assert sha == hashlib.sha256((tiny_backbone / "model.safetensors").read_bytes()).hexdigest()


def test_an_adapter_comes_from_the_hub_and_a_huge_one_is_refused_before_it_does(hub, tmp_path):
    address, files = hub
    files["someone/adapter/adapter_config.json"] = b'{"peft_type": "LORA"}'
    files["someone/adapter/adapter_model.safetensors"] = bytes(2000)
    files["someone/adapter/optimizer.pt"] = bytes(10_000_000)
    code = (
        "from trainer import errors\n"
        "from trainer.jobs import adoption\n"
        "folder, name = adoption.find('someone/adapter'); print(sorted(p.name for p in folder.iterdir()), name)\n"
        "adoption.MAX_BYTES = 1000\n"
        "try: adoption.find('someone/adapter')\n"
        "except errors.ArgumentError as error: print(error)\n"
    )
    found, refused = python(code, address, tmp_path / "home").splitlines()
    assert found == "['adapter_config.json', 'adapter_model.safetensors'] someone/adapter"
    assert refused.startswith("Expected an adapter of at most")
