"""Compare's last part: the test sentences on which the runs differ, each a button that asks it in Live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.analysis import disputes
from trainer.analysis.disputes import KINDS, Answers
from trainer.runs.store import Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, escape, note
from trainer.ui.common.tables import Cell, Column

SHOWN = 50
IN_FILE = 500

CSS = """
.lab-sentences .lab-table { max-height: 640px; overflow: auto; }
.lab-sentences .lab-table thead th { position: sticky; top: 0; z-index: 2; background: var(--background-fill-primary); }
.lab-sentences .lab-table thead th:first-child { z-index: 3; }
.lab-sentences .lab-table th:first-child, .lab-sentences .lab-table td:first-child { min-width: 22em; max-width: 34em; }
.lab-sentences .lab-pick { font-weight: 400; white-space: normal; overflow-wrap: anywhere; }
.lab-right, .lab-wrong { white-space: nowrap; }
.lab-wrong { color: #B3261E; font-weight: 600; }
.dark .lab-wrong { color: #FFB4AB; }
@media (max-width: 600px) { .lab-sentences .lab-table th:first-child, .lab-sentences .lab-table td:first-child {
  left: auto; min-width: 15em; } }
"""


def section(lab: Lab, runs: Sequence[Run], names: dict[str, str], kind: str) -> tuple[str, list[tuple[str, str]]]:
    """(the sentences of one kind as HTML, the kinds with their counts as choices).

    `runs` share their test sentences; `names`: run id -> what a person calls it.
    """
    answers = disputes.collect(lab.store, runs)
    if answers is None or not answers.texts:
        none = tr("These runs kept no predictions to compare.")
        return note(none), [(tr(title), name) for name, title in KINDS.items()]
    found = disputes.find(answers)
    choices = [(f"{tr(title)} ({len(found[name]):,})", name) for name, title in KINDS.items()]
    return sentences_html(answers, found, names=names, kind=kind), choices


def sentences_html(answers: Answers, found: dict[str, np.ndarray], *, names: dict[str, str], kind: str) -> str:
    """A table of sentences: true label, how many are right, and each run's label and probability."""
    places, total = found[kind], len(answers.texts)
    right = int(answers.right.all(axis=1).sum())
    text = [
        tr_count(
            "{count} run on {total} common test sentences: "
            "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
            "{count} runs on {total} common test sentences: "
            "all right on {right}, some right and some wrong on {split}, all wrong on {wrong}.",
            len(answers.runs),
            total=f"{total:,}",
            right=f"{right:,}",
            split=f"{len(found['split']):,}",
            wrong=f"{len(found['wrong']):,}",
        )
    ]
    couples = disputes.pairs(answers.runs)
    if couples:
        text += [_flips(answers, names, *couple) for couple in couples]
    elif kind == "flipped":
        text.append(tr("No run here is another's recipe over a 4-bit backbone with the same seed."))
    if not len(places):
        none = escape(tr("No sentence of this kind."))
        return note(" ".join(text)) + f'<div class="lab-empty">{none}</div>'
    if len(places) > SHOWN:
        in_file = f"{min(len(places), IN_FILE):,}"
        text.append(tr("The {shown} most disputed are shown; the CSV file has {count}.", shown=SHOWN, count=in_file))
    columns = [Column.named(mark("Sentence: press one to ask it in Live"), numeric=False, csv="sentence")]
    columns.append(Column.named(mark("True label"), numeric=False))
    columns.append(Column(tr("Right"), tr("Runs that are right, of {count}.", count=len(answers.runs)), csv="Right"))
    signs = tr("✓ right, ✗ wrong; with the predicted label's probability.")
    for run in answers.runs:
        name = names[run.id]
        columns.append(Column(name, signs, numeric=False, csv=f"{name}: predicted"))
        columns.append(Column(f"{name}: probability", hidden=True))
        columns.append(Column(f"{name}: right", hidden=True, numeric=False))
    rows = [_row(answers, int(place)) for place in places[:IN_FILE]]
    table = tables.table(columns, rows, name=f"sentences-{kind}", title=tr(KINDS[kind]), shown=SHOWN)
    return f'{note(" ".join(text))}<div class="lab-sentences">{table}</div>'


def _row(answers: Answers, place: int) -> list[Cell]:
    text, right = answers.texts[place], answers.right[place]
    cells = [
        Cell(text, markup=tables.pick(text, text)),
        Cell(answers.names[answers.labels[place]]),
        Cell(tr("{right} of {total}", right=right.sum(), total=len(right)), int(right.sum())),
    ]
    for i, good in enumerate(right):
        label, share = answers.names[answers.predicted[place, i]], float(answers.probability[place, i])
        sign, said, kind = ("✓", mark("right"), "lab-right") if good else ("✗", mark("wrong"), "lab-wrong")
        spoken = escape(tr(said))
        markup = (
            f'<span class="{kind}"><span aria-hidden="true">{sign}</span><span class="lab-hidden">{spoken}: </span> '
            f"{escape(label)} {share:.0%}</span>"
        )
        cells += [Cell(label, markup=markup), Cell("", share), Cell(said)]
    return cells


def _flips(answers: Answers, names: dict[str, str], quantised: int, plain: int) -> str:
    """How many sentences the quantised run labels otherwise than the plain one, and which way that went."""
    differ = answers.predicted[:, quantised] != answers.predicted[:, plain]
    mended = int((differ & answers.right[:, quantised]).sum())
    spoilt = int((differ & answers.right[:, plain]).sum())
    one, other = names[answers.runs[quantised].id], names[answers.runs[plain].id]
    return tr(
        "{one} against {other}: {count} labels changed, {mended} to right, {spoilt} to wrong.",
        one=one,
        other=other,
        count=f"{int(differ.sum()):,}",
        mended=f"{mended:,}",
        spoilt=f"{spoilt:,}",
    )
