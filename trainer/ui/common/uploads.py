"""Limits on uploads by visitors who may not change runs, so that nobody fills the disk.

Gradio's `max_file_size` is one limit for everybody and for one file: the owner of a Space, who has no command line
there, loads exported runs that are larger than a stranger may send, and a stranger could send small files without end.
Nor does it limit what Gradio downloads if a request has a web address instead of a file, or remove the parts of an
interrupted upload.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import deque
from http.cookies import CookieError, SimpleCookie
from typing import IO

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.errors import UserError
from trainer.machine.access import Visitor
from trainer.texts import tr
from trainer.ui.common import access
from trainer.ui.common.lab import Lab

MOST = 10_000_000
"""The most bytes of one request of a visitor who may not change runs."""
MOST_OF_ALL, SECONDS = 1_000_000_000, 3600.0
"""The most bytes that all of them together may upload in `SECONDS`; uploads are deleted after a day."""
ROWS = 20_000
"""The most rows of a file that one of them may have predicted."""
PATIENCE = 10 * MOST
"""The most bytes of a refused request that are still read, and discarded: else a browser never gets the response."""


def middleware(lab: Lab) -> list[Middleware]:
    """For the app's `app_kwargs`; none if everything is open to everybody."""
    return [] if lab.access.rules.open else [Middleware(UploadLimits, lab=lab)]


def too_many_rows(count: int) -> UserError:
    """The error for a file with more than `ROWS` rows."""
    return UserError(
        expected=tr("at most {count} rows from somebody who may not change runs", count=f"{ROWS:,}"),
        got=f"{count:,}",
        fix=tr("predict fewer rows at a time"),
    )


class UploadLimits:
    """Middleware that buffers a request of a visitor who may not change runs, and passes on a small one."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self.app, self.lab = app, lab
        self._lock, self._uploads = threading.Lock(), deque[tuple[float, int]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: status 413 and a sentence if it is too large, 400 for a web address instead of a file."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or self._may_change(scope):
            await self.app(scope, receive, send)
            return
        # A temporary file, deleted when closed: Gradio would keep the parts of an interrupted upload.
        with tempfile.SpooledTemporaryFile(1_000_000) as body:
            size = await _collect(scope, receive, body)
            if size is None:
                return  # the sender closed the connection
            refusal, status = self._refusal(scope, size), 413
            if refusal is None and names_address(scope, body):
                refusal, status = _address(), 400
            if refusal is not None:
                await PlainTextResponse(str(refusal), status_code=status)(scope, receive, send)
                return
            body.seek(0)
            await self.app(scope, _replayed(body, receive), send)

    def _may_change(self, scope: Scope) -> bool:
        """Whether the sender may change runs: signed in, or with the cookie of a browser's grant."""
        headers = Headers(scope=scope)
        visitor = Visitor(profile=access.profile_of(scope), origin=headers.get("origin"))
        return self.lab.access.rules.owns(visitor) or self.lab.access.holds(_cookie(headers.get("cookie", "")))

    def _refusal(self, scope: Scope, size: int) -> UserError | None:
        if size > MOST:
            return UserError(
                expected=tr("at most {size} MB from somebody who may not change runs", size=MOST // 1_000_000),
                got=tr("more"),
                fix=tr("send less at a time, or first sign in or give the password at the top of Train"),
            )
        if not _with_files(scope):
            return None
        now = time.monotonic()
        with self._lock:
            while self._uploads and self._uploads[0][0] <= now - SECONDS:
                self._uploads.popleft()
            if sum(bytes_ for _, bytes_ in self._uploads) + size > MOST_OF_ALL:
                return UserError(
                    expected=tr("at most {size} MB an hour from all visitors together", size=MOST_OF_ALL // 1_000_000),
                    got=tr("more"),
                    fix=tr("try again in an hour"),
                )
            self._uploads.append((now, size))
        return None


async def _collect(scope: Scope, receive: Receive, file: IO[bytes]) -> int | None:
    """Write at most `MOST` bytes of a request's body to `file`. Returns its size, or None if it was interrupted."""
    size, more = 0, True
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdecimal() and int(announced) > PATIENCE:
        return int(announced)
    while more and size <= PATIENCE:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size <= MOST:
            file.write(part)
    return size


def _replayed(file: IO[bytes], receive: Receive) -> Receive:
    """A `receive` that returns the body from `file`, and then later messages."""
    ended = False

    async def replay() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        part = file.read(1 << 18)
        ended = len(part) < 1 << 18
        return {"type": "http.request", "body": part, "more_body": not ended}

    return replay


def names_address(scope: Scope, file: IO[bytes]) -> bool:
    """Whether a JSON body has a web address as a file: Gradio would download it, whatever its size."""
    if _with_files(scope):
        return False
    file.seek(0)
    try:
        waiting = [json.loads(file.read())]
    except (ValueError, RecursionError):
        return False  # the app cannot read it either
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path.startswith(("http://", "https://")):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _with_files(scope: Scope) -> bool:
    """Whether a request has the content type of file uploads."""
    return Headers(scope=scope).get("content-type", "").strip().lower().startswith("multipart/")


def _address() -> UserError:
    return UserError(expected=tr("a file that was uploaded"), got=tr("an address"), fix=tr("upload the file"))


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(access.COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None
