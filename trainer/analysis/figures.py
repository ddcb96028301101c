"""Figures as people read them: a time in seconds, minutes or hours, a mean with its deviation."""

from __future__ import annotations

from trainer.jobs.progress import duration
from trainer.runs.metrics import MINUTES, Metric
from trainer.texts import tr


def show(metric: Metric, value: float | None) -> str:
    """A figure for people: a time as "0.25 s", "12 s" or "3 min 05 s", others in the metric's format."""
    if metric.scale != MINUTES or value is None or value != value:
        return metric.show(value)
    seconds = value / MINUTES
    return duration(seconds) if seconds >= 10 or seconds <= 0 else tr("{seconds} s", seconds=f"{seconds:.2g}")


def show_mean(metric: Metric, mean: float, sd: float) -> str:
    """A mean with its sample standard deviation, where there is one that is not 0 as shown: 81.20 ± 0.61."""
    nothing = sd is None or sd != sd or show(metric, sd) == show(metric, 0.0)
    return show(metric, mean) if nothing else f"{show(metric, mean)} ± {show(metric, sd)}"
