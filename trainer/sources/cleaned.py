"""A backbone's files as libraries may open them: configurations written again, weights checked and linked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.sources import assets, configs, hub, tensors, tokenizers, weights
from trainer.sources.shapes import Shape
from trainer.texts import tr

VERSION = 2
"""Of what is checked and written; a new one makes the folders again."""


def folder(source: Path, config: dict[str, Any], shape: Shape, *, pinned: bool = False) -> Path:
    """The folder with `config`, the tokenizer of `source` written again and a link to its weights.

    Made once for the files as they are, in the cache. The weights are checked unless they are `pinned` to a commit.
    Raises `ArgumentError` and `UserError` for files that are not a whole encoder with its tokenizer.
    """
    root = assets.cache_folder() / "backbones"
    made = root / _key(source, config, pinned) / source.name
    if made.is_dir():
        return made
    root.mkdir(parents=True, exist_ok=True)
    _forget_deleted(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as temporary:
        target = Path(temporary) / "made" / source.name
        target.mkdir(parents=True)
        names = [name for name in hub.WEIGHTS if (source / name).is_file()][:1]
        if not pinned:
            check(source / "model.safetensors", shape)
        configs.write(config, target / "config.json")
        tokenizers.copy(source, target, vocabulary=shape.vocabulary)
        for name in names:
            _link((source / name).resolve(), target / name)
        try:
            os.rename(target.parent, made.parent)
        except OSError:
            if not made.is_dir():  # else another process was first
                raise
    return made


def check(path: Path, shape: Shape) -> None:
    """Raise `UserError` unless a safetensors file holds a whole encoder of this shape; a head may be beside it."""
    stored, prefix, expected = (
        weights.header(path, whole=True),
        f"{shape.prefix}.",
        tensors.encoder(shape),
    )
    # transformers takes the prefix off all names if one has it, and off none otherwise.
    prefix = prefix if any(name.startswith(prefix) for name in stored) else ""
    own = {name: _plain(name.removeprefix(prefix)) for name in stored}
    bare = [name for name, plain in own.items() if plain in expected and not name.startswith(prefix)]
    if bare or len(set(own.values())) != len(own):
        raise UserError(
            expected=tr("a whole safetensors file {file}", file=path.name),
            got=f"{prefix}* + {bare[0][:120]}" if bare else prefix,
            fix=tr("save it again"),
        )
    plain = {own[name]: tensor for name, tensor in stored.items()}
    weights.compare(
        {name: tensor.shape for name, tensor in plain.items()},
        expected,
        file=path.name,
        may_have=tensors.may_be_beside,
    )
    weights.finite(path, {name: tensor for name, tensor in plain.items() if name in expected})


def _plain(name: str) -> str:
    """A tensor's name in today's spelling."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    return name


def _key(source: Path, config: dict[str, Any], pinned: bool) -> str:
    """A hash that changes with the files."""
    states = []
    for name in ("config.json", *hub.WEIGHTS, *tokenizers.FILES):
        with suppress(OSError):
            stat = (source / name).stat()
            states.append([name, stat.st_ino, stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps([VERSION, str(source), config, pinned, states]).encode()).hexdigest()[:24]


def _link(source: Path, target: Path) -> None:
    """A link to a large file; a copy where the system allows no links."""
    for make in (os.symlink, os.link, shutil.copyfile):
        try:
            make(source, target)
            return
        except OSError:
            if make is shutil.copyfile:
                raise


def _forget_deleted(root: Path) -> None:
    """Delete folders whose weights are gone."""
    for weight in root.glob("*/*/*"):
        if weight.is_symlink() and not weight.exists():
            shutil.rmtree(weight.parents[1], ignore_errors=True)
