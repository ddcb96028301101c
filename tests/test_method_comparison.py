"""Files and columns for PEFT's method comparison, by what its processing.py asks of them (version of August 2026)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import trainer

from trainer.analysis import method_comparison
from trainer.publish import bundled
from trainer.runs.run import Run
from trainer.runs.store import Store

TYPES = {
    "experiment_name": "string", "model_id": "string", "train_config": "string", "peft_type": "string",
    "peft_config": "string", "accelerator_memory_reserved_avg": int, "accelerator_memory_max": int,
    "accelerator_memory_reserved_99th": int, "total_time": float, "train_time": float, "file_size": int,
    "train_loss": float, "train_samples": int, "num_trainable_params": int, "peft_version": "string",
    "peft_branch": "string", "transformers_version": "string", "datasets_version": "string",
    "torch_version": "string", "package_info": "string", "system_info": "string", "created_at": "string",
    "test_accuracy": float, "train_total_tokens": int, "bitsandbytes_version": "string",
}  # fmt: skip
"""Columns that `load_df` makes for the task MetaMathQA and the types to which it converts them, but for two that it
fills itself: `task_name` and `forgetting*`."""


def taken(found: dict) -> dict:
    """What `preprocess` takes from a file, under the names of its columns. Raises `KeyError` for what is missing."""
    run, train, meta = found["run_info"], found["train_info"], found["meta_info"]
    last = train["metrics"][-1]
    row = {
        "experiment_name": run["experiment_name"], "model_id": run["train_config"]["model_id"],
        "train_config": json.dumps(run["train_config"]), "peft_config": json.dumps(run["peft_config"]),
        "peft_type": run["peft_config"]["peft_type"] if run["peft_config"] else "full-finetuning",
        "total_time": run["total_time"], "peft_branch": run["peft_branch"], "created_at": run["created_at"],
        "train_loss": last["train loss"], "train_samples": last["train samples"],
        "test_accuracy": last["test accuracy"], "train_total_tokens": last["train total tokens"],
        "package_info": json.dumps(meta["package_info"]), "system_info": json.dumps(meta["system_info"]),
    }  # fmt: skip
    row |= {f"{n}_version": meta["package_info"][f"{n}-version"] for n in method_comparison.PACKAGES}
    memory = [f"accelerator_memory_{name}" for name in ("reserved_avg", "max", "reserved_99th")]
    return row | {name: train[name] for name in (*memory, "train_time", "file_size", "num_trainable_params")}


def read(folder: Path) -> pd.DataFrame:
    """A folder's files with the columns and types of `load_df`, which refuses null where a whole number is due."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    assert {one["train_info"]["status"] for one in found} == {"success"}
    return pd.DataFrame([taken(one) for one in found]).astype(TYPES)


def on_gpu(run: Run) -> Run:
    """The run as if it had been trained on a GPU."""
    memory = dict(zip(method_comparison.MEMORY, (3 << 20, 9 << 20, 7 << 20), strict=True))
    info = run.result.train_info.model_copy(update=memory)
    return run.model_copy(update={"result": run.result.model_copy(update={"train_info": info})})


def elsewhere(run: Run) -> Run:
    """The run as an adapter that was trained elsewhere."""
    info = run.result.train_info.model_copy(update={"status": "evaluated", "metrics": ()})
    return run.model_copy(update={"result": run.result.model_copy(update={"train_info": info})})


def test_runs_on_a_cpu_are_taken_with_the_gpu_memory_that_they_reserved_none(tmp_path):
    runs = bundled.shipped()
    files, left_out = method_comparison.write(runs, tmp_path)
    assert (len(files), left_out) == (len(runs), [])
    folders = {path.parent for path in files}
    assert len(folders) == len({run.split_fingerprint for run in runs}) == 4, "a folder for each set of sentences"
    for folder in folders:
        table = read(folder)
        assert (table[list(method_comparison.MEMORY)] == 0).all(axis=None)
        assert not table.isna().any(axis=None)
        by_name = table.set_index("experiment_name")
        for run in runs:
            if run.split_fingerprint in folder.name:
                assert by_name.loc[run.id, "test_accuracy"] == run.result.test.accuracy
                assert by_name.loc[run.id, "train_time"] == run.result.train_info.train_time


def test_a_run_without_a_gpu_is_left_out_only_beside_one_with_a_gpu_on_the_same_sentences(tmp_path):
    lora, qlora, news = (
        next(run for run in bundled.shipped() if run.id.startswith(name))
        for name in ("lora-", "qlora-", "adapter-news")
    )
    files, left_out = method_comparison.write([on_gpu(lora), qlora, news, elsewhere(qlora)], tmp_path)
    assert {path.stem for path in files} == {lora.id, news.id}
    assert left_out == [qlora]
    table = read(next(path.parent for path in files if path.stem == lora.id))
    assert table[list(method_comparison.MEMORY)].values.tolist() == [[3 << 20, 9 << 20, 7 << 20]]


def test_the_csv_has_pefts_columns_beside_ours_in_pefts_units():
    runs = bundled.shipped()
    text = method_comparison.columns([*runs, on_gpu(runs[0]), elsewhere(runs[1])]).to_csv(index=False)
    table = pd.read_csv(io.StringIO(text))
    assert set(table) == {f"peft.{name}" for name in TYPES}
    gpu, other = len(runs), len(runs) + 1
    assert table.loc[other].isna().all(), "PEFT's reader leaves it out"
    assert table.loc[gpu, "peft.accelerator_memory_max"] == 9 << 20
    assert table.loc[: gpu - 1, "peft.accelerator_memory_max"].isna().all(), "not measured is empty, not 0"
    for row, run in enumerate(runs):
        assert table.loc[row, "peft.file_size"] == run.result.train_info.file_size
        assert table.loc[row, "peft.test_accuracy"] == pytest.approx(run.result.test.accuracy, abs=1e-12)


def test_one_command_writes_both(tmp_path):
    done = trainer("compare", "--csv", str(tmp_path / "all.csv"), "--peft", str(tmp_path / "peft"),
                   store=Store(bundled.BUNDLED))  # fmt: skip
    count = len(bundled.shipped())
    assert len(list((tmp_path / "peft").glob("*/*.json"))) == count
    table = pd.read_csv(tmp_path / "all.csv")
    assert len(table) == count
    assert table["test_accuracy"].to_numpy() == pytest.approx(100 * table["peft.test_accuracy"].to_numpy())
    assert done.stdout.count("runs written to") == 2
