"""The tasks, in the order that a person sees."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainer.config import RunConfig
from trainer.errors import one_of
from trainer.machine import measure
from trainer.tasks.base import DOCUMENTS_WHOLE, NEAR_REPEATS_OUT, SPLITS, Split, Task, TaskData, note_shown
from trainer.tasks.embedded import EmbeddedTask
from trainer.tasks.hub import Sst2, Trec6
from trainer.tasks.own_file import FileTask
from trainer.tasks.tables import READERS
from trainer.texts import mark

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        EmbeddedTask(
            "movies",
            mark("Movies: review sentences, negative or positive"),
            mark("Rotten Tomatoes sentences, of which SST is made; about 10,000, rated by 20 people each."),
            "movieReviewSnippets_GroundTruth.txt",
        ),
        EmbeddedTask(
            "products",
            mark("Products: review sentences, negative or positive"),
            mark("Sentences about products sold online; about 2,900."),
            "amazonReviewSnippets_GroundTruth.txt",
            group="document",
            splits_version=DOCUMENTS_WHOLE,
        ),
        EmbeddedTask(
            "tweets",
            mark("Tweets, negative or positive"),
            mark("Short messages; about 3,200."),
            "tweets_GroundTruth.txt",
            splits_version=NEAR_REPEATS_OUT,
        ),
        EmbeddedTask(
            "news",
            mark("News: editorial sentences, negative or positive"),
            mark("Sentences from newspaper editorials; about 2,800."),
            "nytEditorialSnippets_GroundTruth.txt",
            group="document",
            splits_version=DOCUMENTS_WHOLE,
        ),
        Sst2(),
        Trec6(),
    )
}
SPLITS_VERSION = "splits"
"""Key of `contents` for how the splits are drawn, beside the fields of `FILES`."""
FILES = ("task", "validation_file", "test_file")
"""Fields of a recipe that may be paths of a person's own files."""
FILE_FIELDS = (
    "text_column", "label_column", "several_labels", "label_columns", "group_column", "separator", "encoding",
    "validation_share", "validation_file", "test_file",
)  # fmt: skip
"""Fields of a recipe that say how a person's own file is read: the arguments of `FileTask` beside its path."""
EMBEDDED = tuple(task.name for task in TASKS.values() if isinstance(task, EmbeddedTask))

__all__ = [
    "EMBEDDED",
    "FILE_FIELDS",
    "SPLITS",
    "SPLITS_VERSION",
    "TASKS",
    "Split",
    "Supply",
    "Task",
    "TaskData",
    "contents",
    "extent",
    "from_config",
    "get",
    "is_file",
    "note_shown",
    "supply",
]


def is_file(name: str) -> bool:
    """Whether a task's name is the path of a file."""
    return name not in TASKS and ("/" in name or "\\" in name or any(name.lower().endswith(s) for s in READERS))


def get(name: str, **own_file: Any) -> Task:
    """A task by name or path; for a file, `own_file` has values of `FILE_FIELDS`.

    Raises `ArgumentError` for an unknown name.
    """
    if is_file(name):
        return FileTask(name, **own_file)
    if name not in TASKS:
        raise one_of(mark("a task or the path of a file"), name, tuple(TASKS))
    return TASKS[name]


def from_config(config: RunConfig) -> TaskData:
    """The training, validation and test splits of a recipe."""
    own_file = config.model_dump(include=set(FILE_FIELDS))
    return (
        get(config.task, **own_file)
        .load(config.split_seed)
        .limited(
            train=config.train_size, validation=config.validation_size, test=config.test_size, seed=config.split_seed
        )
    )


def contents(config: RunConfig) -> dict[str, str]:
    """Field of the recipe -> the SHA-256 of its file, since a path does not identify the content.

    A file that cannot be read is left out. "splits" has the hash of the task's `splits_version`, where it has one.
    """
    hashes = {}
    if version := (FileTask if is_file(config.task) else TASKS.get(config.task, Task)).splits_version:
        hashes[SPLITS_VERSION] = hashlib.sha256(version.encode()).hexdigest()
    for name in FILES if is_file(config.task) else ():
        if path := getattr(config, name):
            with suppress(OSError):
                hashes[name] = measure.sha256(Path(path).expanduser())
    return hashes


@dataclass(frozen=True)
class Supply:
    """What a task has: sentences by split, number of labels, notes on what was left out (`note_shown` translates)."""

    sizes: dict[str, int]
    labels: int
    notes: tuple[str, ...]

    def limited(self, config: RunConfig) -> dict[str, int]:
        """Sentences by split that a recipe uses: at most as many as it requests."""
        return {split: min(getattr(config, f"{split}_size") or size, size) for split, size in self.sizes.items()}


def supply(config: RunConfig) -> Supply | None:
    """What a recipe's task has; None for a task of the Hub, which is not downloaded for this."""
    if config.task in TASKS and config.task not in EMBEDDED:
        return None
    return _supply_of(config)


def extent(config: RunConfig) -> tuple[int, int]:
    """(training sentences, labels) of a recipe; loads the task only where they are not known without it."""
    known = TASKS[config.task].known_extent if config.task in TASKS else None
    if known is None:
        whole = _supply_of(config)
        known = whole.sizes["train"], whole.labels
    sentences, labels = known
    return min(config.train_size or sentences, sentences), labels


def _supply_of(config: RunConfig) -> Supply:
    return _supply(
        config.task,
        config.split_seed,
        tuple((name, getattr(config, name)) for name in FILE_FIELDS),
        tuple(contents(config).items()),
    )


@lru_cache(maxsize=32)
def _supply(
    task: str,
    split_seed: int,
    own_file: tuple[tuple[str, Any], ...],
    contents: tuple[tuple[str, str], ...],
) -> Supply:
    """`supply` of a task, cached until one of the `contents` of its files changes."""
    data = get(task, **dict(own_file)).load(split_seed)
    return Supply({split: len(getattr(data, split)) for split in SPLITS}, len(data.label_names), data.notes)
