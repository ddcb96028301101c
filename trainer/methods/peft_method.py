"""What all methods of PEFT share: an update beside linear layers, saved with the head by PEFT itself."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from trainer.errors import ArgumentError, UserError
from trainer.methods import foreign
from trainer.methods.base import Method, Setup, label_rows, load_classifier
from trainer.sources import configs, tensors, weights
from trainer.sources.backbones import FAMILIES, Family, Shape
from trainer.texts import tr

Target = Literal["query", "key", "value", "attention_output", "intermediate", "output"]
"""The linear layers of an encoder layer, by names that all families share."""
BOOKKEEPING = frozenset(
    ("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode")
)
"""Settings in every adapter_config.json that change no prediction."""


class PeftMethod(Method):
    """A method whose model PEFT builds, saves and opens; the classification head is trained and saved with it.

    Attributes:
        predicting: the options that change predictions.
        root: what the names of the classifier's own tensors begin with in PEFT's files.
    """

    library = "peft"
    root = "base_model.model."
    predicting: tuple[str, ...]

    @abstractmethod
    def settings(self, setup: Setup) -> dict[str, Any]:
        """PEFT's settings for the options."""

    @abstractmethod
    def update_tensors(self, shape: Shape, options: Any) -> weights.Shapes:
        """The tensors that PEFT saves inside the encoder."""

    def trainable_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        return sum(part.total for part in self.parts(shape, options, labels, parents=parents) if part.trains)

    def trained_modules(self, shape: Shape, options: Any) -> list[str]:
        """Modules of the encoder that are trained whole, and saved with the head."""
        return []

    def base_model(self, setup: Setup):
        """The frozen encoder with its head, before the update is added."""
        return load_classifier(setup)

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
        own = {name: getattr(setup.options, name) for name in self.predicting}
        if recognised is None or self._comparable(recognised) != self._comparable(own):
            raise UserError(
                expected=tr("the recipe's options in adapter_config.json ({options})", options=configs.shown(own)),
                got=configs.shown(
                    {name: recognised[name] for name in self.predicting} if recognised else content.get("peft_type")
                ),
                fix=tr("export it again"),
            )
        return {"adapter_config.json": self.config_of(setup)}

    def tensors(self, folder: Path, setup: Setup) -> dict[str, weights.Shapes]:
        own = self._tensors(setup.backbone.shape, setup.options, len(setup.label_names))
        return {"adapter_model.safetensors": own}

    def _tensors(self, shape: Shape, options: Any, labels: int) -> weights.Shapes:
        """The tensors that PEFT saves: those inside the encoder, the head, and the pooler if it is trained."""
        whole = {f"{self.root}{name}": size for name, size in tensors.head(shape, labels).items()}
        for name in self.trained_modules(shape, options):
            inner = {key: size for key, size in tensors.encoder(shape).items() if key.startswith(f"{name}.")}
            whole |= {f"{self.root}{shape.prefix}.{key}": size for key, size in inner.items()}
        return self.update_tensors(shape, options) | whole

    def _comparable(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: options[name] for name in self.predicting}
        return own | ({"target_modules": set(own["target_modules"])} if "target_modules" in own else {})

    def loading(self, *, base: str, labels: int, options: Any, head: tuple[str, ...]) -> str:
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForSequenceClassification\n\n"
            f"base = AutoModelForSequenceClassification.from_pretrained({base}, num_labels={labels})\n"
            "model = PeftModel.from_pretrained(base, folder)"
        )

    def own_settings(self, config: dict[str, Any], shape: Shape) -> tuple[list[str], dict[str, Any]]:
        """(linear layers that a foreign adapter adapts, its settings without what is understood here).

        What remains in `target_modules` and `modules_to_save` are modules that this method does not adapt or train.
        """
        adapted, beside = adapted_linears(config.get("target_modules"), shape)
        also = saved_modules(config)
        # PEFT ignores names of modules that the model does not have.
        known = (*FAMILIES[shape.family].head, "score", POOLER)
        settings = config | {
            "target_modules": beside,
            "modules_to_save": [name for name in also if str(name).split(".")[0] not in known],
            "task_type": config.get("task_type") or "SEQ_CLS",
        }
        return adapted, settings

    def check_source(self, source: Path, shape: Shape, options: Any) -> None:
        if path := foreign.require_weights(source, *_FILES):
            stored = {name: tensor.shape for name, tensor in weights.header(path).items()}
            labels = self._labels(stored, shape, source)
            weights.check(path, self._tensors(shape, options, labels))

    def adopt(self, source: Path, folder: Path, setup: Setup, order: Sequence[str]) -> None:
        from safetensors.torch import save_file

        state, shape = _read_weights(source), setup.backbone.shape
        labels = self._labels({name: tuple(tensor.shape) for name, tensor in state.items()}, shape, source)
        rows = label_rows(setup, order, labels)
        foreign.check(state, self._tensors(shape, setup.options, labels), file=source.name)
        last = f"{self.root}{setup.backbone.family.head_linears[-1]}"
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = state[name][rows]
        configs.write(self.config_of(setup), folder / "adapter_config.json")
        whole = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def _labels(self, stored: weights.Shapes, shape: Shape, source: Path) -> int:
        """The number of labels of the head among an adapter's tensors. Raises `UserError` without a head."""
        last = f"{self.root}{FAMILIES[shape.family].head_linears[-1]}"
        if f"{last}.weight" not in stored or f"{last}.bias" not in stored or not stored[f"{last}.weight"]:
            raise UserError(
                expected=tr("an adapter saved with its classification head"),
                got=tr("{name} without one", name=source.name),
                fix=tr("save it again with modules_to_save, or train it here"),
            )
        return stored[f"{last}.weight"][0]


POOLER = "pooler"


def saved_modules(config: dict[str, Any]) -> list[Any]:
    """The modules that an adapter was saved with, from its adapter_config.json."""
    also = config.get("modules_to_save") or []
    return also if isinstance(also, list) else [also]


def adapted_paths(shape: Shape, names: Sequence[str]) -> list[tuple[str, str]]:
    """(path in PEFT's files, common name) of these linear layers in every encoder layer."""
    family = FAMILIES[shape.family]
    return [
        (f"base_model.model.{shape.prefix}.{family.layer_path}.{layer}.{family.linears[name]}", name)
        for layer in range(shape.layers)
        for name in names
    ]


def adapted_linears(targets: Any, shape: Shape) -> tuple[list[str], list[str]]:
    """(linear layers that PEFT would adapt in every encoder layer, other modules that it would adapt).

    PEFT takes a string as a regular expression. Here only this program's own is understood, and a module's whole name.
    Raises `ArgumentError` for another one: an expression from outside may take time without end.
    """
    family = FAMILIES[shape.family]
    if isinstance(targets, str) and (own := _own_targets(targets, shape)) is not None:
        return own, []
    targets = [] if targets is None else targets
    _require_names("target_modules", targets)
    layers = [f"{shape.prefix}.{family.layer_path}.{i}." for i in range(shape.layers)]
    hits = {
        name: [layer for layer in layers if _targets(targets, layer + path)] for name, path in family.linears.items()
    }
    beside = [layer + family.linears[name] for name, some in hits.items() if len(some) < len(layers) for layer in some]
    others = [f"{shape.prefix}.embeddings.{kind}_embeddings" for kind in ("word", "position", "token_type")]
    others += [f"{shape.prefix}.pooler.dense"] if family.uses_pooler else []
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


def targeted(targets: Any, name: str) -> bool:
    """Whether PEFT would adapt this module: the whole name if it is one text, or the name's last parts.

    Raises `ArgumentError` for anything but a name or a list of names.
    """
    _require_names("target_modules", targets)
    return _targets(targets, name)


def _targets(targets: str | Sequence[str], name: str) -> bool:
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
