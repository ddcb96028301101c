"""Events of a run in events.jsonl, each line checked. Imports no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import events
from trainer.runs.damage import Damaged, problem

MAX_LINE = 1 << 20
"""Most bytes of a line of events.jsonl; the longest have a few hundred."""
CANCELLED = b"\x18"
"""ASCII's CAN, which the program writes at the end of a line that a crash cut short: such a line is passed over. JSON
never has this byte."""


@dataclass(frozen=True)
class Lines:
    """Events of a file. `end` is the byte after its last whole line, `damage` the first thing that is wrong."""

    events: list[dict[str, Any]]
    end: int
    damage: Damaged | None


def read(path: Path, *, after: int = 0, whole: bool = False) -> Lines:
    """Events from byte `after` on; lines that are none are left out, and the first of them is `damage`.

    A last line without its line feed may still be written: it is left out too, and is damage only if `whole`.
    """
    parsed, damage = [], None
    with path.open("rb") as file:
        file.seek(after)
        end = after
        while (line := file.readline(MAX_LINE)).endswith(b"\n") or len(line) == MAX_LINE:
            try:
                if len(line) == MAX_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE)
                    raise ValueError(f"at most {MAX_LINE:,} bytes are expected")
                if not line.endswith(CANCELLED + b"\n"):
                    parsed.append(events.parse(line))
            except ValueError as error:
                damage = damage or Damaged("line", line=_number(path, end), problem=problem(error))
            end = file.tell()
    if line and whole and damage is None:
        damage = Damaged("cut")
    return Lines(parsed, end, damage)


def _number(path: Path, offset: int) -> int:
    """The number of the line that begins at a byte, from 1."""
    with path.open("rb") as file:
        return 1 + sum(file.read(min(MAX_LINE, offset - start)).count(b"\n") for start in range(0, offset, MAX_LINE))
