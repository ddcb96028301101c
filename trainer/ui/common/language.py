"""The page's language for Gradio, whose own texts (upload area, footer) would otherwise be in the browser's."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer import texts
from trainer.markup import render


def middleware() -> list[Middleware]:
    """For the app's `app_kwargs`; none in English, where Gradio uses the browser's language."""
    code = texts.language()
    return [] if code == texts.ENGLISH else [Middleware(PageLanguage, code=code)]


class PageLanguage:
    """Middleware that sets the language in the page itself: scripts of `launch(head=...)` run after Gradio reads it."""

    def __init__(self, app: ASGIApp, code: str) -> None:
        self.app, self.code = app, code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; only the page is buffered before it is sent."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in ("", "/"):
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body, headers = b"".join(parts), MutableHeaders(scope=start)
            if headers.get("content-type", "").startswith("text/html"):
                body = self.with_language(body)
                headers["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, collect)

    def with_language(self, page: bytes) -> bytes:
        """The page's HTML with the language set."""
        script = render("common/language.html", code=self.code)
        page = page.replace(b'lang="en"', f'lang="{self.code}"'.encode(), 1)
        return page.replace(b"<head>", b"<head>" + script.encode(), 1)
