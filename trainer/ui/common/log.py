"""The app's log: one line an event, with the run's id and who it was, whatever they sent."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

from trainer.ui.common.faults import plain

LOG = logging.getLogger("peft_lab")
AROUND = ("page.py", "requests.py")
"""The files whose functions stand around every other: an error does not arise there."""
_PROGRAM = Path(__file__).resolve().parents[2]


def configure() -> None:
    """Write the log to standard error, with the time; for `app.py`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def event(name: str, *, level: int = logging.INFO, **facts: object) -> None:
    """Log an event in one line: its name and `key=value` of the facts that are not empty."""
    parts = [f"{key}={_value(value)}" for key, value in facts.items() if value not in (None, "")]
    LOG.log(level, "%s", " ".join([name, *parts]))


def fault(name: str, error: BaseException, *, whole: bool, **facts: object) -> None:
    """Log an error that nobody foresaw: `whole` with its traceback, else in one line with where it arose.

    Where strangers reach the app, what they send could otherwise fill the log.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PROGRAM in Path(frame.filename).parents]
    last = next((frame for frame in reversed(ours) if Path(frame.filename).name not in AROUND), (frames or [None])[-1])
    where = f"{Path(last.filename).name}:{last.lineno}" if last else ""
    event(name, level=logging.ERROR, **facts, error=type(error).__name__, message=str(error)[:300], where=where)
    if whole:
        LOG.error("%s", "".join(traceback.format_exception(error)))


def _value(value: object) -> str:
    text = plain(str(value), most=400)
    return text if text.replace("-", "").replace(".", "").replace(":", "").replace("_", "").isalnum() else f'"{text}"'
