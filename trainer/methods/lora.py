"""LoRA: a low-rank update beside chosen linear layers; the backbone stays frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator

from trainer.engine.prepare import Speedups
from trainer.errors import ArgumentError
from trainer.methods.base import TUNED, UNSWEPT, UNSWEPT_BASE, Options, RateSource, Setup, common_linears, refuse_lost
from trainer.methods.peft_method import (
    BOOKKEEPING,
    POOLER,
    PeftMethod,
    Target,
    adapted_paths,
    saved_modules,
    target_pattern,
)
from trainer.sources import weights
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark, tr


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
        description=mark("linear layers of the encoder that get an update"),
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
    lora_bias: bool = Field(
        False,
        title=mark("Bias of the update (lora_bias)"),
        description=mark("B has a bias; not together with use_dora"),
    )
    train_pooler: bool = Field(
        False,
        title=mark("Train the pooler"),
        description=mark("the pooler of a BERT, between encoder and head, is trained and saved with the head"),
    )

    freeze_a: bool = Field(
        False,
        title=mark("Train B alone (LoRA-FA)"),
        description=mark("A keeps its random start, which takes less memory for activations (Zhang et al. 2023)"),
    )
    b_rate: float = Field(
        1,
        ge=1,
        le=64,
        title=mark("Faster B (LoRA+)"),
        description=mark("B's learning rate over that of the rest (Hayou et al. 2024: 16)"),
    )

    @model_validator(mode="after")
    def _check_bias(self) -> LoraOptions:
        if self.lora_bias and self.use_dora:
            raise ValueError(tr("expected lora_bias or use_dora, got both; turn one off"))
        return self


class Lora(PeftMethod):
    """PEFT's LoRA on query and value by default; the classification head is trained and saved with it."""

    name = "lora"
    title = "LoRA"
    summary = mark(
        "Freezes the backbone and trains a low-rank update beside the query and value layers of the encoder."
    )
    paper = "Hu et al. 2021, LoRA, https://arxiv.org/abs/2106.09685"
    learning_rates = (2e-3, 5e-4)
    learning_rate_sources = (TUNED, RateSource("published", "Hu et al. 2021, table 9: RoBERTa base on SST-2"))
    options = LoraOptions
    merges = True
    predicting = ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "lora_bias", "train_pooler")
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)

    def settings(self, setup: Setup) -> dict[str, Any]:
        """PEFT's settings for the options."""
        options = setup.options
        return {
            "task_type": "SEQ_CLS",
            "r": options.r,
            "lora_alpha": options.lora_alpha,
            "lora_dropout": options.lora_dropout,
            "use_rslora": options.use_rslora,
            "use_dora": options.use_dora,
            "lora_bias": options.lora_bias,
            "target_modules": target_pattern(setup.backbone.family, options.target_modules),
            "modules_to_save": [*setup.backbone.family.head, *_pooler(setup.backbone.shape, options)],
        }

    def build(self, setup: Setup):
        model = super().build(setup)
        if _is_a_frozen(setup.options):
            for name, parameter in model.named_parameters():
                parameter.requires_grad &= ".lora_A." not in name
        return model

    def rate_factor(self, parameter: str, options: LoraOptions) -> float:
        return getattr(options, "b_rate", 1.0) if ".lora_B." in parameter else 1.0

    def check_options(self, shape: Shape, options: LoraOptions) -> None:
        super().check_options(shape, options)
        _pooler(shape, options)

    def trained_modules(self, shape: Shape, options: Any) -> list[str]:
        return _pooler(shape, options)

    def update_tensors(self, shape: Shape, options: Any) -> weights.Shapes:
        added: weights.Shapes = {}
        for path, name in adapted_paths(shape, options.target_modules):
            inputs, outputs = shape.linear(name)
            added[f"{path}.lora_A.weight"] = (options.r, inputs)
            added[f"{path}.lora_B.weight"] = (outputs, options.r)
            if options.use_dora:
                added[f"{path}.lora_magnitude_vector"] = (outputs,)
            if options.lora_bias:
                added[f"{path}.lora_B.bias"] = (outputs,)
        return added

    def added_parts(self, shape: Shape, options: LoraOptions, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        parts = []
        for name, sizes in zip(options.target_modules, common_linears(shape, options.target_modules), strict=True):
            frozen = options.r * sizes[0] if _is_a_frozen(options) else 0
            if frozen:
                parts.append(Part("lora_a", frozen, shape.layers, beside=name))
            parts.append(Part("lora", _trained(options, *sizes), shape.layers, beside=name, trains=True))
        return tuple(parts)

    def parts(
        self, shape: Shape, options: LoraOptions, labels: int, *, parents: Sequence[Any] = ()
    ) -> tuple[Part, ...]:
        trained = _pooler(shape, options)
        parts = super().parts(shape, options, labels, parents=parents)
        return tuple(replace(part, trains=part.trains or part.name in trained) for part in parts)

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != "LORA":
            return None
        adapted, settings = self.own_settings(config, shape)
        start = config.get("init_lora_weights", True)
        # Other values of init_lora_weights change the backbone's weights, which are not saved with the adapter.
        settings["init_lora_weights"] = None if start in STARTS else start
        refuse_lost(self, settings, plain=PLAIN, ignored=IGNORED)
        return {
            "r": config.get("r"),
            "lora_alpha": config.get("lora_alpha"),
            "lora_dropout": config.get("lora_dropout", 0.0),
            "target_modules": adapted,
            "use_rslora": config.get("use_rslora") or False,
            "use_dora": config.get("use_dora") or False,
            "lora_bias": config.get("lora_bias") or False,
            "train_pooler": POOLER in saved_modules(config) and FAMILIES[shape.family].uses_pooler,
        }

    def merge(self, model):
        return model.merge_and_unload()


STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of PEFT's init_lora_weights that leave the backbone's weights as they are."""
PLAIN = {"bias": "none", "task_type": "SEQ_CLS"}
IGNORED = {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias"),
    *BOOKKEEPING,
    # For linear layers that are stored transposed, which no encoder here has.
    "fan_in_fan_out",
    # Parameters of settings that are off, and of the initialisation of A.
    *("layers_pattern", "megatron_core", "qalora_group_size", "runtime_config", "eva_config"),
}
"""Settings of PEFT's LoRA that are options here or change no prediction; all others must be off (`refuse_lost`)."""


def _pooler(shape: Shape, options: Any) -> list[str]:
    """The pooler's name if it is trained. Raises `ArgumentError` for an encoder whose head reads no pooler."""
    if not getattr(options, "train_pooler", False):  # a method made of this one may have other options
        return []
    if not FAMILIES[shape.family].uses_pooler:
        raise ArgumentError(
            expected=tr("a backbone with a pooler for train_pooler"), got=shape.family, fix=tr("turn train_pooler off")
        )
    return [POOLER]


def _is_a_frozen(options: Any) -> bool:
    """Whether A stays as it starts. A method made of LoRA may have other options."""
    return getattr(options, "freeze_a", False)


def _trained(options: LoraOptions, inputs: int, outputs: int) -> int:
    """The trained parameters of one update: A (r, inputs) unless it is frozen, B (outputs, r), DoRA's magnitude or B's
    bias for each output."""
    of_a = 0 if _is_a_frozen(options) else options.r * inputs
    return of_a + options.r * outputs + outputs * (options.use_dora + options.lora_bias)


class LoraAllOptions(LoraOptions):
    """LoRA's options with every linear layer of the encoder as a target."""

    target_modules: tuple[Target, ...] = Field(
        ("query", "key", "value", "attention_output", "intermediate", "output"),
        min_length=1,
        title=mark("Target modules"),
        description=mark("linear layers of the encoder that get an update"),
    )


class LoraAll(Lora):
    """LoRA beside every linear layer of the encoder."""

    name = "lora_all"
    peft_type = "LORA"
    title = mark("LoRA on all layers")
    summary = mark("LoRA beside every linear layer of the encoder, as QLoRA's authors advise.")
    paper = "Dettmers et al. 2023, QLoRA, section 4, https://arxiv.org/abs/2305.14314"
    learning_rates = (2e-3, 2e-4)
    learning_rate_sources = (UNSWEPT, UNSWEPT_BASE)
    options = LoraAllOptions
    speedups = Lora.speedups

    def recognise(self, config: dict[str, Any], shape: Shape) -> None:
        """None: an adapter from elsewhere is `lora`, with its own targets."""


METHOD, ALL = Lora(), LoraAll()
