"""Heartbeat of a run: a file in its folder that its process touches while the training makes progress."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from trainer.jobs import processes

FILE = ".heartbeat"
"""It has the record of the run's process (`processes.record`); its time of change is the heartbeat."""
VARIABLE = "PEFT_LAB_HANG_MINUTES"
MINUTES = 30.0
"""Longer than a batch or a pause of a slow download takes: a run that is ended wrongly would be ended there again."""
SECONDS_BETWEEN = 5.0
"""Between two looks at the progress."""
BUSY = 0.02
"""Share of one core's time since the last heartbeat above which a run that loads is at work."""
ROUNDING = 0.05
"""Seconds of processor time that do not count: the system rounds each process's to hundredths."""


def limit() -> float:
    """Seconds without progress after which a run is ended, from the environment; infinite for 0."""
    try:
        minutes = float(os.environ.get(VARIABLE, MINUTES))
    except ValueError:
        minutes = MINUTES
    return 60 * minutes if minutes > 0 else math.inf


class Heartbeat:
    """Touches the heartbeat file from a thread whenever the training has made progress since the last look.

    Progress is a call of `beat`: each step, batch and event. A process that lives, or computes, but comes to no next
    batch makes none. Before the first `step`, while models and data are fetched and read, work of the process and its
    children (processor time, bytes written) counts too.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._beats, self._stepping = 0, False
        self._stop = threading.Event()

    def __enter__(self) -> Heartbeat:
        with suppress(OSError):  # a full disk: the file that is there can still be touched
            self._path.write_text(processes.record(), encoding="utf-8")
        threading.Thread(target=self._follow, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def beat(self) -> None:
        """Report progress."""
        self._beats += 1

    def step(self) -> None:
        """Report a step or a batch: from here on nothing else is progress than `beat` and `step`."""
        self._stepping = True
        self._beats += 1

    def _follow(self) -> None:
        seen, work, since = -1, _work(), time.monotonic()
        while not self._stop.wait(SECONDS_BETWEEN):
            beats, now = self._beats, work if self._stepping else _work()
            least = ROUNDING + BUSY * (time.monotonic() - since)
            ended = now[0] < work[0]  # a child, whose time and bytes are counted no more
            if beats != seen or ended or now[0] - work[0] > least or now[1] > work[1]:
                seen, work, since = beats, now, time.monotonic()
                with suppress(OSError):
                    os.utime(self._path)


def _work() -> tuple[float, int]:
    """(seconds of processor time, bytes written) of this process and its children, without this thread's time.

    0 where the system does not tell.
    """
    import psutil

    seconds, written = -time.thread_time(), 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error, OSError):
            seconds += sum(process.cpu_times()[:2])
        with suppress(psutil.Error, OSError, AttributeError):
            counters = process.io_counters()
            written += getattr(counters, "write_chars", counters.write_bytes)
    return seconds, written
