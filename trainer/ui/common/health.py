"""GET /health: whether the app is ready and why not, for Docker, Spaces and proxies. Open to everybody; no paths."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import anyio
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from trainer.jobs import queue as jobs
from trainer.ui.common.lab import Lab

PATH = "/health"
LEAST_FREE = 500_000_000
"""Bytes of free disk below which the app is not ready: a run's weights and checkpoints no longer fit."""
SECONDS_WITHOUT_WORKER = 60.0
"""How long runs may wait without a worker; one takes seconds to start, more on a busy machine."""
SECONDS_BETWEEN_LOOKS = 5.0
"""The least time between two looks at the store, its disk and its worker."""


def middleware(lab: Lab) -> list[Middleware]:
    """For the app's `app_kwargs`: Gradio's own routes would take this path."""
    return [Middleware(Health, watch=Watch(lab))]


class Watch:
    """What the app's health is; looks at the disk and the worker at most every `SECONDS_BETWEEN_LOOKS`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._lock = threading.Lock()
        self._seen: dict[str, Any] = {}
        self._looked = self._alone_since = -math.inf

    def state(self) -> dict[str, Any]:
        """The route's response. Before torch is imported the device is unknown, and the app is not ready."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= SECONDS_BETWEEN_LOOKS:
                self._seen, self._looked = self._look(now), now
            seen = self._seen
        detected = self.lab.device
        device = detected and {"kind": detected.kind, "name": detected.name, "precision": detected.precisions[0]}
        reasons = [] if self.lab.warm else ["device" if self.lab.problem else "starting"]
        if not seen["store"]["writable"]:
            reasons.append("store")
        if seen["worker"]["state"] == "missing":
            reasons.append("worker")
        if seen["disk"]["free"] is not None and seen["disk"]["free"] < LEAST_FREE:
            reasons.append("disk")
        return {"ready": not reasons, "reasons": reasons, "device": device, "problem": self.lab.problem, **seen}

    def _look(self, now: float) -> dict[str, Any]:
        root = self.lab.store.root
        try:
            waiting, readable = sum(run.state == "queued" for run in self.lab.store.list()), True
        except OSError:
            waiting, readable = 0, False
        if not waiting or jobs.worker_is_alive(self.lab.store):
            self._alone_since = math.inf
            worker = "at work" if waiting else "idle"
        else:
            self._alone_since = min(self._alone_since, now) if math.isfinite(self._alone_since) else now
            worker = "missing" if now - self._alone_since > SECONDS_WITHOUT_WORKER else "starting"
        return {
            "store": {"writable": readable and is_writable(root)},
            "worker": {"state": worker, "queued": waiting},
            "disk": {"free": _free(root)},
        }


class Health:
    """Middleware that responds apart from the app's other work: its threads may all be taken."""

    def __init__(self, app: ASGIApp, watch: Watch) -> None:
        self.app, self.watch = app, watch
        self._thread = anyio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a GET or HEAD of the path, 200 or 503; pass every other request on."""
        matches = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] == PATH
        if not matches:
            await self.app(scope, receive, send)
            return
        state = await anyio.to_thread.run_sync(self.watch.state, limiter=self._thread)
        response = JSONResponse(state, 200 if state["ready"] else 503, {"Cache-Control": "no-store"})
        await response(scope, receive, send)


def is_writable(root: Path) -> bool:
    """Whether a file can be written to the store, or the store's folder be made: tried, not read from its mode."""
    try:
        if root.is_dir():
            with tempfile.TemporaryFile(dir=root, prefix=".health-") as file:
                file.write(b"1")
                file.flush()
            return True
        above = _existing(root)
        return above.is_dir() and os.access(above, os.W_OK)
    except OSError:
        return False


def _free(root: Path) -> int | None:
    """Free bytes of the store's disk; None where the system does not tell."""
    try:
        return shutil.disk_usage(_existing(root)).free
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.resolve().parents) if one.exists())
