"""Temporary files and folders that a killed process leaves in the store."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from trainer.jobs import heartbeat
from trainer.jobs.queue import RESERVE
from trainer.runs.store import ENDED, Store

PATTERNS = (
    *(".model", ".old-model", ".run.json.*", RESERVE, heartbeat.FILE),
    *("checkpoints/.writing", "checkpoints/.old-*"),
)
"""In a run's folder."""
SECONDS_NEW = 3600.0
"""A folder of a run that is not yet in the list is left over if it is older than this."""


def remove_of_run(folder: Path) -> None:
    """Remove those of a run that has ended; of two models whose exchange was cut short the older one stays."""
    old, model = folder / ".old-model", folder / "model"
    if old.is_dir() and not model.exists():
        with suppress(OSError):
            os.replace(old, model)
    for path in (path for pattern in PATTERNS for path in folder.glob(pattern)):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_of_store(store: Store) -> None:
    """Remove what a deletion, a creation or an upload left that was cut short, and what runs left that have ended.

    A run may have ended with its worker, when a machine or a container stopped.
    """
    for path in (*store.root.glob(".deleted-*"), *store.root.glob(".new-*"), *store.root.glob(".files/*/.*")):
        with suppress(OSError):
            if path.name.startswith(".deleted-") or time.time() - path.stat().st_mtime > SECONDS_NEW:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for run in store.list():
        left = any(next(run.folder.glob(pattern), None) for pattern in PATTERNS)
        if left and run.state in ENDED and not store.is_at_work(run.folder):
            remove_of_run(run.folder)
