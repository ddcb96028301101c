"""The geometry of a confidence interval's drawing as plain data, for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.analysis.paired import Paired

WIDTH, HEIGHT = 340, 96


@dataclass(frozen=True)
class Interval:
    """Horizontal positions in the drawing: of zero, the difference, the interval's ends.

    `ends` are (position, text-anchor, text), none if the interval is too short for text.
    """

    zero: float
    middle: float
    low: float
    high: float
    ends: Sequence[tuple[float, str, str]]
    width: int = WIDTH
    height: int = HEIGHT


def interval(result: Paired) -> Interval:
    """The difference on its interval, against 0, scaled so that the further end is near the edge."""
    reach = max(abs(result.low), abs(result.high), 0.01)

    def x(value: float) -> float:
        return WIDTH / 2 + value / reach * (WIDTH / 2 - 46)

    low, high = x(result.low), x(result.high)
    ends = ((low, "end", f"{100 * result.low:+.1f}"), (high, "start", f"{100 * result.high:+.1f}"))
    return Interval(x(0), x(result.difference), low, high, ends if abs(high - low) > 1 else ())
