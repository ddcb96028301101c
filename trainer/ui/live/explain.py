"""Explanations of predictions: the words coloured by integrated gradients, and the parents' weights in a fusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from trainer.markup import render
from trainer.methods import ParentWeights
from trainer.runs.store import Run
from trainer.serving.attribution import RELATIVE, Attribution, Word
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, method_title, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.live.groups import Group, described, groups, short_name
from trainer.ui.live.predict import error_of
from trainer.ui.live.selection import resolve
from trainer.ui.live.session import Session

FAINT = 0.05
"""Words with less than this share of the largest score are not coloured."""
STRONGEST = 4


def explain(lab: Lab, session: Session) -> Iterator[Any]:
    """Explain the predictions on the page, run by run; yields HTML, the last of it complete.

    Stops drawing when the page starts a newer prediction or explanation.
    """
    turns = session.turns
    if turns.prediction != session.turn:
        yield note(tr("The runs are still being asked; explain their answers once all are there."), "warning")
        return
    if not session.runs:
        yield note(tr("Expected answers to explain, got none; ask first."), "warning")
        return
    turn = turns.explain()
    runs, notices = resolve(lab, session.runs)
    attributions: dict[str, Attribution | str] = {}
    weights: dict[str, ParentWeights] = {}
    shown = {"notices": notices, "text": session.text, "runs": runs, "attributions": attributions, "weights": weights}
    for number, run in enumerate(runs, start=1):
        title = method_title(run.recipe.method)
        status = tr("Explaining {method}, {place} of {of}.", method=title, place=number, of=len(runs))
        yield html(status, **shown)
        try:
            attributions[run.id] = lab.predictor.explain(session.text, run)
            if (parents := lab.predictor.parent_weights(session.text, run)) is not None:
                weights[run.id] = parents
        except Exception as error:  # of any kind: the other runs are still explained
            attributions[run.id] = error_of(lab, run, error)
        if turns.prediction != session.turn or turns.explanation != turn:
            yield gr.skip()
            return
    done = tr_count("{count} run explained.", "{count} runs explained.", len(runs))
    yield html(done, **shown, complete=True)


def html(
    status: str,
    *,
    notices: Sequence[str],
    text: str,
    runs: Sequence[Run],
    attributions: Mapping[str, Attribution | str],
    weights: Mapping[str, ParentWeights],
    complete: bool = False,
) -> str:
    """Every explanation so far as HTML, by task, with one table a task and the parents' weights of a fusion."""
    sections = []
    for group in groups(runs):
        done = [run for run in group.runs if run.id in attributions]
        if done:
            title = tr("Why, {group}", group=group.title)
            parts = [_one(text, run, group, attributions[run.id], weights.get(run.id)) for run in done]
            table = _table(text, group, attributions) if len(done) == len(group.runs) else ""
            sections.append({"title": title, "explanations": parts, "table": table})
    return render("live/explanations.html", status=status, notices=notices, sections=sections, complete=complete)


def _one(
    text: str, run: Run, group: Group, attribution: Attribution | str, weights: ParentWeights | None
) -> dict[str, Any]:
    """The values of one run's explanation in the template."""
    title = short_name(run, group)
    if isinstance(attribution, str):
        return {"title": title, "description": described(run), "error": attribution}
    return {
        "title": tr("{run}: why {label}", run=title, label=attribution.label),
        "description": described(run),
        "error": "",
        "words": words(text, attribution),
        "strongest": strongest(text, attribution),
        "completeness": completeness(attribution),
        "parents": parents_table(weights, title) if weights else "",
    }


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


def _table(text: str, group: Group, attributions: Mapping[str, Attribution | str]) -> str:
    """A table of scores, a row a word, a column a run, each for the label that the run predicts."""
    pairs = [(run, attributions[run.id]) for run in group.runs]
    explained = [(run, attribution) for run, attribution in pairs if isinstance(attribution, Attribution)]
    if not explained:
        return ""
    columns = [
        Column.named(mark("Word"), numeric=False),
        Column.named(mark("Place")),
        *(
            Column(tr("{run}, for {label}", run=short_name(run, group), label=a.label), tr("log-odds"), "descending")
            for run, a in explained
        ),
    ]
    rows = []
    for index, word in enumerate(explained[0][1].words):
        scores = [attribution.words[index].score for _, attribution in explained]
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
