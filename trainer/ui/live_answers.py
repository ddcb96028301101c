"""Answers as cards, side by side in a fixed order, under their task; and in words where they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.inference import Answer
from trainer.store import Run
from trainer.ui.lab import escape, method_title, task_name
from trainer.ui.theme import COLOURS

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
        parts.append(f'<p class="lab-asked">Asked: “{escape(self.text)}”</p>')
        if self.guess is not None:
            parts.append(f'<p class="lab-asked">The class says <strong>{escape(self.guess)}</strong>.</p>')
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
                    title=f"Untrained {backbone_name(run)}",
                    small="a fresh head on the backbone: what there is before any training",
                    colour="#888888",
                    labels=run.label_names,
                    answer=self.untrained.get(spare_key(run)),
                    tags=["Not trained, does not count"],
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
    return tuple(Group(f"{task_name(same[0])}: {count(len(same), 'run')}", tuple(same)) for same in found.values())


def verdict(group: Group, answers: Sequence[Answer | str | None]) -> Verdict:
    """Who says what, over the runs that have answered; `answers` in the order of the group's runs."""
    said = [(run, answer) for run, answer in zip(group.runs, answers, strict=True) if isinstance(answer, Answer)]
    if len(group.runs) == 1:
        return Verdict("")
    if None in answers:
        return Verdict("The runs are being asked.")
    if not said:
        return Verdict("No run answered.")
    votes = Counter(answer.predicted for _, answer in said)
    ranked = votes.most_common()
    if len(said) == 1:
        return Verdict(f"One run answered: it says {ranked[0][0]}.")
    if len(ranked) == 1:
        return Verdict(f"Agreement: all {len(said)} runs say {ranked[0][0]}.", leading=ranked[0][0])
    tied = ranked[0][1] == ranked[1][1]
    parts = []
    for i, (label, number) in enumerate(ranked):
        names = ", ".join(short_name(run, group) for run, answer in said if answer.predicted == label)
        parts.append(
            f"{number}{f' of {len(said)}' if i == 0 else ''} say{'s' if number == 1 else ''} {label} ({names})"
        )
    leading = None if tied else ranked[0][0]
    minority = frozenset(label for label in votes if label != leading)
    return Verdict(f"Disagreement{': no label leads' if tied else ''}: {'; '.join(parts)}.", minority, leading)


def _ghost(group: Group) -> str:
    """Unseen words that give the verdict its room from the start: as long as those of a disagreement."""
    names = ", ".join(short_name(run, group) for run in group.runs)
    label = max(group.runs[0].label_names, key=len)
    text = f"Disagreement: {len(group.runs)} of {len(group.runs)} say {label} ({names}); {len(group.runs)} say {label}."
    return f'<span class="lab-ghost" aria-hidden="true">{escape(text)}</span>'


def described(run: Run) -> str:
    """What tells a card from another of the same method."""
    name = f"{run.label}, " if run.label else ""
    return f"{name}{task_name(run)}, {backbone_name(run)}, seed {run.recipe.seed}"


def short_name(run: Run, group: Group) -> str:
    """The method, with what tells the run from others of that method in the group."""
    title = method_title(run.recipe.method)
    same = [other for other in group.runs if other.recipe.method == run.recipe.method]
    if len(same) == 1:
        return title
    alone = sum(other.recipe.seed == run.recipe.seed for other in same) == 1
    return f"{title}, seed {run.recipe.seed}" if alone else f"{title}, {run.id[-8:]}"


def backbone_name(run: Run) -> str:
    """The backbone's name; for a folder, the folder's."""
    return run.recipe.backbone.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def spare_key(run: Run) -> str:
    """Where the untrained answer of a run's group and backbone is kept."""
    return f"{run.recipe.task}\n{'|'.join(run.label_names)}\n{run.recipe.backbone}"


def count(number: int, word: str) -> str:
    """1 run, 2 runs."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _tags(answer: Answer | str | None, split: Verdict, guess: str | None, labels: Sequence[str]) -> list[str]:
    if not isinstance(answer, Answer):
        return []
    tags = []
    if answer.predicted in split.minority:
        tags.append(f"Differs: most say {split.leading}" if split.leading else "No label leads")
    if guess is not None and guess not in labels:
        tags.append(f"Has no label {guess}")
    elif guess is not None:
        tags.append("✓ Agrees with the class" if answer.predicted == guess else "✗ Differs from the class")
    return tags


def _card(*, title, small, colour, labels, answer, tags, kind, room) -> str:
    head = f'<h3>{escape(title)}</h3><div class="lab-small">{escape(small)}</div>'
    if isinstance(answer, str):
        body = f'<div class="lab-warning">{escape(answer)}</div>'
    else:
        said = f"{answer.predicted} {answer.confidence:.0%}" if answer else "…"
        time = f"{answer.seconds * 1000:.1f} ms" if answer else "…"
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
    return [*shown, (f"{len(labels) - SHOWN_OF_MANY} others", rest)]


def _bar(name: str, share: float | None) -> str:
    width, text = (100 * share, f"{share:.1%}") if share is not None else (0, "…")
    return (
        f'<div class="lab-bar"><span>{escape(name)}</span><span class="lab-track">'
        f'<div class="lab-fill" style="width:{width:.1f}%"></div></span><span>{text}</span></div>'
    )
