"""Every word of the lesson, by key: whole sentences with named places, so that a translator meets no fragment.

Keys of a step begin with its name. `say` reads them in the process's language.
"""

from __future__ import annotations

from typing import Any

from trainer.texts import mark, tr

STEPS = ("frozen", "cost", "train", "curves", "split", "real", "choose")
MINUTES = {"frozen": 8, "cost": 7, "train": 7, "curves": 8, "split": 9, "real": 7, "choose": 4}
"""Fifty in all."""

TEXTS: dict[str, str] = {
    # The frame
    "lesson.title": mark("A lesson of {minutes} minutes."),
    "lesson.intro": mark(
        "For a class with one screen: seven steps, each with something to do and a question whose answer stays hidden "
        "until you ask for it. Every step works with the runs that are in the store; nothing has to be trained first."
    ),
    "lesson.steps": mark("Steps of the lesson"),
    "lesson.entry": mark("{number}. {title}, {minutes} min"),
    "lesson.heading": mark("{number}. {title}"),
    "lesson.when": mark("Minutes {start} to {end}"),
    "lesson.goal": mark("Goal"),
    "lesson.do": mark("Do"),
    "lesson.question": mark("Question for the room"),
    "lesson.show": mark("Show the answer"),
    "lesson.back": mark("Back"),
    "lesson.next": mark("Next step"),
    "lesson.again": mark("Back to the first step"),
    "lesson.missing": mark(
        "No finished run of {method} is in the store. In the Train tab choose the preset Quick, the method {method}, "
        "and press Train: it takes about a minute on two cores."
    ),
    "lesson.missing_two": mark(
        "This step needs two finished runs on the same sentences. In the Train tab choose the preset Quick and press "
        "Train: all five methods take a few minutes on two cores."
    ),
    "lesson.no_predictions": mark(
        "These runs kept no predictions of their test sentences, which this step compares. Train two runs in the Train "
        "tab with the preset Quick."
    ),
    # 1
    "frozen.title": mark("What is frozen and what trains"),
    "frozen.goal": mark("Know which weights a method trains, where they sit, and how few they are."),
    "frozen.do": mark(
        "Choose a method and look for the boxes with a thick border. Then change the rank, the maps it stands beside "
        "or the backbone, and read the count. A sentence passes through the drawing from top to bottom."
    ),
    "frozen.question": mark("The rank of LoRA goes from {low} to {high}. Do the trained parameters double?"),
    "frozen.answer": mark(
        "Almost: from {before} to {after}. Each map of n inputs and m outputs gets two matrices with r × (n + m) "
        "parameters, which double with the rank r. The classification head of {head} trains too and stays as it is."
    ),
    "frozen.method": mark("Method"),
    "frozen.method_help": mark("What of the model is trained."),
    "frozen.backbone": mark("Backbone"),
    "frozen.backbone_help": mark("The pretrained encoder. Its sizes are known without a download."),
    "frozen.drawing": mark("Drawing"),
    "frozen.summary": mark("{method} on {backbone} trains {trained} of {total} parameters, which is {share} of them."),
    "frozen.alternative": mark("{summary} The table after this drawing has the same numbers."),
    "frozen.legend": mark(
        "A thick solid border means that the part trains, a thin dashed one that it is frozen, a dotted ground that "
        "its weights are held in 4 bits. Counts are parameters."
    ),
    "frozen.layer": mark("One of {layers} equal layers"),
    "frozen.layer_count": mark("{count} parameters in each"),
    "frozen.attention": mark("Attention"),
    "frozen.feed_forward": mark("Feed-forward"),
    "frozen.sentence": mark("a sentence, as tokens"),
    "frozen.label": mark("a label"),
    "frozen.copies": mark("{copies} × {count}"),
    "frozen.trains": mark("trains"),
    "frozen.frozen": mark("frozen"),
    "frozen.frozen_bits": mark("frozen, {bits}-bit"),
    "frozen.table": mark("Parameters of each part"),
    "frozen.column.part": mark("Part"),
    "frozen.column.one": mark("In one place"),
    "frozen.column.places": mark("Places"),
    "frozen.column.all": mark("In all"),
    "frozen.column.state": mark("State"),
    "frozen.row.trained": mark("All that trains"),
    "frozen.row.total": mark("The whole model"),
    "frozen.beside": mark("{part} at {place}"),
    "frozen.source": mark("Method: {paper}. The encoder: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762."),
    "part.embeddings": mark("Embeddings"),
    "part.query": mark("query"),
    "part.key": mark("key"),
    "part.value": mark("value"),
    "part.attention_output": mark("attention output"),
    "part.attention_output_norm": mark("layer norm"),
    "part.intermediate": mark("up-projection"),
    "part.output": mark("down-projection"),
    "part.output_norm": mark("layer norm"),
    "part.pooler": mark("Pooler"),
    "part.head": mark("Classification head"),
    "part.lora": mark("LoRA A, B"),
    "part.bottleneck": mark("adapter bottleneck"),
    "part.fusion": mark("fusion"),
    # 2
    "cost.title": mark("Guess the cost, then reveal it"),
    "cost.goal": mark("See which costs fall with the number of trained parameters, and which do not."),
    "cost.do": mark(
        "Let the room vote by raised hands: what does LoRA need, as a share of what full fine-tuning needs? Enter what "
        "most of the room says, then press Reveal."
    ),
    "cost.question": mark(
        "After the reveal: LoRA trains very few parameters. Why does it not save time and memory in the same measure?"
    ),
    "cost.answer": mark(
        "A training step multiplies three times by every weight: forward, backward for the error, and for the gradient "
        "of the weight itself (Kaplan et al. 2020, section 2.1). Frozen weights save only the third, so about two "
        "thirds of the time remain. Gradients and the optimiser's state of the frozen weights are saved too, but most "
        "of the memory here is activations of the batch, and these stay. The file falls with the trained parameters, "
        "for only these are saved."
    ),
    "cost.guess.trainable": mark("Trained parameters of LoRA"),
    "cost.guess.peak_memory": mark("Peak memory of LoRA"),
    "cost.guess.train_minutes": mark("Training time of LoRA"),
    "cost.guess.file_size": mark("Saved file of LoRA"),
    "cost.help": mark("As a share of what full fine-tuning needs."),
    "cost.share.under1": mark("under 1%"),
    "cost.share.under10": mark("1 to 10%"),
    "cost.share.under50": mark("10 to 50%"),
    "cost.share.under90": mark("50 to 90%"),
    "cost.share.same": mark("90 to 110%"),
    "cost.share.more": mark("over 110%"),
    "cost.reveal": mark("Reveal"),
    "cost.result": mark("LoRA needs {share} of what full fine-tuning needs."),
    "cost.right": mark("✓ The room said {guess}: right."),
    "cost.wrong": mark("✗ The room said {guess}."),
    "cost.none": mark("The room made no guess."),
    "cost.measured": mark("Measured in the run {run}: {sentences} sentences, {epochs} epochs, on {device}."),
    "cost.estimated": mark(
        "≈ marks an estimate: no finished run of {method} is in the store. Parameters are exact; time and memory come "
        "from {basis}, the file from 4 bytes a trained parameter."
    ),
    "cost.table": mark("Guesses and costs"),
    "cost.column.cost": mark("Cost"),
    "cost.column.share": mark("LoRA, share of full fine-tuning"),
    "cost.column.guess": mark("The room's guess"),
    # 3
    "train.title": mark("Train LoRA live"),
    "train.goal": mark("Watch a model learn, and know what loss, epoch and time left say."),
    "train.do": mark(
        "Let the class name a whole number: it becomes the seed, so that this run is the class's own. Press Train "
        "LoRA; on two cores it takes about a minute. Talk about the question while you watch the loss."
    ),
    "train.question": mark("The first losses are near 0.69. Why there, and why does the line then jump up and down?"),
    "train.answer": mark(
        "An untrained head gives both labels about the same probability, and the loss of a coin flip between two "
        "labels is ln 2 = 0.69. The line jumps because each of its points is one step or a few, each over {batch} "
        "other sentences, some of them harder. The validation loss is steadier: it is always over the same "
        "{validation} sentences."
    ),
    "train.seed": mark("The class's number"),
    "train.seed_help": mark(
        "A whole number from 0 on. It seeds the new weights, the order of the sentences and dropout."
    ),
    "train.go": mark("Train LoRA"),
    "train.cancel": mark("Cancel"),
    "train.recipe": mark(
        "What will train: LoRA on {backbone} with {sentences} sentences of the task {task}, {epochs} epochs."
    ),
    "train.estimate": mark("About {time} of training on this machine, estimated from {basis}."),
    "train.none": mark("Nothing trains yet."),
    "train.queued": mark("The run waits: {text}."),
    "train.running": mark("The run trains: {text}."),
    "train.finished": mark("The run has finished: {text}."),
    "train.ended": mark("The run has ended: {text}"),
    "train.compared": mark("The run of the store with seed {seed} has {accuracy} right on the same test sentences."),
    "train.instead": mark(
        "If you cannot train now, look at the chart: it is of {run}, which was trained earlier."
    ),
    "train.chart": mark("Training loss by step"),
    # 4
    "curves.title": mark("Read the curves"),
    "curves.goal": mark("Tell a run that could learn more from one that begins to learn its sentences by heart."),
    "curves.do": mark(
        "Choose a run. Before you open its reading, let the room say: do both losses still fall, does only the "
        "training loss fall, or does nothing move?"
    ),
    "curves.question": mark("Which of these runs would another epoch help, and which would it not?"),
    "curves.answer": mark(
        "Another epoch is likely to help while the validation loss falls. Where it rises, the model grows surer of its "
        "errors; accuracy may still gain, for it counts only which label comes first. This app keeps the epoch with "
        "the best validation accuracy. The readings:"
    ),
    "curves.run": mark("Run"),
    "curves.run_help": mark("The last ones were published elsewhere: another backbone, other sentences, 15 epochs."),
    "curves.reading": mark("Show how this run reads"),
    "curves.reads.falls": mark(
        "{run}: under-fitted. Both losses were still falling at the end, the validation loss to {last} in epoch "
        "{epochs}: another epoch would probably help."
    ),
    "curves.reads.gap": mark(
        "{run}: the gap opens. The training loss went on down to {training}, the validation loss hardly fell any more "
        "and stands at {last} in epoch {epochs}: watch for over-fitting."
    ),
    "curves.reads.rises": mark(
        "{run}: over-fitted. The validation loss was lowest in epoch {best} with {lowest} and ended at {last}, while "
        "the training loss fell to {training}."
    ),
    "curves.reads.flat": mark(
        "{run}: levelled off. The validation loss hardly moves at the end and stands at {last} in epoch {epochs}, near "
        "the training loss of {training}."
    ),
    "curves.reads.still": mark(
        "{run}: nothing moved. The validation loss stayed at {last} through all {epochs} epochs, as if nothing "
        "but the head, or nothing at all, had trained."
    ),
    "curves.reads.short": mark("{run}: too short to tell, for it has fewer than two epochs."),
    "curves.rule": mark(
        "The training loss is a mean over the epoch, with dropout, while the weights still change; the validation loss "
        "is taken at the epoch's end without dropout, so that it may be the lower one at first. The readings follow "
        "rules of thumb on the last two epochs, not a statistical test. Over-fitting: Goodfellow et al. 2016, Deep "
        "Learning, section 5.2; keeping the best epoch: Prechelt 1998, Early Stopping."
    ),
    "curves.training": mark("training"),
    "curves.validation": mark("validation"),
    "curves.chart": mark("Loss: {run}"),
    "curves.epoch": mark("Epoch"),
    # 5
    "split.title": mark("Find a sentence that splits the methods"),
    "split.goal": mark("See where methods that score nearly alike still differ."),
    "split.do": mark(
        "In pairs, write a sentence about a film on which you expect the runs to disagree. Read it out, let the room "
        "guess, then ask. The page counts the sentences that split them."
    ),
    "split.question": mark("What do the sentences that split the runs have in common?"),
    "split.answer": mark(
        "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips "
        "it. Negation, contrast, irony, mixed feelings and rare words bring a sentence there. On the {sentences} test "
        "sentences all {runs} runs are right on {agreed} and split on {disputed}; on {near} of these some run is less "
        "than {bound} sure, on {near_share} of all sentences."
    ),
    "split.answer_alone": mark(
        "Most lie near the border, where some run is little surer than a coin flip, so that a small difference tips "
        "it. Negation, contrast, irony, mixed feelings and rare words bring a sentence there."
    ),
    "split.text": mark("A sentence about a film"),
    "split.text_help": mark("Every run with its weights here is asked the same sentence."),
    "split.placeholder": mark("Type a sentence and press Enter"),
    "split.who": mark("Whose sentence"),
    "split.who_help": mark("A name, a pair or a row; may stay empty. It stays in this browser."),
    "split.ask": mark("Ask every run"),
    "split.live": mark("Look closer in Live"),
    "split.score": mark("Sentences that split the runs: {found} of {tried}."),
    "split.empty": mark("Expected a sentence, got nothing; type one or choose a hint."),
    "split.nobody": mark("No sentence asked yet."),
    "split.table": mark("Sentences of the room"),
    "split.column.text": mark("Sentence"),
    "split.column.who": mark("Whose"),
    "split.column.splits": mark("Splits the runs"),
    "split.column.said": mark("What the runs say"),
    "split.yes": mark("yes"),
    "split.no": mark("no"),
    "split.said": mark("{label}: {runs}"),
    "split.hint": mark("Show test sentences that split the runs"),
    "split.hint_help": mark("Press one to ask it. Each is a real test sentence on which these runs disagree."),
    "split.reset": mark("Clear the room's sentences"),
    "split.sure": mark("Clear every sentence of the room in this browser? They cannot be brought back."),
    "split.yes_clear": mark("Yes, clear them"),
    "split.not_asked": mark("Without its weights a run cannot be asked: {runs}. Its figures stand in the other steps."),
    # 6
    "real.title": mark("Is the difference real?"),
    "real.goal": mark("Tell a difference between two runs from the luck of the test sentences."),
    "real.do": mark(
        "Look at the two accuracies and let the room vote: is the difference real? Then read the interval. Take fewer "
        "test sentences and watch it widen. Then look for a pair and a number that look real, and take all sentences."
    ),
    "real.question": mark("Would you bet that the first run is better on new sentences? What would make you surer?"),
    "real.answer": mark(
        "{verdict} That is for one pair, chosen before looking: of {pairs} pairs and several sizes a small chance is "
        "there to be found (Holm 1979). Four times as many test sentences would about halve the interval. It speaks of "
        "other sentences only: whether training again with another seed keeps the order takes several seeds a method "
        "(Reimers and Gurevych 2017, https://arxiv.org/abs/1707.09861)."
    ),
    "real.answer_searched": mark(
        "{verdict} Four times as many test sentences would about halve the interval. It speaks of other sentences "
        "only: whether training again with another seed keeps the order takes several seeds a method (Reimers and "
        "Gurevych 2017, https://arxiv.org/abs/1707.09861)."
    ),
    "real.first": mark("First run"),
    "real.second": mark("Second run"),
    "real.runs_help": mark("The first two are those whose accuracies lie furthest apart."),
    "real.sentences": mark("Test sentences"),
    "real.sentences_help": mark("The first so many of the common test set."),
    "real.all": mark("all {count}"),
    "real.accuracies": mark(
        "Right on the same {sentences} test sentences: {first} {first_accuracy}, {second} {second_accuracy}."
    ),
    "real.interval": mark(
        "The difference is {difference} points. Test sets drawn again from these sentences give between {low} and "
        "{high} points in 95 of 100 draws: that is its {level} interval."
    ),
    "real.counts": mark(
        "Both are right on {both}, both wrong on {neither}. Only the {only} sentences on which one is right and the "
        "other wrong tell them apart. Right on these: {first} {only_first}, {second} {only_second}."
    ),
    "real.chance": mark(
        "Were both equally good, those {only} sentences would fall like coin flips, and a split at least as lopsided "
        "would come up in {p} of tests."
    ),
    "real.least": mark("under 0.1%"),
    "real.verdict.real": mark(
        "Yes, on sentences of this kind: the interval leaves out 0, and chance gives such a split in only {p} of "
        "tests."
    ),
    "real.verdict.searched": mark(
        "Not yet. For two runs chosen before looking, yes: the interval leaves out 0, and chance gives such a split in "
        "only {p} of tests. But {pairs} pairs were there to choose from, and counted for all of them (Holm 1979) that "
        "chance is {adjusted}: of {pairs} differences one may well look like this by luck."
    ),
    "real.verdict.open": mark(
        "Not on this evidence: the interval holds 0, and chance alone gives such a split in {p} of tests. That is no "
        "proof that the two are equal, only that {sentences} sentences do not tell them apart."
    ),
    "real.verdict.border": mark(
        "It is a close call: the interval and the coin flips, which gives such a split in {p} of tests, do not agree "
        "on the usual bound of 5%. Do not build on it."
    ),
    "real.source": mark(
        "Interval: paired bootstrap, percentiles (Efron 1979; Koehn 2004). Coin flips: McNemar 1947, which "
        "Dietterich 1998 recommends for two classifiers and one test set; here in its exact form."
    ),
    "real.same": mark("Choose two different runs."),
    "real.table": mark("Who is right on which sentences"),
    "real.column.first": mark("Counts of sentences"),
    "real.column.right": mark("{run} right"),
    "real.column.wrong": mark("{run} wrong"),
    "real.chart": mark("Difference in test accuracy, in points"),
    "real.zero": mark("0: no difference"),
    # 7
    "choose.title": mark("What to choose when"),
    "choose.goal": mark("Leave with a rule for each method, and with its price here."),
    "choose.do": mark("Read the table from the first column. Which row is your own next project?"),
    "choose.question": mark(
        "An app must serve {tasks} tasks over one shared encoder, each with a few hundred labelled sentences. What do "
        "you train, and what does it weigh?"
    ),
    "choose.answer": mark(
        "A small module a task over one frozen encoder: LoRA or an adapter. Here {tasks} tasks with LoRA take "
        "{light_size} beside the encoder of {encoder_size}; {tasks} fully fine-tuned models take {reference_size}. "
        "Where related tasks have adapters already, AdapterFusion is worth a try."
    ),
    "choose.when.full": mark(
        "There is one task, enough labelled sentences and memory, and the last point of accuracy counts. Test "
        "whether it gives one."
    ),
    "choose.when.lora": mark("Many tasks share one backbone, or what is saved and sent must be small."),
    "choose.when.qlora": mark(
        "The frozen weights themselves do not fit into the memory. On an encoder as small as MiniLM it saves nothing."
    ),
    "choose.when.adapter": mark("Modules are to be added, exchanged and combined later; bottlenecks can be fused."),
    "choose.when.adapter_fusion": mark(
        "There are few sentences for this task, and adapters of related tasks exist already."
    ),
    "choose.column.method": mark("Choose"),
    "choose.column.when": mark("When"),
    "choose.column.paper": mark("The method's paper"),
    "choose.table": mark("What to choose when"),
    "choose.figures": mark(
        "Figures are of the runs in this store: {backbone}, {sentences} training sentences, on {device}. Another "
        "backbone, task or device gives others."
    ),
    "choose.no_figures": mark("A dash means that no run of that method is in the store."),
    "choose.end": mark("Before you leave, answer on paper: which figure of today surprised you, and why?"),
}  # fmt: skip


def say(key: str, **named: Any) -> str:
    """The text of a key in the process's language, its places filled. Raises `KeyError` for one that is not there."""
    return tr(TEXTS[key]).format(**named)


def english(key: str, **named: Any) -> str:
    """The text as written, for headings of CSV files: they are the same in every language."""
    return TEXTS[key].format(**named)
