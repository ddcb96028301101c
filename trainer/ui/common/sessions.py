"""The sessions of the app's pages and of the programs that call its endpoints, as Gradio stores them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache
from starlette.types import ASGIApp, Receive, Scope, Send

MOST = 1_000
"""Sessions that are stored, those used last: each open page has one, and each question of a program."""
MOST_EVENTS = 1_000
"""Events that are stored, the newest: Gradio looks up those that wait or run, of which there are far fewer."""


def bound(app: gr.routes.App, page: gr.Blocks) -> None:
    """Bound what an app stores of the sessions and the events of its page, which Gradio stores without end."""
    app.state_holder = Sessions()
    app.state_holder.set_blocks(page)
    queue = page._queue
    # An event has its request: 20 kB. Gradio computes statistics over all events after each.
    queue.event_ids_to_events = LRUCache(MOST_EVENTS)
    queue.event_analytics = Figures(MOST_EVENTS)
    queue.compute_analytics_summary = lambda _: queue.cached_event_analytics_summary
    # A session whose events are done has an empty set here.
    queue.pending_event_ids_session = LRUCache(2 * MOST)
    streams: Counter[str] = Counter()
    app.add_middleware(Streams, streams=streams)
    queue.pending_messages_per_session = Messages(streams)
    clean = queue.clean_events

    async def clean_events(*, session_hash: str | None = None, event_id: str | None = None) -> None:
        if session_hash is None or streams[session_hash] <= 1:
            await clean(session_hash=session_hash, event_id=event_id)

    queue.clean_events = clean_events


class Streams:
    """Counts the open streams of answers by session: where one closes, Gradio drops the events of the whole session.

    A page that opens its next stream before the server has seen the last one close would lose its answers, and be told
    "404: Not Found".
    """

    def __init__(self, app: ASGIApp, streams: Counter[str]) -> None:
        self.app, self.streams = app, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its session is counted while its stream is open."""
        if scope["type"] != "http" or not scope["path"].endswith("/queue/data"):
            return await self.app(scope, receive, send)
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        self.streams[session] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.streams[session] -= 1
            if not self.streams[session]:
                del self.streams[session]


class Messages(OrderedDict):
    """Session -> the messages that its stream sends; of `MOST` sessions, those with an open stream before the newest.

    Those of a session that has another stream open stay when one closes.
    """

    def __init__(self, streams: Counter[str]) -> None:
        super().__init__()
        self.streams = streams

    def __setitem__(self, session: str, messages: Any) -> None:
        super().__setitem__(session, messages)
        while len(self) > MOST:
            super().__delitem__(next((old for old in self if not self.streams[old]), next(iter(self))))

    def __delitem__(self, session: str) -> None:
        if session in self and self.streams[session] <= 1:
            super().__delitem__(session)


class Figures(LRUCache):
    """Event -> its figures; those of an event that is no longer stored may still be written, to nowhere."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}


class Session(SessionState):
    """A session without the configuration of every component, which only Gradio's deep links read.

    With it a session takes half a megabyte, of which Gradio stores 10,000: a crowd of programs filled 6 GB in an hour.
    """

    def __init__(self, blocks: Any) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))

    def _update_config(self, key: int) -> None:
        """Nothing: no configuration is stored."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing: no configuration is stored."""


class Sessions(StateHolder):
    """At most `MOST` sessions; the one used longest ago goes first."""

    def set_blocks(self, blocks: Any) -> None:
        """The page whose sessions these are."""
        super().set_blocks(blocks)
        self.capacity = MOST

    def __getitem__(self, session_id: str) -> SessionState:
        """The session of this name, new if it is not stored."""
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        session = super().__getitem__(session_id)
        for gone in self.time_last_used.keys() - self.session_data.keys():
            self.time_last_used.pop(gone, None)
        return session
