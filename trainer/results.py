"""What run.json holds when a run is done: PEFT's field names, and what they lack. Bytes and seconds."""

from __future__ import annotations

import time
from typing import Any

import torch

from trainer import measure, tasks
from trainer.loop import LabTrainer, Request, Work


def assemble(request: Request, work: Work, trainer: LabTrainer, clock, memory, counts, started_at) -> dict[str, Any]:
    """The result in PEFT's field names, and what they lack."""
    config, data, setup = request.config, work.data, work.setup
    trainable, total, size = counts
    collator, seconds = trainer.data_collator, clock.seconds
    last = {"train loss": trainer.epochs[-1]["train_loss"], "train total tokens": collator.real_tokens}
    return {
        "run_info": {
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
            "total_time": sum(seconds.values()),
            "train_config": config.model_dump(mode="json"),
            "peft_config": {"method": config.method, **setup.options.model_dump(mode="json")},
            "error_msg": "",
        },
        "train_info": {
            **memory,
            "train_time": seconds["training"],
            "evaluation_time": seconds["evaluation"],
            "test_time": seconds["test"],
            "loading_time": seconds["loading"],
            "file_size": size,
            "num_trainable_params": trainable,
            "num_total_params": total,
            "sentences_per_second": trainer.state.global_step * config.batch_size / max(seconds["training"], 1e-9),
            "steps": trainer.state.global_step,
            "batch_size": config.batch_size,
            "precision": setup.precision,
            "real_tokens": collator.real_tokens,
            "padded_tokens": collator.padded_tokens,
            "best_epoch": trainer.best["epoch"],
            "best_validation_accuracy": trainer.best["accuracy"],
            "status": "success",
            "metrics": [*trainer.epochs[:-1], trainer.epochs[-1] | last],
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
                "label_names": list(data.label_names),
                "sizes": {split: len(getattr(data, split)) for split in tasks.SPLITS},
                "fingerprint": data.fingerprint,
                "notes": list(data.notes),
            },
            "package_info": measure.package_info(),
            "system_info": measure.system_info(work.device),
            "pytorch_info": torch.__config__.show(),
        },
    }


def _parents(request: Request) -> dict[str, Any] | None:
    """What the parents cost, counted apart; None for a method without parents."""
    if not request.parents:
        return None
    infos = [result["train_info"] for result in request.parent_results]
    return {
        "runs": [parent.run_id for parent in request.parents],
        "names": [parent.name for parent in request.parents],
        "train_time": sum(info["train_time"] for info in infos),
        "file_size": sum(info["file_size"] for info in infos),
        "num_trainable_params": sum(info["num_trainable_params"] for info in infos),
    }
