"""Tasks from the Hugging Face Hub at pinned revisions, read as Parquet: SST-2 and TREC-6."""

from __future__ import annotations

import random

from trainer.errors import UserError
from trainer.sources import hub
from trainer.tasks.base import NEAR_REPEATS_OUT, Split, Task, TaskData, distinct, divide, note
from trainer.tasks.repeats import repeat_key, repeat_words
from trainer.texts import mark, tr


class Sst2(Task):
    """SST-2 in the report's sizes. GLUE hides the test labels, so test sentences come from its train split."""

    name = "sst2"
    title = mark("SST-2: film reviews, negative or positive")
    summary = mark("15,000 training phrases, GLUE's 872 validation sentences, 3,000 test phrases of other sentences.")
    needs_hub = True
    repository = "stanfordnlp/sst2"
    revision = "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"
    label_names = ("negative", "positive")
    train_size = 15_000
    test_size_per_label = 1_500
    known_extent = (train_size, len(label_names))
    splits_version = NEAR_REPEATS_OUT

    def load(self, split_seed: int) -> TaskData:
        train, _ = self._read("train")
        validation, _ = self._read("validation")
        sentences, notes = distinct(train)
        sides = separate_sentences(
            sentences.texts, apart_from=validation.texts, test_share=0.25, rng=random.Random(split_seed)
        )
        pool = sentences.take([i for i, side in enumerate(sides) if side == "train"])
        test_pool = sentences.take([i for i, side in enumerate(sides) if side == "test"])
        test_indices = []
        for label in range(len(self.label_names)):
            indices = [i for i, own in enumerate(test_pool.labels) if own == label]
            random.Random(split_seed).shuffle(indices)
            test_indices += indices[: self.test_size_per_label]
        test = test_pool.take(sorted(test_indices))
        if len(pool) > self.train_size:
            pool = divide(pool, held_out=self.train_size, seed=split_seed)[1]
        both = sum(side == "both" for side in sides)
        notes += (note("overlapping", both),)
        return TaskData(self.name, self.label_names, pool, validation, test, notes)

    def _read(self, split: str) -> tuple[Split, tuple[str, ...]]:
        path = f"data/{split}-00000-of-00001.parquet"
        return _read_parquet(self, path, text="sentence", label="label")


class Trec6(Task):
    """TREC-6: what a question asks for (Li and Roth 2002), with its own 500 test questions."""

    name = "trec6"
    title = mark("TREC-6: what a question asks for, six types")
    summary = mark("Abbreviation, entity, description, human, location or number; the official 500 test questions.")
    needs_hub = True
    repository = "CogComp/trec"
    # 5,452 questions, 90 of them near repeats or in the test split, a tenth of the rest for validation.
    known_extent = (4_825, 6)
    splits_version = NEAR_REPEATS_OUT
    # The commit of refs/convert/parquet: the repository's main branch has a loading script, which datasets refuses.
    revision = "65752bf53af25bc935a0dce92fb5b6c930728450"

    def load(self, split_seed: int) -> TaskData:
        train, label_names = _read_parquet(self, "default/train/0000.parquet", text="text", label="coarse_label")
        test, _ = _read_parquet(self, "default/test/0000.parquet", text="text", label="coarse_label")
        in_test = {repeat_key(text) for text in test.texts}
        apart = train.take([i for i, text in enumerate(train.texts) if repeat_key(text) not in in_test])
        sentences, notes = distinct(apart)
        if len(apart) < len(train):
            notes += (note("in_test", len(train) - len(apart)),)
        rest, validation = divide(sentences, held_out=0.1, seed=split_seed)
        return TaskData(self.name, label_names, rest, validation, test, notes)


def separate_sentences(
    texts: tuple[str, ...], *, apart_from: tuple[str, ...], test_share: float, rng: random.Random
) -> list[str]:
    """Assign each text to "train", "test" or "both" so that train and test share no sentence and no phrase.

    GLUE's SST-2 has whole sentences and phrases of them, without saying which belong together. A text that no other
    text contains counts as a sentence. Each sentence is assigned at random, and a phrase goes with the sentences that
    contain it. A phrase with sentences in both splits, or inside one of `apart_from`, is used in neither ("both").
    Texts are compared by their words without punctuation and digits (`repeat_words`); no two have equal keys.
    """
    tokens = [repeat_words(text) for text in texts]
    index_of = {"".join(words): i for i, words in enumerate(tokens)}
    sides: list[set[str]] = [set() for _ in texts]
    whole = [True] * len(texts)
    for words in {repeat_words(text) for text in apart_from}:
        for i in _inside(words, index_of):
            sides[i].add("validation")
    for i in sorted(range(len(texts)), key=lambda i: (-len(tokens[i]), i)):
        if not whole[i]:
            continue
        side = "test" if rng.random() < test_share else "train"
        for j in _inside(tokens[i], index_of):
            sides[j].add(side)
            whole[j] = whole[j] and j == i
    return [next(iter(side)) if len(side) == 1 else "both" for side in sides]


def _inside(words: tuple[str, ...], index_of: dict[str, int]) -> list[int]:
    """Indices of the texts that are a contiguous part of these words, the whole included. `index_of` has their keys."""
    spans = ((start, end) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    keys = ("".join(words[start:end]) for start, end in spans)
    return [index_of[key] for key in keys if key in index_of]


def _read_parquet(task: Task, path: str, *, text: str, label: str) -> tuple[Split, tuple[str, ...]]:
    """(a split, its label names as the file declares them). Raises `UserError` for missing columns."""
    from datasets import Dataset

    file = hub.dataset_file(task.repository, task.revision, path)
    table = Dataset.from_parquet(str(file), keep_in_memory=True)
    missing = {text, label} - set(table.column_names)
    if missing:
        raise UserError(
            expected=tr(
                "columns {text} and {label} in {path} of {repository}",
                text=text,
                label=label,
                path=path,
                repository=task.repository,
            ),
            got=", ".join(table.column_names),
            fix=tr("report this as a fault of this program"),
        )
    names = tuple(getattr(table.features[label], "names", None) or ())
    texts = tuple(" ".join(str(value).split()) for value in table[text])
    return Split(tuple(range(len(texts))), texts, tuple(table[label])), names
