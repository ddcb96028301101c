"""Gradio's queue of events for an hour with a crowd: bounded, and going on whatever a client that leaves does to it."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
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
"""Seconds after its session's last event until a stream closes; Gradio closes it with the event."""
HANG_UP = 5.0
"""Seconds that a page has to hang up once its stream has told it that it closes; a busy page reads late.

A page that sends its next event before it reads that takes the answer to come by the stream that closes, and waits
without end. So the event is acknowledged after the page has hung up: it then opens a stream for it.
"""
GRACE = 5.0
"""Seconds after its last stream was cut until a session's events are dropped.

Gradio's page cuts its stream where it may be left (a link, a reload), and goes on where it is not, or not yet.
"""
CLOSE, LEFT = b'"msg":"close_stream"', {"type": "http.disconnect"}
"""What a stream's last message has (in a text its quotation marks are escaped), and what a page that left sends."""


@dataclass
class Sessions:
    """The streams of answers by session: open ones, those of browsers, and those that close or were cut."""

    streams: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    closing: set[str] = field(default_factory=set)
    """Whose page is told that its stream closes, and has not hung up."""
    cut: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    """Whose last stream was cut -> when their events are dropped."""

    def opens(self, session: str, *, browser: bool) -> None:
        """Count a stream that opens."""
        self.streams[session] += 1
        if browser:
            self.pages[session] += 1

    def ends(self, session: str, *, browser: bool, closed: bool) -> bool:
        """Count a stream that ends, `closed` by itself or cut. Returns whether its session is cut off."""
        for counts, own in ((self.streams, 1), (self.pages, browser)):
            counts[session] -= own
            if not counts[session]:
                del counts[session]
        if closed or session not in self.streams:
            self.closing.discard(session)
        return session not in self.streams and not closed

    async def hung_up(self, session: str) -> None:
        """Wait until no page of the session has yet to read that its stream closes."""
        while session in self.closing:
            await asyncio.sleep(0.02)


def bound(app: gr.routes.App, page: gr.Blocks) -> None:
    """Bound what an app stores of the events of its page, which Gradio stores without end; call before it starts."""
    queue = page._queue
    # An event has its request: 20 kB. Gradio computes statistics over all events after each.
    queue.event_ids_to_events = LRUCache(MOST)
    queue.event_analytics = Figures(MOST)
    queue.compute_analytics_summary = lambda _: queue.cached_event_analytics_summary
    # A session whose events are done has an empty set here.
    queue._asyncio_tasks = Tasks()
    sessions = Sessions()
    queue.pending_messages_per_session = Messages(sessions)
    queue.pending_event_ids_session = Pending(queue.pending_messages_per_session, sessions)
    app.add_middleware(Streams, sessions=sessions, cut=_go_on(queue, sessions))


def _go_on(queue: Any, sessions: Sessions) -> Callable[[str], None]:
    """Let a client that leaves drop no events but its own, and no error stop the queue.

    Returns what is to be called with a session whose last stream was cut.
    """
    clean, push, send, process = queue.clean_events, queue.push, queue.send_message, queue.start_processing

    async def clean_events(*, session_hash: str | None = None, event_id: str | None = None) -> None:
        if session_hash is None:  # those of a session go in `drop`
            await clean(event_id=event_id)

    def cut(session: str) -> None:
        if before := sessions.cut.pop(session, None):
            before.cancel()
        loop = asyncio.get_running_loop()
        sessions.cut[session] = loop.call_later(GRACE, lambda: loop.create_task(drop(session)))

    async def drop(session: str) -> None:
        sessions.cut.pop(session, None)
        if session not in sessions.streams:
            queue.pending_messages_per_session.drop(session)
            await clean(session_hash=session)

    async def pushed(body: Any, **others: Any) -> Any:
        answer = await push(body=body, **others)
        if body.session_hash in sessions.cut:  # its page goes on: it has time again to open a stream
            cut(body.session_hash)
        await sessions.hung_up(body.session_hash)
        return answer

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

    queue.clean_events, queue.push = clean_events, pushed
    queue.send_message, queue.start_processing = send_message, start_processing
    return cut


class Streams:
    """Watches the open streams of answers, whose sessions' events Gradio drops as soon as one of them ends.

    Those of browsers stay open for a while (`IDLE`): Gradio's client in Python takes a stream that closes between two
    calls for an error.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, cut: Callable[[str], None]) -> None:
        self.app, self.sessions, self.cut = app, sessions, cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its session is counted while its stream is open."""
        if scope["type"] != "http" or not scope["path"].endswith("/queue/data"):
            return await self.app(scope, receive, send)
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        browser = dict(scope["headers"]).get(b"user-agent", b"").startswith(b"Mozilla")
        incoming, news, closed, whole = [], asyncio.Event(), False, False

        async def watched(message: Any) -> None:
            nonlocal closed, whole
            if closed and browser:
                return  # the end of the answer is below, once the page has hung up
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            if CLOSE in message.get("body", b""):
                closed = True
                news.set()

        async def listen() -> None:
            while LEFT not in incoming:
                incoming.append(await receive())
                news.set()

        async def heard() -> Any:
            """What the page sends; that it has left as soon as its stream is closed, or Gradio would send it more."""
            while not (incoming or (closed and browser)):
                news.clear()
                await news.wait()
            return LEFT if LEFT in incoming or (closed and browser) else incoming.pop(0)

        self.sessions.opens(session, browser=browser)
        listening = asyncio.ensure_future(listen())
        try:
            await self.app(scope, heard, watched)
            if closed and not whole:
                if browser:
                    await asyncio.wait([listening], timeout=HANG_UP)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listening.cancel()
            if self.sessions.ends(session, browser=browser, closed=closed):
                self.cut(session)


class Messages(OrderedDict):
    """Session -> the messages that its stream sends; of `MOST` sessions, of those with an open stream first."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions

    def __setitem__(self, session: str, messages: Any) -> None:
        super().__setitem__(session, messages)
        while len(self) > MOST:
            self.drop(next((old for old in self if old not in self.sessions.streams), next(iter(self))))

    def __delitem__(self, session: str) -> None:
        """Leave them: Gradio deletes a session's messages as soon as one of its streams is cut."""

    def drop(self, session: str) -> None:
        """Drop the messages of a session, if it has any."""
        if session in self:
            super().__delitem__(session)


class Pending(LRUCache):
    """Session -> its events that have not ended (`Ids`), of twice `MOST` sessions."""

    def __init__(self, messages: Messages, sessions: Sessions) -> None:
        super().__init__(2 * MOST)
        self.messages, self.sessions = messages, sessions

    def __setitem__(self, session: str, ids: set[str]) -> None:
        super().__setitem__(session, ids if isinstance(ids, Ids) else Ids(session, self, ids))


class Ids(set):
    """A session's events that have not ended. While its page's stream is open none is no reason to close it at once."""

    def __init__(self, session: str, pending: Pending, ids: set[str]) -> None:
        super().__init__(ids)
        self.session, self.pending, self.removed = session, pending, 0

    def __len__(self) -> int:
        """Gradio closes the stream where this is 0."""
        return super().__len__() + (self.session in self.pending.sessions.pages)

    def remove(self, event: str) -> None:
        """Remove an event that has ended; its session's stream closes after `IDLE` seconds without another."""
        super().remove(event)
        self.removed += 1
        asyncio.get_running_loop().call_later(IDLE, self._close, self.removed)

    def _close(self, removed: int) -> None:
        waiting, sessions = self.pending.messages.get(self.session), self.pending.sessions
        if removed == self.removed and not super().__len__() and self.session in sessions.pages and waiting is not None:
            sessions.closing.add(self.session)
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
