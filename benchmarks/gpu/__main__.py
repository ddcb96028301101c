"""Run every step in a process of its own, write each outcome as it ends, and print one table.

    python -m benchmarks.gpu --out gpu.json [--minutes 8] [--only NAME ...]

It runs on the device that it finds: on CUDA a BERT-base shape with random weights, on a CPU a tiny one, with sentences
that it makes itself; nothing is downloaded. A step that crashes, hangs or runs out of its time stops no other. Steps
for which no time is left are listed as not run. Exit status 1 where a check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import STEPS, Step

SIDE_BY_SIDE = 3
"""Steps that only check run so many at once on a GPU: most of their time is importing libraries."""
LEAST_SECONDS = 15.0
"""A step is not begun with less time than this left."""


def main() -> int:
    """The command line; the exit status is 1 where a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [step.name for step in STEPS]
    parser.add_argument("--out", type=Path, required=True, help="the JSON file that outcomes are written to")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all steps together (default 8)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some steps: {', '.join(names)}")
    arguments = parser.parse_args()
    steps = [step for step in STEPS if not arguments.only or step.name in arguments.only]
    with tempfile.TemporaryDirectory(prefix="peft-lab-gpu-") as folder:
        outcomes = Program(Path(folder), arguments.out, minutes=arguments.minutes).run(steps)
    print(table(outcomes))
    return int(any(outcome["passed"] is False for outcome in outcomes))


class Program:
    """Runs steps within a time for all of them; what they wrote so far is in `out` whenever one ends."""

    def __init__(self, folder: Path, out: Path, *, minutes: float) -> None:
        self.folder, self.out, self.end = folder, out, time.monotonic() + 60 * minutes
        self.outcomes: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def run(self, steps: list[Step]) -> list[dict[str, Any]]:
        """Every outcome, in the order of `steps`. Steps that only check run beside one another on a GPU."""
        order = [step.name for step in steps]
        self.order = order
        together: list[Step] = []
        for step in [*steps, None]:
            if step is not None and not step.alone:
                together.append(step)
                continue
            if together:
                with ThreadPoolExecutor(SIDE_BY_SIDE if has_gpu() else 1) as pool:
                    list(pool.map(self.one, together))
                together = []
            if step is not None:
                self.one(step)
        return self.all()

    def all(self) -> list[dict[str, Any]]:
        """Outcomes so far, in the order of the steps."""
        return [outcome for name in self.order for outcome in self.outcomes.get(name, [])]

    def one(self, step: Step) -> None:
        """Run one step in a process of its own, and record what it wrote and how it ended."""
        left = self.end - time.monotonic()
        if left < LEAST_SECONDS:
            self.record(step, [outcome(step.name, "not run: no time was left", None)])
            return
        limit, written = min(step.seconds, left), self.folder / f"{step.name}.jsonl"
        print(f"{step.name} ...", file=sys.stderr, flush=True)
        since = time.monotonic()
        command = self.command(step)
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = self.folder / f"{step.name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )
            try:
                status: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            end_all(process.pid, self.folder / step.name)
            process.wait()
        seconds = time.monotonic() - since
        lines = written.read_text(encoding="utf-8").splitlines() if written.is_file() else []
        outcomes = [json.loads(line) for line in lines]
        if status is None:
            outcomes.append(outcome(step.name, f"ended within {limit:.0f} s", False, seconds=seconds, log=tail(log)))
        elif status != 0:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            outcomes.append(outcome(step.name, "ended by itself", False, how, seconds=seconds, log=tail(log)))
        self.record(step, outcomes)

    def command(self, step: Step) -> list[str]:
        """The process of a step."""
        what = [step.module, step.name, str(self.folder), *step.arguments]
        return [sys.executable, "-m", "benchmarks.gpu.kit", *what]

    def record(self, step: Step, outcomes: list[dict[str, Any]]) -> None:
        """Write everything known so far; the old file stays until the new one is whole."""
        with self._lock:
            self.outcomes[step.name] = outcomes
            for one in outcomes:
                print(line(one), file=sys.stderr, flush=True)
            temporary = self.out.with_name(f".{self.out.name}.part")
            temporary.write_text(json.dumps({"outcomes": self.all()}, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, self.out)


def outcome(step: str, check: str, passed: bool | None, figure: Any = None, **more: Any) -> dict[str, Any]:
    """One row of the table; `passed` is None for what is only measured or was not run."""
    return {"step": step, "check": check, "passed": passed, "figure": figure, "goal": None, "seconds": None, **more}


def end_all(group: int, folder: Path) -> None:
    """End a step's processes: its own group, and a worker of its queue, which lives in a session of its own."""
    import psutil

    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for process in psutil.process_iter():
        try:
            if process.environ().get("ADAPTERS_STORE", "").startswith(str(folder)):
                process.kill()
        except (psutil.Error, OSError):
            continue


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA card; asked without torch, which would hold memory on it."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount() > 0
    except Exception:  # no library or no driver, in whatever form it says so
        return False


def tail(log: Path, lines: int = 30) -> str:
    """The last lines of a step's output."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def line(row: dict[str, Any]) -> str:
    """One outcome on one line."""
    passed = {True: "passed", False: "FAILED", None: ""}[row["passed"]]
    goal = "" if row["goal"] is None else f" (goal {row['goal']})"
    figure = "" if row["figure"] is None else f"{row['figure']}"
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
    return f"  {row['step']:<22} {row['check']:<58} {passed:<9} {figure + goal:<44} {seconds:>8}"


def table(outcomes: list[dict[str, Any]]) -> str:
    """All outcomes, and how many checks passed."""
    checks = [row["passed"] for row in outcomes if row["passed"] is not None]
    head = f"  {'step':<22} {'check':<58} {'':<9} {'figure':<44} {'time':>8}"
    return "\n".join([head, *map(line, outcomes), f"{sum(checks)} of {len(checks)} checks passed"])


if __name__ == "__main__":
    sys.exit(main())
