"""Sentences that teach: each tests one thing, and says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.store import Run
from trainer.ui.lab import escape


@dataclass(frozen=True)
class Example:
    """`tests` ends the sentence "This tests ..."."""

    name: str
    text: str
    tests: str


OPINIONS = (
    Example("Plain praise", "A warm, funny and beautifully acted film.", "words that mean what they say"),
    Example("Negation", "It is not a bad film, and never a dull one.", "bad and dull, turned round by not and never"),
    Example(
        "Contrast", "The cast is splendid, but the story falls apart after an hour.", "what follows but weighs more"
    ),
    Example("Sarcasm", "Wonderful: two more hours of my life that nobody will give back.", "blame in words of praise"),
    Example("Mixed feeling", "I laughed, I yawned, and I would not see it twice.", "for and against in one sentence"),
    Example("A question", "Who would not want to see this again?", "praise without a statement"),
    Example(
        "Out of domain", "The soup came cold and the waiter never smiled.", "a restaurant, not what was trained on"
    ),
    Example("Another language", "Ein warmherziger, kluger und sehr komischer Film.", "praise in German"),
    Example("Typos", "A delightfull, hilarous and wonderfuly actd film.", "known words broken into unknown pieces"),
)
QUESTIONS = (
    Example("A person", "Who wrote the music for the film Jaws?", "the plain case: who"),
    Example("A place", "Where was the first film shown to a paying audience?", "the plain case: where"),
    Example("A number", "How many pictures a second does a film show?", "the plain case: how many"),
    Example("A reason", "Why does popcorn pop?", "a question that wants an explanation"),
    Example("An abbreviation", "What does IMAX stand for?", "what, though no thing is asked for"),
    Example("Misleading what", "What actor became governor of California?", "what that asks for a person"),
    Example("No question mark", "Tell me the height of Mount Everest.", "a question in the form of a request"),
    Example("Another language", "Wo steht der höchste Baum der Welt?", "a place asked for in German"),
    Example("Typos", "Whcih contry made teh most films lst year?", "known words broken into unknown pieces"),
)
QUESTION_LABELS = {"abbr", "enty", "desc", "hum", "loc", "num"}  # TREC's six coarse question types


def fitting(runs: Sequence[Run]) -> dict[str, tuple[Example, ...]]:
    """The examples that suit the runs' label sets, by heading."""
    asks = [len(QUESTION_LABELS & {name.lower() for name in run.label_names}) >= 3 for run in runs]
    found = {"Examples": OPINIONS} if not all(asks) or not asks else {}
    return found | ({"Examples of questions": QUESTIONS} if any(asks) else {})


def html(runs: Sequence[Run]) -> str:
    """Buttons, each with what it tests; tables.PICK turns a press into the sentence."""
    return "".join(
        f'<h2 class="lab-heading">{escape(heading)}</h2><ul class="lab-examples">'
        + "".join(f"<li>{_button(example)}</li>" for example in examples)
        + "</ul>"
        for heading, examples in fitting(runs).items()
    )


def _button(example: Example) -> str:
    return (
        f'<button type="button" class="lab-pick" data-pick="{escape(example.text)}" title="{escape(example.text)}">'
        f"<strong>{escape(example.name)}</strong> <span>{escape(example.tests)}</span></button>"
    )
