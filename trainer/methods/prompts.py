"""PEFT's soft prompts: trained vectors before the text, or before keys and values; all weights stay frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field, create_model

from trainer.errors import ArgumentError, UserError
from trainer.methods.base import PROMPTS, UNSWEPT, UNSWEPT_BASE, Options, Setup, refuse_lost
from trainer.methods.peft_method import BOOKKEEPING, PeftMethod
from trainer.sources import configs, weights
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark, tr

OF_ENCODER = {"token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules"}
"""Settings that PEFT reads off the encoder."""
OF_TRAINING = {
    *("encoder_hidden_size", "encoder_num_layers", "encoder_dropout", "encoder_reparameterization_type"),
    *("prefix_projection", "init_weights", "prompt_tuning_init", "prompt_tuning_init_text"),
    *("tokenizer_name_or_path", "tokenizer_kwargs"),
}
"""Settings of the start and of a network that makes the vectors in training: the vectors themselves are saved."""


@dataclass(frozen=True)
class Kind:
    """A way to put trained vectors before a text.

    Attributes:
        name, title, summary, paper, learning_rates: as in `Method`.
        peft_type: PEFT's own name.
        width: the numbers of a vector, in an encoder of this shape.
        network: parameters of a network that makes the vectors in training.
        options: PEFT's setting -> (type, pydantic's field); `num_virtual_tokens` is added.
        keys: whether the vectors are keys and values of each layer.
        families: the encoder families that it works on.
    """

    name: str
    peft_type: str
    title: str
    summary: str
    paper: str
    learning_rates: tuple[float, float]
    width: Any
    network: Any = lambda shape, options: 0
    options: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    keys: bool = False
    families: tuple[str, ...] = tuple(FAMILIES)


class Prompt(PeftMethod):
    """The method of a kind. No speed-up: the vectors take positions and first places of their own."""

    group = PROMPTS
    root = "base_model."
    predicting = ("num_virtual_tokens",)
    learning_rate_sources = (UNSWEPT, UNSWEPT_BASE)

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name, self.title, self.summary, self.paper = kind.name, kind.title, kind.summary, kind.paper
        self.learning_rates, self.families = kind.learning_rates, kind.families
        count = Field(
            20,
            ge=1,
            le=200,
            title=mark("Vectors (num_virtual_tokens)"),
            description=mark("trained vectors before the text; each takes the place of a token"),
        )
        own = {"num_virtual_tokens": (int, count), **kind.options}
        self.options = create_model(f"{kind.peft_type}Options", __base__=Options, __doc__=kind.summary, **own)

    @property
    def peft_type(self) -> str:
        return self.kind.peft_type

    def longest(self, shape: Shape, options: Any) -> int:
        return shape.longest - options.num_virtual_tokens

    def check_options(self, shape: Shape, options: Any) -> None:
        super().check_options(shape, options)
        if self.longest(shape, options) < LEAST:
            raise ArgumentError(
                expected=tr("at most {number} as {option} of this encoder", option="num_virtual_tokens",
                            number=shape.longest - LEAST),
                got=str(options.num_virtual_tokens),
                fix=tr("choose a smaller one"),
            )  # fmt: skip

    def settings(self, setup: Setup) -> dict[str, Any]:
        # PEFT does not find these in a DistilBERT's configuration.
        path, shape = setup.backbone.folder / "config.json", setup.backbone.shape
        heads = _heads(configs.read_object(path)) if path.is_file() else None
        of_encoder = {"token_dim": shape.embedding_width, "num_layers": shape.layers, "num_attention_heads": heads}
        head = {"modules_to_save": list(setup.backbone.family.head), "num_transformer_submodules": 1}
        return {"task_type": "SEQ_CLS"} | setup.options.model_dump() | of_encoder | head

    def build(self, setup: Setup):
        self.check_options(setup.backbone.shape, setup.options)
        return super().build(setup)

    def rebuild(self, folder, setup: Setup) -> dict[str, dict[str, Any]]:
        content = configs.read_object(folder / "adapter_config.json")
        config = super().rebuild(folder, setup)["adapter_config.json"]
        heads, hidden = content.get("num_attention_heads"), setup.backbone.shape.hidden
        known = config["num_attention_heads"]
        if type(heads) is not int or not 0 < heads <= hidden or hidden % heads or known not in (None, heads):
            raise UserError(
                expected=tr("the backbone's num_attention_heads in {file}", file="adapter_config.json"),
                got=configs.shown(heads),
                fix=tr("export it again"),
            )
        return {"adapter_config.json": config | {"num_attention_heads": heads}}

    def update_tensors(self, shape: Shape, options: Any) -> weights.Shapes:
        return {"prompt_embeddings": (options.num_virtual_tokens, self.kind.width(shape))}

    def added_parts(self, shape: Shape, options: Any, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        vectors = options.num_virtual_tokens
        if self.kind.keys:
            own = Part(self.name, vectors * shape.hidden, shape.layers, trains=True)
            return replace(own, beside="key"), replace(own, beside="value")
        count = vectors * self.kind.width(shape) + self.kind.network(shape, options)
        return (Part(self.name, count, beside="embeddings", trains=True),)

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != self.kind.peft_type:
            return None
        _, settings = self.own_settings(config | {"target_modules": []}, shape)
        ignored = BOOKKEEPING | OF_ENCODER | OF_TRAINING | {"num_virtual_tokens"}
        refuse_lost(self, settings, plain={"task_type": "SEQ_CLS"}, ignored=ignored)
        return {"num_virtual_tokens": config.get("num_virtual_tokens")}


LEAST = 8
"""Tokens of a text that must be left beside the vectors."""


def _heads(config: dict[str, Any]) -> int:
    """The attention heads of an encoder, from its config.json."""
    return config.get("num_attention_heads") or config["n_heads"]


def _network(shape: Shape, options: Any) -> int:
    """P-tuning's network: three linear layers from the encoder's width over a hidden one and back."""
    wide, inner = shape.embedding_width, options.encoder_hidden_size
    return (wide * inner + inner) + (inner * inner + inner) + (inner * wide + wide)


KINDS = (
    Kind(
        "prompt_tuning",
        "PROMPT_TUNING",
        mark("Prompt tuning"),
        mark("Trains vectors that stand before the embeddings of the text."),
        "Lester et al. 2021, https://arxiv.org/abs/2104.08691",
        (3e-2, 1e-2),
        lambda shape: shape.embedding_width,
    ),
    Kind(
        "p_tuning",
        "P_TUNING",
        mark("P-tuning"),
        mark("Prompt tuning whose vectors a small network makes in training."),
        "Liu et al. 2021, GPT understands, too, https://arxiv.org/abs/2103.10385",
        (1e-3, 1e-3),
        lambda shape: shape.embedding_width,
        _network,
        {
            "encoder_hidden_size": (
                int,
                Field(
                    128,
                    ge=1,
                    le=4096,
                    title=mark("Width of the network (encoder_hidden_size)"),
                    description=mark("used in training alone"),
                ),
            )
        },
    ),
    Kind(
        "prefix_tuning",
        "PREFIX_TUNING",
        mark("Prefix tuning"),
        mark("Trains keys and values that stand before those of the text, in every layer."),
        "Li and Liang 2021, https://arxiv.org/abs/2101.00190",
        (3e-2, 1e-2),
        lambda shape: 2 * shape.layers * shape.hidden,
        keys=True,
        families=("bert",),  # PEFT hands keys and values to BERT's attention alone
    ),
)
METHODS: tuple[Prompt, ...] = tuple(map(Prompt, KINDS))
