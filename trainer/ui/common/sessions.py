"""The sessions of the app's pages and of the programs that call its endpoints, as Gradio stores them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MOST = 1_000
"""Sessions that are stored, those used last: each open page has one, and each question of a program."""


def bound(app: gr.routes.App, page: gr.Blocks) -> None:
    """Bound what an app stores of the sessions of its page."""
    app.state_holder = Sessions()
    app.state_holder.set_blocks(page)


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
