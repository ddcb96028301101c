"""What the tabs share: the store, the loaded models, what this machine is. Imports no Gradio."""

from __future__ import annotations

import html
import inspect
import math
import re
import sys
import threading
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from trainer import methods
from trainer.errors import sentence
from trainer.machine import hosting
from trainer.machine.access import Access
from trainer.machine.device import Device
from trainer.markup import render
from trainer.runs.store import Run, Store
from trainer.serving.predictor import Predictor
from trainer.texts import tr

SECONDS_BETWEEN_WORKERS = 15.0
_FOLDERS = re.compile(r"""(?<![\w:/.])/(?:[^\s/'"<>,;:()]+/)+(?=[^\s/])""")
"""The folders of an absolute path; not those of an address or of a name on the Hub."""


@dataclass
class Lab:
    """One running app."""

    store: Store
    predictor: Predictor
    access: Access = field(default_factory=Access)
    device: Device | None = None
    device_line: str = field(default_factory=lambda: tr("Looking at what this machine computes on."))
    warm: bool = False
    problem: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started_worker: float = -math.inf

    @classmethod
    def open(cls, store: Store | None = None) -> Lab:
        """An app on a store, without loading a model."""
        store = store or Store()
        return cls(store, Predictor(store))

    def shown(self, text: str) -> str:
        """A text that may name files of this machine, as this page may show it: to the world without their folders."""
        return text if self.access.rules.open else _FOLDERS.sub("", text)

    def may_start_worker(self) -> bool:
        """Whether a page that finds no worker may start one: one page in `SECONDS_BETWEEN_WORKERS`.

        A worker takes seconds to begin, and every open page looks all the while.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._started_worker < SECONDS_BETWEEN_WORKERS:
                return False
            self._started_worker = now
            return True

    def warm_up(self) -> None:
        """Import torch, find the device and fetch the embedded backbone and sentences, behind the served page."""
        try:
            from trainer.machine import device

            self.device = device.detect()
            self.problem = self.device.problem
            self.device_line, self.warm = describe_device(self.device), True
            print(self.device_line, flush=True)
            from trainer.sources import assets

            assets.minilm()
            assets.sentences()
            import transformers  # noqa: F401
        except Exception as error:  # shown again, with what to do, where the person needs it
            print(sentence(error), file=sys.stderr, flush=True)
            if self.device is None:  # else it can compute, and lacks only what the network did not give
                self.problem = _FOLDERS.sub("", sentence(error))


def describe_device(device: Device) -> str:
    """What this machine computes on, in a sentence, and what its hardware means where that must be known."""
    line = tr("This machine computes on {device}, in {precision}.", device=device.name, precision=device.precisions[0])
    return " ".join(filter(None, (line, device.problem or hosting.about_hardware(device.kind))))


def endpoint(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    """`function` with its first arguments `fixed`, and the type hints and documentation that Gradio reads of the rest.

    A `partial` has none of these, and Gradio passes a handler its request by the type of a parameter.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return function(*fixed, *arguments, **named)

    signature = inspect.signature(function)
    rest = list(signature.parameters.values())[len(fixed) :]
    hints = typing.get_type_hints(function)
    call.__signature__ = signature.replace(parameters=rest)
    call.__annotations__ = {
        name: hint for name, hint in hints.items() if name not in [*signature.parameters][: len(fixed)]
    }
    call.__doc__, call.__name__ = function.__doc__, function.__name__
    return call


def run_name(run: Run) -> str:
    """A run's name for people: its label and method, or its method, task and seed."""
    method, seed = method_title(run.recipe.method), run.recipe.seed
    if run.label:
        return tr("{label} ({method}, seed {seed})", label=run.label, method=method, seed=seed)
    return tr("{method}, {task}, seed {seed}", method=method, task=task_name(run), seed=seed)


def task_name(run: Run) -> str:
    """The task's name; for a file, the file's."""
    return run.task_name


def method_title(name: str) -> str:
    """A method's title in the page's language, or its name where it is no longer known."""
    return tr(methods.METHODS[name].title) if name in methods.METHODS else name


def escape(text: object) -> str:
    """Anybody's text as text: never as HTML."""
    return html.escape(str(text), quote=True)


def note(text: str, kind: str = "note") -> Markup:
    """A line for the page that a screen reader announces; nothing for an empty text."""
    return render("common/note.html", text=text, kind=kind)


def remark(text: str) -> Markup:
    """A line that stands on the page from the start."""
    return render("common/remark.html", text=text)
