"""Questions to trained runs: one text or many through each, side by side, in a fixed order."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import backbones, evaluation, methods
from trainer.device import Device, detect
from trainer.errors import ArgumentError, UserError
from trainer.methods import Setup
from trainer.store import Run, Store


@dataclass(frozen=True)
class Answer:
    """One run's answer to one text. `seconds` is the forward pass alone, the model being loaded."""

    run_id: str
    label: str
    method: str
    predicted: str
    probabilities: dict[str, float]
    seconds: float

    @property
    def confidence(self) -> float:
        """The probability of the predicted label."""
        return self.probabilities[self.predicted]


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokeniser: Any
    pad_id: int
    max_length: int


class Predictor:
    """Keeps the models that were asked last, and asks them. Safe to call from several threads, one at a time inside."""

    def __init__(self, store: Store, *, max_models: int = 16) -> None:
        self.store, self.max_models = store, max_models
        self._models: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._device: Device | None = None

    def ask(self, text: str, runs: Sequence[Run]) -> list[Answer]:
        """Each run's answer to one text, in the order of `runs`. Raises `ArgumentError` for an empty text."""
        if not text.strip():
            raise ArgumentError(expected="a sentence", got="nothing", fix="type one")
        answers = []
        for run in runs:
            with self._lock:
                loaded = self._load(run)
                since = time.perf_counter()
                probabilities = self._probabilities(loaded, [text], 1)[0]
                seconds = time.perf_counter() - since
            answers.append(_answer(run, probabilities, seconds))
        return answers

    def ask_many(
        self,
        texts: Sequence[str],
        run: Run,
        *,
        batch_size: int = 64,
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Probabilities (texts, labels) of one run, in the order given. `on_batch` hears how many are done."""
        with self._lock:
            return self._probabilities(self._load(run), texts, batch_size, on_batch)

    def forget(self, run_id: str) -> None:
        """Drop a model from memory, such as a deleted run's."""
        with self._lock:
            self._models.pop(run_id, None)

    def _probabilities(self, loaded: _Loaded, texts, batch_size, on_batch=None) -> np.ndarray:
        logits = evaluation.predict_logits(
            loaded.model,
            evaluation.tokenise(loaded.tokeniser, texts, loaded.max_length),
            pad_id=loaded.pad_id,
            batch_size=batch_size,
            device=self._device,
            precision="fp32",
            on_batch=on_batch,
        )
        return evaluation.softmax(logits)

    def _load(self, run: Run) -> _Loaded:
        if run.id in self._models:
            self._models.move_to_end(run.id)
            return self._models[run.id]
        from transformers import AutoTokenizer

        self._device = self._device or detect()
        setup = open_setup(run, self._device)
        model = methods.get(run.recipe.method).open(run.model_folder, setup)
        tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True)
        self._models[run.id] = _Loaded(model, tokeniser, tokeniser.pad_token_id, run.recipe.max_length)
        while len(self._models) > self.max_models:
            self._models.popitem(last=False)
        # The first pass of a fresh model allocates: keep it out of what is timed.
        self._probabilities(self._models[run.id], ["warm up"], 1)
        return self._models[run.id]


def open_setup(run: Run, device: Device) -> Setup:
    """What is needed to open a run's model. Raises `UserError` when its weights or its own backbone are not here."""
    if not run.answers:
        raise UserError(
            expected="a finished run with its weights", got=f"{run.id}, which is {run.state}", fix="choose another run"
        )
    backbone = backbones.locate(run.recipe.backbone)
    trained_on = run.result["meta_info"]["model_info"]["sha256"]
    if backbone.sha256() != trained_on:
        raise UserError(
            expected=f"the backbone that {run.id} was trained on (weights {trained_on[:12]})",
            got=f"other weights in {backbone.folder} ({backbone.sha256()[:12]})",
            fix="put the original weights back",
        )
    options = methods.get(run.recipe.method).options(**run.recipe.options)
    return Setup(backbone, run.label_names, options, device, "fp32")


def choose(store: Store, names: Sequence[str] | None = None) -> list[Run]:
    """The named runs, or every run that can be asked, in the order of the methods and then of the queue."""
    if names:
        return [store.load(name) for name in names]
    order = {name: place for place, name in enumerate(methods.METHODS)}
    runs = [run for run in store.list() if run.answers]
    return sorted(runs, key=lambda run: (order.get(run.recipe.method, len(order)), run.place))


def _answer(run: Run, probabilities: np.ndarray, seconds: float) -> Answer:
    names = run.label_names
    return Answer(
        run_id=run.id,
        label=run.label or run.id,
        method=run.recipe.method,
        predicted=names[int(probabilities.argmax())],
        probabilities={name: float(p) for name, p in zip(names, probabilities, strict=True)},
        seconds=seconds,
    )
