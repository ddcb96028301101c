"""LoRA: a low-rank update beside chosen linear layers; the backbone stays frozen."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trainer.engine.prepare import Speedups
from trainer.errors import UserError
from trainer.methods.base import (
    UNTUNED,
    Method,
    Options,
    RateSource,
    Setup,
    common_linears,
    label_rows,
    load_classifier,
    refuse_lost,
)
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark, tr

Target = Literal["query", "key", "value", "attention_output", "intermediate", "output"]


class LoraOptions(Options):
    """LoRA's options (Hu et al. 2021, section 4): W + (lora_alpha / r) B A, with B zero at the start."""

    r: int = Field(
        16, ge=1, le=256, title=mark("Rank (r)"), description=mark("rank of the update; parameters grow with it")
    )
    lora_alpha: float = Field(
        32, gt=0, le=1024, title=mark("Alpha (lora_alpha)"), description=mark("the update is scaled by lora_alpha / r")
    )
    lora_dropout: float = Field(
        0.05, ge=0, lt=1, title=mark("Dropout (lora_dropout)"), description=mark("dropout before the update")
    )
    target_modules: tuple[Target, ...] = Field(
        ("query", "value"),
        min_length=1,
        title=mark("Target modules"),
        description=mark("linear maps of each layer that get an update"),
    )
    use_rslora: bool = Field(
        False,
        title=mark("Rank-stabilised scale (rsLoRA)"),
        description=mark("the update is scaled by lora_alpha over the root of r (Kalajdzievski 2023)"),
    )
    use_dora: bool = Field(
        False,
        title=mark("Direction and magnitude apart (DoRA)"),
        description=mark(
            "LoRA changes the direction of each weight's rows, and their lengths are trained too (Liu et al. 2024)"
        ),
    )


class Lora(Method):
    """PEFT's LoRA on query and value by default; the classification head is trained and saved with it."""

    name = "lora"
    title = "LoRA"
    summary = mark("Freezes the backbone and trains a low-rank update beside the query and value maps of each layer.")
    paper = "Hu et al. 2021, LoRA, https://arxiv.org/abs/2106.09685"
    library = "peft"
    learning_rates = (2e-3, 5e-4)
    learning_rate_sources = (UNTUNED, RateSource("published", "Hu et al. 2021, table 9: RoBERTa base on SST-2"))
    options = LoraOptions
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)

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
            use_rslora=setup.options.use_rslora,
            use_dora=setup.options.use_dora,
            target_modules=target_pattern(setup),
            modules_to_save=list(setup.backbone.family.head),
        )
        model = get_peft_model(self.base_model(setup), config, revision=setup.backbone.revision)
        return model.to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        # False: embeddings are never trained here, and "auto" would send a request to the Hub.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)

    def open(self, folder: Path, setup: Setup):
        from peft import PeftModel

        model = PeftModel.from_pretrained(self.base_model(setup), str(folder), local_files_only=True)
        return model.to(setup.device.kind).eval()

    def merge(self, model):
        return model.merge_and_unload()

    def loading(self, *, base: str, labels: int, options: Any, head: tuple[str, ...]) -> str:
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForSequenceClassification\n\n"
            f"base = AutoModelForSequenceClassification.from_pretrained({base}, num_labels={labels})\n"
            "model = PeftModel.from_pretrained(base, folder)"
        )

    def trainable_parameters(
        self, shape: Shape, options: LoraOptions, labels: int, *, parents: Sequence[Any] = ()
    ) -> int:
        linears = common_linears(shape, options.target_modules)
        magnitudes = sum(o for _, o in linears) if options.use_dora else 0
        updates = sum(options.r * (i + o) for i, o in linears)
        return shape.layers * (updates + magnitudes) + shape.head_parameters(labels)

    def added_parts(self, shape: Shape, options: LoraOptions, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        # A is (r, inputs), B is (outputs, r); DoRA has one magnitude for each output.
        return tuple(
            Part(
                "lora",
                options.r * (inputs + outputs) + outputs * options.use_dora,
                shape.layers,
                beside=name,
                trains=True,
            )
            for name, (inputs, outputs) in zip(
                options.target_modules, common_linears(shape, options.target_modules), strict=True
            )
        )

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != "LORA":
            return None
        targets = config.get("target_modules")
        adapted, beside = _adapted(targets if isinstance(targets, (str, list)) else (), shape)
        head = FAMILIES[shape.family].head
        also = config.get("modules_to_save") or []
        saved = [name for name in also if str(name).split(".")[0] not in (*head, "score")]
        start = config.get("init_lora_weights", True)
        settings = config | {
            "target_modules": beside,
            "modules_to_save": saved,
            # Other values of init_lora_weights change the backbone's weights, which are not saved with the adapter.
            "init_lora_weights": None if start in STARTS else start,
            "task_type": config.get("task_type") or "SEQ_CLS",
        }
        refuse_lost(self, settings, plain=PLAIN, ignored=IGNORED)
        return {
            "r": config.get("r"),
            "lora_alpha": config.get("lora_alpha"),
            "lora_dropout": config.get("lora_dropout", 0.0),
            "target_modules": adapted,
            "use_rslora": config.get("use_rslora") or False,
            "use_dora": config.get("use_dora") or False,
        }

    def adopt(self, source: Path, folder: Path, setup: Setup, order: Sequence[str]) -> None:
        from peft import LoraConfig, get_peft_model_state_dict
        from safetensors.torch import save_file

        content = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
        # Only the settings of a plain LoRA: other fields could name modules to import.
        config = LoraConfig(
            **{name: content[name] for name in _LORA_SETTINGS if name in content},
            task_type="SEQ_CLS",
            modules_to_save=list(setup.backbone.family.head),
            base_model_name_or_path=setup.backbone.hub_id,
            inference_mode=True,
        )
        state = _read_weights(source)
        last = "classifier.out_proj" if "base_model.model.classifier.out_proj.weight" in state else "classifier"
        head, bias = (f"base_model.model.{last}.{part}" for part in ("weight", "bias"))
        if head not in state or bias not in state:
            raise UserError(
                expected=tr("an adapter saved with its classification head"),
                got=tr("{name} without one", name=source.name),
                fix=tr("save it again with modules_to_save, or train it here"),
            )
        rows = label_rows(setup, order, len(state[head]))
        for name in (head, bias):
            state[name] = state[name][rows]
        config.save_pretrained(folder)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "adapter_model.safetensors")
        try:
            own = get_peft_model_state_dict(self.open(folder, setup), save_embedding_layers=False)
        except RuntimeError as error:  # a size mismatch
            raise _unfit(setup, (str(error).strip().splitlines() or [""])[-1].strip()) from None
        unlike = sorted({name for name in own if name not in state} | {name for name in state if name not in own})
        if unlike:
            raise _unfit(setup, tr("differing weights such as {name}", name=unlike[0]))


_LORA_SETTINGS = ("r", "lora_alpha", "lora_dropout", "target_modules", "fan_in_fan_out", "use_rslora", "use_dora")
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of PEFT's init_lora_weights that leave the backbone's weights as they are."""
PLAIN = {"bias": "none", "task_type": "SEQ_CLS"}
IGNORED = {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"),
    *("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    # For linear layers that are stored transposed, which no encoder here has.
    "fan_in_fan_out",
    # Parameters of settings that are off, and of the initialisation of A.
    *("layers_pattern", "megatron_core", "qalora_group_size", "runtime_config", "eva_config"),
}
"""Settings of PEFT's LoRA that are options here or change no prediction; all others must be off (`refuse_lost`)."""


def _adapted(targets: str | Sequence[str], shape: Shape) -> tuple[list[str], list[str]]:
    """(linear layers that PEFT would adapt in every encoder layer, other modules that it would adapt)."""
    family = FAMILIES[shape.family]
    layers = [f"{shape.family}.{family.layer_path}.{i}." for i in range(shape.layers)]
    hits = {
        name: [layer for layer in layers if _targets(targets, layer + path)] for name, path in family.linears.items()
    }
    beside = [layer + family.linears[name] for name, some in hits.items() if len(some) < len(layers) for layer in some]
    others = [f"{shape.family}.embeddings.{kind}_embeddings" for kind in ("word", "position", "token_type")]
    others += [f"{shape.family}.pooler.dense"] if family.uses_pooler else []
    # A head with more layers than names, RoBERTa's, is one module with two linear layers.
    inner = family.head_layers > len(family.head)
    others += [f"{name}.{part}" for name in family.head for part in ("dense", "out_proj")] if inner else family.head
    beside += [name for name in others if _targets(targets, name)]
    return [name for name, some in hits.items() if len(some) == len(layers)], beside


def _targets(targets: str | Sequence[str], name: str) -> bool:
    """Whether PEFT would adapt this module: a pattern for the whole name, or the name's last parts."""
    if isinstance(targets, str):
        try:
            return re.fullmatch(targets, name) is not None
        except re.error:
            return False
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _read_weights(source: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    if (source / "adapter_model.safetensors").is_file():
        return load_file(source / "adapter_model.safetensors")
    if (source / "adapter_model.bin").is_file():
        import torch

        try:
            # Many older adapters have no other file; weights_only refuses all but tensors, since others could run code.
            return torch.load(source / "adapter_model.bin", map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            raise UserError(
                expected=tr("an adapter_model.bin with tensors alone"),
                got=tr("one that holds something else or is damaged"),
                fix=tr("save the adapter as safetensors"),
            ) from None
    raise UserError(
        expected="adapter_model.safetensors",
        got=tr("{name} without it", name=source.name),
        fix=tr("choose another folder"),
    )


def _unfit(setup: Setup, got: str) -> UserError:
    return UserError(
        expected=tr("a LoRA adapter for {backbone}", backbone=setup.backbone.name),
        got=got,
        fix=tr("choose the backbone it was trained on"),
    )


def target_pattern(setup: Setup) -> str:
    """A pattern for PEFT that matches the target linear layers inside the encoder's layers only, not the pooler's."""
    family = setup.backbone.family
    names = "|".join(re.escape(family.linears[name]) for name in setup.options.target_modules)
    return rf".*\.{re.escape(family.layer_path)}\.\d+\.({names})"


METHOD = Lora()
