"""Pairs of sentences as one text, "first ‖ second", in files, predictions and what a person types."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "‖"
"""The sign between the two sentences of a stored text: U+2016, which no sentence of a pair may have."""
TYPED = (MARK, "||")
"""Signs that a person may type between them; the first that occurs in this order counts."""


def join(first: str, second: str) -> str:
    """The pair as one text; of names of columns as of sentences."""
    return f"{first} {MARK} {second}"


def split(text: str) -> tuple[str, str] | None:
    """The two sentences of a text, each of which has something; None for a text of one sentence."""
    sign = next((sign for sign in TYPED if sign in text), None)
    if sign is None:
        return None
    first, _, second = text.partition(sign)
    return (first.strip(), second.strip()) if first.strip() and second.strip() else None


def inputs(texts: Sequence[str], pairs: bool) -> list[str] | list[tuple[str, str]]:
    """Texts as a tokenizer takes them: pairs apart where they are pairs. A text of one sentence has an empty second."""
    return [split(text) or (text, "") for text in texts] if pairs else list(texts)
