"""Pairs of sentences as one text, "first || second", in files, predictions and what a person types."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "||"
"""The sign between the two sentences of a text, which no sentence of a pair may have."""


def join(first: str, second: str) -> str:
    """The pair as one text; of names of columns as of sentences."""
    return f"{first} {MARK} {second}"


def split(text: str) -> tuple[str, str] | None:
    """The two sentences of a text, each of which has something; None for a text of one sentence."""
    first, sign, second = text.partition(MARK)
    return (first.strip(), second.strip()) if sign and first.strip() and second.strip() else None


def starts(text: str) -> tuple[int, int]:
    """Index of the first character of each of the two sentences of a text that `split` takes."""
    first, _, second = text.partition(MARK)
    return len(first) - len(first.lstrip()), len(text) - len(second.lstrip())


def inputs(texts: Sequence[str], pairs: bool) -> list[str] | list[tuple[str, str]]:
    """Texts as a tokenizer takes them: pairs apart where they are pairs. A text of one sentence has an empty second."""
    return [split(text) or (text, "") for text in texts] if pairs else list(texts)
