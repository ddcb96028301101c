"""Processes that another process started: looked up by a stored record, signalled with their children."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path


def record() -> str:
    """What identifies this process, for a file: its id, and when it began, since ids are used again."""
    return json.dumps({"pid": os.getpid(), "began": _began(os.getpid())})


def recorded(path: Path) -> int | None:
    """The id of the process whose `record` is in a file, if it still runs; None if not, or if the file has none."""
    try:
        content = json.loads(path.read_bytes())
        pid, began = content["pid"], content["began"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) and pid > 1 and began is not None and began == _began(pid) else None


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP): it does nothing until it is continued."""
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def send(pid: int, number: int) -> None:
    """Send a signal to a process and its children: to its group, if it leads one. Does nothing if it is gone."""
    if pid == os.getpid():
        return
    with suppress(OSError):
        if not _send_to_group(pid, number):
            os.kill(pid, number)


def _send_to_group(pid: int, number: int) -> bool:
    """Send a signal to the group that a process leads, or led before it ended; whether there is such a group."""
    try:
        os.killpg(pid, number)
    except (AttributeError, OSError):  # not on Windows
        return False
    return True


def kill(pid: int) -> None:
    """End a process and its children at once, stopped ones too."""
    send(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def kill_children(pid: int) -> None:
    """End what a process that led a group, and is gone, has left running."""
    if pid != os.getpid():
        _send_to_group(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def lead_group() -> None:
    """Make this process the leader of a group, so that `send` reaches the processes that it starts."""
    if hasattr(os, "setpgrp"):
        with suppress(OSError):  # it leads a session
            os.setpgrp()


def _began(pid: int) -> float | None:
    """When a process began, in the kernel's units; None if it is gone. Linux's does not depend on the wall clock."""
    import psutil

    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19])
    except FileNotFoundError:
        if Path("/proc/self/stat").is_file():
            return None
    except (OSError, ValueError, IndexError):
        return None
    with suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return None
