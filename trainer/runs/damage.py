"""Damage to a run's files: what is wrong with which file, as a sentence; and isolation of a run that breaks a page."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from trainer.errors import UserError
from trainer.texts import mark, tr

T = TypeVar("T")
RUN, EVENTS, PREDICTIONS = "run.json", "events.jsonl", "predictions.parquet"
FILES = (RUN, EVENTS, PREDICTIONS)
"""Files that are checked. Of several damaged files of a run the first of these is reported."""
REASONS = {
    "missing": mark("it is missing"),
    "no file": mark("it is no file"),
    "unreadable": mark("it cannot be read ({problem})"),
    "large": mark("it has {size} bytes, more than {most}"),
    "json": mark("it is no JSON ({problem})"),
    "version": mark("its version {version} is newer than {newest}, so update the program"),
    "line": mark("line {line}: {problem}"),
    "cut": mark("its last line is cut"),
    "parquet": mark("it is no Parquet file ({problem})"),
    "empty": mark("it has no rows"),
    "column": mark("its column {column} is missing or of another type"),
    "rows": mark("it has {count} rows of {split}, and the run {most}"),
    "value": mark("row {row} has a {column} that cannot be"),
    "twice": mark("row {row} of {split} occurs twice"),
    "drawing": mark("it could not be shown ({problem})"),
}
"""What is wrong with a file, by kind. Of the kind "content" it is what a reader says, in English."""
LONGEST = 200
"""Most characters of a problem in a sentence."""


class Damaged(ValueError):
    """A file whose content is wrong: a kind of `REASONS`, or "content", and its values."""

    def __init__(self, kind: str, **values: Any) -> None:
        self.kind, self.values = kind, values
        super().__init__(kind)


@dataclass(frozen=True)
class Damage:
    """A damaged run: its first damaged file, and what is wrong with it. `str(damage)` is a sentence."""

    run_id: str
    folder: Path
    file: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The file and what is wrong with it, without the run."""
        problem = self.values["problem"] if self.kind == "content" else tr(REASONS[self.kind], **self.values)
        return f"{self.file}: {problem}" if self.file else problem

    def __str__(self) -> str:
        return tr("The run {run} is damaged: {reason}.", run=self.run_id, reason=self.reason)


def damage_of(error: Exception, *, run_id: str, folder: Path, file: str) -> Damage:
    """The damage that an error tells that was raised while a file was read."""
    if isinstance(error, Damaged):
        return Damage(run_id, folder, file, error.kind, error.values)
    if isinstance(error, FileNotFoundError):
        return Damage(run_id, folder, file, "missing")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return Damage(run_id, folder, file, "no file")
    if isinstance(error, OSError):
        return Damage(run_id, folder, file, "unreadable", {"problem": error.strerror or type(error).__name__})
    return Damage(run_id, folder, file, "content", {"problem": problem(error)})


def problem(error: Exception) -> str:
    """The first thing that an error says, on one line: for one of pydantic's the field and what it should be."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        text = f"{where}: {text[:1].lower()}{text[1:]}" if where else text
    else:
        text = str(error) or type(error).__name__
    # Not every text of a damaged file can be printed.
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def log_failure(error: Exception, *, run_id: str, folder: Path) -> Damage:
    """The damage of a run that cannot be drawn for an unexpected error, which need not be its files'; logs a line."""
    damage = Damage(run_id, folder, "", "drawing", {"problem": f"{type(error).__name__}: {problem(error)}"})
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    logging.getLogger(__name__).error("%s%s", damage, where)
    return damage


def culprits(runs: Sequence[T], draw: Callable[[list[T]], Any]) -> list[tuple[T, Exception]]:
    """The runs that make `draw(runs)` raise, each with its error; found by halving, so a few among many cost little.

    Raises the error of `draw` where no run alone is the cause. A `UserError` is a sentence for a person: it is raised.
    """
    draw([])  # what fails without any run is no run's fault
    return list(_culprits(list(runs), draw))


def _culprits(runs: list[T], draw: Callable[[list[T]], Any]) -> Iterator[tuple[T, Exception]]:
    try:
        draw(runs)
    except UserError:
        raise
    except Exception as error:
        if len(runs) == 1:
            yield runs[0], error
            return
        half = len(runs) // 2
        guilty = [*_culprits(runs[:half], draw), *_culprits(runs[half:], draw)]
        if not guilty:
            raise
        yield from guilty
