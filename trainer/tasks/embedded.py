"""Tasks of sentences rated by people, published with VADER (Hutto and Gilbert, ICWSM 2014), without the Hub."""

from __future__ import annotations

from pathlib import Path

from trainer.sources import assets
from trainer.tasks.base import Split, Task, TaskData, distinct, divide_in_three, note

LABEL_NAMES = ("negative", "positive")


class EmbeddedTask(Task):
    """The sentences of one of four domains. Ratings run from -4 to 4; those near 0 are left out, as in SST-2."""

    def __init__(self, name: str, title: str, summary: str, file: str) -> None:
        self.name, self.title, self.summary, self.file = name, title, summary, file

    def load(self, split_seed: int) -> TaskData:
        everything, left_out = read_ratings(assets.sentences() / self.file)
        sentences, notes = distinct(everything)
        splits = divide_in_three(sentences, seed=split_seed, label_names=LABEL_NAMES)
        return TaskData(self.name, LABEL_NAMES, notes=(note("between", left_out), *notes), **splits)


def read_ratings(path: Path) -> tuple[Split, int]:
    """(sentences rated above 0.5 or below -0.5, how many lay between). Rows are line numbers from 0."""
    rows, texts, labels, between = [], [], [], 0
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) <= 0.5:
            between += 1
            continue
        rows.append(row)
        texts.append(" ".join(text.split()))
        labels.append(int(float(rating) > 0))
    return Split(tuple(rows), tuple(texts), tuple(labels)), between
