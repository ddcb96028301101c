"""A tokenizer's files from outside, checked and written again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from trainer.errors import ArgumentError
from trainer.sources import configs
from trainer.texts import tr

MOST_BYTES = 64 << 20
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


def copy(source: Path, target: Path, *, vocabulary: int) -> None:
    """Write the tokenizer in `source` again to `target`, for an encoder with `vocabulary` rows.

    Raises `ArgumentError` for files that are too large or damaged, that name code or a regular expression, and for a
    token without a row.
    """
    if (source / "tokenizer.json").is_file():
        content = check(source / "tokenizer.json", vocabulary=vocabulary)
        (target / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, allowed in (("tokenizer_config.json", _SETTINGS), ("special_tokens_map.json", _TOKENS)):
        if (source / name).is_file():
            settings = configs.read_object(source / name, most=MOST_BYTES)
            configs.write(_settings(settings, allowed, name), target / name)
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
    found, waiting = [], [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            found += [value for key, value in inner.items() if key == "Regex" and not isinstance(value, (int, float))]
            waiting += [value for value in inner.values() if isinstance(value, (dict, list))]
        else:
            waiting += [value for value in inner if isinstance(value, (dict, list))]
    return found


def _highest(content: dict[str, Any]) -> int:
    """The highest token id."""
    model, added = content.get("model"), content.get("added_tokens") or []
    tokens = model.get("vocab") if isinstance(model, dict) else None
    ids = [token.get("id") for token in added if isinstance(token, dict)]
    if isinstance(tokens, dict):
        ids += tokens.values()
    elif isinstance(tokens, list):
        ids.append(len(tokens) - 1)
    return max((number for number in ids if isinstance(number, int)), default=0)


def _settings(content: dict[str, Any], allowed: set[str], file: str) -> dict[str, Any]:
    """The settings that are known; others are dropped, but for those that name code."""
    named = content.get("tokenizer_class")
    code = [name for name in content if name == "auto_map" or name.startswith("custom_")]
    if isinstance(named, str) and not (named.isidentifier() and named.endswith(("Tokenizer", "TokenizerFast"))):
        code.append("tokenizer_class")
    if code and not configs.is_off(content[code[0]]):
        raise ArgumentError(
            expected=tr("settings in {file} that are known here", file=file),
            got=f"{code[0][:60]}={configs.shown(content[code[0]])}",
            fix=tr("choose another, or remove it if it changes nothing"),
        )
    return {name: value for name, value in content.items() if name in allowed}


def _too_large(file: str, size: int) -> ArgumentError:
    return ArgumentError(
        expected=tr("at most {size} bytes in {file}", size=f"{MOST_BYTES:,}", file=file),
        got=f"{size:,}",
        fix=tr("choose another file"),
    )
