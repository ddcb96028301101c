"""The tasks, in the order that a person sees."""

from __future__ import annotations

from trainer.config import RunConfig
from trainer.errors import one_of
from trainer.tasks.base import SPLITS, Split, Task, TaskData
from trainer.tasks.embedded import EmbeddedTask
from trainer.tasks.hub import Sst2, Trec6
from trainer.tasks.own_file import READERS, FileTask

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        EmbeddedTask(
            "movies",
            "Movies: review sentences, negative or positive",
            "Rotten Tomatoes sentences, of which SST is made; about 10,000, rated by 20 people each.",
            "movieReviewSnippets_GroundTruth.txt",
        ),
        EmbeddedTask(
            "products",
            "Products: review sentences, negative or positive",
            "Sentences about products sold online; about 2,900.",
            "amazonReviewSnippets_GroundTruth.txt",
        ),
        EmbeddedTask(
            "tweets",
            "Tweets, negative or positive",
            "Short messages; about 3,400.",
            "tweets_GroundTruth.txt",
        ),
        EmbeddedTask(
            "news",
            "News: editorial sentences, negative or positive",
            "Sentences from newspaper editorials; about 2,800.",
            "nytEditorialSnippets_GroundTruth.txt",
        ),
        Sst2(),
        Trec6(),
    )
}
EMBEDDED = tuple(task.name for task in TASKS.values() if isinstance(task, EmbeddedTask))

__all__ = ["EMBEDDED", "SPLITS", "TASKS", "Split", "Task", "TaskData", "extent", "from_config", "get", "is_file"]


def is_file(name: str) -> bool:
    """Whether a task's name is meant as the path of a file."""
    return name not in TASKS and ("/" in name or "\\" in name or any(name.lower().endswith(s) for s in READERS))


def get(name: str, **own_file: str | None) -> Task:
    """A task by name, or a file as a task; `own_file` names its columns and held-out files.

    Raises `ArgumentError` for an unknown name.
    """
    if is_file(name):
        return FileTask(name, **own_file)
    if name not in TASKS:
        raise one_of("a task or the path of a file", name, tuple(TASKS))
    return TASKS[name]


def from_config(config: RunConfig) -> TaskData:
    """The splits that a recipe trains, validates and tests on."""
    own_file = config.model_dump(include={"text_column", "label_column", "validation_file", "test_file"})
    return (
        get(config.task, **own_file)
        .load(config.split_seed)
        .limited(
            train=config.train_size, validation=config.validation_size, test=config.test_size, seed=config.split_seed
        )
    )


def extent(config: RunConfig) -> tuple[int, int]:
    """(training sentences, labels) of a recipe; loads the task only where they are not known beforehand."""
    if config.task == Sst2.name:
        return min(config.train_size or Sst2.train_size, Sst2.train_size), len(Sst2.label_names)
    data = from_config(config)
    return len(data.train), len(data.label_names)
