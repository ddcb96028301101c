"""Compare's last part: the test sentences on which the runs differ, each a button that asks it in Live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.analysis import disputes
from trainer.analysis.disputes import KINDS, Outcomes
from trainer.markup import render
from trainer.runs.store import Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column

SHOWN = 50
IN_FILE = 500


def section(lab: Lab, runs: Sequence[Run], names: dict[str, str], kind: str) -> tuple[str, list[tuple[str, str]]]:
    """(the sentences of one kind as HTML, the kinds with their counts as choices).

    `runs` share their test sentences; `names`: run id -> what a person calls it.
    """
    answers = disputes.collect(lab.store, runs)
    if answers is None or not answers.texts:
        none = tr("These runs kept no predictions to compare.")
        return note(none), [(tr(title), name) for name, title in KINDS.items()]
    kinds = disputes.find(answers)
    choices = [(f"{tr(title)} ({len(kinds[name]):,})", name) for name, title in KINDS.items()]
    return sentences_html(answers, kinds, names=names, kind=kind), choices


def sentences_html(answers: Outcomes, kinds: dict[str, np.ndarray], *, names: dict[str, str], kind: str) -> str:
    """A table of sentences: true label, how many runs are right, and each run's label and probability.

    `kinds`: kind -> positions of its sentences, the most disputed first, as `disputes.find` gives them.
    """
    positions, lines = kinds[kind], [_counts(answers, kinds)]
    couples = disputes.pairs(answers.runs)
    lines += [_flips(answers, names, *couple) for couple in couples]
    if not couples and kind == "flipped":
        lines.append(tr("No run here is another's recipe over a 4-bit backbone with the same seed."))
    if len(positions) > SHOWN:
        in_file = f"{min(len(positions), IN_FILE):,}"
        lines.append(tr("The {shown} most disputed are shown; the CSV file has {count}.", shown=SHOWN, count=in_file))
    table = _table(answers, positions[:IN_FILE], names=names, kind=kind) if len(positions) else ""
    return render("compare/sentences.html", lines=lines, table=table)


def _counts(answers: Outcomes, kinds: dict[str, np.ndarray]) -> str:
    """On how many sentences the runs agree, in a sentence."""
    return tr_count(
        "{count} run on {total} common test sentences: "
        "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
        "{count} runs on {total} common test sentences: "
        "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
        len(answers.runs),
        total=f"{len(answers.texts):,}",
        right=f"{int(answers.correct.all(axis=1).sum()):,}",
        split=f"{len(kinds['split']):,}",
        wrong=f"{len(kinds['wrong']):,}",
    )


def _table(answers: Outcomes, positions: Sequence[int], *, names: dict[str, str], kind: str) -> str:
    columns = [Column.named(mark("Sentence: press one to ask it in Live"), numeric=False, csv="sentence")]
    columns.append(Column.named(mark("True label"), numeric=False))
    columns.append(Column(tr("Right"), tr("Runs that are right, of {count}.", count=len(answers.runs)), csv="Right"))
    signs = tr("✓ right, ✗ wrong; with the predicted label's probability.")
    for run in answers.runs:
        name = names[run.id]
        columns.append(Column(name, signs, numeric=False, csv=f"{name}: predicted"))
        columns.append(Column(f"{name}: probability", hidden=True))
        columns.append(Column(f"{name}: right", hidden=True, numeric=False))
    rows = [_row(answers, int(position)) for position in positions]
    return tables.table(columns, rows, name=f"sentences-{kind}", title=tr(KINDS[kind]), shown=SHOWN)


def _row(answers: Outcomes, position: int) -> list[Cell]:
    text, right = answers.texts[position], answers.correct[position]
    cells = [
        Cell(text, markup=tables.pick(text, text)),
        Cell(answers.names[answers.labels[position]]),
        Cell(tr("{right} of {total}", right=right.sum(), total=len(right)), int(right.sum())),
    ]
    for i, correct in enumerate(right):
        label = answers.names[answers.predicted[position, i]]
        probability = float(answers.probability[position, i])
        shown = render("compare/prediction.html", correct=bool(correct), label=label, probability=probability)
        cells += [Cell(label, markup=shown), Cell("", probability), Cell("right" if correct else "wrong")]
    return cells


def _flips(answers: Outcomes, names: dict[str, str], quantised: int, plain: int) -> str:
    """How many sentences the quantised run labels otherwise than the plain one, and which way that went."""
    differ = answers.predicted[:, quantised] != answers.predicted[:, plain]
    mended = int((differ & answers.correct[:, quantised]).sum())
    spoilt = int((differ & answers.correct[:, plain]).sum())
    one, other = names[answers.runs[quantised].id], names[answers.runs[plain].id]
    return tr(
        "{one} against {other}: {count} labels changed, {mended} to right, {spoilt} to wrong.",
        one=one,
        other=other,
        count=f"{int(differ.sum()):,}",
        mended=f"{mended:,}",
        spoilt=f"{spoilt:,}",
    )
