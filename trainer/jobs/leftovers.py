"""Temporary files and folders that a killed process leaves in the store, and in the system's folder for them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.jobs import heartbeat, processes
from trainer.jobs.queue import RESERVE
from trainer.runs.run import ENDED
from trainer.runs.store import Store

PATTERNS = (
    *(".model", ".old-model", ".run.json.*", RESERVE, heartbeat.FILE),
    *("checkpoints/.writing", "checkpoints/.old-*"),
)
"""In a run's folder."""
PATTERNS_OF_STORE = (".deleted-*", ".new-*", ".loading-*", ".files/*/.*")
"""In the store's folder."""
SECONDS_NEW = 3600.0
"""What is not yet in the list is left over if it is older than this."""

OWNER = "process.json"
"""In a worker's temporary folder: the process whose it is."""


@contextmanager
def temporary_folder(store: Store) -> Iterator[None]:
    """A folder for the temporary files of this process and of those that it starts, removed at the end.

    A process that is killed removes nothing: the next worker of the store does it (`remove_of_store`).
    """
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    folder = tempfile.mkdtemp(prefix=_prefix(store))
    (Path(folder) / OWNER).write_text(processes.record(), encoding="utf-8")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(store: Store) -> str:
    return f"peft-lab-{hashlib.sha256(str(store.root.resolve()).encode()).hexdigest()[:8]}-"


def _remove_temporary_folders(store: Store) -> None:
    """Remove those of this store's workers that are gone; what they train may go on, and keeps them."""
    if any(run.state == "running" and store.is_at_work(run.folder) for run in store.list()):
        return
    here = Path(tempfile.gettempdir())
    for folder in (here.parent if (here / OWNER).exists() else here).glob(_prefix(store) + "*"):
        with suppress(OSError):
            if (folder / OWNER).exists() and processes.recorded(folder / OWNER) is None:
                shutil.rmtree(folder)


def remove_of_run(folder: Path) -> None:
    """Remove those of a run that has ended; of two models whose exchange was cut short the older one stays."""
    old, model = folder / ".old-model", folder / "model"
    if old.is_dir() and not model.exists():
        with suppress(OSError):
            os.replace(old, model)
    for path in (path for pattern in PATTERNS for path in folder.glob(pattern)):
        with suppress(OSError):
            if path.name.startswith(".run.json.") and time.time() - path.stat().st_mtime < SECONDS_NEW:
                continue  # somebody renames the run at this moment
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_of_store(store: Store) -> None:
    """Remove what a deletion, creation, load or upload left that was cut short, and what runs left that have ended.

    A run may have ended with its worker, when a machine or a container stopped.
    """
    _remove_temporary_folders(store)
    for path in (path for pattern in PATTERNS_OF_STORE for path in store.root.glob(pattern)):
        with suppress(OSError):
            if path.name.startswith(".deleted-") or time.time() - path.stat().st_mtime > SECONDS_NEW:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for run in store.list():
        left = any(next(run.folder.glob(pattern), None) for pattern in PATTERNS)
        if left and run.state in ENDED and not store.is_at_work(run.folder):
            remove_of_run(run.folder)
