"""An hour of the app with a crowd: does memory grow, does an answer change, does anybody wait or fail?

    python -m tests.soak                                      # 30 clients, an hour; writes soak.json
    python -m tests.soak --minutes 0.5 --clients 3            # tries the soak itself

The app is started on a store of its own with the bundled runs. It answers some sentences one after another at first;
then the crowd asks the same at random times, while small runs train beside and are deleted again. The figures are
written as JSON with the machine; the exit status is 1 if a promise does not hold.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import common
from tests.soak.crowd import Answers, Client, Plain, Seen
from trainer.errors import UserError
from trainer.runs.run import ENDED
from trainer.runs.store import Store

ROOT = Path(__file__).resolve().parents[2]
THINGS = ("film", "story", "cast", "script", "ending", "music")
WORDS = ("warm and funny", "dull and cold", "clever but too long", "not bad, and never boring")
SENTENCES = [f"The {thing} is {words}." for thing in THINGS for words in WORDS]
SMALL = {"epochs": 2, "train_size": 400, "validation_size": 64, "test_size": 64}
SETTLING = 10 * 60.0
"""Seconds after which memory is no longer expected to grow: models are loaded and threads are there."""
LARGEST_GROWTH, MOST_TIMES_SERIAL, NEAR = 0.05, 10.0, 1e-3
"""The promises: growth of memory after `SETTLING`, the median in the crowd, and how near a probability stays."""


def main() -> None:
    """Run the soak and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--pause", type=float, default=10, help="mean seconds between an answer and the next question")
    parser.add_argument("--out", type=Path, default=Path("soak.json"))
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="peft-lab-soak-") as folder,
        served(Path(folder)) as (address, server, store),
    ):
        figures = soak(address, server, store, arguments)
    common.write(arguments.out, figures)
    raise SystemExit(0 if all(figures["promises"].values()) else 1)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, psutil.Process, Store]]:
    """`python app.py` on a store of its own; yields (address, its process, the store) once /health says ready."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address, port = f"http://127.0.0.1:{found.getsockname()[1]}", found.getsockname()[1]
    environment = {"ADAPTERS_STORE": str(folder / "store"), "GRADIO_SERVER_PORT": str(port), "PEFT_LAB_BUNDLED": "1"}
    with (folder / "app.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, stdout=log, stderr=log,
            env=os.environ | environment | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        try:
            end = time.monotonic() + 300
            while not ready(address):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise SystemExit(f"the app did not become ready:\n{log.read()}")
                time.sleep(1)
            yield address, psutil.Process(process.pid), Store(folder / "store")
        finally:
            process.terminate()
            process.wait(20)


def ready(address: str) -> bool:
    """Whether /health says that the app is ready."""
    try:
        return httpx.get(f"{address}/health", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def soak(address: str, server: psutil.Process, store: Store, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures, and under `promises` whether each holds."""
    alone, serial = one_after_another(address)
    print(f"alone: {1000 * statistics.median(serial):.0f} ms", file=sys.stderr, flush=True)
    seen, beside = Seen(), Beside(address, store)
    crowd = [
        Client(number, address, alone, seen, pause=arguments.pause, newest=beside.newest)
        for number in range(arguments.clients)
    ]
    begun, memory, health = time.monotonic(), [], Counter()
    for thread in (beside, *crowd):
        thread.start()
    while (now := time.monotonic() - begun) < 60 * arguments.minutes:
        memory.append((round(now, 1), server.memory_info().rss))
        try:
            health[httpx.get(f"{address}/health", timeout=10).status_code] += 1
        except httpx.HTTPError as error:
            health[type(error).__name__] += 1
        time.sleep(min(5.0, 3 * arguments.minutes))
    for thread in (beside, *crowd):
        thread.stopped.set()
    for thread in crowd:
        thread.join(150)
    beside.join(150)
    return figures(seen, serial, memory, health, beside, arguments)


def one_after_another(address: str) -> tuple[Answers, list[float]]:
    """(each sentence's answers, seconds of each question) with one client and nothing beside, models being loaded."""
    client = Plain(address)
    client.predict(SENTENCES[0], None, api_name="/predict")
    alone, seconds = {}, []
    for text in SENTENCES:
        begun = time.monotonic()
        alone[text] = client.predict(text, None, api_name="/predict")
        seconds.append(time.monotonic() - begun)
    return alone, seconds


class Beside(threading.Thread):
    """Trains one small run after another through /launch, and deletes each some time after it has ended."""

    def __init__(self, address: str, store: Store) -> None:
        super().__init__(daemon=True, name="training beside")
        self._address, self._store = address, store
        self.stopped, self.trained, self.deleted = threading.Event(), 0, 0
        self.failed: list[str] = []
        self._newest: str | None = None

    def newest(self) -> str | None:
        """The run that was trained last; it may be deleted already."""
        return self._newest

    def run(self) -> None:
        """Train and delete until stopped; the last run is cancelled."""
        try:
            self._work(Plain(self._address))
        except Exception as error:
            self.failed.append(f"{type(error).__name__}: {error}"[:300])

    def _work(self, client: Plain) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            recipe = ([("lora", "adapter", "full")[number % 3]], "movies", "minilm", {**SMALL, "seed": number}, None)
            (run_id,) = client.predict(*recipe, api_name="/launch")
            while not self.stopped.wait(1) and self._store.load(run_id).state not in ENDED:
                pass
            run = self._store.load(run_id)
            if run.state == "finished":
                self.trained, self._newest = self.trained + 1, run_id
                self.stopped.wait(5)
            elif run.state == "failed":
                self.failed.append(str(run.error))
            else:
                client.predict(run_id, None, api_name="/cancel")
                continue
            with suppress(UserError):
                self._store.delete(run_id)
                self.deleted += 1


def figures(
    seen: Seen, serial: list[float], memory: list, health: Counter, beside: Beside, arguments: argparse.Namespace
) -> dict[str, Any]:
    """What was seen, as plain values."""
    alone, crowd = statistics.median(serial), statistics.median(seen.seconds or [float("nan")])
    growth = grown(memory)
    promises = {
        "everybody connected": not seen.unconnected and len(seen.connected) == arguments.clients,
        "no error": not seen.errors and not beside.failed,
        "answers as alone": seen.other_labels == 0 and seen.largest_difference < NEAR,
        "median below 10 times alone": crowd < MOST_TIMES_SERIAL * alone,
        "memory grows by less than 5 %": growth < LARGEST_GROWTH,
        "runs trained beside": beside.trained > 0 or arguments.minutes < 5,
    }
    return {
        "minutes": arguments.minutes,
        "clients": arguments.clients,
        "pause_seconds": arguments.pause,
        "promises": promises,
        "connected": len(seen.connected),
        "seconds_to_connect": spread(seen.connected),
        "unconnected": Counter(seen.unconnected),
        "questions": len(seen.seconds),
        "seconds_alone": spread(serial),
        "seconds_in_the_crowd": spread(seen.seconds),
        "median_times_alone": crowd / alone,
        "errors": Counter(seen.errors),
        "questions_to_deleted_runs": seen.gone,
        "cancelled_by_the_library": seen.cancelled,
        "other_labels": seen.other_labels,
        "largest_difference": seen.largest_difference,
        "trained_beside": beside.trained,
        "deleted": beside.deleted,
        "failed_beside": beside.failed,
        "health": health,
        "memory_growth": growth,
        "memory": memory,
    }


def grown(memory: list[tuple[float, int]]) -> float:
    """The growth of memory from `SETTLING` (or a third of a shorter soak) to the end, of a tenth's least and most.

    The larger of both. A model of 90 MB comes and goes with the run that was trained last: the median of a tenth says
    whether it was there.
    """
    if not memory:
        return float("nan")
    end = memory[-1][0]
    after = min(SETTLING, end / 3)
    first = [size for at, size in memory if after <= at <= after + end / 10] or [memory[0][1]]
    last = [size for at, size in memory if at >= 0.9 * end]
    return max(min(last) / min(first), max(last) / max(first)) - 1


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of some seconds; empty for none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)],
        "largest": ordered[-1],
    }


if __name__ == "__main__":
    main()
