"""Answers as cards, side by side in a fixed order, under their task; and in words where they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.runs.store import Run
from trainer.serving.predictor import Answer
from trainer.texts import tr, tr_count
from trainer.ui.common.lab import escape, method_title, task_name
from trainer.ui.common.theme import COLOURS

MOST_BARS = 12
"""Labels with a bar each; of a larger set the most probable ones have one, and the rest share one."""
SHOWN_OF_MANY = 6


@dataclass(frozen=True)
class Group:
    """Runs of one task: the same label names, so that their answers can agree. `spares` have an untrained card."""

    title: str
    runs: tuple[Run, ...]

    @property
    def spares(self) -> tuple[Run, ...]:
        """One run for each backbone."""
        return tuple({run.recipe.backbone: run for run in reversed(self.runs)}.values())[::-1]


@dataclass
class Board:
    """What is known so far: an answer, or an error in one sentence, by run id; nothing yet for the others."""

    text: str
    groups: tuple[Group, ...]
    with_untrained: bool = False
    guess: str | None = None
    said: tuple[str, ...] = ()
    answers: dict[str, Answer | str] = field(default_factory=dict)
    untrained: dict[str, Answer | str] = field(default_factory=dict)

    def html(self, status: str) -> str:
        """The whole board; placeholders have the size of what will stand there, so that nothing moves."""
        parts = [f'<div class="lab-note" role="status">{escape(status)}</div>']
        parts += [f'<div class="lab-warning">{escape(text)}</div>' for text in self.said]
        asked = tr("Asked: “{text}”", text=self.text)
        parts.append(f'<p class="lab-asked">{escape(asked)}</p>')
        if self.guess is not None:
            said = tr("The class says {label}.", label=f"<strong>{escape(self.guess)}</strong>")
            parts.append(f'<p class="lab-asked">{said}</p>')
        return "".join(parts) + "".join(self._group(group) for group in self.groups)

    def _group(self, group: Group) -> str:
        known = [self.answers.get(run.id) for run in group.runs]
        split = verdict(group, known)
        room = len(group.runs) > 1 or self.guess is not None
        cards = [
            _card(
                title=method_title(run.recipe.method),
                small=described(run),
                colour=COLOURS.get(run.recipe.method, "#888888"),
                labels=run.label_names,
                answer=answer,
                tags=_tags(answer, split, self.guess, run.label_names),
                room=room,
                kind=" lab-dissent" if isinstance(answer, Answer) and answer.predicted in split.minority else "",
            )
            for run, answer in zip(group.runs, known, strict=True)
        ]
        if self.with_untrained:
            cards += [
                _card(
                    title=tr("Untrained {backbone}", backbone=backbone_name(run)),
                    small=tr("a fresh head on the backbone: what there is before any training"),
                    colour="#888888",
                    labels=run.label_names,
                    answer=self.untrained.get(spare_key(run)),
                    tags=[tr("Not trained, does not count")],
                    room=room,
                    kind=" lab-untrained",
                )
                for run in group.spares
            ]
        kind = " lab-split" if split.minority else ""
        words = (
            f'<p class="lab-verdict{kind}">{_ghost(group)}<span>{escape(split.text)}</span></p>' if split.text else ""
        )
        return (
            f'<section><h2 class="lab-heading">{escape(group.title)}</h2>{words}'
            f'<div class="lab-answers">{"".join(cards)}</div></section>'
        )


@dataclass(frozen=True)
class Verdict:
    """How a group splits, in words. `minority`: labels of cards to be marked; all of them where no label leads."""

    text: str
    minority: frozenset[str] = frozenset()
    leading: str | None = None


def groups(runs: Sequence[Run]) -> tuple[Group, ...]:
    """The runs under their tasks, both in the order of `runs`. A task name with other labels is another task."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        found.setdefault((run.recipe.task, run.label_names), []).append(run)
    return tuple(Group(_title(same), tuple(same)) for same in found.values())


def _title(runs: Sequence[Run]) -> str:
    return tr_count("{task}: {count} run", "{task}: {count} runs", len(runs), task=task_name(runs[0]))


def verdict(group: Group, answers: Sequence[Answer | str | None]) -> Verdict:
    """Who says what, over the runs that have answered; `answers` in the order of the group's runs."""
    said = [(run, answer) for run, answer in zip(group.runs, answers, strict=True) if isinstance(answer, Answer)]
    if len(group.runs) == 1:
        return Verdict("")
    if None in answers:
        return Verdict(tr("The runs are being asked."))
    if not said:
        return Verdict(tr("No run answered."))
    votes = Counter(answer.predicted for _, answer in said)
    ranked = votes.most_common()
    if len(said) == 1:
        return Verdict(tr("One run answered: it says {label}.", label=ranked[0][0]))
    if len(ranked) == 1:
        text = tr("Agreement: all {count} runs say {label}.", count=len(said), label=ranked[0][0])
        return Verdict(text, leading=ranked[0][0])
    tied = ranked[0][1] == ranked[1][1]
    parts = []
    for i, (label, number) in enumerate(ranked):
        names = ", ".join(short_name(run, group) for run, answer in said if answer.predicted == label)
        named = {"label": label, "names": names}
        parts.append(
            tr_count("{count} says {label} ({names})", "{count} say {label} ({names})", number, **named)
            if i
            else tr_count(
                "{count} of {all} says {label} ({names})",
                "{count} of {all} say {label} ({names})",
                number,
                all=len(said),
                **named,
            )
        )
    leading = None if tied else ranked[0][0]
    minority = frozenset(label for label in votes if label != leading)
    parts = "; ".join(parts)
    text = (
        tr("Disagreement: no label leads: {parts}.", parts=parts) if tied else tr("Disagreement: {parts}.", parts=parts)
    )
    return Verdict(text, minority, leading)


def _ghost(group: Group) -> str:
    """Unseen words that give the verdict its room from the start: as long as those of a disagreement."""
    names = ", ".join(short_name(run, group) for run in group.runs)
    label = max(group.runs[0].label_names, key=len)
    text = tr(
        "Disagreement: {count} of {count} say {label} ({names}); {count} say {label}.",
        count=len(group.runs),
        label=label,
        names=names,
    )
    return f'<span class="lab-ghost" aria-hidden="true">{escape(text)}</span>'


def described(run: Run) -> str:
    """What tells a card from another of the same method."""
    named = {"task": task_name(run), "backbone": backbone_name(run), "seed": run.recipe.seed}
    if run.label:
        return tr("{label}, {task}, {backbone}, seed {seed}", label=run.label, **named)
    return tr("{task}, {backbone}, seed {seed}", **named)


def short_name(run: Run, group: Group) -> str:
    """The method, with what tells the run from others of that method in the group."""
    title = method_title(run.recipe.method)
    same = [other for other in group.runs if other.recipe.method == run.recipe.method]
    if len(same) == 1:
        return title
    alone = sum(other.recipe.seed == run.recipe.seed for other in same) == 1
    return tr("{method}, seed {seed}", method=title, seed=run.recipe.seed) if alone else f"{title}, {run.id[-8:]}"


def backbone_name(run: Run) -> str:
    """The backbone's name; for a folder, the folder's."""
    return run.recipe.backbone.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def spare_key(run: Run) -> str:
    """Where the untrained answer of a run's group and backbone is kept."""
    return f"{run.recipe.task}\n{'|'.join(run.label_names)}\n{run.recipe.backbone}"


def _tags(answer: Answer | str | None, split: Verdict, guess: str | None, labels: Sequence[str]) -> list[str]:
    if not isinstance(answer, Answer):
        return []
    tags = []
    if answer.predicted in split.minority:
        tags.append(tr("Differs: most say {label}", label=split.leading) if split.leading else tr("No label leads"))
    if guess is not None and guess not in labels:
        tags.append(tr("Has no label {label}", label=guess))
    elif guess is not None:
        tags.append(tr("✓ Agrees with the class") if answer.predicted == guess else tr("✗ Differs from the class"))
    return tags


def _card(*, title, small, colour, labels, answer, tags, kind, room) -> str:
    head = f'<h3>{escape(title)}</h3><div class="lab-small">{escape(small)}</div>'
    if isinstance(answer, str):
        body = f'<div class="lab-warning">{escape(answer)}</div>'
    else:
        said = f"{answer.predicted} {answer.confidence:.0%}" if answer else "…"
        time = tr("{time} ms", time=f"{answer.seconds * 1000:.1f}") if answer else "…"
        shares = answer.probabilities if answer else {}
        body = (
            f'<div class="lab-label">{escape(said)}</div>'
            + "".join(_bar(name, share) for name, share in _bars(labels, shares))
            + f'<div class="lab-small">{time}</div>'
        )
    marks = "".join(f'<span class="lab-tag">{escape(tag)}</span>' for tag in tags)
    return (
        f'<article class="lab-answer{kind}" style="--lab-colour:{colour}">{head}{body}'
        f'<div class="lab-tags{" lab-room" if room else ""}">{marks}</div></article>'
    )


def _bars(labels: Sequence[str], shares: dict[str, float]) -> list[tuple[str, float | None]]:
    """(label, probability or None) in the task's order, so that the bars of all cards line up."""
    if len(labels) <= MOST_BARS:
        return [(name, shares.get(name)) for name in labels]
    top = sorted(shares, key=shares.get, reverse=True)[:SHOWN_OF_MANY] if shares else labels[:SHOWN_OF_MANY]
    rest = max(1 - sum(shares[name] for name in top), 0.0) if shares else None
    shown = [(name if shares else "…", shares.get(name)) for name in labels if name in top]
    return [*shown, (tr("{count} others", count=len(labels) - SHOWN_OF_MANY), rest)]


def _bar(name: str, share: float | None) -> str:
    width, text = (100 * share, f"{share:.1%}") if share is not None else (0, "…")
    return (
        f'<div class="lab-bar"><span>{escape(name)}</span><span class="lab-track">'
        f'<div class="lab-fill" style="width:{width:.1f}%"></div></span><span>{text}</span></div>'
    )
