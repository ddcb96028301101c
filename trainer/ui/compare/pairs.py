"""Compare: statistical significance of differences in test accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.analysis import disputes, paired
from trainer.analysis.paired import Pair
from trainer.analysis.variants import one_each, ordered
from trainer.markup import render
from trainer.runs.store import Run
from trainer.texts import mark, tr
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column

ABOUT = mark(
    "Every two recipes on the same test sentences, by their first seeds. Interval: paired bootstrap, percentiles "
    "(Efron 1979; Koehn 2004). p: McNemar's exact test (McNemar 1947; Dietterich 1998), then by Holm 1979 for the "
    "number of pairs. It speaks of other test sentences, not of other seeds."
)


def section(lab: Lab, runs: Sequence[Run], names: dict[str, str]) -> str:
    """The pairs of runs as a table, with a summary in a sentence, as HTML.

    `runs` share their test sentences; `names`: run id -> variant.
    """
    members = one_each(ordered(runs), names)
    outcomes = disputes.collect(lab.store, members) if len(members) > 1 else None
    if outcomes is None or len(outcomes.runs) < 2 or not outcomes.texts:
        return note(tr("This needs two recipes whose runs kept predictions of the same test sentences."))
    pairs = paired.pairs(outcomes.correct)
    text = tr(
        "Of {pairs} differences on {sentences} test sentences {holding} hold at 5%. Not shown to differ is not equal.",
        pairs=len(pairs),
        sentences=f"{len(outcomes.texts):,}",
        holding=sum(pair.significant for pair in pairs),
    )
    return render("compare/pairs.html", summary=text, table=_table(pairs, [names[run.id] for run in outcomes.runs]))


def _table(pairs: Sequence[Pair], names: Sequence[str]) -> str:
    columns = [
        Column.named(mark("First"), numeric=False),
        Column.named(mark("Second"), numeric=False),
        Column.named(mark("First less second"), mark("Difference in test accuracy, in points."), csv="difference"),
        Column.named(mark("Interval, 95%"), numeric=False, csv="interval"),
        Column("low", hidden=True),
        Column("high", hidden=True),
        Column("p"),
        Column.named(mark("p, Holm"), mark("Corrected for the number of pairs.")),
        Column.named(mark("At 5%"), numeric=False),
    ]
    rows = [
        [
            Cell(names[pair.first]),
            Cell(names[pair.second]),
            Cell(f"{100 * pair.result.difference:+.1f}", 100 * pair.result.difference),
            Cell(tr("{low} to {high}", low=f"{100 * pair.result.low:+.1f}", high=f"{100 * pair.result.high:+.1f}")),
            Cell("", 100 * pair.result.low),
            Cell("", 100 * pair.result.high),
            Cell(f"{pair.result.p:.3f}", pair.result.p),
            Cell(f"{pair.p:.3f}", pair.p),
            Cell(tr("holds") if pair.significant else tr("not shown")),
        ]
        for pair in pairs
    ]
    return tables.table(columns, rows, name="differences", title=tr("Differences in test accuracy, in points"))
