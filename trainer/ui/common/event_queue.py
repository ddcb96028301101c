"""Gradio's queue of events for an hour with a crowd: bounded, and going on whatever a client that leaves does to it."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections import Counter, OrderedDict
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.server_messages import CloseStreamMessage
from gradio.utils import LRUCache
from starlette.types import ASGIApp, Receive, Scope, Send

from trainer.ui.common import log

MOST = 1_000
"""Events that are stored, the newest, and sessions that have messages: Gradio looks up those that wait or run, of which
there are far fewer."""


IDLE = 3.0
"""Seconds after its session's last event until a stream closes.

Gradio closes it with the event. A page whose next event was on its way then takes the new event's answer to come by the
stream that it is about to hear has closed, and waits without end.
"""
CLOSE, LEFT = b'"msg":"close_stream"', {"type": "http.disconnect"}
"""What a stream's last message has (in a text its quotation marks are escaped), and what a page that left sends."""
CLOSED: ContextVar[list[bool] | None] = ContextVar("CLOSED", default=None)
"""Of the stream that runs: not empty once it has sent the message that it closes; nothing is dropped for it then."""


def bound(app: gr.routes.App, page: gr.Blocks) -> None:
    """Bound what an app stores of the events of its page, which Gradio stores without end; call before it starts."""
    queue = page._queue
    # An event has its request: 20 kB. Gradio computes statistics over all events after each.
    queue.event_ids_to_events = LRUCache(MOST)
    queue.event_analytics = Figures(MOST)
    queue.compute_analytics_summary = lambda _: queue.cached_event_analytics_summary
    # A session whose events are done has an empty set here.
    queue._asyncio_tasks = Tasks()
    streams: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    app.add_middleware(Streams, streams=streams, pages=pages)
    queue.pending_messages_per_session = Messages(streams)
    queue.pending_event_ids_session = Pending(queue.pending_messages_per_session, pages)
    _go_on(queue, streams)


def _go_on(queue: Any, streams: Counter[str]) -> None:
    """Let a client that leaves drop no events but its own, and no error stop the queue."""
    clean, send, process = queue.clean_events, queue.send_message, queue.start_processing

    async def clean_events(*, session_hash: str | None = None, event_id: str | None = None) -> None:
        if session_hash is None or _last(session_hash, streams):
            await clean(session_hash=session_hash, event_id=event_id)

    def send_message(event: Any, message: Any) -> None:
        # Who left while their event waited has no messages; Gradio's error would end the loop that starts events.
        if event.session_hash in queue.pending_messages_per_session:
            send(event, message)

    async def start_processing() -> None:
        while True:
            try:
                return await process()
            except Exception as error:
                log.fault("queue", error, whole=True)
                queue._asyncio_tasks, queue.stopped = Tasks(), False

    queue.clean_events, queue.send_message, queue.start_processing = clean_events, send_message, start_processing


class Streams:
    """Counts the open streams of answers by session: where one closes, Gradio drops the events of the whole session.

    A page that opens its next stream, or sends its next event, before the server has seen the last one close would wait
    for an answer without end, or show "404: Not Found". `pages` counts those of browsers alone, which stay open for a
    while (`IDLE`): Gradio's client in Python takes a stream that closes between two calls for an error.
    """

    def __init__(self, app: ASGIApp, streams: Counter[str], pages: Counter[str]) -> None:
        self.app, self.streams, self.pages = app, streams, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its session is counted while its stream is open."""
        if scope["type"] != "http" or not scope["path"].endswith("/queue/data"):
            return await self.app(scope, receive, send)
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        page = dict(scope["headers"]).get(b"user-agent", b"").startswith(b"Mozilla")
        self.streams[session] += 1
        self.pages[session] += page
        closed: list[bool] = []
        mark, incoming, news, whole = CLOSED.set(closed), [], asyncio.Event(), False

        async def watched(message: Any) -> None:
            nonlocal whole
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            if CLOSE in message.get("body", b""):
                closed.append(True)
                if page:
                    incoming.append(LEFT)
                    news.set()

        async def listen() -> None:
            while LEFT not in incoming:
                incoming.append(await receive())
                news.set()

        async def heard() -> Any:
            """What the page sends; that it has left as soon as its stream is closed, or Gradio would send it more."""
            while not incoming:
                news.clear()
                await news.wait()
            return LEFT if LEFT in incoming else incoming.pop(0)

        listening = asyncio.ensure_future(listen())
        try:
            await self.app(scope, heard, watched)
            if closed and not whole:  # Starlette leaves an answer as it is where it hears that the page has left
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listening.cancel()
            CLOSED.reset(mark)
            for counts, own in ((self.streams, 1), (self.pages, page)):
                counts[session] -= own
                if not counts[session]:
                    del counts[session]


def _last(session: str, streams: Counter[str]) -> bool:
    """Whether the stream that ends is its session's last one, and not because it closed by itself."""
    return streams[session] <= 1 and not CLOSED.get()


class Messages(OrderedDict):
    """Session -> the messages that its stream sends; of `MOST` sessions, those with an open stream before the newest.

    Those of a session that has another stream open, or whose stream closed by itself, stay when one ends.
    """

    def __init__(self, streams: Counter[str]) -> None:
        super().__init__()
        self.streams = streams

    def __setitem__(self, session: str, messages: Any) -> None:
        super().__setitem__(session, messages)
        while len(self) > MOST:
            super().__delitem__(next((old for old in self if not self.streams[old]), next(iter(self))))

    def __delitem__(self, session: str) -> None:
        if session in self and _last(session, self.streams):
            super().__delitem__(session)


class Pending(LRUCache):
    """Session -> its events that have not ended (`Ids`), of twice `MOST` sessions."""

    def __init__(self, messages: Messages, pages: Counter[str]) -> None:
        super().__init__(2 * MOST)
        self.messages, self.pages = messages, pages

    def __setitem__(self, session: str, ids: set[str]) -> None:
        super().__setitem__(session, ids if isinstance(ids, Ids) else Ids(session, self, ids))


class Ids(set):
    """A session's events that have not ended. While its page's stream is open none is no reason to close it at once."""

    def __init__(self, session: str, pending: Pending, ids: set[str]) -> None:
        super().__init__(ids)
        self.session, self.pending, self.removed = session, pending, 0

    def __len__(self) -> int:
        """Gradio closes the stream where this is 0."""
        return super().__len__() + (self.pending.pages[self.session] > 0)

    def remove(self, event: str) -> None:
        """Remove an event that has ended; its session's stream closes after `IDLE` seconds without another."""
        super().remove(event)
        self.removed += 1
        asyncio.get_running_loop().call_later(IDLE, self._close, self.removed)

    def _close(self, removed: int) -> None:
        waiting, open_ = self.pending.messages.get(self.session), self.pending.pages[self.session]
        if removed == self.removed and not super().__len__() and open_ and waiting is not None:
            waiting.put_nowait(CloseStreamMessage())


class Figures(LRUCache):
    """Event -> its figures; those of an event that is no longer stored may still be written, to nowhere."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}


class Tasks(list):
    """The tasks that run events: Gradio adds one an event, and those that are done go."""

    def append(self, task: Task[Any]) -> None:
        """Add a task in place of those that are done."""
        self[:] = [one for one in self if not one.done()]
        super().append(task)
