"""What the benchmarks share: the machine's description, and an encoder of a known shape without a download."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from trainer.machine import measure
from trainer.machine.device import detect


def machine() -> dict[str, Any]:
    """The machine and the versions that figures are from."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    known = {"cores": cores, "simd": torch.backends.cpu.get_cpu_capability(), "amx": torch.cpu._is_amx_tile_supported()}
    return {**measure.system_info(detect()), **known, **measure.package_info()}


def write(path: Path, figures: Any) -> None:
    """Print and keep what was measured, with the machine."""
    content = {"figures": figures, "machine": machine()}
    print(json.dumps(content, indent=1))
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def browser() -> str | None:
    """The path of a Chromium, of the one without a window first: it takes about half the time; None without one."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def random_backbone(name: str, folder: Path) -> Path:
    """A known encoder's shape with random weights and the embedded backbone's tokenizer: speed and memory are the same.

    Only for uncased BERT encoders, whose vocabulary that tokenizer is.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from trainer.sources import backbones

    shape = backbones.BACKBONES[name].shape
    AutoTokenizer.from_pretrained(backbones.locate("minilm").folder, local_files_only=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=max(shape.hidden // 64, 1),
        intermediate_size=shape.intermediate,
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder
