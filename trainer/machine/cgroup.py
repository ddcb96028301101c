"""Memory limits and memory kills of the control groups that this process runs in (Linux: a container, a service)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2**63 where there is no limit."""


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that this process's control groups may use, the least of any level; None where there is no limit."""
    limits = []
    for folder in _folders(root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits, default=None)


def memory_kills(root: Path = ROOT) -> int | None:
    """How many processes of this control group the kernel has ended for memory; None where it does not say."""
    for folder in _folders(root):
        for name in ("memory.events", "memory.oom_control"):
            for line in _lines(folder / name):
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return None


def _folders(root: Path) -> Iterator[Path]:
    """Folders of this process's memory control group and those above it, the innermost first; versions 2 and 1.

    In a container the path is often that of the host, and the container's own group is at the top.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        folder = top / path.strip("/")
        yield from (one for one in (folder, *folder.parents) if one == top or top in one.parents)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" or no file."""
    text = "".join(_lines(path)[:1])
    return int(text) if text.isdigit() else None
