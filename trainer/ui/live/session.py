"""The state of Live on one page, between events."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4


@dataclass
class Turns:
    """The newest prediction and the newest explanation of a page: one mutable object for all of its handlers.

    Older handlers may still run: each compares its turn with these before it draws, and only the newest draws.
    """

    prediction: str = ""
    explanation: str = ""

    def predict(self) -> str:
        """A new turn for predictions, which also stops explanations of earlier ones."""
        self.prediction = turn = uuid4().hex
        return turn

    def explain(self) -> str:
        """A new turn for explanations."""
        self.explanation = turn = uuid4().hex
        return turn


@dataclass(frozen=True)
class Session:
    """The state of a page, in a `gr.State`.

    `text`, `runs` and `turn` are those of the predictions on the page; `notice` and `linked` come from the page's
    address (`linked`: it has a sentence to predict). `tally` counts guesses by run id, as (agreed, guessed);
    `counted` are the normalised sentences that were guessed.
    """

    text: str = ""
    runs: tuple[str, ...] = ()
    turn: str = ""
    turns: Turns = field(default_factory=Turns, compare=False)
    notice: str = ""
    linked: bool = False
    tally: dict[str, tuple[int, int]] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()
