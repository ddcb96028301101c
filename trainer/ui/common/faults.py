"""Errors as visitors see them: one sentence of plain text, on pages and for programs."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import gradio as gr
from markupsafe import escape

from trainer.errors import ArgumentError, Cancelled, UserError, sentence
from trainer.texts import tr

MOST = 1_000
"""The most characters of an error's sentence; what came may be of any length."""
_ADDRESS = re.compile(r"\s*(?:at )?0x[0-9a-fA-F]{4,}")
"""A pattern for an object's place in memory, as Python shows it."""


class Sentence(gr.Error):
    """The error that handlers raise for a visitor: one sentence, which Gradio logs without a traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(plain(text), print_exception=False)


def plain(text: str, *, most: int = MOST) -> str:
    """A text on one line that every encoding can carry: no control characters, no half characters, cut at `most`."""
    text = text[: 4 * most].encode("utf-8", "replace").decode("utf-8")
    text = _ADDRESS.sub("", "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in text))
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def check_text(value: Any) -> None:
    """Raise `ArgumentError` for inputs with a null byte or half of a surrogate pair, anywhere in them.

    Files, tokenisers and JSON refuse these, each in its own way and some only in the answer.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if "\0" in one or _is_half(one):
                raise ArgumentError(
                    expected=tr("text of whole characters without null bytes"),
                    got=tr("something else"),
                    fix=tr("type it again"),
                )
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple)):
            waiting += one


def _is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def wrong_inputs(error: Exception, *, expected: int, got: int) -> Exception:
    """The error for inputs that do not fit a handler, in number or kind. Gradio's own lists its components."""
    if isinstance(error, (UserError, Sentence)):
        return error
    if got != expected:
        return ArgumentError(
            expected=tr("{count} inputs", count=expected), got=f"{got}", fix=tr("look at the endpoint's description")
        )
    return ArgumentError(
        expected=tr("inputs of the kind that this page sends"),
        got=tr("something else"),
        fix=tr("reload the page and try again"),
    )


def is_foreseen(error: BaseException) -> bool:
    """Whether an error is a sentence for its sender, and none that the program's authors should see."""
    return isinstance(error, (UserError, Cancelled, Sentence))


def shown(error: BaseException, *, whole: bool) -> str:
    """An error's sentence. `whole`: with an unforeseen one's message, which may name things of the machine."""
    if isinstance(error, gr.Error):
        return plain(str(error.message))
    if whole or is_foreseen(error) or isinstance(error, (OSError, MemoryError)):
        return plain(sentence(error))
    return tr("Something unexpected went wrong ({kind}); the log has the details.", kind=type(error).__name__)


def toast(text: str) -> str:
    """A sentence for a toast of the page, which Gradio draws as HTML."""
    return str(escape(text))
