"""An explanation of a prediction as HTML: the words coloured by integrated gradients, the parents' weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.markup import render
from trainer.methods import ParentWeights
from trainer.serving.attribution import RELATIVE, Attribution, Word
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.tables import Cell, Column
from trainer.ui.live.groups import Group

FAINT = 0.05
"""Words with less than this share of the largest score are not coloured."""
STRONGEST = 4


@dataclass(frozen=True)
class Explanation:
    """The attribution of one prediction to its words, and of a fusion the weights of its parents."""

    attribution: Attribution
    weights: ParentWeights | None = None


def html(text: str, name: str, explanation: Explanation | str | None) -> str:
    """A run's explanation as HTML: None while it is computed, an error is a sentence. `name` is the run's."""
    if not isinstance(explanation, Explanation):
        return render("live/why.html", error=explanation or "", label="", words=[], texts=[], parents="")
    attribution, weights = explanation.attribution, explanation.weights
    return render(
        "live/why.html",
        error="",
        label=attribution.label,
        words=words(text, attribution),
        texts=[strongest(text, attribution), completeness(attribution)],
        parents=parents_table(weights, name) if weights else "",
    )


def words(text: str, attribution: Attribution) -> list[dict[str, Any]]:
    """The sentence in pieces, in order: each word with its kind, score and share, and the text between words."""
    largest = max((abs(word.score) for word in attribution.words if word.score is not None), default=0.0)
    pieces, end = [], 0
    for word in attribution.words:
        pieces.append({"kind": "between", "text": text[end : word.start]})
        pieces.append(_word(text[word.start : word.end], word, largest))
        end = word.end
    return [*pieces, {"kind": "between", "text": text[end:]}]


def _word(text: str, word: Word, largest: float) -> dict[str, Any]:
    if word.score is None:
        return {"kind": "unread", "text": text}
    share = abs(word.score) / largest if largest else 0.0
    kind = "faint" if share < FAINT else "for" if word.score > 0 else "against"
    return {"kind": kind, "text": text, "share": share, "score": word.score}


def strongest(text: str, attribution: Attribution) -> str:
    """A sentence with the strongest words for and against the label and their scores: the colours as text."""

    def listed(words: list[Word]) -> str:
        return ", ".join(f"“{text[w.start : w.end]}” {w.score:+.2f}" for w in words[:STRONGEST]) or tr("no word")

    scored = sorted((word for word in attribution.words if word.score), key=lambda word: word.score)
    against = [word for word in scored if word.score <= -0.005]
    speaking = [word for word in reversed(scored) if word.score >= 0.005]
    unread = sum(word.score is None for word in attribution.words)
    values = {"label": attribution.label, "speaking": listed(speaking), "against": listed(against)}
    summary = tr("For {label}: {speaking}. Against: {against}.", **values)
    if not unread:
        return summary
    rest = tr_count(
        "{count} word was not read: the run cuts a text at its maximum length.",
        "{count} words were not read: the run cuts a text at its maximum length.",
        unread,
    )
    return f"{summary} {rest}"


def completeness(attribution: Attribution) -> str:
    """A sentence on the completeness axiom: whether the scores sum to the difference of the log-odds."""
    sums = tr(
        "The words sum to {total}. The log-odds of {label} went from {baseline} (baseline) to {end}, a difference of "
        "{difference}.",
        total=f"{attribution.total:+.2f}",
        label=attribution.label,
        baseline=f"{attribution.at_baseline:+.2f}",
        end=f"{attribution.at_text:+.2f}",
        difference=f"{attribution.difference:+.2f}",
    )
    within = mark(
        "The gap of {gap} after {steps} steps is within the tolerance of {tolerance} ({share} of the difference, "
        "at least 0.01)."
    )
    outside = mark(
        "The gap of {gap} after {steps} steps is outside the tolerance of {tolerance} ({share} of the difference, "
        "at least 0.01)."
    )
    gap = tr(
        within if attribution.complete else outside,
        gap=f"{attribution.gap:.3f}",
        steps=attribution.steps,
        tolerance=f"{attribution.tolerance:.3f}",
        share=f"{RELATIVE:.0%}",
    )
    return f"{sums} {gap}"


def scores_table(
    text: str, group: Group, explanations: Mapping[str, Explanation | str], explained: Collection[str]
) -> str:
    """A table of scores as HTML, a row a word, a column a run, each for the label that the run predicts.

    Empty while fewer than two runs are explained.
    """
    pairs = [(run, explanations.get(run.id)) for run in group.runs if run.id in explained]
    shown = [(run, one.attribution) for run, one in pairs if isinstance(one, Explanation)]
    if len(shown) < 2:
        return ""
    columns = [
        Column.named(mark("Word"), numeric=False),
        Column.named(mark("Position")),
        *(
            Column(tr("{run}, for {label}", run=group.names[run.id], label=a.label), tr("log-odds"), "descending")
            for run, a in shown
        ),
    ]
    rows = []
    for index, word in enumerate(shown[0][1].words):
        scores = [attribution.words[index].score for _, attribution in shown]
        rows.append(
            (
                Cell(text[word.start : word.end]),
                Cell(str(index + 1), float(index + 1)),
                *(Cell("–") if score is None else Cell(f"{score:+.3f}", score) for score in scores),
            )
        )
    title = tr("Word scores, {group}", group=group.title)
    return tables.table(columns, rows, name="word-scores", title=title)


def parents_table(weights: ParentWeights, name: str) -> str:
    """A table of a fusion's weights: a row a layer, a column a parent. `name` is the fusion's."""
    columns = [
        Column.named(mark("Layer"), numeric=False),
        *(Column(parent, first="descending") for parent in weights.parents),
    ]
    means = [sum(column) / len(weights.weights) for column in zip(*weights.weights, strict=True)]
    rows = [
        (Cell(title), *(_shaded(value) for value in values))
        for title, values in (*zip(weights.layers, weights.weights, strict=True), (tr("mean"), means))
    ]
    return tables.table(columns, rows, name="parent-weights", title=tr("Parents of {run}", run=name))


def _shaded(value: float) -> Cell:
    return Cell(f"{value:.1%}", value, markup=render("live/shade.html", value=value))
