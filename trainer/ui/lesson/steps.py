"""The steps of the lesson in order, with their texts: fifty minutes in all."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.texts import mark


@dataclass(frozen=True)
class About:
    """A step's title, minutes, goal and task; the texts are marked."""

    title: str
    minutes: int
    goal: str
    task: str


STEPS = {
    "frozen": About(
        title=mark("What is frozen and what trains"),
        minutes=8,
        goal=mark("Know which weights a method trains, where they sit, and how few they are."),
        task=mark(
            "Choose a method and look for the boxes with a thick border. Then change the rank, the linear layers it "
            "is added to or the backbone, and read the count. A sentence passes through the drawing from top "
            "to bottom."
        ),
    ),
    "cost": About(
        title=mark("Guess the cost, then reveal it"),
        minutes=7,
        goal=mark("See which costs fall with the number of trained parameters, and which do not."),
        task=mark(
            "Let the room vote by raised hands: what does LoRA need, as a share of what full fine-tuning needs? "
            "Enter what most of the room says, then press Reveal."
        ),
    ),
    "train": About(
        title=mark("Train LoRA live"),
        minutes=7,
        goal=mark("Watch a model learn, and know what loss, epoch and time left say."),
        task=mark(
            "Let the class name a whole number: it becomes the seed, so that this run is the class's own. Press "
            "Train LoRA; on two cores it takes about a minute. Talk about the question while you watch the loss."
        ),
    ),
    "curves": About(
        title=mark("Read the curves"),
        minutes=8,
        goal=mark("Tell a run that could learn more from one that begins to learn its sentences by heart."),
        task=mark(
            "Choose a run. Before you open its reading, let the room say: do both losses still fall, does only "
            "the training loss fall, or does nothing move?"
        ),
    ),
    "split": About(
        title=mark("Find a sentence that splits the methods"),
        minutes=9,
        goal=mark("See where methods that score nearly alike still differ."),
        task=mark(
            "In pairs, write a sentence about a film on which you expect the runs to disagree. Read it out, let "
            "the room guess, then press Predict with all runs. The page counts the sentences that split them."
        ),
    ),
    "real": About(
        title=mark("Is the difference real?"),
        minutes=7,
        goal=mark("Tell a difference between two runs from the luck of the test sentences."),
        task=mark(
            "Look at the two accuracies and let the room vote: is the difference real? Then read the interval. "
            "Take fewer test sentences and watch it widen. Then look for a pair and a number that look real, and "
            "take all sentences."
        ),
    ),
    "choose": About(
        title=mark("What to choose when"),
        minutes=4,
        goal=mark("Leave with a rule for each method, and with its price here."),
        task=mark("Read the table from the first column. Which row is your own next project?"),
    ),
}
