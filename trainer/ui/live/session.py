"""The state of Live on one page, between events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from trainer.ui.live.board import Board


@dataclass
class Turns:
    """The newest prediction of a page: one mutable object for all of its handlers.

    Older handlers may still run: each compares its turn with this before it draws, and only the newest draws.
    """

    prediction: str = ""

    def predict(self) -> str:
        """A new turn for predictions, which also stops explanations of earlier ones."""
        self.prediction = turn = uuid4().hex
        return turn


@dataclass(frozen=True)
class Session:
    """The state of a page, in a `gr.State`.

    `text`, `runs`, `turn` and `board` are those of the predictions on the page; `notice` and `waiting` come from its
    opening (`waiting`: the sentence of the address, or an example, that is to be predicted once it stands in the box;
    `fresh`: none has been yet). `tally` counts guesses by run id, as (agreed, guessed); `counted` are the normalised
    sentences that were guessed.
    """

    text: str = ""
    runs: tuple[str, ...] = ()
    turn: str = ""
    turns: Turns = field(default_factory=Turns, compare=False)
    board: Board | None = field(default=None, compare=False)
    notice: str = ""
    waiting: str = ""
    fresh: bool = True
    tally: dict[str, tuple[int, int]] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()
