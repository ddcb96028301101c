"""Addresses that open Live with a sentence and runs: `?tab=live&text=...&run=a&run=b`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

TAB = "live"
MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Link:
    """The sentence and the runs of an address; without runs, every finished one predicts."""

    text: str
    runs: tuple[str, ...] = ()


def build(text: str, runs: Sequence[str] | None) -> str:
    """The query of the address, with its question mark."""
    return "?" + urlencode([("tab", TAB), ("text", text), *(("run", run) for run in runs or ())])


def parse(query: str) -> Link | None:
    """The link in an address's query, with or without its question mark; None if it does not open Live.

    The text is cut to the text box's limit.
    """
    values = parse_qs(query.removeprefix("?"))
    if values.get("tab", [""])[0] != TAB:
        return None
    return Link(values.get("text", [""])[0][:MAX_CHARACTERS], tuple(dict.fromkeys(values.get("run", ()))))
