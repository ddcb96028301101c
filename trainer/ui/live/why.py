"""Why: coloured words by integrated gradients, and what each parent lent to a fusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.methods import ParentWeights
from trainer.runs.store import Run
from trainer.serving.attribution import RELATIVE, Attribution, Word
from trainer.texts import tr, tr_count
from trainer.ui.common import tables
from trainer.ui.common.lab import Lab, escape, method_title, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.live.answers import Group, described, groups, short_name
from trainer.ui.live.ask import Session, resolve

FAINT = 0.05
"""Words below this share of the strongest one stay unmarked."""
STRONGEST = 4
PAPER = "https://arxiv.org/abs/1703.01365"


def legend() -> str:
    """What the lines under the words mean."""
    straight, wavy = tr("Straight line, blue"), tr("Wavy line, orange")
    text = tr(
        "{straight}: speaks for the label. {wavy}: speaks against it. A stronger colour is a larger share. A score is "
        "in log-odds: +0.69 doubles the odds of the label.",
        straight=f'<span class="lab-word lab-for" style="--s:1">{straight}</span>',
        wavy=f'<span class="lab-word lab-against" style="--s:1">{wavy}</span>',
    )
    return f'<p class="lab-asked">{text}</p>'


def meaning() -> str:
    """What the scores tell, and what they do not."""
    text = tr(
        "What this tells: how the run's own prediction divides over the words, against the same sentence with [PAD] in "
        "every word's place ([CLS] and [SEP] stay). What it does not tell: whether the prediction is right, what the "
        "run would say without a word, or how words act together; another baseline gives other scores. {paper}.",
        paper=f'Integrated gradients, Sundararajan, Taly and Yan 2017, <a href="{PAPER}">arXiv:1703.01365</a>',
    )
    return f'<p class="lab-asked">{text}</p>'


def explain(lab: Lab, session: Session) -> Iterator[Any]:
    """Explain the answers on the page, run by run; the last yield is whole.

    Once the page asks something newer, or explains anew, this ends without drawing anything more.
    """
    turns = session.turns
    if turns.question != session.question:
        yield note(tr("The runs are still being asked; explain their answers once all are there."), "warning")
        return
    if not session.runs:
        yield note(tr("Expected answers to explain, got none; ask first."), "warning")
        return
    mine = turns.explain()
    runs, said = resolve(lab, session.runs)
    notes = "".join(note(part, "warning") for part in said)
    found: dict[str, Attribution | str] = {}
    weights: dict[str, ParentWeights] = {}
    for place, run in enumerate(runs, start=1):
        title = method_title(run.recipe.method)
        status = tr("Explaining {method}, {place} of {of}.", method=title, place=place, of=len(runs))
        yield note(status) + notes + html(session.text, runs, found, weights)
        try:
            found[run.id] = lab.predictor.explain(session.text, run)
            if (lent := lab.predictor.parent_weights(session.text, run)) is not None:
                weights[run.id] = lent
        except (UserError, OSError, RuntimeError, MemoryError, ValueError, KeyError) as error:
            found[run.id] = lab.shown(sentence(error))
        if turns.question != session.question or turns.explanation != mine:
            yield gr.skip()
            return
    done = tr_count("{count} run explained.", "{count} runs explained.", len(runs))
    yield note(done) + notes + html(session.text, runs, found, weights) + meaning()


def html(
    text: str,
    runs: Sequence[Run],
    found: dict[str, Attribution | str],
    weights: dict[str, ParentWeights],
) -> str:
    """Every explanation so far, under its task, with one table a task and the parents' weights under a fusion's."""
    parts = [legend()] if found else []
    for group in groups(runs):
        done = [run for run in group.runs if run.id in found]
        if done:
            title = tr("Why, {group}", group=group.title)
            parts.append(f'<section><h2 class="lab-heading">{escape(title)}</h2>')
            parts += [_one(text, run, group, found[run.id], weights.get(run.id)) for run in done]
            parts.append((_table(text, group, found) if len(done) == len(group.runs) else "") + "</section>")
    return "".join(parts)


def _one(text: str, run: Run, group: Group, said: Attribution | str, lent: ParentWeights | None) -> str:
    title = short_name(run, group)
    small = f'<div class="lab-small">{escape(described(run))}</div>'
    if isinstance(said, str):
        return f'<article class="lab-why"><h3>{escape(title)}</h3>{small}{note(said, "warning")}</article>'
    why = tr("{run}: why {label}", run=title, label=said.label)
    return (
        f'<article class="lab-why"><h3>{escape(why)}</h3>{small}'
        f'<p class="lab-sentence">{sentence_html(text, said)}</p>'
        f"<p>{escape(strongest(text, said))}</p><p>{escape(completeness(said))}</p>"
        f"{parents_html(lent, title) if lent else ''}</article>"
    )


def sentence_html(text: str, said: Attribution) -> str:
    """The sentence as typed, each word with a line and a shade for its score, and the score as its title."""
    largest = max((abs(word.score) for word in said.words if word.score is not None), default=0.0)
    parts, end = [], 0
    for word in said.words:
        parts.append(escape(text[end : word.start]))
        parts.append(_word(text[word.start : word.end], word, largest))
        end = word.end
    return "".join(parts) + escape(text[end:])


def _word(shown: str, word: Word, largest: float) -> str:
    if word.score is None:
        unread = tr("not read by the model")
        return f'<span class="lab-unread" title="{escape(unread)}">{escape(shown)}</span>'
    share = abs(word.score) / largest if largest else 0.0
    if share < FAINT:
        return f'<span title="{word.score:+.2f}">{escape(shown)}</span>'
    kind = "for" if word.score > 0 else "against"
    return f'<span class="lab-word lab-{kind}" style="--s:{share:.2f}" title="{word.score:+.2f}">{escape(shown)}</span>'


def strongest(text: str, said: Attribution) -> str:
    """The strongest words for and against, with signed numbers: what the colours say, in words."""

    def listed(words: list[Word]) -> str:
        return ", ".join(f"“{text[w.start : w.end]}” {w.score:+.2f}" for w in words[:STRONGEST]) or tr("no word")

    scored = sorted((word for word in said.words if word.score), key=lambda word: word.score)
    against = [word for word in scored if word.score <= -0.005]
    speaking = [word for word in reversed(scored) if word.score >= 0.005]
    unread = sum(word.score is None for word in said.words)
    named = {"label": said.label, "speaking": listed(speaking), "against": listed(against)}
    text = tr("For {label}: {speaking}. Against: {against}.", **named)
    if not unread:
        return text
    rest = tr_count(
        "{count} word was not read: the run cuts a text at its maximum length.",
        "{count} words were not read: the run cuts a text at its maximum length.",
        unread,
    )
    return f"{text} {rest}"


def completeness(said: Attribution) -> str:
    """The axiom's check in words."""
    named = {
        "total": f"{said.total:+.2f}",
        "label": said.label,
        "baseline": f"{said.at_baseline:+.2f}",
        "end": f"{said.at_text:+.2f}",
        "difference": f"{said.difference:+.2f}",
    }
    gap = {
        "gap": f"{said.gap:.3f}",
        "steps": said.steps,
        "tolerance": f"{said.tolerance:.3f}",
        "share": f"{RELATIVE:.0%}",
    }
    sums = tr(
        "The words sum to {total}. The log-odds of {label} went from {baseline} (baseline) to {end}, a difference of "
        "{difference}.",
        **named,
    )
    if said.complete:
        held = tr(
            "The gap of {gap} after {steps} steps is within the tolerance of {tolerance} ({share} of the difference, "
            "at least 0.01).",
            **gap,
        )
    else:
        held = tr(
            "The gap of {gap} after {steps} steps is outside the tolerance of {tolerance} ({share} of the difference, "
            "at least 0.01).",
            **gap,
        )
    return f"{sums} {held}"


def _table(text: str, group: Group, found: dict[str, Attribution | str]) -> str:
    """One row a word, one column a run; a column's scores are for the label that its run predicts."""
    columns, cells = [Column(tr("Word"), numeric=False, csv="Word"), Column(tr("Place"), csv="Place")], []
    explained = [(run, found[run.id]) for run in group.runs if not isinstance(found[run.id], str)]
    if not explained:
        return ""
    columns += [
        Column(tr("{run}, for {label}", run=short_name(run, group), label=said.label), tr("log-odds"), "descending")
        for run, said in explained
    ]
    for place, word in enumerate(explained[0][1].words):
        scores = [said.words[place].score for _, said in explained]
        cells.append(
            (
                Cell(text[word.start : word.end]),
                Cell(str(place + 1), float(place + 1)),
                *(Cell("–") if score is None else Cell(f"{score:+.3f}", score) for score in scores),
            )
        )
    title = tr("Every word's score, as a table")
    scores = tables.table(columns, cells, name="word-scores", title=tr("Word scores, {group}", group=group.title))
    return f'<details class="lab-scores"><summary>{title}</summary>{scores}</details>'


def parents_html(lent: ParentWeights, name: str) -> str:
    """A row a layer, a column a parent; the shade repeats the number."""
    columns = [
        Column(tr("Layer"), numeric=False, csv="Layer"),
        *(Column(parent, first="descending") for parent in lent.parents),
    ]
    means = [sum(column) / len(lent.weights) for column in zip(*lent.weights, strict=True)]
    rows = [
        (Cell(title), *(_share(value) for value in values))
        for title, values in (*zip(lent.places, lent.weights, strict=True), (tr("mean"), means))
    ]
    about = tr(
        "The fusion's attention over its parents for this sentence, averaged over the tokens; a layer's weights sum to "
        "100%."
    )
    grid = tables.table(columns, rows, name="parent-weights", title=tr("Parents of {run}", run=name))
    below = tr(
        "Layer 1 is the lowest. A weight says how much of a parent's output passes, not that it helps. {paper}.",
        paper='Pfeiffer et al. 2021, <a href="https://arxiv.org/abs/2005.00247">arXiv:2005.00247</a>',
    )
    title = tr("What each parent lent")
    return f'<h4>{title}</h4><p>{about}</p><div class="lab-heat">{grid}</div><p>{below}</p>'


def _share(value: float) -> Cell:
    text = f"{value:.1%}"
    return Cell(text, value, markup=f'<span class="lab-shade" style="--s:{value:.2f}">{text}</span>')
