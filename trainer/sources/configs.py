"""JSON files from outside, read within bounds, and strict models of an encoder's config.json.

Libraries run code, fetch code or match patterns that a configuration names. So none of them sees a file from outside:
what the models here allow is written again, and the rest is dropped (metadata) or refused (what changes a computation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.errors import ArgumentError, unreadable
from trainer.texts import tr

MOST_BYTES = 1 << 20
DEEPEST = 32
"""Bounds on a configuration: bytes of the file, and how deep its lists and objects nest."""
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""Possessive: it keeps nothing to go back to, which would take a hundred bytes for each byte of a string."""


def read_json(path: Path, *, most: int = MOST_BYTES, deepest: int = DEEPEST, constants: bool = False) -> Any:
    """The content of a JSON file; its size and depth are checked before it is parsed. Raises `ArgumentError`.

    `constants`: whether NaN and Infinity, which are no JSON, are read as Python writes them.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise ArgumentError(
                expected=tr("at most {size} bytes in {file}", size=f"{most:,}", file=path.name),
                got=f"{size:,}",
                fix=tr("choose another file"),
            )
        return parse_json(path.read_bytes(), path.name, deepest=deepest, constants=constants)
    except OSError as error:
        raise unreadable(path.name, error) from None


def parse_json(data: bytes, name: str, *, deepest: int = DEEPEST, constants: bool = False) -> Any:
    """The content of JSON text that nests no deeper than `deepest`. Raises `ArgumentError`, which calls it `name`."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(data):
        first = data[match.start()]
        if first == ord('"'):
            continue
        depth += 1 if first in b"[{" else -1
        if depth > deepest:
            raise ArgumentError(
                expected=tr("at most {count} levels in {file}", count=deepest, file=name),
                got=tr("more"),
                fix=tr("choose another file"),
            )
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=None if constants else _no_number)
    except (ValueError, RecursionError):
        raise ArgumentError(
            expected=tr("a readable {file}", file=name), got=tr("a damaged one"), fix=tr("save it again")
        ) from None


def read_object(path: Path, *, most: int = MOST_BYTES, constants: bool = False) -> dict[str, Any]:
    """The object in a JSON file, read like `read_json`. Raises `ArgumentError` for anything else."""
    content = read_json(path, most=most, constants=constants)
    if not isinstance(content, dict):
        raise ArgumentError(
            expected=tr("a readable {file}", file=path.name), got=tr("a damaged one"), fix=tr("save it again")
        )
    return content


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


# Strict models

Name = Annotated[str, Field(max_length=200)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Foreign(BaseModel):
    """Base of the models of configurations from outside: no unknown fields, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def is_off(value: Any) -> bool:
    """Whether a setting is None, False or empty. Zero is a value, such as the index of a layer."""
    return value is None or value is False or value in ("", [], {})


def refused(file: str, error: ValidationError) -> ArgumentError:
    """The first problem of a configuration as one sentence."""
    problem = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in problem["loc"]) or tr("the settings")
    if problem["type"] == "extra_forbidden":
        return unknown(file, name, problem["input"])
    limit = problem.get("ctx", {})
    bound = next((f"{sign} {limit[key]}" for key, sign in _SIGNS.items() if key in limit), limit.get("expected", ""))
    what = tr("{name} in {file}", name=name[:60], file=file)
    got = tr("none") if problem["type"] == "missing" else shown(problem["input"])
    if problem["type"] == "value_error":
        what = f"{what} ({limit['error']})"
    return ArgumentError(expected=f"{what} {bound}".strip(), got=got, fix=tr("choose another"))


def unknown(file: str, name: str, value: Any) -> ArgumentError:
    """The error for a setting that could change what is computed."""
    return ArgumentError(
        expected=tr("settings in {file} that are known here", file=file),
        got=f"{name[:60]}={shown(value)}",
        fix=tr("choose another, or remove it if it changes nothing"),
    )


_SIGNS = {"le": "<=", "ge": ">=", "lt": "<", "gt": ">", "max_length": "<=", "min_length": ">="}


def shown(value: Any) -> str:
    """A value from outside, short enough for a sentence."""
    return json.dumps(value, default=str)[:60]


# Encoders

_METADATA = {
    *("architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path", "name_or_path", "model_name"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "language"),
    *("gradient_checkpointing", "use_cache", "output_past", "directionality", "name", "prefix", "adapters", "license"),
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
    *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id"),
    *("tie_weights_", "tie_word_embeddings", "tie_encoder_decoder", "chunk_size_feed_forward", "use_return_dict"),
    *("return_dict", "summary_type", "summary_use_proj", "summary_first_dropout", "xla_device", "tokenizer_class"),
    *("summary_activation", "summary_last_dropout"),
    # Of generation, which no encoder does.
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "num_return_sequences"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "forced_bos_token_id"),
    *("forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens"),
    *("begin_suppress_tokens", "sentencepiece_model", "vocab_type", "nsp", "qa_dropout", "eos_token_ids"),
    # Of what a call returns, of the label count and of the attention's choice, as older versions wrote them.
    *("output_hidden_states", "output_attentions", "_num_labels", "_attn_implementation_autoset", "torchscript"),
    *("unk_token_id", "model_max_length", "sentence_transformers", "sbert_ce_default_activation_function"),
    "_commit_hash",
}
"""Fields that change no computation here: dropped."""

Activation = Literal[
    "gelu", "gelu_new", "gelu_python", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish", "tanh",
    "mish", "sigmoid", "leaky_relu", "relu6",
]  # fmt: skip


class _Encoder(Foreign):
    """What all encoders have. The bounds are far above every published encoder of these types."""

    vocab_size: int = Field(ge=1, le=1_000_000)
    max_position_embeddings: int = Field(512, ge=1, le=65_536)
    initializer_range: float = Field(0.02, gt=0, le=1)
    pad_token_id: int = Field(0, ge=0, lt=1_000_000)

    @model_validator(mode="after")
    def _pad_in_vocabulary(self) -> _Encoder:
        if self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_token_id} < vocab_size {self.vocab_size}")
        return self


class BertConfig(_Encoder):
    """config.json of a BERT."""

    model_type: Literal["bert"]
    hidden_size: int = Field(ge=1, le=8192)
    num_hidden_layers: int = Field(ge=1, le=128)
    num_attention_heads: int = Field(ge=1, le=256)
    intermediate_size: int = Field(ge=1, le=65_536)
    type_vocab_size: int = Field(2, ge=1, le=1024)
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = Field(1e-12, gt=0, le=0.1)
    hidden_dropout_prob: Probability = 0.1
    attention_probs_dropout_prob: Probability = 0.1
    classifier_dropout: Probability | None = None
    position_embedding_type: Literal["absolute"] = "absolute"

    @model_validator(mode="after")
    def _divisible(self) -> BertConfig:
        return _whole_heads(self, self.hidden_size, self.num_attention_heads)


class RobertaConfig(BertConfig):
    """config.json of a RoBERTa."""

    model_type: Literal["roberta"]
    pad_token_id: int = Field(1, ge=0, lt=1_000_000)

    @model_validator(mode="after")
    def _positions_after_padding(self) -> RobertaConfig:
        """Positions are counted from `pad_token_id` + 1 on: at least two special tokens and one of the text."""
        if self.max_position_embeddings <= self.pad_token_id + 3:
            raise ValueError(f"max_position_embeddings {self.max_position_embeddings} > {self.pad_token_id} + 3")
        return self


class DistilBertConfig(_Encoder):
    """config.json of a DistilBERT."""

    model_type: Literal["distilbert"]
    dim: int = Field(ge=1, le=8192)
    n_layers: int = Field(ge=1, le=128)
    n_heads: int = Field(ge=1, le=256)
    hidden_dim: int = Field(ge=1, le=65_536)
    activation: Activation = "gelu"
    sinusoidal_pos_embds: bool = False
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    seq_classif_dropout: Probability = 0.2

    @model_validator(mode="after")
    def _divisible(self) -> DistilBertConfig:
        return _whole_heads(self, self.dim, self.n_heads)


class XlmRobertaConfig(RobertaConfig):
    """config.json of an XLM-RoBERTa."""

    model_type: Literal["xlm-roberta"]


class ElectraConfig(BertConfig):
    """config.json of an ELECTRA discriminator; that its embeddings may be narrower is its own."""

    model_type: Literal["electra"]
    embedding_size: int = Field(128, ge=1, le=8192)


ENCODERS: dict[str, type[_Encoder]] = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XlmRobertaConfig,
    "electra": ElectraConfig,
    "distilbert": DistilBertConfig,
}


def _whole_heads(config: Any, width: int, heads: int) -> Any:
    if width % heads:
        raise ValueError(f"{width} / {heads}")
    return config


def encoder(content: dict[str, Any], *, file: str = "config.json", label_names: Sequence[str] = ()) -> dict[str, Any]:
    """An encoder's configuration rebuilt from a config.json, for a classifier with `label_names` if there are any.

    Raises `ArgumentError` for another type of model, a size out of bounds, and a setting that could change what is
    computed and is not known here.
    """
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in ENCODERS:
        raise ArgumentError(
            expected=tr("an encoder of type {types}", types=", ".join(ENCODERS)),
            got=tr("{kind} in {folder}", kind=shown(kind), folder=file),
            fix=tr("choose another folder"),
        )
    fields = {name: value for name, value in content.items() if name not in _METADATA and not is_off(value)}
    try:
        rebuilt = ENCODERS[kind](**fields).model_dump()
    except ValidationError as error:
        raise refused(file, error) from None
    if label_names:
        rebuilt["id2label"] = {str(index): name for index, name in enumerate(label_names)}
        rebuilt["label2id"] = {name: index for index, name in enumerate(label_names)}
    return rebuilt


def label_names(content: dict[str, Any]) -> tuple[str, ...] | None:
    """The label names of a classifier's config.json in their order; None if it has none, or no such order."""
    named = content.get("id2label")
    if not isinstance(named, dict):
        return None
    names = [named.get(str(index)) for index in range(len(named))]
    return tuple(names) if all(isinstance(name, str) for name in names) else None


def without_head(config: dict[str, Any]) -> dict[str, Any]:
    """An encoder's configuration without what a classification head that was saved with it left there."""
    fields = ENCODERS[config["model_type"]].model_fields
    left = [name for name in ("classifier_dropout", "seq_classif_dropout") if name in fields]
    return config | {name: fields[name].default for name in left}


def write(content: dict[str, Any], path: Path) -> None:
    """Write a configuration."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
