"""Compare: statistical significance of differences in test accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from trainer.analysis import comparisons
from trainer.analysis.comparisons import Comparison, Comparisons, Setting
from trainer.markup import render
from trainer.runs.damage import PREDICTIONS, RUN
from trainer.runs.damage_register import signature
from trainer.runs.run import Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.compare.filters import AUTOMATIC, EVERY_PAIR, Selection

ABOUT = mark(
    "Configurations on the same test sentences, with all their seeds. p is adjusted for the number of comparisons "
    "(Holm 1979). Configurations that differ in backbone, precision, sentences or batch size are not tested against "
    "each other unless you choose so: the difference could be that of the setting."
)
ADJUSTED = mark("The verdict is adjusted for the number of differences (Holm); intervals and p are of one pair alone.")
ONE_SEED = mark(
    "One run each: McNemar's exact test (McNemar 1947; Dietterich 1998), and Tango's interval (Tango 1998), widened to "
    "agree with it. They speak of other test sentences of this kind; of other seeds they cannot speak."
)
SEVERAL_SEEDS = mark(
    "Several seeds: sentences and seeds both vary, compared seed by seed where both have the same ones "
    "(Dorfman, Berbaum and Metz 1992; Hillis 2007); p is at least that of a randomisation test over sentences "
    "(Yeh 2000)."
)
LONE_SEED = mark("Where one of the two has a single seed, the other's spread over seeds is taken for both.")
GROUPED = mark(
    "Sentences of one document or group count together, for they are not independent (Durkalski et al. 2003): "
    "{groups} groups of {sentences} sentences."
)
EXACT = mark("A sentence counts as right where its labels are exactly those that it has (exact match).")
DETECTABLE = mark(
    "Under “not significant” stands the smallest true difference that these sentences and seeds would have shown "
    "with 80% probability, at the level that the correction leaves it (Lachin 1992; Bloom 1995)."
)


def choices(configurations: Iterable[str]) -> list[tuple[str, str]]:
    """The choices of what to compare with: (title, value of `Selection.against`)."""
    fixed = [(tr("Automatic"), AUTOMATIC), (tr("Every two configurations"), EVERY_PAIR)]
    return [*fixed, *((name, name) for name in dict.fromkeys(configurations))]


def compared(
    lab: Lab, runs: Sequence[Run], names: dict[str, str], selection: Selection | None = None
) -> Comparisons | None:
    """The comparisons of configurations (see `comparisons.compare`), once while the runs' files stay as they are.

    `names`: run id -> configuration.
    """
    key = _key(runs, names, selection or Selection())
    against, unlike = key[-2:]

    def make() -> Comparisons | None:
        return comparisons.compare(
            lab.store,
            runs,
            names,
            reference=None if against in (AUTOMATIC, EVERY_PAIR) else against,
            every_pair=True if against == EVERY_PAIR else None,
            unlike=unlike,
        )

    return lab.comparisons.get(key, make)


def is_known(lab: Lab, runs: Sequence[Run], names: dict[str, str]) -> bool:
    """Whether `compared` has these comparisons already."""
    return _key(runs, names, Selection()) in lab.comparisons


def _key(runs: Sequence[Run], names: dict[str, str], selection: Selection) -> tuple[Any, ...]:
    files = tuple(
        (run.folder, names[run.id], *(signature(run.folder / file) for file in (RUN, PREDICTIONS))) for run in runs
    )
    return files, selection.against, selection.unlike


def section(lab: Lab, runs: Sequence[Run], names: dict[str, str], selection: Selection | None = None) -> str:
    """The comparisons as a table, with what was tested and how, as HTML. `names`: run id -> configuration."""
    selection = selection or Selection()
    made = compared(lab, runs, names, selection)
    if made is None or not made.pairs:
        return note(tr("This needs two configurations whose runs kept predictions of the same test sentences."))
    exact = runs[0].multi_label
    lines = _lines(made, chosen=made.reference == selection.against, exact=exact)
    adjusted = tr(ADJUSTED) if len(made.tested) > 1 else ""
    parts = {"summary": _summary(made), "adjusted": adjusted, "lines": lines, "table": _table(made.pairs, exact=exact)}
    return render("compare/pairs.html", **parts)


def _summary(compared: Comparisons) -> str:
    tested = compared.tested
    if not tested:
        return tr("None of these configurations could be tested against each other.")
    return tr_count(
        "Of {pairs} differences on {sentences} test sentences {count} is significant at 5%. "
        "Not significant is not equal.",
        "Of {pairs} differences on {sentences} test sentences {count} are significant at 5%. "
        "Not significant is not equal.",
        sum(pair.significant for pair in tested),
        pairs=len(tested),
        sentences=_range(pair.result.sentences for pair in tested),
    )


def _lines(compared: Comparisons, *, chosen: bool, exact: bool) -> list[str]:
    """Sentences on what was compared, what was not, and by which test."""
    results = [pair.result for pair in compared.tested]
    lines = [tr(EXACT)] * exact
    if compared.reference:
        text = (
            mark("{count} other configurations are compared with {reference}, which you chose.")
            if chosen
            else mark(
                "{count} others are compared with {reference}, the configuration of the best validation accuracy."
            )
        )
        if exact and not chosen:
            text = mark(
                "{count} others are compared with {reference}, the configuration of the best validation exact match."
            )
        lines.append(tr(text, count=compared.recipes - 1, reference=compared.reference))
    if left := [pair for pair in compared.pairs if not pair.result]:
        lines.append(_untested(left))
    lines += [tr(ONE_SEED)] * any(not result.over_seeds and not result.grouped for result in results)
    lines += [tr(SEVERAL_SEEDS)] * any(result.over_seeds for result in results)
    lines += [tr(LONE_SEED)] * any(min(result.seeds) == 1 < max(result.seeds) for result in results)
    if grouped := [result for result in results if result.grouped]:
        groups, sentences = (_range(getattr(result, name) for result in grouped) for name in ("units", "sentences"))
        lines.append(tr(GROUPED, groups=groups, sentences=sentences))
    lines += [tr(DETECTABLE)] * any(not pair.significant for pair in compared.tested)
    return lines


def _untested(left: Sequence[Comparison]) -> str:
    """A sentence on the comparisons that were not tested."""
    titles = dict.fromkeys(tr(setting.title) for pair in left for setting in pair.settings)
    return tr_count(
        "{count} comparison was not tested: the configurations differ in {settings}, or share no test sentence.",
        "{count} comparisons were not tested: the configurations differ in {settings}, or share no test sentence.",
        len(left),
        settings=", ".join(titles) or "–",
    )


def _table(pairs: Sequence[Comparison], *, exact: bool) -> str:
    """The comparisons as a table; `exact`: whether they are of exact match, which multi-label runs have."""
    points = mark("Difference in test accuracy, in points.")
    if exact:
        points = mark("Difference in test exact match, in points.")
    badges = any(pair.settings or pair.rate for pair in pairs)
    columns = [
        Column.named(mark("First"), numeric=False),
        Column.named(mark("Second"), numeric=False),
        Column.named(mark("First less second"), points, csv="difference"),
        Column.named(mark("Interval, 95%"), numeric=False, csv="interval"),
        Column("low", hidden=True),
        Column("high", hidden=True),
        Column("p"),
        Column.named(mark("Adjusted p (Holm)"), mark("Adjusted for the number of comparisons.")),
        Column.named(mark("At 5%"), numeric=False),
        *(Column(name, hidden=True) for name in ("detectable", "seeds of first", "seeds of second", "sentences")),
        *(Column(name, hidden=True) for name in ("groups", "degrees of freedom")),
    ]
    if badges:
        columns.append(Column.named(mark("Differ in"), mark("First / second."), numeric=False))
    return tables.table(
        columns,
        [_row(pair, badges) for pair in pairs],
        name="differences",
        title=(
            tr("Differences in test exact match, in points") if exact else tr("Differences in test accuracy, in points")
        ),
    )


def _row(pair: Comparison, badges: bool) -> list[Cell]:
    result = pair.result
    settings = [setting for setting in (*pair.settings, pair.rate) if setting]
    about = [Cell(_words(settings), markup=_badges(settings))] if badges else []
    if result is None:
        nothing = [Cell("–") for _ in range(6)]
        return [Cell(pair.first), Cell(pair.second), *nothing, Cell(tr("not tested"), "not tested"), *nothing, *about]
    low, high = 100 * result.low, 100 * result.high
    return [
        _name(pair.first, result.seeds[0]),
        _name(pair.second, result.seeds[1]),
        Cell(f"{100 * result.difference:+.1f}", 100 * result.difference),
        Cell(tr("{low} to {high}", low=f"{low:+.1f}", high=f"{high:+.1f}")),
        Cell("", low),
        Cell("", high),
        Cell(show_p(result.p), result.p),
        Cell(show_p(pair.p), pair.p),
        _verdict(pair),
        Cell("", 100 * pair.detectable),
        Cell(str(result.seeds[0])),
        Cell(str(result.seeds[1])),
        Cell(str(result.sentences)),
        Cell(str(result.units) if result.grouped else ""),
        Cell("" if result.degrees is None else f"{result.degrees:.1f}"),
        *about,
    ]


def _name(name: str, count: int) -> Cell:
    """A configuration with the number of its seeds."""
    return Cell(
        name, markup=render("compare/variant.html", name=name, count=tr_count("{count} seed", "{count} seeds", count))
    )


def _verdict(pair: Comparison) -> Cell:
    if pair.significant:
        return Cell(tr("significant"), "significant")
    least = pair.detectable
    about = (
        tr("{points} points would have shown", points=f"{100 * least:.1f}")
        if least < 1
        else tr("no difference could have shown")
    )
    return Cell(tr("not significant"), "not significant", below=about)


def _badges(settings: Sequence[Setting]) -> Markup:
    return render("compare/badges.html", badges=[_words([setting]) for setting in settings])


def _words(settings: Sequence[Setting]) -> str:
    return "; ".join(f"{tr(one.title)}: {tr(one.first)} / {tr(one.second)}" for one in settings)


def show_p(p: float) -> str:
    """A p-value with three decimals."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _range(values: Iterable[int]) -> str:
    """The values, or the lowest and the highest of them if they differ."""
    known = sorted(set(values))
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,}–{known[-1]:,}"
