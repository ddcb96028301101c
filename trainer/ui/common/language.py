"""What the page's HTML says of it before any script runs: its title, icon and language.

Gradio's page names Gradio in chats and search engines, and its own texts (upload area, footer) are in the browser's
language.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer import texts
from trainer.markup import render
from trainer.texts import mark, tr

TITLE = "PEFT Lab"
ABOUT = mark("Train, compare and question fine-tuning methods for text classification.")
_GRADIOS = re.compile(rb'<meta\s+(?:property="og:|name="(?:twitter:|description"))[^>]*>\s*')


def middleware() -> list[Middleware]:
    """For the app's `app_kwargs`."""
    return [Middleware(PageHead, code=texts.language())]


class PageHead:
    """Middleware that sets title, icon and language in the page itself.

    Scripts of `launch(head=...)` run after Gradio has read the language; in English it uses the browser's.
    """

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
                body = self.with_head(body)
                headers["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, collect)

    def with_head(self, page: bytes) -> bytes:
        """The page's HTML with the app's own title, and with the language set."""
        own = render("common/social.html", title=TITLE, about=tr(ABOUT))
        if self.code != texts.ENGLISH:
            own += render("common/language.html", code=self.code)
            page = page.replace(b'lang="en"', f'lang="{self.code}"'.encode(), 1)
        head, config, rest = page.partition(b"window.gradio_config")
        head = _GRADIOS.sub(b"", head).replace(b"<head>", b"<head>" + own.encode(), 1)
        return head + config + rest
