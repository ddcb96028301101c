"""Compare's error analysis: the test sentences on which models disagree, each a button that opens it in Live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.analysis import disputes
from trainer.analysis.disputes import KINDS, Outcomes
from trainer.markup import render
from trainer.runs.run import Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column

SHOWN = 20
IN_FILE = 500


def section(lab: Lab, runs: Sequence[Run], names: dict[str, str], kind: str) -> tuple[str, list[tuple[str, str]]]:
    """(the sentences of one kind as HTML, the kinds with their counts as choices).

    `runs` share their test sentences; `names`: run id -> name on the page.
    """
    outcomes = disputes.collect(lab.store, runs)
    if outcomes is None or not outcomes.texts:
        none = tr("These runs kept no predictions to compare.")
        return note(none), [(tr(title), name) for name, title in KINDS.items()]
    kinds = disputes.find(outcomes)
    choices = [(f"{tr(title)} ({len(kinds[name]):,})", name) for name, title in KINDS.items()]
    return sentences_html(outcomes, kinds, names=names, kind=kind), choices


def sentences_html(outcomes: Outcomes, kinds: dict[str, np.ndarray], *, names: dict[str, str], kind: str) -> str:
    """A table of sentences: true label, how many runs are right, and each run's label and probability.

    `kinds`: kind -> positions of its sentences, the most disputed first, from `disputes.find`.
    """
    positions, lines = kinds[kind], [_counts(outcomes, kinds)]
    if kind == "flipped":
        lines += [_flips(outcomes, names, *couple) for couple in disputes.pairs(outcomes.runs)] or [
            tr("No run here is another's recipe over a 4-bit backbone with the same seed.")
        ]
    if len(positions) > SHOWN:
        in_file = f"{min(len(positions), IN_FILE):,}"
        lines.append(tr("The {shown} most disputed are shown; the CSV file has {count}.", shown=SHOWN, count=in_file))
    table = _table(outcomes, positions[:IN_FILE], names=names, kind=kind) if len(positions) else ""
    return render("compare/sentences.html", lines=lines, table=table)


def _counts(outcomes: Outcomes, kinds: dict[str, np.ndarray]) -> str:
    """A sentence with the numbers of sentences on which the runs agree and disagree."""
    return tr_count(
        "{count} run on {total} common test sentences: "
        "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
        "{count} runs on {total} common test sentences: "
        "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
        len(outcomes.runs),
        total=f"{len(outcomes.texts):,}",
        right=f"{int(outcomes.correct.all(axis=1).sum()):,}",
        split=f"{len(kinds['split']):,}",
        wrong=f"{len(kinds['wrong']):,}",
    )


def _table(outcomes: Outcomes, positions: Sequence[int], *, names: dict[str, str], kind: str) -> str:
    columns = [Column.named(mark("Sentence: press one to ask it in Live"), numeric=False, csv="sentence")]
    columns.append(Column.named(mark("True label"), numeric=False))
    columns.append(Column(tr("Right"), tr("Runs that are right, of {count}.", count=len(outcomes.runs)), csv="Right"))
    signs = tr("✓ right, ✗ wrong; with the predicted label's probability.")
    if outcomes.multi_label:
        signs = tr("✓ all labels right, ✗ at least one wrong.")
    for run in outcomes.runs:
        name = names[run.id]
        columns.append(Column(name, signs, numeric=False, csv=f"{name}: predicted"))
        if not outcomes.multi_label:
            columns.append(Column(f"{name}: probability", hidden=True))
        columns.append(Column(f"{name}: right", hidden=True, numeric=False))
    rows = [_row(outcomes, int(position)) for position in positions]
    return tables.table(columns, rows, name=f"sentences-{kind}", title=tr(KINDS[kind]), shown=SHOWN)


def _row(outcomes: Outcomes, position: int) -> list[Cell]:
    text, right = outcomes.texts[position], outcomes.correct[position]
    cells = [
        Cell(text, markup=tables.pick(text, text)),
        Cell(outcomes.shown(outcomes.labels[position])),
        Cell(tr("{right} of {total}", right=right.sum(), total=len(right)), int(right.sum())),
    ]
    for i, correct in enumerate(right):
        label = outcomes.shown(outcomes.predicted[position, i])
        probability = None if outcomes.multi_label else float(outcomes.probability[position, i])
        shown = render("compare/prediction.html", correct=bool(correct), label=label, probability=probability)
        certainty = [] if probability is None else [Cell("", probability)]
        cells += [Cell(label, markup=shown), *certainty, Cell("right" if correct else "wrong")]
    return cells


def _flips(outcomes: Outcomes, names: dict[str, str], quantised: int, plain: int) -> str:
    """A sentence on the labels that differ between a quantised run and the plain one, and which of them are correct."""
    differ = outcomes.predicted[:, quantised] != outcomes.predicted[:, plain]
    mended = int((differ & outcomes.correct[:, quantised]).sum())
    spoilt = int((differ & outcomes.correct[:, plain]).sum())
    one, other = names[outcomes.runs[quantised].id], names[outcomes.runs[plain].id]
    return tr(
        "{one} against {other}: {count} labels changed, {mended} to right, {spoilt} to wrong.",
        one=one,
        other=other,
        count=f"{int(differ.sum()):,}",
        mended=f"{mended:,}",
        spoilt=f"{spoilt:,}",
    )
