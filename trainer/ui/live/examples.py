"""Example sentences, each with a description of what it tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.markup import render
from trainer.runs.store import Run
from trainer.texts import mark


@dataclass(frozen=True)
class Example:
    """`tests` ends the sentence "This tests ...". The text is data, not translated."""

    name: str
    text: str
    tests: str


OPINIONS = (
    Example(mark("Plain praise"), "A warm, funny and beautifully acted film.", mark("words that mean what they say")),
    Example(
        mark("Negation"),
        "It is not a bad film, and never a dull one.",
        mark("bad and dull, turned round by not and never"),
    ),
    Example(
        mark("Contrast"),
        "The cast is splendid, but the story falls apart after an hour.",
        mark("what follows but weighs more"),
    ),
    Example(
        mark("Sarcasm"),
        "Wonderful: two more hours of my life that nobody will give back.",
        mark("blame in words of praise"),
    ),
    Example(
        mark("Mixed feeling"),
        "I laughed, I yawned, and I would not see it twice.",
        mark("for and against in one sentence"),
    ),
    Example(mark("A question"), "Who would not want to see this again?", mark("praise without a statement")),
    Example(
        mark("Out of domain"),
        "The soup came cold and the waiter never smiled.",
        mark("a restaurant, not what was trained on"),
    ),
    Example(mark("Another language"), "Ein warmherziger, kluger und sehr komischer Film.", mark("praise in German")),
    Example(
        mark("Typos"),
        "A delightfull, hilarous and wonderfuly actd film.",
        mark("known words broken into unknown pieces"),
    ),
)
QUESTIONS = (
    Example(mark("A person"), "Who wrote the music for the film Jaws?", mark("the plain case: who")),
    Example(mark("A place"), "Where was the first film shown to a paying audience?", mark("the plain case: where")),
    Example(mark("A number"), "How many pictures a second does a film show?", mark("the plain case: how many")),
    Example(mark("A reason"), "Why does popcorn pop?", mark("a question that wants an explanation")),
    Example(mark("An abbreviation"), "What does IMAX stand for?", mark("what, though no thing is asked for")),
    Example(mark("Misleading what"), "What actor became governor of California?", mark("what that asks for a person")),
    Example(
        mark("No question mark"), "Tell me the height of Mount Everest.", mark("a question in the form of a request")
    ),
    Example(mark("Another language"), "Wo steht der höchste Baum der Welt?", mark("a place asked for in German")),
    Example(
        mark("Typos"), "Whcih contry made teh most films lst year?", mark("known words broken into unknown pieces")
    ),
)
QUESTION_LABELS = {"abbr", "enty", "desc", "hum", "loc", "num"}  # TREC's six coarse question types


def fitting(runs: Sequence[Run]) -> dict[str, tuple[Example, ...]]:
    """The examples for the runs' label sets, by heading."""
    questions = [len(QUESTION_LABELS & {name.lower() for name in run.label_names}) >= 3 for run in runs]
    opinions = {mark("Examples"): OPINIONS} if not all(questions) or not questions else {}
    return opinions | ({mark("Examples of questions"): QUESTIONS} if any(questions) else {})


def html(runs: Sequence[Run]) -> str:
    """The examples as buttons, in HTML; `tables.PICK` turns a press into the sentence."""
    return render("live/examples.html", headings=fitting(runs))
