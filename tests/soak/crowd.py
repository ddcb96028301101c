"""The clients of the soak: each connects and then asks, pauses and asks again, until it is told to stop."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import httpx

Answers = dict[str, list[dict[str, Any]]]
"""Sentence -> the answers of /predict to it, an object a run."""
SECONDS_TO_WAIT = 120.0


@dataclass
class Seen:
    """What all clients have seen; each adds under the lock."""

    connected: list[float] = field(default_factory=list)
    """Seconds until a client had connected."""
    unconnected: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    gone: int = 0
    """Questions to a run that was deleted meanwhile, answered by that sentence."""
    cancelled: int = 0
    """Questions that gradio_client itself dropped: where its last stream ends it tells every question that waits, also
    one that was sent since. They are sent again."""
    other_labels: int = 0
    largest_difference: float = 0.0
    """Between a probability and the one of the same question alone."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Plain:
    """A program without a library: a POST, and a GET that waits."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"{address}/gradio_api", timeout=SECONDS_TO_WAIT)
        self.predict(api_name="/runs")

    def predict(self, *values: Any, api_name: str) -> Any:
        """The endpoint's answer. Raises `RuntimeError` with its sentence, or with what it said instead."""
        sent = self._client.post(f"/call{api_name}", json={"data": list(values)})
        if sent.status_code != 200:
            raise RuntimeError(f"status {sent.status_code}: {sent.text[:200]}")
        kind = ""
        with self._client.stream("GET", f"/call{api_name}/{sent.json()['event_id']}") as lines:
            for line in lines.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind in ("complete", "error"):
                    data = json.loads(line.removeprefix("data: "))
                    if kind == "error":
                        raise RuntimeError(str((data or {}).get("error") if isinstance(data, dict) else data))
                    return data[0]
        raise RuntimeError("the stream ended without an answer")


def library(address: str) -> Any:
    """gradio_client as its documentation uses it, with its own time limits."""
    from gradio_client import Client

    return Client(address, verbose=False)


class Client(threading.Thread):
    """One client: every other one uses gradio_client."""

    def __init__(
        self, number: int, address: str, alone: Answers, seen: Seen, *, pause: float, newest: Callable[[], str | None]
    ) -> None:
        super().__init__(daemon=True, name=f"client {number}")
        self._make, self._address = (library if number % 2 else Plain), address
        self._alone, self._seen, self._pause, self._newest = alone, seen, pause, newest
        self._random, self.stopped = random.Random(number), threading.Event()

    def run(self) -> None:
        """Connect, and ask until stopped."""
        seen, begun = self._seen, time.monotonic()
        try:
            client = self._make(self._address)
        except Exception as error:
            with seen.lock:
                seen.unconnected.append(f"{self._make.__name__}: {type(error).__name__}: {error}"[:200])
            return
        with seen.lock:
            seen.connected.append(time.monotonic() - begun)
        while not self.stopped.wait(self._random.expovariate(1 / self._pause) if self._pause else 0):
            newest = self._newest()
            if newest is not None and self._random.random() < 0.1:
                self._ask_newest(client, newest)
            else:
                self._ask(client, self._random.choice(list(self._alone)))

    def _ask(self, client: Any, text: str) -> None:
        expected, begun = self._alone[text], time.monotonic()
        try:
            answers = self._predict(client, text, [one["run_id"] for one in expected])
        except Exception as error:
            self._failed(error)
            return
        seconds, (labels, difference) = time.monotonic() - begun, compared(answers, expected)
        with self._seen.lock:
            self._seen.seconds.append(seconds)
            self._seen.other_labels += labels
            self._seen.largest_difference = max(self._seen.largest_difference, difference)

    def _ask_newest(self, client: Any, run_id: str) -> None:
        """Ask the run that was trained last, which may be deleted before the answer."""
        try:
            self._predict(client, "A warm, funny film.", [run_id])
        except Exception as error:
            if any(
                part in str(error) for part in ("Expected a run", "Expected a finished run", "one that was deleted")
            ):
                with self._seen.lock:
                    self._seen.gone += 1
            else:
                self._failed(error)

    def _predict(self, client: Any, text: str, run_ids: list[str]) -> list[dict[str, Any]]:
        try:
            return client.predict(text, run_ids, api_name="/predict")
        except CancelledError:
            with self._seen.lock:
                self._seen.cancelled += 1
            return client.predict(text, run_ids, api_name="/predict")

    def _failed(self, error: Exception) -> None:
        with self._seen.lock:
            self._seen.errors.append(f"{self._make.__name__}: {type(error).__name__}: {error}"[:300])


def compared(answers: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """(the number of other labels, the largest difference between probabilities) of two answers to one question."""
    if [one["run_id"] for one in answers] != [one["run_id"] for one in expected]:
        return len(expected), 1.0
    pairs = list(zip(answers, expected, strict=True))
    return sum(one["predicted"] != other["predicted"] for one, other in pairs), max(
        abs(one["probabilities"][name] - other["probabilities"][name])
        for one, other in pairs
        for name in one["probabilities"]
    )
