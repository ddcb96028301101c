"""Addresses that open Live with a sentence and runs: `?tab=live&text=...&run=a&run=b&calibrated=1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

TAB = "live"
MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Link:
    """The sentence and the runs of an address; without runs, every finished one predicts.

    `calibrated`: whether the probabilities are scaled by temperature.
    """

    text: str
    runs: tuple[str, ...] = ()
    calibrated: bool = False


def build(text: str, runs: Sequence[str] | None, *, calibrated: bool = False) -> str:
    """The query of the address, with its question mark."""
    values = [("tab", TAB), ("text", text), *(("run", run) for run in runs or ())]
    return "?" + urlencode([*values, *[("calibrated", "1")][: int(calibrated)]])


def parse(query: str) -> Link | None:
    """The link in an address's query, with or without its question mark; None if it does not open Live.

    The text is cut to the text box's limit.
    """
    values = parse_qs(query.removeprefix("?"))
    if values.get("tab", [""])[0] != TAB:
        return None
    text, runs = values.get("text", [""])[0][:MAX_CHARACTERS], tuple(dict.fromkeys(values.get("run", ())))
    return Link(text, runs, values.get("calibrated") == ["1"])
