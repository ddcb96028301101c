"""Addresses that open Live with a sentence and runs: `?tab=live&text=...&run=a&run=b&task=...&calibrated=1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

TAB = "live"
MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Link:
    """The sentence and the runs of an address; without runs, those of the task predict.

    `calibrated`: whether the probabilities are scaled by temperature. `task` is the key of a task (`groups.Group.key`).
    """

    text: str
    runs: tuple[str, ...] = ()
    calibrated: bool = False
    task: str = ""


def build(text: str, runs: Sequence[str] | None, *, calibrated: bool = False, task: str | None = "") -> str:
    """The query of the address, with its question mark."""
    values = [("tab", TAB), ("text", text), *(("run", run) for run in runs or ())]
    values += [("task", task)] if task else []
    return "?" + urlencode([*values, *[("calibrated", "1")][: int(calibrated)]])


def opens_live(query: str) -> bool:
    """Whether a page with this query opens on Live, as one does that names nothing of another tab (address.js)."""
    values = parse_qs(query.removeprefix("?"))
    if "tab" in values:
        return values["tab"][0] == TAB
    return "text" in values or not values.keys() & {"run", "view", "step", "present"}


def parse(query: str) -> Link | None:
    """The link in an address's query, with or without its question mark; None if it does not open Live with anything.

    The page opens on Live where the address names no tab. The text is cut to the text box's limit.
    """
    values = parse_qs(query.removeprefix("?"))
    if not opens_live(query) or not values.keys() & {"text", "run", "task", "calibrated"}:
        return None
    text, runs = values.get("text", [""])[0][:MAX_CHARACTERS], tuple(dict.fromkeys(values.get("run", ())))
    return Link(text, runs, values.get("calibrated") == ["1"], values.get("task", [""])[0])
