"""The page's frame: every event of Gradio passes here, which treats the errors and the queue of all alike."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer.machine import limits
from trainer.ui import static
from trainer.ui.common import faults, log
from trainer.ui.common.access import inner_name, visitor_of
from trainer.ui.common.lab import Lab

MOST_EVENTS = 2_000
"""The most events of any kind that wait; each page whose runs train asks for its list of them every 1.5 seconds."""
PREDICTING = ("predict", "predict_waiting", "recalibrate", "explain", "explain_one", "predict_file", "predict_api")
"""The handlers that compute predictions, whose waiting events are counted."""


class Page(gr.Blocks):
    """Blocks whose errors are one sentence, and whose waiting predictions have a limit."""

    def __init__(self, lab: Lab, **settings: Any) -> None:
        self.lab = lab
        super().__init__(**settings)

    def __exit__(self, *failure: Any) -> None:
        """End the layout. What listens to the page's load listens to an element of it instead.

        In Gradio 6.11 to 6.17 a page with tabs and any listener of `load` measures its tabs again in every frame, for
        as long as it is open (gradio-app/gradio, issue 13301): up to half a core of the browser
        """
        opened = gr.HTML(js_on_load=static.read("opened.js"), elem_classes="lab-off")
        super().__exit__(*failure)
        for fn in self.fns.values():
            fn.targets = [(opened._id, "tick") if target == (self._id, "load") else target for target in fn.targets]

    def queue(self, *arguments: Any, **named: Any) -> Page:
        """Gradio's queue, which refuses a prediction while too many wait."""
        if not arguments:
            named.setdefault("max_size", MOST_EVENTS)
            named.setdefault("api_open", False)  # else POST /run/... would pass by the queue and its limits
        super().queue(*arguments, **named)
        self._queue.push = partial(self._push, self._queue.push)
        return self

    async def _push(self, push: Any, body: Any, request: Any, username: str | None) -> Any:
        most, fn = self.lab.limits.predictions, self.fns.get(body.fn_index)
        if most is not None and fn is not None and inner_name(fn.fn) in PREDICTING and self.waiting() >= most:
            log.event("busy", handler=inner_name(fn.fn), waiting=most)
            return False, faults.plain(str(limits.too_many_predictions(most))), "queue_full"
        return await push(body=body, request=request, username=username)

    def waiting(self) -> int:
        """The number of predictions that wait."""
        names = {fn.concurrency_id for fn in self.fns.values() if fn.fn is not None and inner_name(fn.fn) in PREDICTING}
        queues = self._queue.event_queue_per_concurrency_id
        return sum(len(queues[name].queue) for name in names if name in queues)

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """Gradio's check and conversion of the inputs of a handler. Raises `UserError` for any that do not fit."""
        try:
            faults.check_text(inputs)
            if len(inputs) > len(block_fn.inputs):  # Gradio would leave the others out
                raise ValueError("too many inputs")
            return await super().preprocess_data(block_fn, inputs, *rest, **named)
        except Exception as error:
            raise faults.wrong_inputs(error, expected=len(block_fn.inputs), got=len(inputs)) from None

    async def process_api(self, block_fn: Any, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """Gradio's call of a handler. Raises `Sentence` alone, and logs it in one line."""
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            return await super().process_api(fn, inputs, *rest, **named)
        except Exception as error:
            self._log(fn, error, named.get("request"))
            text = self.lab.shown(faults.shown(error, whole=self.lab.access.rules.open))
            raise faults.Sentence(text if fn.api_visibility == "public" else faults.toast(text)) from None

    def _log(self, fn: Any, error: Exception, request: Any) -> None:
        request = request[0] if isinstance(request, list) and request else request
        by = visitor_of(request).person if isinstance(request, gr.Request) else ""
        facts = {"handler": inner_name(fn.fn), "by": by}
        if faults.is_foreseen(error):
            log.event("refused", **facts, message=faults.shown(error, whole=False))
        else:
            log.fault("error", error, whole=self.lab.access.rules.open, **facts)
