"""Keeper of the queue: starts a worker whenever runs wait and none is at work, with no page open."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from trainer.errors import sentence
from trainer.jobs import queue
from trainer.runs.run import ENDED
from trainer.runs.store import Store

SECONDS_BETWEEN = 5.0


def keep(store: Store, *, may_start: Callable[[], bool] = lambda: True, stop: threading.Event | None = None) -> None:
    """Look at the queue at once and every few seconds until `stop` is set; run it in a thread of its own.

    `may_start` says whether a missing worker may be started now: one that was just started takes seconds to be there.
    """
    stop, reported = stop or threading.Event(), ""
    while True:
        try:
            waits = any(run.state not in ENDED for run in store.list())
            if waits and not queue.worker_is_alive(store) and may_start():
                queue.ensure_worker(store)
            reported = ""
        except Exception as error:  # such as a store that cannot be read for a while: look again
            if reported != (reported := sentence(error)):
                print(reported, file=sys.stderr, flush=True)
        if stop.wait(SECONDS_BETWEEN):
            return
