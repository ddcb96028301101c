"""Ceilings on what visitors may have the app do: settings with safe defaults where others can reach it.

Each is an environment variable with a whole number, or `none` for no limit. Runs that `python -m trainer` launches are
not counted: whoever has the machine's command line needs no ceiling. A run's minutes hold for them too, while the app
runs on the same store.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from trainer.errors import ArgumentError, UserError
from trainer.texts import tr

HOUR, DAY = 3600.0, 86_400.0
SECONDS_BETWEEN_SIZES = 30.0
"""The least time between two measurements of the store's size, which read its every folder."""


def _limit(name: str, *, public: int, own: int | None) -> int | None:
    """A limit's field: its environment variable, its default where others reach the app, and on one's own machine."""
    return field(default=own, metadata={"name": f"PEFT_LAB_{name}", "public": public})


@dataclass(frozen=True)
class Limits:
    """The ceilings of one app; None is no limit. The defaults are those of an app on one's own machine."""

    launch: int | None = _limit("RUNS_A_LAUNCH", public=20, own=200)
    """Runs of one launch: methods times seeds."""
    queue: int | None = _limit("QUEUED_RUNS", public=50, own=1000)
    """Runs that wait, parents among them."""
    hour: int | None = _limit("RUNS_AN_HOUR", public=60, own=None)
    """Runs that one person launches in an hour: a signed-in user, else a network address."""
    day: int | None = _limit("RUNS_A_DAY", public=200, own=None)
    """Runs that one person launches in a day."""
    minutes: int | None = _limit("MINUTES_A_RUN", public=240, own=None)
    """Minutes that a run trains before it is cancelled; it can be resumed."""
    megabytes: int | None = _limit("STORE_MB", public=20_000, own=None)
    """Megabytes of the store above which nothing is added to it."""
    predictions: int | None = _limit("WAITING_PREDICTIONS", public=100, own=1000)
    """Predictions that wait for others to be computed."""

    @classmethod
    def of(cls, environment: Mapping[str, str], *, public: bool) -> Limits:
        """The limits from environment variables. Raises `ArgumentError` for one that is no number."""
        values = {}
        for one in fields(cls):
            name = one.metadata["name"]
            default = one.metadata["public"] if public else one.default
            values[one.name] = _number(name, environment[name]) if environment.get(name) else default
        return cls(**values)


def _number(name: str, value: str) -> int | None:
    text = value.strip().lower()
    if text == "none":
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) > 0:
        return int(text)
    raise ArgumentError(
        expected=tr("a whole number from 1 on or none in {name}", name=name), got=repr(value[:80]), fix=tr("change it")
    )


class Ledger:
    """The runs that each person launched in the last day, and the store's size. Safe for several threads.

    In memory alone: a restart of the app forgets it.
    """

    def __init__(self, limits: Limits, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.root = limits, root
        self._clock, self._lock, self._launching = clock, threading.Lock(), threading.Lock()
        self._reserved = 0
        """Runs of launches that were let in and are not in the queue yet."""
        self._launched: dict[str, deque[float]] = {}
        self._size: tuple[float, int] | None = None

    @contextmanager
    def reserved(self, person: str, count: int, *, queued: int, waiting: Callable[[], int]) -> Iterator[None]:
        """Let a person launch `count` runs, which are counted from here on, so that two launches do not share one gap.

        Others may launch meanwhile: what a launch reads may come over a slow network. Raises as `require` does; after
        an error in the block the runs do not count.
        """
        with self._launching:
            self.require(person, count, queued=queued, waiting=waiting() + self._reserved)
            taken = self.add(person, count)
            self._reserved += queued
        try:
            yield
        except BaseException:
            self.take_back(person, taken)
            raise
        finally:
            with self._launching:
                self._reserved -= queued

    def require(self, person: str, count: int, *, queued: int, waiting: int) -> None:
        """Raise `UserError` unless a person may launch `count` runs now.

        `queued` is how many would be queued with their parents, `waiting` how many are queued already.
        """
        limits = self.limits
        if limits.launch is not None:
            few(limits.launch, count)
        if limits.queue is not None and waiting + queued > limits.queue:
            raise UserError(
                expected=tr("at most {count} runs in the queue", count=limits.queue),
                got=f"{waiting + queued:,}",
                fix=tr("this app is busy: try again when some runs have ended"),
            )
        for most, seconds, expected in (
            (limits.hour, HOUR, tr("at most {count} runs an hour from one person", count=limits.hour)),
            (limits.day, DAY, tr("at most {count} runs a day from one person", count=limits.day)),
        ):
            if most is not None and self._since(person, seconds) + count > most:
                raise UserError(expected=expected, got=tr("more"), fix=tr("launch the others later"))
        self.require_room()

    def take_back(self, person: str, launched: Sequence[float]) -> None:
        """Count runs no longer that `add` has counted; `launched` is what it returned."""
        with self._lock:
            times = self._launched.get(person, deque())
            for one in launched:
                with suppress(ValueError):  # a day has passed
                    times.remove(one)

    def add(self, person: str, count: int) -> list[float]:
        """Count runs that a person has launched; their times."""
        with self._lock:
            now = self._clock()
            for name, times in list(self._launched.items()):
                while times and times[0] <= now - DAY:
                    times.popleft()
                if not times:
                    del self._launched[name]
            self._launched.setdefault(person, deque()).extend([now] * count)
            return [now] * count

    def require_room(self) -> None:
        """Raise `UserError` if the store is as large as it may be."""
        most = self.limits.megabytes
        if most is not None and (size := self.store_bytes() // 1_000_000) >= most:
            raise UserError(
                expected=tr("a store below {size} MB", size=f"{most:,}"),
                got=tr("{size} MB", size=f"{size:,}"),
                fix=tr("delete runs that are no longer needed"),
            )

    def store_bytes(self) -> int:
        """The size of the store's files, at most `SECONDS_BETWEEN_SIZES` old."""
        with self._lock:
            now = self._clock()
            if self._size is None or now - self._size[0] > SECONDS_BETWEEN_SIZES:
                self._size = now, _folder_bytes(self.root)
            return self._size[1]

    def _since(self, person: str, seconds: float) -> int:
        with self._lock:
            after = self._clock() - seconds
            return sum(time_ > after for time_ in self._launched.get(person, ()))


def few(most: int, count: int) -> None:
    """Raise `ArgumentError` for a launch of more runs than `most`."""
    if count > most:
        raise ArgumentError(
            expected=tr("at most {count} runs a launch", count=most),
            got=f"{count:,}",
            fix=tr("launch the others afterwards"),
        )


def too_many_predictions(most: int) -> UserError:
    """The error for a prediction while `most` others wait."""
    return UserError(
        expected=tr("at most {count} predictions waiting", count=most),
        got=tr("more"),
        fix=tr("this app is busy: try again in a minute"),
    )


def _folder_bytes(folder: Path) -> int:
    """The size of a folder's files in bytes. What is deleted meanwhile is left out."""
    size, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return size
