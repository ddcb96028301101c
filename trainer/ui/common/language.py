"""The page's language told to Gradio, which writes its own texts (the place for files, the footer) in the browser's."""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer import texts


def middleware() -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": ...})`; none in English, where Gradio goes by the browser."""
    code = texts.language()
    return [] if code == texts.ENGLISH else [Middleware(Told, code=code)]


class Told:
    """Sets the language that Gradio reads, in the page itself: what `launch(head=...)` adds runs after it is read."""

    def __init__(self, app: ASGIApp, code: str) -> None:
        self.app, self.code = app, code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the page alone is held until it is whole."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in ("", "/"):
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def held(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body, headers = b"".join(parts), MutableHeaders(scope=start)
            if headers.get("content-type", "").startswith("text/html"):
                body = self.told(body)
                headers["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, held)

    def told(self, page: bytes) -> bytes:
        """The page with its language."""
        code = json.dumps(self.code)
        script = f'<script>Object.defineProperty(navigator, "language", {{get: () => {code}}});</script>'
        page = page.replace(b'lang="en"', f"lang={code}".encode(), 1)
        return page.replace(b"<head>", f"<head>{script}".encode(), 1)
