"""The limits of what strangers may send where not everybody may change runs, so that nobody fills the disk.

Gradio's `max_file_size` is one limit for everybody and for one file: the owner of a Space, who has no command line
there, loads exported runs that are larger than a stranger may send, and a stranger could send small files without end.
Nor does it limit what Gradio fetches from an address in the place of a file, or remove what an upload left that broke
off.
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
"""Bytes of one request of somebody who may not change runs."""
MOST_OF_ALL, SECONDS = 1_000_000_000, 3600.0
"""Bytes that all of them together may upload in so many seconds; what they upload stays for a day."""
ROWS = 20_000
"""Rows of a file that one of them may have predicted."""
PATIENCE = 10 * MOST
"""Bytes that are still read, and thrown away, of a request that is refused: else a browser never sees the answer."""


def middleware(lab: Lab) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": ...})`; none where everything is open to everybody."""
    return [] if lab.access.rules.open else [Middleware(UploadLimits, lab=lab)]


def too_many_rows(count: int) -> UserError:
    """What to say of a file with more than `ROWS` rows."""
    return UserError(
        expected=tr("at most {count} rows from somebody who may not change runs", count=f"{ROWS:,}"),
        got=f"{count:,}",
        fix=tr("predict fewer rows at a time"),
    )


class UploadLimits:
    """Collects a stranger's request before the app sees it, and passes it on if it is small and whole."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self.app, self.lab = app, lab
        self._lock, self._uploads = threading.Lock(), deque[tuple[float, int]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: 413 and a sentence for too much, 400 for an address in the place of a file."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or self._may_more(scope):
            await self.app(scope, receive, send)
            return
        # A file that is gone when it is closed: Gradio keeps the parts of an upload that broke off.
        with tempfile.SpooledTemporaryFile(1_000_000) as body:
            size = await _collect(scope, receive, body)
            if size is None:
                return  # the sender is gone
            refusal, status = self._refusal(scope, size), 413
            if refusal is None and names_address(scope, body):
                refusal, status = _address(), 400
            if refusal is not None:
                await PlainTextResponse(str(refusal), status_code=status)(scope, receive, send)
                return
            body.seek(0)
            await self.app(scope, _replayed(body, receive), send)

    def _may_more(self, scope: Scope) -> bool:
        """Whether it comes from somebody who may change runs: signed in, or with the cookie of a browser's grant."""
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
    """Write a request's body to `file`, at most `MOST` bytes of it; its size, or None where it never ended."""
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
    """A `receive` that gives the body from `file`, and then what comes after it."""
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
    """Whether a JSON body names a file by an address: Gradio would fetch it, however large it is."""
    if _with_files(scope):
        return False
    file.seek(0)
    try:
        waiting = [json.loads(file.read())]
    except (ValueError, RecursionError):
        return False  # nor can the app read it
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
    """Whether a request is one that Gradio takes files from."""
    return Headers(scope=scope).get("content-type", "").strip().lower().startswith("multipart/")


def _address() -> UserError:
    return UserError(expected=tr("a file that was uploaded"), got=tr("an address"), fix=tr("upload the file"))


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(access.COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None
