"""Full fine-tuning: every parameter of the encoder and the head is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.methods.base import CLASSIFIER_SPEEDUPS, REFERENCE, TUNED, Method, RateSource, Setup, load_classifier
from trainer.sources import configs, tensors
from trainer.sources.backbones import Shape
from trainer.texts import mark, tr

CLASSES = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "electra": "ElectraForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
}
"""transformers' sequence classifiers by the encoder's type."""


class Full(Method):
    """Full fine-tuning, the reference for the parameter-efficient methods."""

    name = "full"
    peft_type = None
    title = mark("Full fine-tuning")
    summary = mark("Trains every parameter. The reference: most memory, and a full copy of the model for each task.")
    paper = "Devlin et al. 2019, BERT, section 4, https://arxiv.org/abs/1810.04805"
    group = REFERENCE
    library = "transformers"
    learning_rates = (2e-4, 3e-5)
    learning_rate_sources = (
        TUNED,
        RateSource("published", "Devlin et al. 2019, section 4.1: one of 5e-5, 4e-5, 3e-5 and 2e-5 for each task"),
    )
    trains_backbone = True
    saves_whole = True
    speedups = CLASSIFIER_SPEEDUPS

    def build(self, setup: Setup):
        return load_classifier(setup).to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        from transformers import AutoTokenizer

        model.save_pretrained(folder, safe_serialization=True)
        tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True, trust_remote_code=False)
        tokeniser.save_pretrained(folder)

    def open(self, folder: Path, setup: Setup):
        from transformers import AutoConfig, AutoModelForSequenceClassification

        config = self.rebuild(folder, setup)["config.json"]
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=AutoConfig.for_model(**config),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa" if setup.backbone.family.sdpa else "eager",
        )
        return model.to(setup.device.kind).eval()

    def rebuild(self, folder: Path, setup: Setup) -> dict[str, dict[str, Any]]:
        if (folder / "adapter_config.json").exists():  # transformers would load an adapter too
            raise UserError(
                expected=tr("nothing but this model's weights in {file}", file=folder.name),
                got="adapter_config.json",
                fix=tr("export it again"),
            )
        content = configs.read_object(folder / "config.json")
        config = configs.encoder(content, label_names=setup.label_names)
        if configs.label_names(content) != setup.label_names:
            raise UserError(
                expected=tr("{name} in {file}", name=", ".join(setup.label_names)[:200], file="config.json"),
                got=configs.shown(content.get("id2label")),
                fix=tr("export it again"),
            )
        if (shape := Shape.from_config(config)) != setup.backbone.shape:
            raise UserError(
                expected=tr("{name} in {file}", name=str(setup.backbone.shape), file="config.json"),
                got=str(shape),
                fix=tr("choose the backbone it was trained on"),
            )
        _require_backbones(config, setup)
        known = {"architectures": [CLASSES[shape.family]], "problem_type": setup.problem_type}
        return {"config.json": config | known}

    def tensors(self, folder: Path, setup: Setup) -> dict[str, tensors.Shapes]:
        return {"model.safetensors": tensors.classifier(setup.backbone.shape, len(setup.label_names))}

    def trainable_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        return shape.encoder_parameters + shape.head_parameters(labels)


_OF_TRAINING = ("initializer_range", "dropout", "attention_dropout", "seq_classif_dropout", "classifier_dropout")
_OF_TRAINING += ("hidden_dropout_prob", "attention_probs_dropout_prob", "id2label", "label2id")
"""Settings that change no prediction, and the labels."""


def _require_backbones(config: dict[str, Any], setup: Setup) -> None:
    """Raise `UserError` for a setting that changes predictions and is not the backbone's, where that is here."""
    path = setup.backbone.folder / "config.json"
    if not path.is_file():
        return
    backbone = configs.encoder(configs.read_object(path))
    for name, value in config.items():
        if name not in _OF_TRAINING and value != backbone[name]:
            raise UserError(
                expected=tr("{name} in {file}", name=f"{name}={configs.shown(backbone[name])}", file="config.json"),
                got=configs.shown(value),
                fix=tr("choose the backbone it was trained on"),
            )


METHOD = Full()
