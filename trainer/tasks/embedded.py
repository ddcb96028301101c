"""Tasks of sentences rated by people, published with VADER (Hutto and Gilbert, ICWSM 2014), without the Hub."""

from __future__ import annotations

from pathlib import Path

from trainer.sources import assets
from trainer.tasks.base import Split, Task, TaskData, distinct, divide_in_three, note

LABEL_NAMES = ("negative", "positive")


class EmbeddedTask(Task):
    """The sentences of one of four domains. Ratings run from -4 to 4; those near 0 are left out, as in SST-2.

    `group`: "document" where several sentences come from one review or article; each document is in one split.
    """

    label_names = LABEL_NAMES

    def __init__(
        self, name: str, title: str, summary: str, file: str, *, group: str | None = None, splits_version: str = ""
    ) -> None:
        self.name, self.title, self.summary, self.file, self.group = name, title, summary, file, group
        self.splits_version = splits_version

    def load(self, split_seed: int) -> TaskData:
        everything, left_out = read_ratings(assets.sentences() / self.file, documents=self.group is not None)
        sentences, notes = distinct(everything)
        splits = divide_in_three(sentences, seed=split_seed, label_names=LABEL_NAMES)
        notes = (note("between", left_out), *notes)
        return TaskData(self.name, LABEL_NAMES, notes=notes, group=self.group, **splits)


def read_ratings(path: Path, *, documents: bool = False) -> tuple[Split, int]:
    """(sentences rated above 0.5 or below -0.5, how many lay between). Rows are line numbers from 0.

    With `documents` the ids are DOCUMENT_SENTENCE, and the groups are the documents.
    """
    rows, texts, labels, groups, between = [], [], [], [], 0
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        name, rating, text = line.split("\t", 2)
        if abs(float(rating)) <= 0.5:
            between += 1
            continue
        rows.append(row)
        texts.append(" ".join(text.split()))
        labels.append(int(float(rating) > 0))
        groups.append(name.rpartition("_")[0])
    return Split(tuple(rows), tuple(texts), tuple(labels), tuple(groups) if documents else None), between
