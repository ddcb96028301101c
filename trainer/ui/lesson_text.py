"""Every word of the lesson, by key: whole sentences with named places, so that a translator meets no fragment.

Keys of a step begin with its name. `say` is the only reader.
"""

from __future__ import annotations

from typing import Any

STEPS = ("frozen", "cost", "train", "curves", "split", "real", "choose")
MINUTES = {"frozen": 8, "cost": 7, "train": 7, "curves": 8, "split": 9, "real": 7, "choose": 4}
"""Fifty in all."""

TEXTS: dict[str, str] = {
    # The frame
    "lesson.title": "A lesson of {minutes} minutes",
    "lesson.intro": (
        "For a class with one screen: seven steps, each with something to do and a question whose answer stays hidden "
        "until you ask for it. Every step works with the runs that are in the store; nothing has to be trained first."
    ),
    "lesson.steps": "Steps of the lesson",
    "lesson.entry": "{number}. {title}, {minutes} min",
    "lesson.heading": "{number}. {title}",
    "lesson.when": "Minutes {start} to {end}",
    "lesson.goal": "Goal",
    "lesson.do": "Do",
    "lesson.question": "Question for the room",
    "lesson.show": "Show the answer",
    "lesson.back": "Back",
    "lesson.next": "Next step",
    "lesson.again": "Back to the first step",
    "lesson.missing": (
        "No finished run of {method} is in the store. In the Train tab choose the preset Quick, the method {method}, "
        "and press Train: it takes about a minute on two cores."
    ),
    "lesson.missing_two": (
        "This step needs two finished runs on the same sentences. In the Train tab choose the preset Quick and press "
        "Train: all five methods take a few minutes on two cores."
    ),
    "lesson.no_predictions": (
        "These runs kept no predictions of their test sentences, which this step compares. Train two runs in the Train "
        "tab with the preset Quick."
    ),
    # 1
    "frozen.title": "What is frozen and what trains",
    "frozen.goal": "Know which weights a method trains, where they sit, and how few they are.",
    "frozen.do": (
        "Choose a method and look for the boxes with a thick border. Then change the rank, the maps it stands beside "
        "or the backbone, and read the count. A sentence passes through the drawing from top to bottom."
    ),
    "frozen.question": "The rank of LoRA goes from {low} to {high}. Do the trained parameters double?",
    "frozen.answer": (
        "Almost: from {before} to {after}. Each map of n inputs and m outputs gets two matrices with r × (n + m) "
        "parameters, which double with the rank r. The classification head of {head} trains too and stays as it is."
    ),
    "frozen.method": "Method",
    "frozen.backbone": "Backbone",
    "frozen.drawing": "Drawing",
    "frozen.summary": "{method} on {backbone} trains {trained} of {total} parameters, which is {share} of them.",
    "frozen.alternative": "{summary} The table after this drawing has the same numbers.",
    "frozen.legend": (
        "A thick solid border means that the part trains, a thin dashed one that it is frozen, a dotted ground that "
        "its weights are held in 4 bits. Counts are parameters."
    ),
    "frozen.layer": "One of {layers} equal layers",
    "frozen.layer_count": "{count} parameters in each",
    "frozen.attention": "Attention",
    "frozen.feed_forward": "Feed-forward",
    "frozen.sentence": "a sentence, as tokens",
    "frozen.label": "a label",
    "frozen.copies": "{copies} × {count}",
    "frozen.trains": "trains",
    "frozen.frozen": "frozen",
    "frozen.frozen_bits": "frozen, {bits}-bit",
    "frozen.table": "Parameters of each part",
    "frozen.column.part": "Part",
    "frozen.column.one": "In one place",
    "frozen.column.places": "Places",
    "frozen.column.all": "In all",
    "frozen.column.state": "State",
    "frozen.row.trained": "All that trains",
    "frozen.row.total": "The whole model",
    "frozen.beside": "{part} at {place}",
    "frozen.source": "Method: {paper}. The encoder: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.",
    "part.embeddings": "Embeddings",
    "part.query": "query",
    "part.key": "key",
    "part.value": "value",
    "part.attention_output": "attention output",
    "part.attention_output_norm": "layer norm",
    "part.intermediate": "up-projection",
    "part.output": "down-projection",
    "part.output_norm": "layer norm",
    "part.pooler": "Pooler",
    "part.head": "Classification head",
    "part.lora": "LoRA A, B",
    "part.bottleneck": "adapter bottleneck",
    "part.fusion": "fusion",
    # 2
    "cost.title": "Guess the cost, then reveal it",
    "cost.goal": "See which costs fall with the number of trained parameters, and which do not.",
    "cost.do": (
        "Let the room vote by raised hands: what does LoRA need, as a share of what full fine-tuning needs? Enter what "
        "most of the room says, then press Reveal."
    ),
    "cost.question": (
        "After the reveal: LoRA trains very few parameters. Why does it not save time and memory in the same measure?"
    ),
    "cost.answer": (
        "A training step multiplies three times by every weight: forward, backward for the error, and for the gradient "
        "of the weight itself (Kaplan et al. 2020, section 2.1). Frozen weights save only the third, so about two "
        "thirds of the time remain. Gradients and the optimiser's state of the frozen weights are saved too, but most "
        "of the memory here is activations of the batch, and these stay. The file falls with the trained parameters, "
        "for only these are saved."
    ),
    "cost.guess.trainable": "Trained parameters of LoRA",
    "cost.guess.peak_memory": "Peak memory of LoRA",
    "cost.guess.train_minutes": "Training time of LoRA",
    "cost.guess.file_size": "Saved file of LoRA",
    "cost.help": "As a share of what full fine-tuning needs.",
    "cost.share.under1": "under 1%",
    "cost.share.under10": "1 to 10%",
    "cost.share.under50": "10 to 50%",
    "cost.share.under90": "50 to 90%",
    "cost.share.same": "90 to 110%",
    "cost.share.more": "over 110%",
    "cost.reveal": "Reveal",
    "cost.result": "LoRA needs {share} of what full fine-tuning needs.",
    "cost.right": "✓ The room said {guess}: right.",
    "cost.wrong": "✗ The room said {guess}.",
    "cost.none": "The room made no guess.",
    "cost.measured": "Measured in the run {run}: {sentences} sentences, {epochs} epochs, on {device}.",
    "cost.estimated": (
        "≈ marks an estimate: no finished run of {method} is in the store. Parameters are exact; time and memory come "
        "from {basis}, the file from 4 bytes a trained parameter."
    ),
    "cost.table": "Guesses and costs",
    "cost.column.cost": "Cost",
    "cost.column.share": "LoRA, share of full fine-tuning",
    "cost.column.guess": "The room's guess",
    # 3
    "train.title": "Train LoRA live",
    "train.goal": "Watch a model learn, and know what loss, epoch and time left say.",
    "train.do": (
        "Let the class name a whole number: it becomes the seed, so that this run is the class's own. Press Train; on "
        "two cores it takes about a minute. Talk about the question while you watch the loss."
    ),
    "train.question": "The first losses are near 0.69. Why there, and why does the line then jump up and down?",
    "train.answer": (
        "An untrained head gives both labels about the same probability, and the loss of a coin flip between two "
        "labels is ln 2 = 0.69. The line jumps because each step sees {batch} other sentences, some of them harder. "
        "The validation loss is steadier: it is always over the same {validation} sentences."
    ),
    "train.seed": "The class's number",
    "train.seed_help": "A whole number from 0 on. It seeds the new weights, the order of the sentences and dropout.",
    "train.go": "Train LoRA",
    "train.cancel": "Cancel",
    "train.recipe": (
        "What will train: LoRA on {backbone} with {sentences} sentences of the task {task}, {epochs} epochs. On two "
        "cores that took half a minute to 70 seconds, and two seeds had 80% and 81% of the test sentences right."
    ),
    "train.estimate": "About {time} of training on this machine, estimated from {basis}.",
    "train.none": "Nothing trains yet.",
    "train.queued": "The run waits: {text}.",
    "train.running": "The run trains: {text}.",
    "train.finished": "The run has finished: {text}.",
    "train.ended": "The run has ended: {text}",
    "train.compared": "The run of the store with seed {seed} has {accuracy}% right on the same test sentences.",
    "train.instead": (
        "If you cannot train now, look at the chart: it is of {run}, which was trained earlier."
    ),
    "train.chart": "Training loss by step",
    # 4
    "curves.title": "Read the curves",
    "curves.goal": "Tell a run that could learn more from one that begins to learn its sentences by heart.",
    "curves.do": (
        "Choose a run. Before you open its reading, let the room say: do both losses still fall, does only the "
        "training loss fall, or does nothing move?"
    ),
    "curves.question": "Which of these runs would another epoch help, and which would it not?",
    "curves.answer": (
        "Another epoch helps while the validation loss falls. Where it has stopped falling, the best epoch is already "
        "behind: this app keeps the epoch with the best validation accuracy. The readings:"
    ),
    "curves.run": "Run",
    "curves.run_help": "The last ones were published elsewhere: another backbone, other sentences, 15 epochs.",
    "curves.reading": "Show how this run reads",
    "curves.reads.falls": (
        "{run}: under-fitted. Both losses were still falling at the end, the validation loss to {last} in epoch "
        "{epochs}: another epoch would help."
    ),
    "curves.reads.gap": (
        "{run}: over-fitting begins. The training loss went on down to {training}, the validation loss hardly fell any "
        "more and stands at {last} in epoch {epochs}."
    ),
    "curves.reads.rises": (
        "{run}: over-fitted. The validation loss was lowest in epoch {best} with {lowest} and ended at {last}, while "
        "the training loss fell to {training}."
    ),
    "curves.reads.flat": (
        "{run}: levelled off. The validation loss hardly moves at the end and stands at {last} in epoch {epochs}, near "
        "the training loss of {training}."
    ),
    "curves.reads.still": (
        "{run}: nothing was learnt. The validation loss stayed at {last} through all {epochs} epochs, as if nothing "
        "but the head, or nothing at all, had trained."
    ),
    "curves.reads.short": "{run}: too short to tell, for it has fewer than two epochs.",
    "curves.rule": (
        "The readings follow rules of thumb on the last two epochs, not a statistical test. Over-fitting: Goodfellow "
        "et al. 2016, Deep Learning, section 5.2; keeping the best epoch: Prechelt 1998, Early Stopping."
    ),
    "curves.training": "training",
    "curves.validation": "validation",
    "curves.chart": "Loss: {run}",
    "curves.epoch": "Epoch",
    # 5
    "split.title": "Find a sentence that splits the methods",
    "split.goal": "See where methods that score nearly alike still differ.",
    "split.do": (
        "In pairs, write a sentence about a film on which you expect the runs to disagree. Read it out, let the room "
        "guess, then ask. The page counts who found one."
    ),
    "split.question": "What do the sentences that split the runs have in common?",
    "split.answer": (
        "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips "
        "it. Negation, contrast, irony, mixed feelings and rare words bring a sentence there. On the {sentences} test "
        "sentences all {runs} runs are right on {agreed} and split on {disputed}; on {near} of these some run is less "
        "than {bound} sure, on {near_share} of all sentences."
    ),
    "split.answer_alone": (
        "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips "
        "it. Negation, contrast, irony, mixed feelings and rare words bring a sentence there."
    ),
    "split.text": "A sentence about a film",
    "split.placeholder": "Type a sentence and press Enter",
    "split.who": "Whose sentence",
    "split.who_help": "A name, a pair or a row; may stay empty. It stays in this browser.",
    "split.ask": "Ask every run",
    "split.live": "Look closer in Live",
    "split.score": "Sentences that split the runs: {found} of {tried}.",
    "split.empty": "Expected a sentence, got nothing; type one or choose a hint.",
    "split.nobody": "No sentence asked yet.",
    "split.table": "Sentences of the room",
    "split.column.text": "Sentence",
    "split.column.who": "Whose",
    "split.column.splits": "Splits the runs",
    "split.column.said": "What the runs say",
    "split.yes": "yes",
    "split.no": "no",
    "split.said": "{label}: {runs}",
    "split.hint": "Show test sentences that split the runs",
    "split.hint_help": "Press one to ask it. Each is a real test sentence on which these runs disagree.",
    "split.reset": "Clear the room's sentences",
    "split.not_asked": "Without its weights a run cannot be asked: {runs}. Its figures stand in the other steps.",
    # 6
    "real.title": "Is the difference real?",
    "real.goal": "Tell a difference between two runs from the luck of the test sentences.",
    "real.do": (
        "Look at the two accuracies and let the room vote: is the difference real? Then read the interval. Take fewer "
        "test sentences and watch it widen. Then choose two runs that are closer."
    ),
    "real.question": "Would you bet that the first run is better on new sentences? What would make you surer?",
    "real.answer": (
        "{verdict} Four times as many test sentences would halve the interval. It speaks of other sentences only: "
        "whether training again with another seed keeps the order takes several seeds a method (Reimers and Gurevych "
        "2017, https://arxiv.org/abs/1707.09861)."
    ),
    "real.first": "First run",
    "real.second": "Second run",
    "real.sentences": "Test sentences",
    "real.sentences_help": "The first so many of the common test set.",
    "real.all": "all {count}",
    "real.accuracies": (
        "Right on the same {sentences} test sentences: {first} {first_accuracy}, {second} {second_accuracy}."
    ),
    "real.interval": (
        "The difference is {difference} points. Test sets drawn again from these sentences give between {low} and "
        "{high} points in 95 of 100 draws: that is its 95% interval."
    ),
    "real.counts": (
        "Both are right on {both}, both wrong on {neither}. Only the {only} sentences on which one is right and the "
        "other wrong tell them apart. Right on these: {first} {only_first}, {second} {only_second}."
    ),
    "real.chance": (
        "Were both equally good, those {only} sentences would fall like coin flips, and a split at least as lopsided "
        "would come up in {p} of tests."
    ),
    "real.verdict.real": (
        "Yes, on sentences of this kind: the interval leaves out 0, and chance gives such a split in only {p} of "
        "tests."
    ),
    "real.verdict.open": (
        "Not on this evidence: the interval holds 0, and chance alone gives such a split in {p} of tests. That is no "
        "proof that the two are equal, only that {sentences} sentences do not tell them apart."
    ),
    "real.verdict.border": (
        "It is a close call: the interval and the coin flips, which gives such a split in {p} of tests, do not agree "
        "on the usual bound of 5%. Do not build on it."
    ),
    "real.source": (
        "Interval: paired bootstrap, percentiles (Efron 1979; Koehn 2004). Coin flips: McNemar 1947, exact form, as "
        "Dietterich 1998 recommends for two classifiers and one test set."
    ),
    "real.same": "Choose two different runs.",
    "real.table": "Who is right on which sentences",
    "real.column.first": "Counts of sentences",
    "real.column.right": "{run} right",
    "real.column.wrong": "{run} wrong",
    "real.chart": "Difference in test accuracy, in points",
    "real.zero": "0: no difference",
    # 7
    "choose.title": "What to choose when",
    "choose.goal": "Leave with a rule for each method, and with its price here.",
    "choose.do": "Read the table from the first column. Which row is your own next project?",
    "choose.question": (
        "An app must serve {tasks} tasks over one shared encoder, each with a few hundred labelled sentences. What do "
        "you train, and what does it weigh?"
    ),
    "choose.answer": (
        "A small module a task over one frozen encoder: LoRA or an adapter. Here {tasks} tasks with LoRA take "
        "{light_size} beside the encoder of {encoder_size}; {tasks} fully fine-tuned models take {reference_size}. "
        "Where related tasks have adapters already, AdapterFusion is worth a try."
    ),
    "choose.when.full": (
        "There is one task, enough labelled sentences and memory, and the last point of accuracy counts."
    ),
    "choose.when.lora": "Many tasks share one backbone, or what is saved and sent must be small.",
    "choose.when.qlora": (
        "The frozen weights themselves do not fit into the memory. On an encoder as small as MiniLM it saves nothing."
    ),
    "choose.when.adapter": "Modules are to be added, exchanged and combined later; bottlenecks can be fused.",
    "choose.when.adapter_fusion": (
        "There are few sentences for this task, and adapters of related tasks exist already."
    ),
    "choose.column.method": "Choose",
    "choose.column.when": "When",
    "choose.column.paper": "The rule's paper",
    "choose.table": "What to choose when",
    "choose.figures": (
        "Figures are of the runs in this store: {backbone}, {sentences} training sentences, on {device}. Another "
        "backbone, task or device gives others."
    ),
    "choose.no_figures": "A dash means that no run of that method is in the store.",
    "choose.end": "Before you leave, answer on paper: which figure of today surprised you, and why?",
}  # fmt: skip


def say(key: str, **named: Any) -> str:
    """The text of a key with its places filled. Raises `KeyError` for a key or a place that is not there."""
    return TEXTS[key].format(**named)
