"""A tokenizer's files from outside, checked and written again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from trainer.errors import ArgumentError
from trainer.sources import configs
from trainer.texts import tr

MOST_BYTES = 24 << 20
"""The largest of an encoder, a multilingual one's 250,000 pieces with line breaks, has 17 MB."""
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", *VOCABULARIES)
_PATTERNS = (" {2,}", "\\s+", " ")
"""Regular expressions that transformers' own converters write into a tokenizer.json; others are refused, for they may
take time without end."""
_SETTINGS = {
    *("tokenizer_class", "model_max_length", "do_lower_case", "strip_accents", "tokenize_chinese_chars"),
    *("unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "bos_token", "eos_token"),
    *("added_tokens_decoder", "add_prefix_space", "trim_offsets", "errors", "clean_up_tokenization_spaces"),
    *("padding_side", "truncation_side", "do_basic_tokenize", "never_split", "pad_token_type_id"),
    *("additional_special_tokens", "extra_special_tokens", "max_length", "stride", "pad_to_multiple_of"),
    "truncation_strategy",
}
_TOKENS = {name for name in _SETTINGS if name.endswith("_token")} | {"additional_special_tokens"}
_GENERIC = "TokenizersBackend"
"""The class that transformers 5 names where a tokenizer.json says all: dropped, for earlier versions have none."""


def copy(source: Path, target: Path, *, vocabulary: int) -> None:
    """Write the tokenizer in `source` again to `target`, for an encoder with `vocabulary` rows.

    Raises `ArgumentError` for files that are too large or damaged, that name code or a regular expression, for a token
    without a row, and for a special token that tokenizer.json does not have: transformers would add it after the last.
    """
    tokens = None
    if (source / "tokenizer.json").is_file():
        content = check(source / "tokenizer.json", vocabulary=vocabulary)
        tokens = _tokens(content)
        (target / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, allowed in (("tokenizer_config.json", _SETTINGS), ("special_tokens_map.json", _TOKENS)):
        if (source / name).is_file():
            settings = _settings(configs.read_object(source / name, most=MOST_BYTES), allowed, name)
            if tokens is not None:
                _require_known(_named(settings), tokens)
            configs.write(settings, target / name)
    for name in VOCABULARIES:
        if (source / name).is_file():
            if (size := (source / name).stat().st_size) > MOST_BYTES:
                raise _too_large(name, size)
            shutil.copyfile(source / name, target / name)


def check(path: Path, *, vocabulary: int) -> dict[str, Any]:
    """The content of a tokenizer.json. Raises `ArgumentError` as `copy` does."""
    content = configs.read_object(path, most=MOST_BYTES)
    for pattern in _regexes(content):
        if pattern not in _PATTERNS:
            raise ArgumentError(
                expected=tr("settings in {file} that are known here", file=path.name),
                got=f"Regex={configs.shown(pattern)}",
                fix=tr("choose another"),
            )
    if (highest := _highest(content)) >= vocabulary:
        raise ArgumentError(
            expected=tr("token ids below the vocabulary's {count}", count=vocabulary),
            got=f"{highest:,}",
            fix=tr("save the tokenizer that belongs to the model"),
        )
    return content


def _regexes(content: Any) -> list[Any]:
    """Every value of a key "Regex", wherever in the file, but in the vocabulary, whose keys are tokens."""
    patterns, waiting = [], [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            patterns += [
                value for key, value in inner.items() if key == "Regex" and not isinstance(value, (int, float))
            ]
            waiting += [value for value in inner.values() if isinstance(value, (dict, list))]
        else:
            waiting += [value for value in inner if isinstance(value, (dict, list))]
    return patterns


def _highest(content: dict[str, Any]) -> int:
    """The highest token id: of the vocabulary, of the added tokens, and of those put around or after a text."""
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = [token.get("id") for token in _added(content)]
    ids.append(len(_tokens(content)) - 1)  # an added token that is not in the vocabulary gets the next id
    if isinstance(vocabulary, dict):
        ids += vocabulary.values()
    elif isinstance(vocabulary, list):
        ids += [len(vocabulary) - 1, model.get("unk_id")]
    padding = content.get("padding")
    ids.append(padding.get("pad_id") if isinstance(padding, dict) else None)
    ids += _integers(content.get("post_processor"))  # its other integers, types of tokens, are 0 and 1
    return max((number for number in ids if isinstance(number, int)), default=0)


def _integers(content: Any) -> list[int]:
    """Every integer in JSON content."""
    numbers, waiting = [], [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, (dict, list)):
            waiting += inner.values() if isinstance(inner, dict) else inner
        elif isinstance(inner, int):
            numbers.append(inner)
    return numbers


def _added(content: dict[str, Any]) -> list[dict[str, Any]]:
    added = content.get("added_tokens")
    return [token for token in added if isinstance(token, dict)] if isinstance(added, list) else []


def _tokens(content: dict[str, Any]) -> set[str]:
    """Every token of a tokenizer.json, the added ones too."""
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    names = [token.get("content") for token in _added(content)]
    if isinstance(vocabulary, dict):
        names += vocabulary
    elif isinstance(vocabulary, list):  # of a unigram model: [token, score]
        names += [piece[0] for piece in vocabulary if isinstance(piece, list) and piece]
    return {name for name in names if isinstance(name, str)}


def _named(settings: dict[str, Any]) -> list[Any]:
    """The tokens that settings name, each a text or an object with its `content`."""
    tokens = [value for name, value in settings.items() if name.endswith("_token")]
    for name in ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"):
        value = settings.get(name)
        tokens += value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return [token.get("content") if isinstance(token, dict) else token for token in tokens if token is not None]


def _require_known(named: list[Any], tokens: set[str]) -> None:
    """Raise `ArgumentError` for a token that a tokenizer.json does not have."""
    for token in named:
        if not isinstance(token, str) or token not in tokens:
            raise ArgumentError(
                expected=tr("{name} in {file}", name=configs.shown(token), file="tokenizer.json"),
                got=tr("none"),
                fix=tr("save the tokenizer that belongs to the model"),
            )


def _settings(content: dict[str, Any], allowed: set[str], file: str) -> dict[str, Any]:
    """The settings that are known, as transformers 4 writes them; others are dropped, but for those that name code."""
    named = content.get("tokenizer_class")
    code = [name for name in content if name == "auto_map" or name.startswith("custom_")]
    if named != _GENERIC and not (
        isinstance(named, str) and named.isidentifier() and named.endswith(("Tokenizer", "TokenizerFast"))
    ):
        code.append("tokenizer_class")
    for name in code:
        if not configs.is_off(content.get(name)):
            raise configs.unknown(file, name, content[name])
    settings = {name: value for name, value in content.items() if name in allowed}
    if named == _GENERIC:
        settings.pop("tokenizer_class", None)
    extra = settings.get("extra_special_tokens")
    if isinstance(extra, list):  # as transformers 5 writes them
        del settings["extra_special_tokens"]
        others = settings.get("additional_special_tokens")
        settings["additional_special_tokens"] = [*(others if isinstance(others, list) else []), *extra]
    return settings


def _too_large(file: str, size: int) -> ArgumentError:
    return ArgumentError(
        expected=tr("at most {size} bytes in {file}", size=f"{MOST_BYTES:,}", file=file),
        got=f"{size:,}",
        fix=tr("choose another file"),
    )
