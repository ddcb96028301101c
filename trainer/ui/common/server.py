"""The app's own server. Gradio's `launch` gives up on a busy machine: it asks itself for the page, within 3 seconds.

Its server must also start within 5. Here connections wait at the port, and the start takes as long as it takes.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from trainer.errors import Problems, UserError, sentence
from trainer.machine import hosting
from trainer.machine.hosting import LOOPBACK, Hosts
from trainer.texts import tr
from trainer.ui.common import documents, event_queue, sessions
from trainer.ui.common.lab import Lab

PORT, PORTS = 7860, 100
"""The first port if none is named, and how many are tried from the first on, as Gradio does."""
BACKLOG = 2048
"""Connections that the system holds until the server takes them: a class that opens the page at once."""
SECONDS_TO_END = 1
"""How long open streams of pages may hold up the end."""


class Server(uvicorn.Server):
    """Uvicorn, which calls `ready` once it takes requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `ready`."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def bind(environment: Mapping[str, str]) -> tuple[str, int, socket.socket]:
    """(address, port, a socket bound to them) of GRADIO_SERVER_NAME and the first free port from GRADIO_SERVER_PORT on.

    Raises `UserError` where none is free.
    """
    name = environment.get("GRADIO_SERVER_NAME", "").strip("[]") or LOOPBACK[1]
    first = _whole("GRADIO_SERVER_PORT", environment.get("GRADIO_SERVER_PORT"), PORT)
    count, problem = _whole("GRADIO_NUM_PORTS", environment.get("GRADIO_NUM_PORTS"), PORTS), ""
    for port in range(first, first + count):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            problem = str(error.strerror)
            break
        try:
            if os.name != "nt":  # there it would let two servers share a port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(BACKLOG)
            return name, port, bound
        except (OSError, OverflowError) as error:
            problem = str(getattr(error, "strerror", None) or error)
            bound.close()
    raise UserError(
        expected=tr("a free port from {port} on at {name}", port=first, name=name),
        got=problem,
        fix=tr("set GRADIO_SERVER_NAME or GRADIO_SERVER_PORT"),
    )


def _whole(name: str, value: str | None, default: int) -> int:
    """A port, or a number of ports, in an environment variable."""
    if not value:
        return default
    if value.isascii() and value.isdecimal() and 0 < int(value[:6]) < 65_536:
        return int(value)
    expected = tr("a valid integer")
    text = tr("{name}: expected {expected}, got {got}; change it.", name=name, expected=expected, got=repr(value))
    raise Problems([text])


def application(lab: Lab, page: gr.Blocks, *, outside: Sequence[Middleware] = (), **settings: Any) -> FastAPI:
    """The page as an application for a server; `settings` are those of Gradio's `mount_gradio_app`.

    `outside` is middleware around all of Gradio's own, whose first layers fail on some malformed requests.
    """
    own = {"docs_url": None, "redoc_url": None, "openapi_url": None, "routes": documents.routes()}
    outer = FastAPI(**own, middleware=list(outside))
    settings = {
        "root_path": os.environ.get("GRADIO_ROOT_PATH", ""),
        "max_file_size": None if lab.access.rules.open else "1gb",
        "pwa": hosting.on_space(),
        # On a Space Gradio would put a Node server in front, which would not pass on requests to the middleware.
        "ssr_mode": False,
        "show_error": True,
    } | settings
    gr.mount_gradio_app(outer, page, "/", **settings)
    inner = next(route.app for route in outer.routes if isinstance(getattr(route, "app", None), gr.routes.App))
    sessions.bound(inner, page)
    event_queue.bound(inner, page)
    page.custom_mount_path = None  # it is the whole site: addresses are as after `launch`
    return outer


def serve(lab: Lab, app: FastAPI, page: gr.Blocks, ready: Callable[[], None]) -> None:
    """Serve until the process gets a signal to end. `ready` is called once the app takes requests.

    Raises `UserError` where no port is free.
    """
    name, port, bound = bind(os.environ)
    shown = f"[{name}]" if ":" in name else name

    def begun() -> None:
        print(f"* Running on local URL:  http://{shown}:{port}", flush=True)
        ready()

    if os.environ.get("GRADIO_SHARE", "").lower() == "true" and not hosting.on_space():
        _share(lab, page, port)
    config = uvicorn.Config(
        app,
        host=name,
        port=port,
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SECONDS_TO_END,
        **proxies_of(os.environ),
    )
    with bound, suppress(KeyboardInterrupt):
        Server(config, begun).run(sockets=[bound])


def proxies_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """Uvicorn's settings on proxies: their word on a visitor's address counts only where they are declared."""
    proxies = hosting.trusted_proxies(environment)
    return {"proxy_headers": bool(proxies), "forwarded_allow_ips": proxies or None}


def _share(lab: Lab, page: gr.Blocks, port: int) -> None:
    """Open Gradio's tunnel, and print its address; without one the app is served all the same."""
    from gradio import networking

    try:
        address = networking.setup_tunnel(LOOPBACK[1], port, secrets.token_urlsafe(32), None, None)
    except Exception as error:
        print(sentence(error), file=sys.stderr, flush=True)
        return
    page.share, page.share_url = True, address
    lab.hosts = Hosts.of(os.environ, share=address)
    print(f"* Running on public URL: {address}", flush=True)
