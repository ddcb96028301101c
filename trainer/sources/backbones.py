"""The allow-listed encoders: where each comes from, how its parts are named, and how large it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError, one_of
from trainer.machine import measure
from trainer.sources import assets, hub
from trainer.texts import mark, tr

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """What differs between encoder architectures, by transformers' `model_type`.

    `linears`: common name -> the linear layer's path inside one encoder layer; `head` names the modules of the
    classification head; the head is `head_layers` linear layers with `head_activation` between them;
    `cross_attention`: whether a layer's attention can take keys and values of other tokens than its queries.
    """

    linears: dict[str, str]
    head: tuple[str, ...]
    head_layers: int
    head_activation: str
    uses_pooler: bool
    layer_path: str
    cross_attention: bool


_BERT_LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
FAMILIES = {
    "bert": Family(_BERT_LINEARS, ("classifier",), 1, "tanh", True, "encoder.layer", True),
    "roberta": Family(_BERT_LINEARS, ("classifier",), 2, "tanh", False, "encoder.layer", True),
    "distilbert": Family(
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attention_output": "attention.out_lin",
            "intermediate": "ffn.lin1",
            "output": "ffn.lin2",
        },
        ("pre_classifier", "classifier"),
        2,
        "relu",
        False,
        "transformer.layer",
        False,
    ),
}


@dataclass(frozen=True)
class Part:
    """A group of parameters: `count` of one copy in one layer.

    `layers` is how many layers have it, 0 for a part outside the layers. `beside`: the encoder's part that a method's
    part is added to; `copies`: how many are added there. `bits` of a weight in memory.
    """

    name: str
    count: int
    layers: int = 0
    beside: str = ""
    copies: int = 1
    trains: bool = False
    bits: int = 32

    @property
    def total(self) -> int:
        """Parameters over all layers and copies."""
        return self.count * max(self.layers, 1) * self.copies


@dataclass(frozen=True)
class Shape:
    """The sizes in an encoder's config.json: enough to count every parameter without loading a weight."""

    family: str
    vocabulary: int
    positions: int
    token_types: int
    hidden: int
    layers: int
    intermediate: int

    @property
    def longest(self) -> int:
        """The most tokens of a text; RoBERTa's first two positions are for padding."""
        return self.positions - 2 if self.family == "roberta" else self.positions

    @classmethod
    def from_config(cls, config: dict) -> Shape:
        family = config["model_type"]
        if family == "distilbert":
            hidden, layers, intermediate = config["dim"], config["n_layers"], config["hidden_dim"]
        else:
            hidden, layers = config["hidden_size"], config["num_hidden_layers"]
            intermediate = config["intermediate_size"]
        return cls(
            family=family,
            vocabulary=config["vocab_size"],
            positions=config["max_position_embeddings"],
            token_types=0 if family == "distilbert" else config["type_vocab_size"],
            hidden=hidden,
            layers=layers,
            intermediate=intermediate,
        )

    def linear(self, name: str) -> tuple[int, int]:
        """(inputs, outputs) of a linear layer inside an encoder layer, by its common name."""
        return {"intermediate": (self.hidden, self.intermediate), "output": (self.intermediate, self.hidden)}.get(
            name, (self.hidden, self.hidden)
        )

    @property
    def encoder_parameters(self) -> int:
        """The number of parameters without the classification head."""
        h = self.hidden
        embeddings = (self.vocabulary + self.positions + self.token_types) * h + 2 * h
        linears = sum(i * o + o for i, o in map(self.linear, FAMILIES[self.family].linears))
        pooler = h * h + h if FAMILIES[self.family].uses_pooler else 0
        return embeddings + self.layers * (linears + 4 * h) + pooler

    def parts(self) -> tuple[Part, ...]:
        """The encoder's parts in the order of the forward pass; the totals sum to `encoder_parameters`."""
        h, parts = self.hidden, []
        parts.append(Part("embeddings", (self.vocabulary + self.positions + self.token_types) * h + 2 * h))
        for name, (inputs, outputs) in ((name, self.linear(name)) for name in FAMILIES[self.family].linears):
            parts.append(Part(name, inputs * outputs + outputs, self.layers))
            if name in ("attention_output", "output"):
                parts.append(Part(f"{name}_norm", 2 * h, self.layers))
        if FAMILIES[self.family].uses_pooler:
            parts.append(Part("pooler", h * h + h))
        return tuple(parts)

    def head_parameters(self, labels: int) -> int:
        """The number of parameters of a classification head over `labels` classes."""
        h = self.hidden
        return (FAMILIES[self.family].head_layers - 1) * (h * h + h) + h * labels + labels


@dataclass(frozen=True)
class Backbone:
    """An encoder by name. `hub_id` and `revision` are those of its official weights."""

    name: str
    title: str
    hub_id: str
    revision: str | None
    shape: Shape
    licence: str
    embedded: bool = False


def _bert(layers: int, hidden: int) -> Shape:
    return Shape("bert", 30522, 512, 2, hidden, layers, 4 * hidden)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "minilm",
            mark("MiniLM (22.7M), no Hub needed"),
            "sentence-transformers/all-MiniLM-L6-v2",
            None,
            _bert(6, 384),
            "Apache-2.0",
            embedded=True,
        ),
        Backbone(
            "bert-base",
            "BERT base, uncased (109M)",
            "google-bert/bert-base-uncased",
            "86b5e0934494bd15c9632b12f734a8a67f723594",
            _bert(12, 768),
            "Apache-2.0",
        ),
        Backbone(
            "bert-large",
            "BERT large, uncased (335M)",
            "google-bert/bert-large-uncased",
            "6da4b6a26a1877e173fca3225479512db81a5e5b",
            _bert(24, 1024),
            "Apache-2.0",
        ),
        Backbone(
            "distilbert",
            "DistilBERT base, uncased (66M)",
            "distilbert/distilbert-base-uncased",
            "12040accade4e8a0f71eabdb258fecc2e7e948be",
            Shape("distilbert", 30522, 512, 0, 768, 6, 3072),
            "Apache-2.0",
        ),
        Backbone(
            "roberta-base",
            "RoBERTa base (125M)",
            "FacebookAI/roberta-base",
            "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
            Shape("roberta", 50265, 514, 1, 768, 12, 3072),
            "MIT",
        ),
        Backbone(
            "bert-mini",
            "BERT mini (11M)",
            "google/bert_uncased_L-4_H-256_A-4",
            "387825ce42dbb39b87911cdf8e383ee3b25184f8",
            _bert(4, 256),
            "Apache-2.0",
        ),
        Backbone(
            "bert-tiny",
            "BERT tiny (4M)",
            "google/bert_uncased_L-2_H-128_A-2",
            "30b0a37ccaaa32f332884b96992754e246e48c5f",
            _bert(2, 128),
            "Apache-2.0",
        ),
    )
}


@dataclass(frozen=True)
class Located:
    """A backbone whose files are on this machine."""

    name: str
    folder: Path
    shape: Shape
    hub_id: str
    revision: str | None

    @property
    def family(self) -> Family:
        return FAMILIES[self.shape.family]

    def sha256(self) -> str:
        """The SHA-256 of the weights, which identifies the backbone whatever its folder is called."""
        weights = next(self.folder / name for name in hub.WEIGHTS if (self.folder / name).is_file())
        return measure.sha256(weights)


def shape_of(name: str) -> Shape:
    """The shape of a backbone by name or folder, without a download."""
    return BACKBONES[name].shape if name in BACKBONES else _local(name).shape


def locate(name: str) -> Located:
    """The backbone's files on this machine, downloaded first if needed.

    Raises `ArgumentError` for an unknown name or an unsuitable folder, `Unreachable` when the source cannot be reached.
    """
    backbone = BACKBONES.get(name)
    if backbone is None:
        return _local(name)
    if backbone.embedded:
        folder = assets.minilm()
    else:
        folder = hub.model_folder(backbone.hub_id, backbone.revision)
    return Located(name, folder, backbone.shape, backbone.hub_id, backbone.revision)


def _local(name: str) -> Located:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise one_of(mark("a backbone or a local folder"), name, tuple(BACKBONES))
    missing = [file for file in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / file).is_file()]
    if missing:
        raise ArgumentError(
            expected=tr("a folder with config.json, model.safetensors and tokenizer.json"),
            got=tr("{folder} without {files}", folder=folder, files=", ".join(missing)),
            fix=tr("save the model there with save_pretrained, and its fast tokenizer"),
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") not in FAMILIES:
        raise ArgumentError(
            expected=tr("an encoder of type {types}", types=", ".join(FAMILIES)),
            got=tr("{kind} in {folder}", kind=repr(config.get("model_type")), folder=folder),
            fix=tr("choose another folder"),
        )
    return Located(str(folder.resolve()), folder.resolve(), Shape.from_config(config), str(folder.resolve()), None)


def encoder_layers(model: nn.Module, family: Family) -> nn.ModuleList:
    """The encoder's layers from the first on, also of a model that a method's library wrapped."""
    return next(module for name, module in model.named_modules() if name.endswith(family.layer_path))
