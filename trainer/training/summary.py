"""The result of a run, from its measurements. Bytes and seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from trainer import tasks
from trainer.machine import measure
from trainer.runs.result import Result
from trainer.training.request import Request, Work


def assemble(
    request: Request,
    work: Work,
    *,
    seconds: dict[str, float],
    memory: dict[str, Any],
    counts: tuple[int, int, int],
    started_at: float,
    training: dict[str, Any],
    validation: dict[str, Any],
    test: dict[str, Any],
    inference: dict[str, Any] | None,
    temperature: dict[str, Any] | None,
    thresholds: dict[str, float] | None,
    baselines: dict[str, Any],
) -> Result:
    """The result for run.json.

    `counts` are (trainable parameters, parameters in all, bytes of the saved model); `training` is `trained`'s or
    `trained_elsewhere`'s; `validation` and `test` are `evaluate.metrics`'s of the best epoch, and `temperature`
    `evaluate.temperature`'s; `thresholds` are those of a multi-label task; `inference` is `speed.inference`'s,
    `baselines` `baselines.baselines`'s.
    """
    config, data, setup, packages = request.config, work.data, work.setup, measure.package_info()
    trainable, total, size = counts
    if training["metrics"]:
        *others, last = training["metrics"]
        training = training | {"metrics": [*others, last | {"test accuracy": test["accuracy"]}]}
    return Result.model_validate(
        {
            "run_info": {
                "experiment_name": request.folder.name,
                "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
                "total_time": sum(seconds.values()),
                "train_config": config.model_dump(mode="json") | {"model_id": setup.backbone.hub_id},
                "peft_branch": f"v{packages['peft-version']}",
                "peft_config": _peft_config(work),
                "error_msg": "",
            },
            "train_info": {
                **memory,
                "evaluation_time": seconds["evaluation"],
                "test_time": seconds["test"],
                "loading_time": seconds["loading"],
                "file_size": size,
                "num_trainable_params": trainable,
                "num_total_params": total,
                "batch_size": config.batch_size,
                "precision": setup.precision,
                "inference": inference,
                **training,
            },
            "parents": _parents(request),
            "meta_info": {
                "model_info": {
                    "name": setup.backbone.name,
                    "hub_id": setup.backbone.hub_id,
                    "revision": setup.backbone.revision,
                    "sha256": setup.backbone.sha256(),
                },
                "dataset_info": {
                    "name": data.name,
                    "label_names": data.label_names,
                    "sizes": {split: len(getattr(data, split)) for split in tasks.SPLITS},
                    "pairs": data.pairs,
                    "multi_label": data.multi_label,
                    "group": data.group,
                    "groups": _groups(data),
                    "fingerprint": data.fingerprint,
                    "notes": data.notes,
                },
                "package_info": packages,
                "system_info": measure.system_info(work.device),
                "pytorch_info": torch.__config__.show(),
            },
            "validation": validation,
            "test": test,
            "temperature": temperature,
            "thresholds": thresholds,
            "baselines": baselines,
        }
    )


def trained(
    *,
    epochs: Sequence[dict[str, Any]],
    best: dict[str, Any],
    steps: int,
    samples: int,
    real_tokens: int,
    padded_tokens: int,
    seconds: float,
) -> dict[str, Any]:
    """The fields of a run that was trained here.

    `epochs` has the fields of `result.Epoch` for each epoch; `best` the `epoch` and `accuracy` of the best one.
    `samples` and the tokens count all epochs; `seconds` are those of training alone.
    """
    last = {
        "train loss": epochs[-1]["train_loss"],
        "train samples": samples,
        "train total tokens": real_tokens,
    }
    return {
        "status": "success",
        "train_time": seconds,
        "sentences_per_second": samples / max(seconds, 1e-9),
        "steps": steps,
        "real_tokens": real_tokens,
        "padded_tokens": padded_tokens,
        "best_epoch": best["epoch"],
        "best_validation_accuracy": best["accuracy"],
        "metrics": [*epochs[:-1], epochs[-1] | last],
    }


def trained_elsewhere(validation_accuracy: float) -> dict[str, Any]:
    """The fields of `trained` for an adapter that was only evaluated here: its training is unknown."""
    unknown = ("train_time", "sentences_per_second", "steps", "real_tokens", "padded_tokens", "best_epoch")
    known = {"status": "evaluated", "best_validation_accuracy": validation_accuracy, "metrics": []}
    return {**dict.fromkeys(unknown), **known}


def _groups(data: tasks.TaskData) -> dict[str, int] | None:
    """The number of groups in each split; None for a task whose sentences stand alone."""
    if data.group is None:
        return None
    return {split: len(set(getattr(data, split).groups)) for split in tasks.SPLITS}


def _peft_config(work: Work) -> dict[str, Any] | None:
    """The method's options with its `peft_type`; None for full fine-tuning, as in PEFT's results."""
    if work.method.peft_type is None:
        return None
    options = work.setup.options.model_dump(mode="json")
    return {"peft_type": work.method.peft_type, "method": work.method.name, **options}


def _parents(request: Request) -> dict[str, Any] | None:
    """The costs of the parents, counted separately; None for a method without parents."""
    if not request.parents:
        return None
    return {
        "runs": [parent.run_id for parent in request.parents],
        "names": [parent.name for parent in request.parents],
        **{key: _sum(request, key) for key in ("train_time", "file_size", "num_trainable_params")},
    }


def _sum(request: Request, key: str) -> float | None:
    """The sum of a figure over the parents; None where one was trained elsewhere and its figure is unknown."""
    values = [getattr(result.train_info, key) for result in request.parent_results]
    return None if None in values else sum(values)
