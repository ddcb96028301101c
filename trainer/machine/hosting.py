"""Hugging Face Spaces: their volume and hardware, and what these mean for runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from trainer.errors import sentence
from trainer.texts import mark, tr

VOLUME = Path("/data")
"""Where a Space mounts its persistent storage or its bucket."""


def on_space(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the program runs as a Hugging Face Space."""
    return bool((os.environ if environment is None else environment).get("SPACE_ID"))


def zero_gpu(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the Space is on ZeroGPU, where one function of the page at a time has a GPU, for seconds."""
    return (os.environ if environment is None else environment).get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def mounted(folder: Path) -> bool:
    """Whether a volume is mounted at this folder. The container's own folders are lost when it stops."""
    return os.path.ismount(folder)


@cache
def why_unfit(folder: Path) -> str | None:
    """Why a folder cannot hold runs, marked for `tr`; None where it can.

    Tries the file operations that a store needs: a bucket may lack some of them.
    """
    from filelock import FileLock

    if not folder.is_dir():
        return mark("there is none")
    probe = None
    try:
        probe = Path(tempfile.mkdtemp(prefix=".peft-lab-", dir=folder))
        with FileLock(probe / "lock", timeout=1):
            for line in (b"a\n", b"b\n"):
                handle = os.open(probe / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(handle, line)
                    os.fsync(handle)
                finally:
                    os.close(handle)
        (probe / "new").mkdir()
        os.replace(probe / "new", probe / "run")
        return None if (probe / "lines").read_bytes() == b"a\nb\n" else mark("what is added to a file is lost there")
    except (OSError, NotImplementedError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        if probe is not None:
            shutil.rmtree(probe, ignore_errors=True)


def store_root() -> Path | None:
    """The store's folder on a Space's volume. None elsewhere, and on a Space without a suitable volume."""
    return VOLUME / "peft-lab" if on_space() and mounted(VOLUME) and why_unfit(VOLUME) is None else None


def copies_bundled_runs() -> bool:
    """Whether the runs that come with the program are copied into the store: on a Space, and in the container."""
    return on_space() or os.environ.get("PEFT_LAB_BUNDLED") == "1"


def about_runs(root: Path) -> str:
    """A sentence that warns a Space's visitor that runs are lost at a restart; empty where they are not."""
    there = mounted(VOLUME)
    if not on_space() or (there and root.resolve().is_relative_to(VOLUME)):
        return ""
    why = why_unfit(VOLUME)
    if there and why:
        return tr(
            "Runs are lost when this Space restarts or sleeps: its volume cannot hold runs ({why}). "
            "To keep one, open it in Train, make a zip and download it.",
            why=tr(why),
        )
    return tr(
        "Runs are lost when this Space restarts or sleeps: this Space has no volume. "
        "To keep one, open it in Train, make a zip and download it."
    )


def about_hardware(kind: str) -> str:
    """A sentence on what a Space's hardware means for runs, or an empty text; `kind` is the detected device's."""
    if zero_gpu():
        return tr(
            "ZeroGPU lends a GPU for seconds at a time, too short to train: everything here runs on the CPU. "
            "The owner of this Space can choose a GPU that trains, such as t4-small, in its settings."
        )
    if kind == "cpu" and on_space():
        return tr("The owner of this Space can choose a GPU, such as t4-small, in its settings.")
    return ""


def admit_zero_gpu() -> None:
    """Register an unused GPU function on ZeroGPU, which stops a Space that has none.

    Not tested on ZeroGPU itself. Its package needs a CUDA build of torch to be imported; without, the app goes on.
    """
    if not zero_gpu():
        return
    try:
        import spaces

        spaces.GPU(_nothing)
    except Exception as error:
        print(sentence(error), file=sys.stderr, flush=True)


def _nothing() -> None:
    return None
