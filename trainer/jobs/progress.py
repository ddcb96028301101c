"""Events of runs as lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.runs.run import Run
from trainer.texts import tr

PLAIN_SECONDS = 5.0
"""Shortest time between two printed steps where the output is no terminal."""


def duration(seconds: float) -> str:
    """A duration in words: seconds, minutes and seconds, or hours and minutes."""
    if 0 < seconds < 1:
        return tr("<1 s")
    whole = round(max(seconds, 0))
    if whole >= 3600:
        return tr("{hours} h {minutes} min", hours=whole // 3600, minutes=f"{whole % 3600 // 60:02d}")
    if whole >= 60:
        return tr("{minutes} min {seconds} s", minutes=whole // 60, seconds=f"{whole % 60:02d}")
    return tr("{seconds} s", seconds=whole)


class Progress:
    """Prints a line for each important event of the runs; on a terminal (`live`) also the newest step."""

    def __init__(self, runs: Sequence[Run], *, write: Callable[..., Any], live: bool) -> None:
        self.write, self.live = write, live
        self.exact = {run.id: run.multi_label for run in runs}
        self.prefix = {run.id: f"[{i}/{len(runs)}] {run.id}" for i, run in enumerate(runs, start=1)}
        self._last_step, self._open_line = 0.0, False

    def show(self, run: Run, event: dict[str, Any]) -> None:
        """Print one event of a run."""
        text = describe(event, exact=self.exact[run.id])
        if text is None:
            return
        line = f"{self.prefix[run.id]}: {text}"
        if event["type"] == "step":
            if self.live:
                self.write(f"\r\033[K{line}", nl=False)
                self._open_line = True
            elif event["time"] - self._last_step >= PLAIN_SECONDS:
                self._last_step = event["time"]
                self.write(line)
            return
        if self._open_line:
            self.write("\r\033[K", nl=False)
            self._open_line = False
        self.write(line)


def describe(event: dict[str, Any], *, exact: bool = False) -> str | None:
    """Text for one event, in English; None for events that are not for people.

    `exact`: whether an accuracy is the exact match of a multi-label run.
    """
    kind, accuracy = event["type"], "exact match" if exact else "accuracy"
    if kind == "state":
        return " - ".join(part for part in (event["state"], event["note"]) if part)
    if kind == "started":
        return (
            f"{event['trainable_parameters']:,} of {event['total_parameters']:,} parameters train on "
            f"{event['train_sentences']:,} sentences, {event['device']}, {event['precision']}"
        )
    if kind == "step":
        done = event["step"] >= event["total_steps"]
        left = "evaluation and costs follow" if done else f"{duration(event['seconds_left'])} left"
        return (
            f"epoch {event['epoch']:.2f}, step {event['step']}/{event['total_steps']}, loss {event['loss']:.4f}, "
            f"{event['sentences_per_second']:.0f} sentences/s, {left}"
        )
    if kind == "evaluation" and event["split"] == "validation":
        return (
            f"epoch {event['epoch']:.0f}: training loss {event['train_loss']:.4f}, "
            f"validation loss {event['loss']:.4f}, {accuracy} {event['accuracy']:.2%}"
        )
    if kind == "evaluation":
        return f"{event['split']} {accuracy} {event['accuracy']:.2%}"
    return None
