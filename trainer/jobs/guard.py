"""Guard of a running run's process: ends it when it is cancelled and does not stop, or makes no progress."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainer.jobs import heartbeat, processes
from trainer.jobs.queue import CANCEL_FILE

SECONDS_TO_STOP = 5.0
"""A cancelled run that has not stopped by itself after this time is sent SIGTERM."""
SECONDS_TO_KILL = 2.0
"""From SIGTERM to SIGKILL."""
SECONDS_TO_DIE = 2.0
"""From SIGKILL until the guard no longer waits: the kernel cannot end a process that waits for a broken disk."""
SECONDS_ASLEEP = 10.0
"""A pause between two looks from which on this process counts as stopped itself; the run may have been stopped too."""


class Guard:
    """Watches one run by its folder. Call `look` a few times a second, and act on `cause` once the process is gone.

    `pid` gives the id of the run's process, None while it is not known. `limit` is in seconds without progress.
    """

    def __init__(self, folder: Path, pid: Callable[[], int | None], *, limit: float | None = None) -> None:
        self.cause: str | None = None
        """Why the guard ends the process: "cancelled" or "hung"."""
        self.limit = heartbeat.limit() if limit is None else limit
        self._cancel, self._heartbeat, self._pid = folder / CANCEL_FILE, folder / heartbeat.FILE, pid
        self._looked = self._progress_at = time.monotonic()
        self._beat = self._cancelled_at = self._ended_at = self._ended_pid = None

    @property
    def gave_up(self) -> bool:
        """Whether the process has outlived SIGKILL for long enough."""
        return self._since(self._ended_at) > SECONDS_TO_KILL + SECONDS_TO_DIE

    @property
    def cancelled(self) -> bool:
        """Whether a person has cancelled the run."""
        return self._cancelled_at is not None

    def look(self) -> None:
        """Look at the run once, and send the signal that is due."""
        now = time.monotonic()
        if now - self._looked > SECONDS_ASLEEP:
            self._progress_at += now - self._looked
        self._looked = now
        beat = _changed(self._heartbeat)
        if beat is None or beat != self._beat:  # without a file it is the run of an earlier version
            self._beat, self._progress_at = beat, now
        if self._cancelled_at is None and (asked := _changed(self._cancel)) is not None:
            self._cancelled_at = now - min(max(time.time() - asked, 0.0), SECONDS_TO_STOP)
        if self.cause is None:
            if self._since(self._cancelled_at) >= SECONDS_TO_STOP:
                self._end("cancelled")
            elif now - self._progress_at > self.limit:
                self._end("hung")
        elif self._since(self._ended_at) >= SECONDS_TO_KILL and (pid := self._pid()) is not None:
            processes.kill(pid)

    def sweep(self) -> None:
        """End the children of a process that is gone, such as a download."""
        if (pid := self._ended_pid or self._pid()) is not None:
            processes.kill_children(pid)

    def _end(self, cause: str) -> None:
        self.cause, self._ended_at, self._ended_pid = cause, time.monotonic(), self._pid()
        if self._ended_pid is None:
            return
        if cause == "hung" and hasattr(signal, "SIGUSR1"):
            with suppress(OSError):
                os.kill(self._ended_pid, signal.SIGUSR1)  # it writes where it is into its log (`worker.execute`)
            time.sleep(0.2)
        processes.send(self._ended_pid, signal.SIGTERM)

    @staticmethod
    def _since(moment: float | None) -> float:
        return -1.0 if moment is None else time.monotonic() - moment


def _changed(path: Path) -> float | None:
    """When a file was changed, in seconds since 1970; None without it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
