"""Splits that keep groups whole: sentences of one document or author are not independent of each other."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from trainer.errors import ArgumentError
from trainer.tasks import label_sets
from trainer.tasks.label_sets import Label
from trainer.texts import tr

MIN_GROUPS = 10


def hold_out(labels: Sequence[int], groups: Sequence[str], *, parts: int, share: float, seed: int) -> list[list[int]]:
    """Indices of `parts` held-out splits, each of about `share` of the sentences; no group is in two of them.

    The groups are dealt into equal folds with like shares of each label (scikit-learn's StratifiedGroupKFold), and
    `seed` chooses the folds. Folds that leave training without a label, or one of whose groups is too large, are
    avoided.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(round(1 / share), max(Counter(labels).values()))
    folder = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # a rare label is in some folds only
        folds = [fold.tolist() for _, fold in folder.split(labels, labels, groups)]
    labels_in = [{labels[index] for index in fold} for fold in folds]

    def quality(chosen: tuple[int, ...]) -> tuple[int, int, int]:
        trained = set().union(*(labels_in[fold] for fold in range(count) if fold not in chosen))
        fitting = sum(len(folds[fold]) <= 2 * len(labels) / count for fold in chosen)
        return len(trained), fitting, sum(len(labels_in[fold]) for fold in chosen)

    order = np.random.default_rng(seed).permutation(count).tolist()
    return [folds[fold] for fold in max(permutations(order, parts), key=quality)]


def check_enough_groups(
    labels: Sequence[Label], groups: Sequence[str], label_names: tuple[str, ...], *, splits: int
) -> None:
    """Raise `ArgumentError` when there are too few groups, of all sentences or of a label, for this many splits."""
    if len(set(groups)) < MIN_GROUPS:
        raise ArgumentError(
            expected=tr("at least {count} groups, so that each split has some", count=MIN_GROUPS),
            got=str(len(set(groups))),
            fix=tr("choose a group column with more values, or none"),
        )
    groups_of = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        for index in label_sets.indices(label):
            groups_of[index].add(group)
    rare = {name: len(groups_of[i]) for i, name in enumerate(label_names) if len(groups_of[i]) < splits}
    if rare:
        raise ArgumentError(
            expected=tr("each label in at least {count} groups, so that each split can have some", count=splits),
            got=", ".join(
                tr("{count} for {label}", count=count, label=repr(name)) for name, count in list(rare.items())[:5]
            ),
            fix=tr("choose another group column, or leave these labels out"),
        )


def check_column(group: str, columns: list[str], others: Sequence[str], path: Path) -> None:
    """Raise `ArgumentError` for a group column that the file lacks, or that is one of its text and label columns."""
    if group not in columns:
        raise ArgumentError(
            expected=tr("a group column {name} in {file}", name=repr(group), file=path.name),
            got=", ".join(columns[:12]),
            fix=tr("choose another group column"),
            option_fix=tr("name another --group-column"),
        )
    if group in others:
        raise ArgumentError(
            expected=tr("a group column that is neither the text nor the label column"),
            got=repr(group),
            fix=tr("choose another group column"),
            option_fix=tr("name another --group-column"),
        )
