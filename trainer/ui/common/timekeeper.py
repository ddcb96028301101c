"""The ceiling on a run's minutes: a thread of the app cancels a run that has trained longer."""

from __future__ import annotations

import threading
import time

from trainer.errors import UserError
from trainer.jobs import queue as jobs
from trainer.runs.store import Run
from trainer.texts import tr
from trainer.ui.common import log
from trainer.ui.common.lab import Lab

SECONDS = 15.0
"""The time between two looks at the store's runs."""


class Timekeeper:
    """Cancels runs above the ceiling, and gives the reason once they have ended; it counts from their last start."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._cancelled: set[str] = set()

    def start(self) -> None:
        """Look from now on in a thread of its own; nothing without a ceiling."""
        if self.lab.limits.minutes is not None:
            threading.Thread(target=self._look_on, daemon=True, name="timekeeper").start()

    def look(self, now: float | None = None) -> None:
        """Cancel the runs that train for too long. `now` is a time as `time.time()` gives it."""
        minutes = self.lab.limits.minutes
        if minutes is None:
            return
        runs = {run.id: run for run in self.lab.store.list()}
        for run in runs.values():
            if run.state == "running" and run.id not in self._cancelled:
                begun = self._begun(run)
                if begun is not None and (time.time() if now is None else now) - begun > 60 * minutes:
                    jobs.cancel(self.lab.store, run.id)
                    self._cancelled.add(run.id)
                    log.event("cancel", run=run.id, by="timekeeper", minutes=minutes)
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

    def _begun(self, run: Run) -> float | None:
        """The time at which the run's training last began, None before it has."""
        events, _ = self.lab.store.events(run.id)
        times = [event.get("time") for event in events if isinstance(event, dict) and event.get("type") == "started"]
        return next((float(one) for one in reversed(times) if isinstance(one, (int, float))), None)
