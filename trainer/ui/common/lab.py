"""The state that the tabs share: the store, the loaded models, the device. Imports no Gradio."""

from __future__ import annotations

import inspect
import math
import os
import re
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer import methods
from trainer.errors import UserError, sentence
from trainer.machine import hosting
from trainer.machine.access import Access
from trainer.machine.device import Device
from trainer.machine.hosting import Hosts
from trainer.machine.limits import Ledger, Limits
from trainer.markup import render
from trainer.runs.damage import FILES, Damage, log_failure
from trainer.runs.damage_register import signature
from trainer.runs.run import DamagedRun, Run
from trainer.runs.store import Store
from trainer.serving.predictor import Predictor
from trainer.texts import tr
from trainer.ui.common.cache import Cache

SECONDS_BETWEEN_WORKERS = 15.0
_ONLY: ContextVar[frozenset[str] | None] = ContextVar("the only runs that are drawn", default=None)
"""Ids of the runs that `Lab.runs` is restricted to while the cause of a failed drawing is looked for."""
_FOLDERS = re.compile(r"""(?<![\w:/.])/(?:[^\s/'"<>,;:()]+/)+(?=[^\s/])""")
"""A pattern for the folders of an absolute path, not of a web address or of a name on the Hub."""


@dataclass
class Lab:
    """The shared state of one running app."""

    store: Store
    predictor: Predictor
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    hosts: Hosts = field(default_factory=Hosts)
    device: Device | None = None
    device_line: str = field(default_factory=lambda: tr("Looking for the device."))
    warm: bool = False
    problem: str | None = None
    simulating: threading.Lock = field(default_factory=threading.Lock)
    """Held while training steps are simulated for an estimate: one form at a time."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started_worker: float = -math.inf
    _set_aside: dict[str, tuple[Any, Damage]] = field(default_factory=dict)
    """Run's id -> (its files as they were, why it could not be drawn)."""
    intervals: Cache = field(default_factory=Cache)
    """Intervals of accuracies: where sentences come in groups, predictions are read for one."""
    comparisons: Cache = field(default_factory=lambda: Cache(most=16))
    """Comparisons of configurations: several sub-pages of Compare show the same ones."""
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.limits, self.store.root)

    @classmethod
    def open(cls, store: Store | None = None) -> Lab:
        """The state of an app on a store, with the environment's settings; loads no model.

        Raises `ArgumentError` for a setting that is none.
        """
        store = store or Store()
        limits = Limits.of(os.environ, public=hosting.public())
        return cls(store, Predictor(store), limits=limits, hosts=Hosts.of(os.environ))

    def run_ids(self) -> set[str]:
        """The ids of the store's runs."""
        return {run.id for run in self.store.list()}

    def shown(self, text: str) -> str:
        """A text as this page may show it: without folders of this machine, unless everything is open to everybody."""
        return text if self.access.rules.open else _FOLDERS.sub("", text)

    def runs(self) -> list[Run]:
        """The store's runs, in the order of the queue, that the page draws: without those that are set aside."""
        return self.drawable(self.store.list())

    def drawable(self, runs: Sequence[Run]) -> list[Run]:
        """Those of the runs that are not set aside (see `set_aside`)."""
        only = _ONLY.get()
        return [run for run in runs if not self._is_set_aside(run.id) and (only is None or run.id in only)]

    def find(self, run_id: str | None) -> Run | None:
        """The run by its id; None if none is chosen, or it was deleted, is damaged or set aside."""
        try:
            runs = self.drawable([self.store.load(run_id)]) if run_id else []
        except UserError:
            return None
        return runs[0] if runs else None

    def damaged(self) -> list[Damage]:
        """The damaged runs of the store, and those that are set aside, one entry each."""
        damaged = {damage.run_id: damage for damage in self.store.damaged()}
        for name in list(self._set_aside):
            if self._is_set_aside(name):
                damaged.setdefault(name, self._set_aside[name][1])
        return list(damaged.values())

    def damage(self, run_id: str) -> Damage | None:
        """The damage of one run, all of whose files are read; None for a sound one and for none."""
        if self._is_set_aside(run_id):
            return self._set_aside[run_id][1]
        try:
            return self.store.check(run_id)
        except DamagedRun as error:
            return error.damage
        except UserError:
            return None

    def set_aside(self, run: Run, error: Exception) -> None:
        """Leave a run out of the page until its files change, for an error in drawing it; logs one line."""
        self._set_aside[run.id] = _files(run.folder), self.log(run, error)

    def log(self, run: Run, error: Exception) -> Damage:
        """Log an unexpected error about a run, in a line with its id and where it was raised; as its damage."""
        return log_failure(error, run_id=run.id, folder=run.folder)

    @contextmanager
    def only(self, runs: Sequence[Run]) -> Iterator[None]:
        """Restrict `runs` to these, in this thread."""
        token = _ONLY.set(frozenset(run.id for run in runs))
        try:
            yield
        finally:
            _ONLY.reset(token)

    def _is_set_aside(self, run_id: str) -> bool:
        files, damage = self._set_aside.get(run_id, (None, None))
        return damage is not None and files == _files(damage.folder)

    def may_start_worker(self) -> bool:
        """Whether a page may start a missing worker: true once in `SECONDS_BETWEEN_WORKERS`.

        A worker takes seconds to start, and meanwhile every open page checks for one.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._started_worker < SECONDS_BETWEEN_WORKERS:
                return False
            self._started_worker = now
            return True

    def warm_up(self) -> None:
        """Import torch, detect the device, download the embedded backbone and sentences, while the page is served."""
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
        except Exception as error:  # shown again on the page when it matters
            print(sentence(error), file=sys.stderr, flush=True)
            if self.device is None:  # with a device it can compute, and only a download failed
                self.problem = _FOLDERS.sub("", sentence(error))


def _files(folder: Path) -> list[Any]:
    """What changes when a run's files do."""
    return [signature(folder / name) for name in FILES]


def describe_device(device: Device) -> str:
    """A sentence on the device of this machine, and one on its hardware's limits if there are any."""
    return " ".join(filter(None, (running_on(device), device.problem or hosting.about_hardware(device.kind))))


def running_on(device: Device) -> str:
    """The device of this machine and its precision, in a sentence."""
    return tr("Running on {device}, {precision}.", device=device.name, precision=device.precisions[0])


def endpoint(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    """`function` with its first arguments `fixed`, keeping its documentation and the type hints of the others.

    Gradio reads both, and finds the parameter for the request by its type; a `partial` has none of them.
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
    """A run's name on the page: its label and method, or its method, task and seed."""
    method, seed = method_title(run.recipe.method), run.recipe.seed
    if run.label:
        return tr("{label} ({method}, seed {seed})", label=run.label, method=method, seed=seed)
    return tr("{method}, {task}, seed {seed}", method=method, task=task_name(run), seed=seed)


def task_name(run: Run) -> str:
    """The name of a run's task; for a file, the file's name."""
    return run.task_name


def method_title(name: str) -> str:
    """A method's title in the page's language; the name of a method that no longer exists."""
    return tr(methods.METHODS[name].title) if name in methods.METHODS else name


def note(text: str, kind: str = "note") -> Markup:
    """A line of HTML that a screen reader announces; empty for an empty text."""
    return render("common/note.html", text=text, kind=kind)


def remark(text: str) -> Markup:
    """A line of HTML that is on the page from the start, which a screen reader does not announce."""
    return render("common/remark.html", text=text)
