"""Opens models in threads of their own, so that a slow one delays nobody else's predictions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from typing import Any, Generic, TypeVar

from trainer.errors import UserError
from trainer.texts import tr

T = TypeVar("T")
SECONDS = 120.0
"""How long a caller waits for a model. Downloads of a backbone go on after that."""


class Openings(Generic[T]):
    """Models that are being opened, by a key: who asks for the same one waits for the same thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._futures: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()

    def wait(self, key: Hashable, name: str, make: Callable[[], T], *, seconds: float | None = None) -> T:
        """The result of `make`, or its error. Raises `StillOpening` after `seconds`; the thread then goes on."""
        with self._lock:
            future = self._futures.get(key)
            if future is None:
                future = self._futures[key] = Future()
                thread = threading.Thread(target=self._run, args=(key, future, make), name=f"open-{name}", daemon=True)
                thread.start()
        try:
            return future.result(self.seconds if seconds is None else seconds)
        except TooLong:
            if future.done():  # the error is the model's own
                raise
            raise too_long(name, self.seconds) from None

    def _run(self, key: Hashable, future: Future[Any], make: Callable[[], T]) -> None:
        result, error = None, None
        try:
            result = make()
        except BaseException as raised:  # a library in Rust raises more than Exception
            error = raised if isinstance(raised, Exception) else RuntimeError(str(raised))
        with self._lock:
            self._futures.pop(key, None)
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class StillOpening(UserError):
    """A model that is not open in time."""


def too_long(name: str, seconds: float) -> StillOpening:
    """The error for a model that is not open in time."""
    return StillOpening(
        expected=tr("{run} to open within {seconds} seconds", run=name, seconds=f"{seconds:g}"),
        got=tr("one that is still being opened"),
        fix=tr("try again in a minute"),
    )
