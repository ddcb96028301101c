"""Example sentences, each with a description of what it tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.markup import render
from trainer.runs.run import Run
from trainer.tasks import label_sets
from trainer.texts import mark
from trainer.ui.common.lab import Lab
from trainer.ui.live.link import MAX_CHARACTERS


@dataclass(frozen=True)
class Example:
    """`tests` ends the sentence "This tests ..."; for a test sentence it is empty, and `name` is its label.

    The text is data, not translated.
    """

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
        "The plot is thin, but the acting is a joy.",
        mark("what follows but weighs more"),
    ),
    Example(
        mark("Sarcasm"),
        "Wonderful: two more hours of my life that nobody will give back.",
        mark("blame in words of praise"),
    ),
    Example(
        mark("Mixed feeling"),
        "The jokes are old, the chases are loud, and I had a great time.",
        mark("for and against in one sentence"),
    ),
    Example(mark("Hidden praise"), "It lacks nothing.", mark("praise without a word of praise")),
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
FIRST = "Contrast"
"""The name of the opinion that a page opens with: methods may differ on it."""
QUESTION_LABELS = {"abbr", "enty", "desc", "hum", "loc", "num"}  # TREC's six coarse question types


OPINION_LABELS = {"positive", "negative", "neutral", "mixed", "good", "bad", "pos", "neg"}
OTHER_SUBJECTS = {"products", "tweets", "news"}
"""Tasks of opinions that are not on films: their examples are their own test sentences."""
OWN = 8
"""The most test sentences that are the examples of another task."""


def fitting(lab: Lab, runs: Sequence[Run]) -> dict[str, tuple[Example, ...]]:
    """The examples for the runs' label sets, by heading; for labels of other kinds sentences of the runs' test split.

    Opinions where there are no runs, and where the test split cannot be read.
    """
    names = [{name.lower() for name in run.label_names} for run in runs]
    questions = [len(QUESTION_LABELS & own) >= 3 and not run.multi_label for own, run in zip(names, runs, strict=True)]
    opinions = [
        own <= OPINION_LABELS and run.task_name not in OTHER_SUBJECTS and not run.multi_label
        for own, run in zip(names, runs, strict=True)
    ]
    groups: dict[str, tuple[Example, ...]] = {mark("Examples"): OPINIONS} if any(opinions) else {}
    if any(questions):
        groups[mark("Examples of questions")] = QUESTIONS
    others = [run for run, *known in zip(runs, questions, opinions, strict=True) if not any(known)]
    if others and (own := test_sentences(lab, others[0])):
        groups[mark("From the test sentences")] = own
    return groups or {mark("Examples"): OPINIONS}


def test_sentences(lab: Lab, run: Run) -> tuple[Example, ...]:
    """Sentences of a run's test split, of each label in turn; none where they cannot be read."""
    table = lab.store.predictions(run.id)
    if table is None:
        return ()
    rows = table[table["split"] == "test"]
    if not len(rows):
        return ()
    turn = rows.groupby("label").cumcount()
    rows = rows.assign(turn=turn).sort_values(["turn", "label"]).head(OWN)
    names = run.label_names
    return tuple(
        Example(label_sets.joined(names[index] for index in label_sets.indices(one)), str(text)[:MAX_CHARACTERS], "")
        for one, text in zip(rows["label"], rows["text"], strict=True)
    )


def first(lab: Lab, runs: Sequence[Run]) -> Example | None:
    """The example that a page opens with; None without runs."""
    examples = next(iter(fitting(lab, runs).values())) if runs else ()
    return next((one for one in examples if one.name == FIRST), examples[0]) if examples else None


def html(headings: Mapping[str, Sequence[Example]]) -> str:
    """The examples as buttons, in HTML; `tables.PICK` turns a press into the sentence."""
    return render("live/examples.html", headings=headings)
