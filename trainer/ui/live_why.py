"""Why: coloured words by integrated gradients, and what each parent lent to a fusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from trainer.attribution import RELATIVE, Attribution, Word
from trainer.errors import UserError, sentence
from trainer.methods import ParentWeights
from trainer.store import Run
from trainer.ui import tables
from trainer.ui.lab import Lab, escape, method_title, note
from trainer.ui.live_answers import Group, count, described, groups, short_name
from trainer.ui.live_ask import Session, resolve
from trainer.ui.tables import Cell, Column

FAINT = 0.05
"""Words below this share of the strongest one stay unmarked."""
STRONGEST = 4
PAPER = "https://arxiv.org/abs/1703.01365"
LEGEND = (
    '<p class="lab-asked"><span class="lab-word lab-for" style="--s:1">Straight line, blue</span>: speaks for the '
    'label. <span class="lab-word lab-against" style="--s:1">Wavy line, orange</span>: speaks against it. A stronger '
    "colour is a larger share. A score is in log-odds: +0.69 doubles the odds of the label.</p>"
)
MEANING = (
    '<p class="lab-asked">What this tells: how the run\'s own prediction divides over the words, against the same '
    "sentence with [PAD] in every word's place ([CLS] and [SEP] stay). What it does not tell: whether the prediction "
    "is right, what the run would say without a word, or how words act together; another baseline gives other scores. "
    f'Integrated gradients, Sundararajan, Taly and Yan 2017, <a href="{PAPER}">arXiv:1703.01365</a>.</p>'
)


def explain(lab: Lab, session: Session) -> Iterator[Any]:
    """Explain the answers on the page, run by run; the last yield is whole.

    Once the page asks something newer, or explains anew, this ends without drawing anything more.
    """
    turns = session.turns
    if turns.question != session.question:
        yield note("The runs are still being asked; explain their answers once all are there.", "warning")
        return
    if not session.runs:
        yield note("Expected answers to explain, got none; ask first.", "warning")
        return
    mine = turns.explain()
    runs, said = resolve(lab, session.runs)
    notes = "".join(note(part, "warning") for part in said)
    found: dict[str, Attribution | str] = {}
    weights: dict[str, ParentWeights] = {}
    for place, run in enumerate(runs, start=1):
        status = f"Explaining {method_title(run.recipe.method)}, {place} of {len(runs)}."
        yield note(status) + notes + html(session.text, runs, found, weights)
        try:
            found[run.id] = lab.predictor.explain(session.text, run)
            if (lent := lab.predictor.parent_weights(session.text, run)) is not None:
                weights[run.id] = lent
        except (UserError, OSError, RuntimeError, MemoryError, ValueError, KeyError) as error:
            found[run.id] = sentence(error)
        if turns.question != session.question or turns.explanation != mine:
            yield gr.skip()
            return
    yield note(f"{count(len(runs), 'run')} explained.") + notes + html(session.text, runs, found, weights) + MEANING


def html(
    text: str,
    runs: Sequence[Run],
    found: dict[str, Attribution | str],
    weights: dict[str, ParentWeights],
) -> str:
    """Every explanation so far, under its task, with one table a task and the parents' weights under a fusion's."""
    parts = [LEGEND] if found else []
    for group in groups(runs):
        done = [run for run in group.runs if run.id in found]
        if done:
            parts.append(f'<section><h2 class="lab-heading">Why, {escape(group.title)}</h2>')
            parts += [_one(text, run, group, found[run.id], weights.get(run.id)) for run in done]
            parts.append((_table(text, group, found) if len(done) == len(group.runs) else "") + "</section>")
    return "".join(parts)


def _one(text: str, run: Run, group: Group, said: Attribution | str, lent: ParentWeights | None) -> str:
    title = escape(short_name(run, group))
    small = f'<div class="lab-small">{escape(described(run))}</div>'
    if isinstance(said, str):
        return f'<article class="lab-why"><h3>{title}</h3>{small}{note(said, "warning")}</article>'
    return (
        f'<article class="lab-why"><h3>{title}: why {escape(said.label)}</h3>{small}'
        f'<p class="lab-sentence">{sentence_html(text, said)}</p>'
        f"<p>{escape(strongest(text, said))}</p><p>{escape(completeness(said))}</p>"
        f"{parents_html(lent, short_name(run, group)) if lent else ''}</article>"
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
        return f'<span class="lab-unread" title="not read by the model">{escape(shown)}</span>'
    share = abs(word.score) / largest if largest else 0.0
    if share < FAINT:
        return f'<span title="{word.score:+.2f}">{escape(shown)}</span>'
    kind = "for" if word.score > 0 else "against"
    return f'<span class="lab-word lab-{kind}" style="--s:{share:.2f}" title="{word.score:+.2f}">{escape(shown)}</span>'


def strongest(text: str, said: Attribution) -> str:
    """The strongest words for and against, with signed numbers: what the colours say, in words."""

    def listed(words: list[Word]) -> str:
        return ", ".join(f"“{text[w.start : w.end]}” {w.score:+.2f}" for w in words[:STRONGEST]) or "no word"

    scored = sorted((word for word in said.words if word.score), key=lambda word: word.score)
    against = [word for word in scored if word.score <= -0.005]
    speaking = [word for word in reversed(scored) if word.score >= 0.005]
    unread = sum(word.score is None for word in said.words)
    rest = f" {unread} words were not read: the run cuts a text at its maximum length." if unread else ""
    return f"For {said.label}: {listed(speaking)}. Against: {listed(against)}.{rest}"


def completeness(said: Attribution) -> str:
    """The axiom's check in words."""
    held = "within" if said.complete else "outside"
    return (
        f"The words sum to {said.total:+.2f}. The log-odds of {said.label} went from {said.at_baseline:+.2f} "
        f"(baseline) to {said.at_text:+.2f}, a difference of {said.difference:+.2f}. The gap of {said.gap:.3f} after "
        f"{said.steps} steps is {held} the tolerance of {said.tolerance:.3f} ({RELATIVE:.0%} of the difference, at "
        "least 0.01)."
    )


def _table(text: str, group: Group, found: dict[str, Attribution | str]) -> str:
    """One row a word, one column a run; a column's scores are for the label that its run predicts."""
    columns, cells = [Column("Word", numeric=False), Column("Place")], []
    explained = [(run, found[run.id]) for run in group.runs if not isinstance(found[run.id], str)]
    if not explained:
        return ""
    columns += [
        Column(f"{short_name(run, group)}, for {said.label}", "log-odds", "descending") for run, said in explained
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
    scores = tables.table(columns, cells, name="word-scores", title=f"Word scores, {group.title}")
    return f'<details class="lab-scores"><summary>Every word\'s score, as a table</summary>{scores}</details>'


def parents_html(lent: ParentWeights, name: str) -> str:
    """A row a layer, a column a parent; the shade repeats the number."""
    columns = [Column("Layer", numeric=False), *(Column(parent, first="descending") for parent in lent.parents)]
    means = [sum(column) / len(lent.weights) for column in zip(*lent.weights, strict=True)]
    rows = [
        (Cell(title), *(_share(value) for value in values))
        for title, values in (*zip(lent.places, lent.weights, strict=True), ("mean", means))
    ]
    return (
        "<h4>What each parent lent</h4><p>The fusion's attention over its parents for this sentence, averaged over the "
        "tokens; a layer's weights sum to 100%.</p>"
        f'<div class="lab-heat">{tables.table(columns, rows, name="parent-weights", title=f"Parents of {name}")}</div>'
        "<p>Layer 1 is the lowest. A weight says how much of a parent's output passes, not that it helps. Pfeiffer et "
        'al. 2021, <a href="https://arxiv.org/abs/2005.00247">arXiv:2005.00247</a>.</p>'
    )


def _share(value: float) -> Cell:
    text = f"{value:.1%}"
    return Cell(text, value, markup=f'<span class="lab-shade" style="--s:{value:.2f}">{text}</span>')
