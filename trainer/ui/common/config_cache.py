"""A cache of GET /config, the first request of every program and the largest answer.

Gradio copies the whole page's description for each (365 kB, about 30 ms). A class of programs that connects at once
to a busy machine would wait in line for it longer than the five seconds that gradio_client waits.
"""

from __future__ import annotations

from collections import OrderedDict

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 16
"""The most answers kept: they differ by the names under which the app is reached."""
NAMING = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
"""The headers from which Gradio makes the addresses in its answer."""


def middleware() -> list[Middleware]:
    """For the app's `app_kwargs`."""
    return [Middleware(ConfigCache)]


class ConfigCache:
    """Middleware that repeats an answer of /config to the same address. The description itself never changes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: OrderedDict[tuple, list[Message]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET of /config without a query from the cache; pass every other request on."""
        is_config = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].rstrip("/") == "/config"
        if not is_config or scope["query_string"]:
            await self.app(scope, receive, send)
            return
        key = (scope["scheme"], scope.get("root_path", ""), *(pair for pair in scope["headers"] if pair[0] in NAMING))
        answer = self._answers.get(key)
        if answer is None:
            answer = []

            async def kept(message: Message) -> None:
                answer.append({**message, "headers": list(message["headers"])} if "headers" in message else message)
                await send(message)

            await self.app(scope, receive, kept)
            if answer and answer[0].get("status") == 200:
                self._answers[key] = answer
                if len(self._answers) > MOST:
                    self._answers.popitem(last=False)
            return
        for message in answer:
            await send({**message, "headers": list(message["headers"])} if "headers" in message else message)
