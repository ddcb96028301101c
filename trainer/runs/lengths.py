"""Lengths of a recipe's training sentences, in tokens, without a model. Imports no torch."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import methods, pairs, tasks
from trainer.config import RunConfig
from trainer.errors import UserError
from trainer.sources import assets, backbones
from trainer.texts import tr

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENISED, SAMPLE = 2_000, 200
"""The most sentences that are tokenised, and the most of their lengths that are kept."""
UNKNOWN = (28, 14)
"""Mean and standard deviation of the embedded sentences' lengths, for a task that is not on this machine."""
DISTINCT = (19.0, 0.55)
"""Distinct tokens of n tokens: about K n^b (Heaps' law), fitted on the embedded sentences."""
UNREAD = 0.05
"""Above this share of unknown tokens a backbone cannot be expected to read a language."""
MULTILINGUAL = "xlm-roberta-base"
"""An encoder of 100 languages (Conneau et al. 2020)."""
PIECES = 1.25
"""Tokens a word or mark, where the backbone's tokenizer is not on this machine."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of `sentences` training sentences: `sample` has some of them, sorted, `distinct` their different tokens.

    The first and last token of the encoder are counted.
    """

    sentences: int
    sample: tuple[int, ...]
    distinct: int

    @property
    def mean(self) -> float:
        """Mean length."""
        return sum(self.sample) / len(self.sample)

    def all(self) -> list[int]:
        """As many lengths as there are sentences, with the sample's distribution."""
        count = len(self.sample)
        return [self.sample[i * count // self.sentences] for i in range(self.sentences)]


def limit(config: RunConfig, shape: backbones.Shape | None = None) -> int:
    """The most tokens that a recipe reads of a sentence: its `max_length`, or what its method and backbone allow.

    `shape` is the backbone's, where it is known already.
    """
    method, shape = methods.get(config.method), shape or backbones.shape_of(config.backbone)
    return min(config.max_length, method.longest(shape, method.options(**config.options)))


def of(config: RunConfig) -> Lengths:
    """Lengths of a recipe's training sentences, truncated to its `max_length`.

    A task of the Hub is not downloaded for this: its sentences are taken to be as long as the embedded ones.
    """
    longest = limit(config)
    sentences, _ = tasks.extent(config)
    if config.task in tasks.TASKS and config.task not in tasks.EMBEDDED:
        mean, deviation = UNKNOWN
        generator = random.Random(0)
        drawn = sorted(
            min(max(round(generator.gauss(mean, deviation)), 4), longest) for _ in range(min(sentences, 200))
        )
        return Lengths(sentences, tuple(drawn), _heaps(mean * sentences, config.backbone))
    own = config.model_dump(include={"task", "split_seed", "train_size", *tasks.FILE_FIELDS})
    tokenizer = _tokenizer(config.backbone)
    key = (*own.values(), longest, tokenizer, *tasks.contents(config).items())
    if key not in _known:
        data = tasks.from_config(config)
        texts = pairs.inputs(data.train.texts, data.pairs)
        _known[key] = _measured(texts, longest, tokenizer, vocabulary=backbones.shape_of(config.backbone).vocabulary)
    return _known[key]


_known: dict[tuple, Lengths] = {}


@dataclass(frozen=True)
class Fit:
    """How a backbone's tokenizer reads `sentences` of a recipe's training sentences.

    `unknown` is the share of their tokens that are not in its vocabulary, `cut` the share of the sentences that are
    longer than `limit` tokens, `longest` the tokens of the longest.
    """

    sentences: int
    unknown: float
    cut: float
    longest: int
    limit: int

    def warnings(self, backbone: str) -> list[str]:
        """Sentences on what the backbone will not read; none for a text that it reads whole."""
        texts = []
        if self.unknown > UNREAD:
            texts.append(
                tr(
                    "{share} of the words and signs are unknown to {backbone}, which cannot learn from them: choose a "
                    "backbone of this language, such as {other}.",
                    share=f"{self.unknown:.0%}", backbone=Path(backbone).name, other=MULTILINGUAL,
                )
            )  # fmt: skip
        if self.cut:
            share = f"{self.cut:.0%}" if self.cut >= 0.01 else "<1%"
            texts.append(
                tr(
                    "{share} of the sentences are longer than {limit} tokens and are cut; the longest has {longest}.",
                    share=share, limit=self.limit, longest=f"{self.longest:,}",
                )
            )  # fmt: skip
        return texts


def fit(config: RunConfig) -> Fit | None:
    """How the recipe's backbone reads its training sentences; None where either of them is not on this machine."""
    path = _own_tokenizer(config.backbone)
    if path is None or (config.task in tasks.TASKS and config.task not in tasks.EMBEDDED):
        return None
    longest = limit(config)
    own = config.model_dump(include={"task", "split_seed", "train_size", *tasks.FILE_FIELDS})
    key = (*own.values(), longest, path, *tasks.contents(config).items())
    if key not in _fits:
        _fits[key] = _fit(config, path, longest)
    return _fits[key]


_fits: dict[tuple, Fit] = {}


def _fit(config: RunConfig, path: Path, limit: int) -> Fit:
    data = tasks.from_config(config)
    texts = pairs.inputs(data.train.texts, data.pairs)
    some = random.Random(0).sample(texts, min(TOKENISED, len(texts)))
    encoder = _encoder(path)
    encoded = encoder.encode_batch(list(some))
    name = getattr(encoder.model, "unk_token", None)
    unknown = encoder.token_to_id(name) if isinstance(name, str) else None
    words = [
        token for one in encoded for token, special in zip(one.ids, one.special_tokens_mask, strict=True) if not special
    ]
    lengths = [len(one.ids) for one in encoded]
    return Fit(
        len(some), sum(token == unknown for token in words) / max(len(words), 1),
        sum(length > limit for length in lengths) / len(some), max(lengths), limit,
    )  # fmt: skip


def _encoder(path: Path) -> Tokenizer:
    """A tokenizer.json's tokenizer, which gives each text its own length."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    encoder.no_padding()
    encoder.no_truncation()
    return encoder


def _measured(texts: list[Any], longest: int, tokenizer: Path | None, *, vocabulary: int) -> Lengths:
    """Lengths of texts or pairs of sentences by a tokenizer.json, or from their words without one."""
    some = random.Random(0).sample(texts, min(TOKENISED, len(texts)))
    if tokenizer is not None:
        encoded = [one.ids for one in _encoder(tokenizer).encode_batch(some)]
        lengths = [len(ids) for ids in encoded]
        distinct = len({token for ids in encoded for token in ids[:longest]})
    else:
        words = [re.findall(r"\w+|[^\w\s]", text if isinstance(text, str) else " ".join(text)) for text in some]
        lengths = [round(PIECES * len(one)) + 2 for one in words]
        distinct = len({word.lower() for one in words for word in one})
    distinct = round(distinct * (len(texts) / len(some)) ** DISTINCT[1])
    lengths = sorted(min(length, longest) for length in lengths)
    count = min(SAMPLE, len(lengths))
    sample = tuple(lengths[i * (len(lengths) - 1) // max(count - 1, 1)] for i in range(count))
    return Lengths(len(texts), sample, min(distinct, vocabulary))


def _heaps(tokens: float, backbone: str) -> int:
    return min(round(DISTINCT[0] * tokens ** DISTINCT[1]), backbones.shape_of(backbone).vocabulary)


def _own_tokenizer(backbone: str) -> Path | None:
    """The backbone's own tokenizer.json, or one with its vocabulary, if it is on this machine."""
    known = backbones.BACKBONES.get(backbone)
    if known is None or known.shape.vocabulary == backbones.BACKBONES["minilm"].shape.vocabulary:
        return _tokenizer(backbone)
    try:
        path = backbones.locate(backbone, download=False).folder / "tokenizer.json"
    except UserError:
        return None
    return path if path.is_file() else None


def _tokenizer(backbone: str) -> Path | None:
    """A tokenizer.json for estimates, if it is on this machine: the backbone's own, or MiniLM's."""
    if backbone in backbones.BACKBONES:
        folder = assets.cache_folder() / assets.MINILM.name  # the encoders of the Hub have its vocabulary or another
    else:
        folder = backbones.locate(backbone).folder
    path = folder / "tokenizer.json"
    return path if path.is_file() else None
