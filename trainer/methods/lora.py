"""LoRA: a low-rank update beside chosen linear layers; the backbone stays frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from trainer.engine.prepare import Speedups
from trainer.errors import ArgumentError, UserError
from trainer.methods import foreign
from trainer.methods.base import (
    TUNED,
    Method,
    Options,
    RateSource,
    Setup,
    common_linears,
    label_rows,
    load_classifier,
    refuse_lost,
)
from trainer.sources import configs, tensors, weights
from trainer.sources.backbones import FAMILIES, Family, Part, Shape
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

    @model_validator(mode="after")
    def _check_bias(self) -> LoraOptions:
        if self.lora_bias and self.use_dora:
            raise ValueError(tr("expected lora_bias or use_dora, got both; turn one off"))
        return self


class Lora(Method):
    """PEFT's LoRA on query and value by default; the classification head is trained and saved with it."""

    name = "lora"
    title = "LoRA"
    summary = mark(
        "Freezes the backbone and trains a low-rank update beside the query and value layers of the encoder."
    )
    paper = "Hu et al. 2021, LoRA, https://arxiv.org/abs/2106.09685"
    library = "peft"
    learning_rates = (2e-3, 5e-4)
    learning_rate_sources = (TUNED, RateSource("published", "Hu et al. 2021, table 9: RoBERTa base on SST-2"))
    options = LoraOptions
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)

    def base_model(self, setup: Setup):
        """The frozen encoder with its head, before the update is added."""
        return load_classifier(setup)

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

    def config_of(self, setup: Setup) -> dict[str, Any]:
        """The content of adapter_config.json as PEFT reads it; what it lacks has PEFT's defaults."""
        base = {"base_model_name_or_path": setup.backbone.hub_id, "revision": setup.backbone.revision}
        return {"peft_type": self.peft_type, "inference_mode": True} | base | self.settings(setup)

    def build(self, setup: Setup):
        from peft import get_peft_config, get_peft_model

        config = get_peft_config({"peft_type": self.peft_type, **self.settings(setup)})
        model = get_peft_model(self.base_model(setup), config, revision=setup.backbone.revision)
        return model.to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        # False: embeddings are never trained here, and "auto" would send a request to the Hub.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)

    def open(self, folder: Path, setup: Setup):
        from peft import PeftModel, get_peft_config

        # The configuration of the recipe, not the file's: PEFT runs its target_modules as a regular expression.
        config = get_peft_config(self.config_of(setup))
        model = PeftModel.from_pretrained(self.base_model(setup), str(folder), config=config, local_files_only=True)
        return model.to(setup.device.kind).eval()

    def rebuild(self, folder: Path, setup: Setup) -> dict[str, dict[str, Any]]:
        content = configs.read_object(folder / "adapter_config.json")
        recognised = self.recognise(content, setup.backbone.shape)
        own = {name: getattr(setup.options, name) for name in _PREDICTING}
        if recognised is None or _comparable(recognised) != _comparable(own):
            raise UserError(
                expected=tr("the recipe's options in adapter_config.json ({options})", options=configs.shown(own)),
                got=configs.shown(
                    {name: recognised[name] for name in _PREDICTING} if recognised else content.get("peft_type")
                ),
                fix=tr("export it again"),
            )
        return {"adapter_config.json": self.config_of(setup)}

    def tensors(self, folder: Path, setup: Setup) -> dict[str, weights.Shapes]:
        own = self._tensors(setup.backbone.shape, setup.options, len(setup.label_names))
        return {"adapter_model.safetensors": own}

    def update_tensors(self, shape: Shape, options: Any) -> weights.Shapes:
        """The tensors that PEFT saves inside the encoder."""
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

    def _tensors(self, shape: Shape, options: Any, labels: int) -> weights.Shapes:
        """The tensors that PEFT saves: those inside the encoder, the head, and the pooler if it is trained."""
        whole = {f"base_model.model.{name}": size for name, size in tensors.head(shape, labels).items()}
        for name in _pooler(shape, options):
            inner = {key: size for key, size in tensors.encoder(shape).items() if key.startswith(f"{name}.")}
            whole |= {f"base_model.model.{shape.family}.{key}": size for key, size in inner.items()}
        return self.update_tensors(shape, options) | whole

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
        updates = sum(_update(options, *sizes) for sizes in linears)
        pooler = sum(part.total for part in shape.parts() if part.name in _pooler(shape, options))
        return shape.layers * updates + pooler + shape.head_parameters(labels)

    def added_parts(self, shape: Shape, options: LoraOptions, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        linears = zip(options.target_modules, common_linears(shape, options.target_modules), strict=True)
        return tuple(
            Part("lora", _update(options, *sizes), shape.layers, beside=name, trains=True) for name, sizes in linears
        )

    def parts(
        self, shape: Shape, options: LoraOptions, labels: int, *, parents: Sequence[Any] = ()
    ) -> tuple[Part, ...]:
        trained = _pooler(shape, options)
        parts = super().parts(shape, options, labels, parents=parents)
        return tuple(replace(part, trains=part.trains or part.name in trained) for part in parts)

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != "LORA":
            return None
        adapted, beside = _adapted(config.get("target_modules"), shape)
        head = FAMILIES[shape.family].head
        also = config.get("modules_to_save") or []
        also = also if isinstance(also, list) else [also]
        # PEFT ignores names of modules that the model does not have.
        saved = [name for name in also if str(name).split(".")[0] not in (*head, "score", POOLER)]
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
            "lora_bias": config.get("lora_bias") or False,
            "train_pooler": POOLER in also and FAMILIES[shape.family].uses_pooler,
        }

    def check_source(self, source: Path, shape: Shape, options: LoraOptions) -> None:
        if path := foreign.require_weights(source, *_FILES):
            labels = _labels({name: tensor.shape for name, tensor in weights.header(path).items()}, shape, source)
            weights.check(path, self._tensors(shape, options, labels))

    def adopt(self, source: Path, folder: Path, setup: Setup, order: Sequence[str]) -> None:
        from safetensors.torch import save_file

        state, shape = _read_weights(source), setup.backbone.shape
        labels = _labels({name: tuple(tensor.shape) for name, tensor in state.items()}, shape, source)
        rows = label_rows(setup, order, labels)
        foreign.check(state, self._tensors(shape, setup.options, labels), file=source.name)
        last = f"base_model.model.{setup.backbone.family.head_linears[-1]}"
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = state[name][rows]
        configs.write(self.config_of(setup), folder / "adapter_config.json")
        whole = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})


POOLER = "pooler"
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of PEFT's init_lora_weights that leave the backbone's weights as they are."""
PLAIN = {"bias": "none", "task_type": "SEQ_CLS"}
IGNORED = {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias"),
    *("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    # For linear layers that are stored transposed, which no encoder here has.
    "fan_in_fan_out",
    # Parameters of settings that are off, and of the initialisation of A.
    *("layers_pattern", "megatron_core", "qalora_group_size", "runtime_config", "eva_config"),
}
"""Settings of PEFT's LoRA that are options here or change no prediction; all others must be off (`refuse_lost`)."""


_PREDICTING = ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "lora_bias", "train_pooler")
"""Options that change predictions."""


def _comparable(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _PREDICTING} | {"target_modules": set(options["target_modules"])}


def _pooler(shape: Shape, options: Any) -> list[str]:
    """The pooler's name if it is trained. Raises `ArgumentError` for an encoder whose head reads no pooler."""
    if not getattr(options, "train_pooler", False):  # a method made of this one may have other options
        return []
    if not FAMILIES[shape.family].uses_pooler:
        raise ArgumentError(
            expected=tr("a backbone with a pooler for train_pooler"), got=shape.family, fix=tr("turn train_pooler off")
        )
    return [POOLER]


def _update(options: LoraOptions, inputs: int, outputs: int) -> int:
    """The parameters of one update: A (r, inputs), B (outputs, r), DoRA's magnitude or B's bias for each output."""
    return options.r * (inputs + outputs) + outputs * (options.use_dora + options.lora_bias)


def adapted_paths(shape: Shape, names: Sequence[str]) -> list[tuple[str, str]]:
    """(path in PEFT's files, common name) of these linear layers in every encoder layer."""
    family = FAMILIES[shape.family]
    return [
        (f"base_model.model.{shape.family}.{family.layer_path}.{layer}.{family.linears[name]}", name)
        for layer in range(shape.layers)
        for name in names
    ]


def _labels(stored: weights.Shapes, shape: Shape, source: Path) -> int:
    """The number of labels of the head among an adapter's tensors. Raises `UserError` without a head."""
    last = f"base_model.model.{FAMILIES[shape.family].head_linears[-1]}"
    if f"{last}.weight" not in stored or f"{last}.bias" not in stored or not stored[f"{last}.weight"]:
        raise UserError(
            expected=tr("an adapter saved with its classification head"),
            got=tr("{name} without one", name=source.name),
            fix=tr("save it again with modules_to_save, or train it here"),
        )
    return stored[f"{last}.weight"][0]


def _adapted(targets: Any, shape: Shape) -> tuple[list[str], list[str]]:
    """(linear layers that PEFT would adapt in every encoder layer, other modules that it would adapt).

    PEFT takes a string as a regular expression. Here only this program's own is understood, and a module's whole name.
    Raises `ArgumentError` for another one: an expression from outside may take time without end.
    """
    family = FAMILIES[shape.family]
    if isinstance(targets, str) and (own := _own_targets(targets, shape)) is not None:
        return own, []
    targets = [] if targets is None else targets
    _require_names("target_modules", targets)
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


def _own_targets(pattern: str, shape: Shape) -> list[str] | None:
    """The linear layers in a pattern of `target_pattern`, by their common names; None for any other text."""
    family = FAMILIES[shape.family]
    start = _pattern_start(family)
    if not pattern.startswith(start) or not pattern.endswith(")") or len(pattern) > MOST_TEXT:
        return None
    common = {re.escape(path): name for name, path in family.linears.items()}
    parts = pattern.removeprefix(start).removesuffix(")").split("|")
    if not all(part in common for part in parts):
        return None
    return list(dict.fromkeys(common[part] for part in parts))


MOST_NAMES, MOST_TEXT = 1000, 1000


def _require_names(setting: str, value: Any) -> None:
    """Raise `ArgumentError` unless a setting is a plain name of a module, or a list of such names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MOST_NAMES or not all(map(_is_name, names)):
        raise ArgumentError(
            expected=tr("{setting} as a list of names of modules", setting=setting),
            got=configs.shown(value),
            fix=tr("write the names, not a pattern"),
        )


def _is_name(value: Any) -> bool:
    plain = isinstance(value, str) and 0 < len(value) <= MOST_TEXT
    return plain and all(part.replace("_", "a").isalnum() and part.isascii() for part in value.split("."))


def _targets(targets: str | Sequence[str], name: str) -> bool:
    """Whether PEFT would adapt this module: the whole name if it is one text, or the name's last parts."""
    if isinstance(targets, str):
        return name == targets
    return any(name == target or name.endswith(f".{target}") for target in targets)


_FILES = ("adapter_model.safetensors", "adapter_model.bin")


def _read_weights(source: Path) -> dict[str, Any]:
    return foreign.read(source, *_FILES)


def target_pattern(family: Family, names: Sequence[Target]) -> str:
    """A pattern for PEFT that matches these linear layers inside the encoder's layers only, not the pooler's."""
    paths = "|".join(re.escape(family.linears[name]) for name in names)
    return f"{_pattern_start(family)}{paths})"


def _pattern_start(family: Family) -> str:
    """The part of `target_pattern` before the paths: any layer of the encoder, and an opening bracket."""
    return rf".*\.{re.escape(family.layer_path)}\.\d+\.("


METHOD = Lora()
