"""Requests that no page of this app sends: to another host name, from another site, or of no known form."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.errors import ArgumentError, UserError
from trainer.machine.hosting import HOSTS
from trainer.texts import tr
from trainer.ui.common import faults, log
from trainer.ui.common.lab import Lab

FOREIGN = (FnIndexInferError, LookupError, ValueError, TypeError, RecursionError)
"""What Gradio's routes raise for a request with an unknown name or number, or of another form than theirs."""


def middleware(lab: Lab) -> list[Middleware]:
    """For the app's `app_kwargs`; before what reads a request's body."""
    return [Middleware(Requests, lab=lab)]


class Requests:
    """Middleware that refuses requests to other hosts and from other sites, and answers any failure in a sentence."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self.app, self.lab = app, lab

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: status 400 for another host, 403 for another site, 400 or 500 for what fails."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal, status = self._refusal(Headers(scope=scope))
        if refusal is not None:
            log.event("refused", path=scope["path"], status=status, message=str(refusal))
            await PlainTextResponse(str(refusal), status_code=status)(scope, receive, send)
            return
        started = ended = False

        async def sent(message: Message) -> None:
            nonlocal started, ended
            started = started or message["type"] == "http.response.start"
            ended = ended or (message["type"] == "http.response.body" and not message.get("more_body"))
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception as error:
            # Starlette raises a RuntimeError for an HTTP error within a response that has begun, such as a stream.
            foreign = isinstance(error, (*FOREIGN, HTTPException)) or isinstance(error.__cause__, HTTPException)
            if foreign:
                log.event("refused", path=scope["path"], message=type(error).__name__)
            else:
                log.fault("failed", error, whole=self.lab.access.rules.open, path=scope["path"])
            if not started and scope["type"] == "http":
                await _answer(foreign)(scope, receive, send)
            elif started and not ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _refusal(self, headers: Headers) -> tuple[UserError | None, int]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.lab.hosts.knows(host):
            fix = tr("open it under its own name, or let its owner name this one in {variable}", variable=HOSTS)
            return UserError(expected=tr("a host name of this app"), got=tr("something else"), fix=fix), 400
        if origin is not None and not self.lab.hosts.may_send(origin, host):
            fix = tr("open the app itself, or let its owner name that site in {variable}", variable=HOSTS)
            got = tr("one from another site")
            return UserError(expected=tr("a request from this app's own page"), got=got, fix=fix), 403
        return None, 200


async def wrong_form(_: Request, error: Any) -> Response:
    """The response to a request whose body is not what a route takes; FastAPI's own repeats what was sent."""
    log.event("refused", status=422, message=type(error).__name__)
    return _answer(True, status=422)


HANDLERS = {RequestValidationError: wrong_form}
"""For the app's `app_kwargs`: FastAPI's errors -> their handlers."""


def _answer(foreign: bool, status: int | None = None) -> Response:
    if foreign:
        error: object = ArgumentError(
            expected=tr("a request that this app knows"), got=tr("something else"), fix=tr("look at docs/endpoints.md")
        )
    else:
        error = tr("Something unexpected went wrong; the log has the details.")
    text = faults.plain(str(error))
    return JSONResponse({"error": text, "detail": text}, status_code=status or (400 if foreign else 500))
