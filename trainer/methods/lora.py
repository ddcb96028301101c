"""LoRA: a low-rank update beside chosen linear maps; the backbone stays frozen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from trainer.backbones import Shape
from trainer.methods.base import Method, Options, Setup, common_linears, load_classifier

Target = Literal["query", "key", "value", "attention_output", "intermediate", "output"]


class LoraOptions(Options):
    """Hu et al. 2021, section 4: W + (lora_alpha / r) B A, with B zero at the start."""

    r: int = Field(16, ge=1, le=256, description="rank of the update; parameters grow with it")
    lora_alpha: float = Field(32, gt=0, le=1024, description="the update is scaled by lora_alpha / r")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout before the update")
    target_modules: tuple[Target, ...] = Field(
        ("query", "value"), min_length=1, description="linear maps of each layer that get an update"
    )


class Lora(Method):
    """PEFT's LoRA on query and value by default; the classification head is trained and saved with it."""

    name = "lora"
    title = "LoRA"
    summary = "Freezes the backbone and trains a low-rank update beside the query and value maps of each layer."
    paper = "Hu et al. 2021, LoRA, https://arxiv.org/abs/2106.09685"
    library = "peft"
    learning_rates = (2e-3, 5e-4)
    options = LoraOptions

    def base_model(self, setup: Setup):
        """The frozen encoder with its head, before the update is added."""
        return load_classifier(setup)

    def build(self, setup: Setup):
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="SEQ_CLS",
            r=setup.options.r,
            lora_alpha=setup.options.lora_alpha,
            lora_dropout=setup.options.lora_dropout,
            target_modules=target_pattern(setup),
            modules_to_save=list(setup.backbone.family.head),
        )
        model = get_peft_model(self.base_model(setup), config, revision=setup.backbone.revision)
        return model.to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        # False: embeddings are never trained here, and "auto" would ask the Hub about them.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)

    def open(self, folder: Path, setup: Setup):
        from peft import PeftModel

        model = PeftModel.from_pretrained(self.base_model(setup), str(folder), local_files_only=True)
        return model.to(setup.device.kind).eval()

    def trainable_parameters(self, shape: Shape, options: LoraOptions, labels: int) -> int:
        maps = common_linears(shape, options.target_modules)
        return shape.layers * sum(options.r * (i + o) for i, o in maps) + shape.head_parameters(labels)


def target_pattern(setup: Setup) -> str:
    """A pattern for PEFT that matches these maps inside the layers only (and not, say, the pooler's)."""
    family = setup.backbone.family
    names = "|".join(re.escape(family.linears[name]) for name in setup.options.target_modules)
    return rf".*\.{re.escape(family.layer_path)}\.\d+\.({names})"


METHOD = Lora()
