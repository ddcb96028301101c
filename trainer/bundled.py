"""The runs that come with the program, brought to a store elsewhere: a Space's volume, a container's."""

from __future__ import annotations

from pathlib import Path

from trainer import archive
from trainer.store import Store

BUNDLED = Path(__file__).resolve().parent.parent / "adapters_store"


def bring(root: Path) -> int:
    """Copy the runs that come with the program into a store elsewhere, each once; how many were new.

    A bundled run that a person deleted stays away.
    """
    if root.resolve() == BUNDLED.resolve():
        return 0
    record = root / ".bundled"
    known = set(record.read_text(encoding="utf-8").split()) if record.is_file() else set()
    new = sorted(path.parent for path in BUNDLED.glob("*/run.json") if path.parent.name not in known)
    if not new:
        return 0
    root.mkdir(parents=True, exist_ok=True)
    store, count = Store(root), 0
    for folder in new:
        try:
            count += len(archive.load_folder(store, folder)[0])
        except OSError:
            continue  # tried again at the next start
        known.add(folder.name)
        record.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    return count
