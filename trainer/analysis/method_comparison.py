"""Runs as PEFT's method comparison reads them: JSON files for its `load_df`, and its columns for a CSV file.

The names are those of huggingface/peft, method_comparison/processing.py. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "peft."
"""Before PEFT's column names in a CSV file: some of ours are the same in another unit."""
MEMORY = ("accelerator_memory_reserved_avg", "accelerator_memory_max", "accelerator_memory_reserved_99th")
PACKAGES = ("peft", "transformers", "datasets", "torch", "bitsandbytes")


def write(runs: Sequence[Run], folder: Path) -> tuple[list[Path], list[Run]]:
    """Write the result of each run that was trained here to a JSON file; (the files, the runs left out).

    Runs on the same sentences share a folder inside `folder`, named by task and split fingerprint, for PEFT's reader
    takes all of a folder as one task. It wants whole numbers for the GPU's memory. A run without a GPU reserved none of
    it and has 0 there; beside runs with a GPU that 0 would seem to be the least memory, and the run is left out.
    """
    trained = [run for run in runs if run.result and run.result.train_info.status == "success"]
    on_gpu = {run.split_fingerprint for run in trained if _has_gpu(run)}
    files, left_out = [], []
    for run in trained:
        if not _has_gpu(run) and run.split_fingerprint in on_gpu:
            left_out.append(run)
            continue
        result = run.as_json()["result"]
        for name in MEMORY:
            result["train_info"][name] = result["train_info"][name] or 0
        path = folder / f"{Path(run.task_name).stem}-{run.split_fingerprint}" / f"{run.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        files.append(path)
    return files, left_out


def columns(runs: Sequence[Run]) -> pd.DataFrame:
    """PEFT's columns, a row a run, each name after `PREFIX`; bytes, seconds and shares, as PEFT has them.

    Empty for adapters that were trained elsewhere, and where a figure was not measured.
    """
    import pandas as pd

    return pd.DataFrame([_row(run) for run in runs]).add_prefix(PREFIX).convert_dtypes()


def _row(run: Run) -> dict[str, Any]:
    result = run.result
    if result is None or result.train_info.status != "success":
        return {}
    content = run.as_json()["result"]
    info, train, meta = content["run_info"], content["train_info"], content["meta_info"]
    last, packages = train["metrics"][-1], meta["package_info"]
    return {
        "experiment_name": info["experiment_name"],
        "model_id": info["train_config"]["model_id"],
        "train_config": json.dumps(info["train_config"]),
        "peft_type": info["peft_config"]["peft_type"] if info["peft_config"] else "full-finetuning",
        "peft_config": json.dumps(info["peft_config"]),
        **{name: train[name] for name in MEMORY},
        "total_time": info["total_time"],
        **{name: train[name] for name in ("train_time", "file_size", "num_trainable_params")},
        "train_loss": last["train loss"],
        "train_samples": last["train samples"],
        "test_accuracy": last["test accuracy"],
        "train_total_tokens": last["train total tokens"],
        "peft_branch": info["peft_branch"],
        **{f"{name}_version": packages.get(f"{name}-version") for name in PACKAGES},
        "package_info": json.dumps(packages),
        "system_info": json.dumps(meta["system_info"]),
        "created_at": info["created_at"],
    }


def _has_gpu(run: Run) -> bool:
    """Whether the GPU's memory was measured."""
    return getattr(run.result.train_info, MEMORY[1]) is not None
