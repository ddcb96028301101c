"""Full fine-tuning: every parameter of the encoder and the head is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.methods.base import CLASSIFIER_SPEEDUPS, UNTUNED, Method, RateSource, Setup, load_classifier
from trainer.sources.backbones import Shape
from trainer.texts import mark


class Full(Method):
    """Full fine-tuning, the reference for the parameter-efficient methods."""

    name = "full"
    peft_type = None
    title = mark("Full fine-tuning")
    summary = mark("Trains every parameter. The reference: most memory, and a full copy of the model for each task.")
    paper = "Devlin et al. 2019, BERT, section 4, https://arxiv.org/abs/1810.04805"
    library = "transformers"
    learning_rates = (5e-5, 3e-5)
    learning_rate_sources = (
        UNTUNED,
        RateSource("published", "Devlin et al. 2019, section 4.1: one of 5e-5, 4e-5, 3e-5 and 2e-5 for each task"),
    )
    trains_backbone = True
    speedups = CLASSIFIER_SPEEDUPS

    def build(self, setup: Setup):
        return load_classifier(setup).to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        from transformers import AutoTokenizer

        model.save_pretrained(folder, safe_serialization=True)
        AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True).save_pretrained(folder)

    def open(self, folder: Path, setup: Setup):
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
        )
        return model.to(setup.device.kind).eval()

    def trainable_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        return shape.encoder_parameters + shape.head_parameters(labels)


METHOD = Full()
