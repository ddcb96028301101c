"""Architectures of encoders: how their parts are named, their sizes, and their numbers of parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What differs between encoder architectures, by transformers' `model_type`.

    `linears`: common name -> the linear layer's path inside one encoder layer; `head` names the modules of the
    classification head; the head is `head_layers` linear layers with `head_activation` between them;
    `cross_attention`: whether a layer's attention can take keys and values of other tokens than its queries; `norms`:
    the layer norms inside one encoder layer; `head_linears`: the head's linear layers in order; `bottlenecks`: where
    AdapterHub puts the bottleneck that follows the part of this common name; `prefix`: the encoder's name in a
    classifier; `sdpa`: whether transformers has torch's fused attention for it.
    """

    prefix: str
    linears: dict[str, str]
    head: tuple[str, ...]
    head_layers: int
    head_activation: str
    uses_pooler: bool
    layer_path: str
    cross_attention: bool
    norms: tuple[str, ...]
    head_linears: tuple[str, ...]
    bottlenecks: dict[str, str]
    sdpa: bool = True


_BERT_LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
_BERT_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_BERT_BOTTLENECKS = {"attention_output": "attention.output", "output": "output"}


def _like_roberta(prefix: str, activation: str, *, sdpa: bool = True) -> Family:
    """A family without a pooler, whose head is two linear layers on the first token."""
    return Family(
        prefix,
        _BERT_LINEARS,
        ("classifier",),
        2,
        activation,
        False,
        "encoder.layer",
        True,
        _BERT_NORMS,
        ("classifier.dense", "classifier.out_proj"),
        _BERT_BOTTLENECKS,
        sdpa,
    )


FAMILIES = {
    "bert": Family(
        "bert",
        _BERT_LINEARS,
        ("classifier",),
        1,
        "tanh",
        True,
        "encoder.layer",
        True,
        _BERT_NORMS,
        ("classifier",),
        _BERT_BOTTLENECKS,
    ),
    "roberta": _like_roberta("roberta", "tanh"),
    "xlm-roberta": _like_roberta("roberta", "tanh"),
    "electra": _like_roberta("electra", "gelu", sdpa=False),
    "distilbert": Family(
        "distilbert",
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
        ("sa_layer_norm", "output_layer_norm"),
        ("pre_classifier", "classifier"),
        {"attention_output": "attention_adapters", "output": "output_adapters"},
    ),
}


COUNTED = ("roberta", "xlm-roberta")
"""Families whose positions are counted from the one after the padding token's id."""


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
    padding: int = 1
    """Id of the padding token where positions are counted from the next number on (`COUNTED`)."""
    embedding: int | None = None
    """Width of the embeddings where it is not `hidden`: in ELECTRA, which projects them."""

    @property
    def longest(self) -> int:
        """The most tokens of a text."""
        return self.positions - self.padding - 1 if self.family in COUNTED else self.positions

    @property
    def prefix(self) -> str:
        """The encoder's own name in a classifier, with which the names of its tensors begin."""
        return FAMILIES[self.family].prefix

    @property
    def embedding_width(self) -> int:
        """The width of the embeddings of words, positions and types."""
        return self.embedding or self.hidden

    @property
    def embedding_parameters(self) -> int:
        """The number of parameters before the first layer: embeddings, their norm, and the projection of some."""
        wide = self.embedding_width
        projection = wide * self.hidden + self.hidden if self.embedding else 0
        return (self.vocabulary + self.positions + self.token_types) * wide + 2 * wide + projection

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
            padding=config.get("pad_token_id", 1) if family in COUNTED else 1,
            embedding=wide if (wide := config.get("embedding_size", hidden)) != hidden else None,
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
        linears = sum(i * o + o for i, o in map(self.linear, FAMILIES[self.family].linears))
        pooler = h * h + h if FAMILIES[self.family].uses_pooler else 0
        return self.embedding_parameters + self.layers * (linears + 4 * h) + pooler

    def parts(self) -> tuple[Part, ...]:
        """The encoder's parts in the order of the forward pass; the totals sum to `encoder_parameters`."""
        h, parts = self.hidden, []
        parts.append(Part("embeddings", self.embedding_parameters))
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
