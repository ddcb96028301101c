"""Causes of a run's end that its process could not record: signals, exit statuses, no progress."""

from __future__ import annotations

import signal
import time

from trainer.jobs import heartbeat
from trainer.machine import cgroup
from trainer.texts import tr

CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS")
REQUESTS = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")
WINDOW = 60.0
"""Seconds within which a kill that the kernel has counted and the end of a process belong together."""


class MemoryKills:
    """Whether the kernel has ended a process of this control group for memory in the last minute or two."""

    def __init__(self) -> None:
        self._before = self._now = cgroup.memory_kills()
        self._since = time.monotonic()

    def look(self) -> None:
        """Call at least once a minute."""
        if time.monotonic() - self._since > WINDOW:
            self._before, self._now, self._since = self._now, cgroup.memory_kills(), time.monotonic()

    def any(self) -> bool:
        """Whether the count has grown; False where the kernel does not tell."""
        now = cgroup.memory_kills()
        return now is not None and self._before is not None and now > self._before


def of_exit(code: int | None, *, memory_kill: bool) -> str:
    """Sentence for a process that ended without a state, by its exit code; negative codes are signals.

    `memory_kill`: whether the kernel has counted a kill for memory at the time.
    """
    if code is None or code >= 0:
        return tr("Expected the run to end by itself, got exit status {code}; its log has the details.", code=code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGKILL" and memory_kill:
        return tr(
            "Expected the run to fit in memory, got {signal} from the system, which had none left; free some and "
            "resume it, or launch it with a smaller batch_size, max_length or backbone.",
            signal=name,
        )
    if name == "SIGKILL":
        return tr(
            "Expected the run to end by itself, got {signal}, most often because memory ran out, else from a person or "
            "a program; resume it, and if memory is short launch it with a smaller batch_size, max_length or backbone.",
            signal=name,
        )
    if name in CRASHES:
        return tr(
            "Expected the run to end by itself, got {signal}, a crash inside a library or a driver; resume it, and if "
            "it crashes again see where in its log.",
            signal=name,
        )
    if name in REQUESTS:
        return tr(
            "Expected the run to end by itself, got {signal}, a request to stop from a person, a program or the "
            "machine's shutdown; resume it.",
            signal=name,
        )
    return tr("Expected the run to end by itself, got signal {signal}; resume it.", signal=name)


def of_hang(seconds: float) -> str:
    """Sentence for a run that was ended because it made no progress for this long."""
    return tr(
        "Expected progress within {minutes} minutes, got none, and the run was ended; its log has where it was: resume "
        "it, with a larger {variable} if a batch takes that long here.",
        minutes=f"{seconds / 60:g}",
        variable=heartbeat.VARIABLE,
    )
