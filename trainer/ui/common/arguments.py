"""Type checks for the arguments of the endpoints; every error is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.errors import ArgumentError, UserError, sentence
from trainer.texts import mark, tr
from trainer.ui.common.faults import Sentence
from trainer.ui.common.lab import Lab

CUT = 80
"""The most characters of a wrong value in its error."""
LONGEST, LONGEST_NAME, MOST_ENTRIES = 100_000, 4_000, 1_000
"""The most characters of a sentence and of a name, and the most entries of a list: far above what is of use."""


@contextmanager
def sentence_errors(lab: Lab) -> Iterator[None]:
    """A context that turns errors into `Sentence`: one sentence, without folders of this machine."""
    try:
        yield
    except (UserError, OSError, RuntimeError, MemoryError) as error:
        raise Sentence(lab.shown(sentence(error))) from None


def text(name: str, value: Any, *, most: int = LONGEST_NAME) -> str:
    """The value of a text argument of at most `most` characters.

    Raises `ArgumentError` for another type, a longer text, and for half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise _wrong(mark("text as {name}"), name, value)
    if len(value) > most:
        raise ArgumentError(
            expected=tr("at most {count} characters as {name}", count=f"{most:,}", name=name),
            got=f"{len(value):,}",
            fix=tr("shorten it"),
        )
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which tokenisers and files refuse
        raise _wrong(mark("whole characters in {name}"), name, value) from None
    return value


def texts(name: str, value: Any) -> list[str]:
    """The value of an argument that is a list of texts. Raises `ArgumentError`."""
    if not isinstance(value, list):
        raise _wrong(mark("a list of texts as {name}"), name, value)
    if len(value) > MOST_ENTRIES:
        raise ArgumentError(
            expected=tr("at most {count} entries in {name}", count=f"{MOST_ENTRIES:,}", name=name),
            got=f"{len(value):,}",
            fix=tr("shorten it"),
        )
    return [text(name, one) for one in value]


def settings(name: str, value: Any) -> dict[str, Any]:
    """The value of an argument that is an object, empty for None. Raises `ArgumentError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(mark("an object with settings as {name}"), name, value)
    return dict(value)


def _wrong(expected: str, name: str, value: Any) -> ArgumentError:
    shown = repr(value)
    shown = shown if len(shown) <= CUT else shown[: CUT - 1] + "…"
    return ArgumentError(expected=tr(expected, name=name), got=shown, fix=tr("look at the endpoint's description"))
