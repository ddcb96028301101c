"""The ceiling on a run's minutes: a thread of the app cancels a run that has trained longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trainer.errors import UserError
from trainer.jobs import queue as jobs
from trainer.runs.run import Run
from trainer.texts import tr
from trainer.ui.common import log
from trainer.ui.common.lab import Lab

SECONDS = 15.0
"""The time between two looks at the store's runs."""


class Timekeeper:
    """Cancels runs above the ceiling, and gives the reason once they have ended.

    It counts the time in which it sees them running, so that hours in which the machine sleeps do not count.
    """

    def __init__(self, lab: Lab, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.lab, self._clock = lab, clock
        self._looked: float | None = None
        self._seconds: dict[str, float] = {}
        """Running run's id -> seconds."""
        self._cancelled: set[str] = set()

    def start(self) -> None:
        """Look from now on in a thread of its own; nothing without a ceiling."""
        if self.lab.limits.minutes is not None:
            threading.Thread(target=self._look_on, daemon=True, name="timekeeper").start()

    def look(self) -> None:
        """Cancel the runs that train for too long."""
        minutes = self.lab.limits.minutes
        if minutes is None:
            return
        now = self._clock()
        passed = 0.0 if self._looked is None else min(now - self._looked, 2 * SECONDS)
        self._looked = now
        runs = {run.id: run for run in self.lab.store.list()}
        running = [run for run in runs.values() if run.state == "running"]
        self._seconds = {run.id: self._seconds.get(run.id, self._before(run)) + passed for run in running}
        for run_id, seconds in self._seconds.items():
            if seconds > 60 * minutes and run_id not in self._cancelled:
                jobs.cancel(self.lab.store, run_id)
                self._cancelled.add(run_id)
                log.event("cancel", run=run_id, by="timekeeper", minutes=minutes)
        for run_id in list(self._cancelled):
            run = runs.get(run_id)
            if run is not None and run.state == "running":
                continue
            self._cancelled.discard(run_id)
            if run is not None and run.state == "cancelled":
                why = tr(
                    "Cancelled after {minutes} minutes, the most for a run here; resumed, it goes on.", minutes=minutes
                )
                self.lab.store.update(run_id, error=why)

    def _look_on(self) -> None:
        while True:
            time.sleep(SECONDS)
            try:
                self.look()
            except (UserError, OSError, ValueError) as error:  # deleted meanwhile, or the disk is full
                log.event("timekeeper", message=str(error))

    def _before(self, run: Run) -> float:
        """Seconds since the run's training last began, as its events tell; 0 before it has.

        For a run that is seen for the first time: the app may have started after it.
        """
        events, _ = self.lab.store.events(run.id)
        begun = [event["time"] for event in events if event["type"] == "started"]
        return max(time.time() - begun[-1], 0.0) if begun else 0.0
