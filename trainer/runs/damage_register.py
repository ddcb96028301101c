"""Register of damaged files that readers of a store have met, kept on the disk for its other processes."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from trainer.config import Strict
from trainer.runs.damage import Damage

NAME = ".damaged.json"
Signature = tuple[int, int, int]


def signature(path: Path) -> Signature | None:
    """What changes with a file: (inode, time of change in nanoseconds, bytes). None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class _Entry(Strict):
    """One damaged file, as it was when it was read."""

    signature: Signature
    kind: str
    values: dict[str, str | int]


_ENTRIES = TypeAdapter(dict[str, dict[str, _Entry]])
"""Run's id -> file -> entry."""


class DamageRegister:
    """Damaged files by run. An entry counts while its file is as it was. Thread-safe; a lost entry is met again."""

    def __init__(self, root: Path) -> None:
        self.path = root / NAME
        self._lock = threading.Lock()
        self._version: Signature | None = None
        self._entries: dict[str, dict[str, _Entry]] = {}

    def of(self, folder: Path) -> list[Damage]:
        """The damaged files of a run, by name, as of the last `refresh`."""
        damages = []
        for file, entry in sorted(self._current(folder.name).items()):
            damage = Damage(folder.name, folder, file, entry.kind, dict(entry.values))
            with suppress(KeyError, IndexError, ValueError):  # an entry that another version wrote
                str(damage)
                damages.append(damage)
        return damages

    def add(self, damage: Damage, version: Signature | None) -> None:
        """Add a damaged file, `version` being its signature before it was read."""
        if version is None or version != signature(damage.folder / damage.file):
            return  # it was replaced meanwhile
        entry = _Entry(signature=version, kind=damage.kind, values=damage.values)
        self.refresh()
        with self._lock:
            if self._entries.get(damage.run_id, {}).get(damage.file) == entry:
                return
            runs = {name: self._current(name) for name in (*self._entries, damage.run_id)}
            runs[damage.run_id][damage.file] = entry
            self._entries = {name: files for name, files in runs.items() if files}
            with suppress(OSError):  # a full or read-only disk: this process knows it all the same
                temporary = self.path.with_name(f"{NAME}.{os.getpid()}")
                content = _ENTRIES.dump_python(self._entries, mode="json")
                temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
                os.replace(temporary, self.path)
                self._version = signature(self.path)

    def _current(self, name: str) -> dict[str, _Entry]:
        """The entries of a run whose files are as they were."""
        folder, files = self.path.parent / name, self._entries.get(name, {})
        return {file: entry for file, entry in files.items() if signature(folder / file) == entry.signature}

    def refresh(self) -> None:
        """Read what other processes have added."""
        version = signature(self.path)
        with self._lock:
            if version == self._version:
                return
            self._version = version
            with suppress(OSError, ValueError):  # its own file may be damaged too
                self._entries = _ENTRIES.validate_json(self.path.read_bytes()) if version else {}
