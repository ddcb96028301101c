"""Questions to trained runs: one text or many through each, side by side, in a fixed order."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainer import attribution, backbones, evaluation, methods
from trainer.attribution import Attribution
from trainer.device import Device, detect
from trainer.errors import ArgumentError, UserError
from trainer.methods import ParentWeights, Setup
from trainer.methods.base import load_classifier
from trainer.sharing import Pool, unique_bytes
from trainer.store import Run, Store

UNTRAINED_SEED = 0


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
    """Keeps the models that were asked last, and asks them. Safe to call from several threads, one at a time inside.

    Runs of one backbone share its frozen weights.
    At most `max_models`, and at most half of the device's memory, stay loaded; untrained backbones are kept apart.
    """

    def __init__(self, store: Store, *, max_models: int = 24, max_untrained: int = 4) -> None:
        self.store, self.max_models, self.max_untrained = store, max_models, max_untrained
        self._models: OrderedDict[str, _Loaded] = OrderedDict()
        self._untrained: OrderedDict[tuple, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._pool = Pool()

    def ask(self, text: str, runs: Sequence[Run]) -> list[Answer]:
        """Each run's answer to one text, in the order of `runs`. Raises `ArgumentError` for an empty text."""
        _check(text)
        return [self.ask_one(text, run) for run in runs]

    def ask_one(self, text: str, run: Run) -> Answer:
        """One run's answer. Raises `ArgumentError` for an empty text, `UserError` for a run that cannot be asked."""
        _check(text)
        with self._lock:
            return self._answer(self._load(run), text, run)

    def untrained(self, text: str, run: Run) -> Answer:
        """What the run's backbone says with a fresh head, before any training: the same answer every time."""
        _check(text)
        with self._lock:
            loaded = self._load_untrained(run)
            name = f"untrained {run.recipe.backbone}"
            return replace(self._answer(loaded, text, run), run_id=name, label=name, method="")

    def explain(self, text: str, run: Run) -> Attribution:
        """Which words moved the run's prediction (see `attribution`)."""
        _check(text)
        with self._lock:
            loaded = self._load(run)
            return attribution.explain(
                loaded.model,
                loaded.tokeniser,
                text,
                label_names=run.label_names,
                max_length=loaded.max_length,
                device=self._device,
            )

    def parent_weights(self, text: str, run: Run) -> ParentWeights | None:
        """How much each parent of a fusion lends for this text; None for a method without parents."""
        _check(text)
        with self._lock:
            loaded = self._load(run)
            ids = evaluation.tokenise(loaded.tokeniser, [text], loaded.max_length)
            batch = (tensor.to(self._device.kind) for tensor in evaluation.pad(ids, loaded.pad_id))
            return methods.get(run.recipe.method).parent_weights(loaded.model, *batch)

    def ask_many(self, texts: Sequence[str], run: Run, *, batch_size: int = 64) -> np.ndarray:
        """Probabilities (texts, labels) of one run, in the order given."""
        with self._lock:
            return self._probabilities(self._load(run), texts, batch_size)

    def is_loaded(self, run: Run) -> bool:
        """Whether a question to the run is answered without loading its model first."""
        return run.id in self._models

    def forget(self, run_id: str) -> None:
        """Drop a model from memory, such as a deleted run's."""
        with self._lock:
            self._models.pop(run_id, None)

    def _answer(self, loaded: _Loaded, text: str, run: Run) -> Answer:
        since = time.perf_counter()
        probabilities = self._probabilities(loaded, [text], 1)[0]
        seconds = time.perf_counter() - since
        names = run.label_names
        return Answer(
            run_id=run.id,
            label=run.label or run.id,
            method=run.recipe.method,
            predicted=names[int(probabilities.argmax())],
            probabilities={name: float(p) for name, p in zip(names, probabilities, strict=True)},
            seconds=seconds,
        )

    def _probabilities(self, loaded: _Loaded, texts, batch_size) -> np.ndarray:
        logits = evaluation.predict_logits(
            loaded.model,
            evaluation.tokenise(loaded.tokeniser, texts, loaded.max_length),
            pad_id=loaded.pad_id,
            batch_size=batch_size,
            device=self._device,
            precision="fp32",
        )
        return evaluation.softmax(logits)

    def _load(self, run: Run) -> _Loaded:
        if not run.model_folder.is_dir():
            self._models.pop(run.id, None)
            raise UserError(expected=f"the run {run.id}", got="one that was deleted", fix="choose another run")
        if run.id not in self._models:
            self._device = self._device or detect()
            setup = open_setup(run, self._device)
            model = methods.get(run.recipe.method).open(run.model_folder, setup)
            self._models[run.id] = self._prepare(model, setup, run)
            while len(self._models) > 1 and (
                len(self._models) > self.max_models or self._bytes() > self._device.memory / 2
            ):
                self._models.popitem(last=False)
        self._models.move_to_end(run.id)
        return self._models[run.id]

    def _load_untrained(self, run: Run) -> _Loaded:
        import torch

        self._device = self._device or detect()
        setup = open_setup(run, self._device)
        key = (setup.backbone.sha256(), run.label_names, run.recipe.max_length)
        if key not in self._untrained:
            with torch.random.fork_rng():
                torch.manual_seed(UNTRAINED_SEED)
                model = load_classifier(setup).to(self._device.kind).eval()
            self._untrained[key] = self._prepare(model, setup, run)
            while len(self._untrained) > self.max_untrained:
                self._untrained.popitem(last=False)
        self._untrained.move_to_end(key)
        return self._untrained[key]

    def _prepare(self, model: Any, setup: Setup, run: Run) -> _Loaded:
        from transformers import AutoTokenizer

        self._pool.share(model)
        tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True)
        loaded = _Loaded(model, tokeniser, tokeniser.pad_token_id, run.recipe.max_length)
        # The first pass of a fresh model allocates: keep it out of what is timed.
        self._probabilities(loaded, ["warm up"], 1)
        return loaded

    def _bytes(self) -> int:
        return unique_bytes(kept.model for kept in self._models.values())


def _check(text: str) -> None:
    if not text.strip():
        raise ArgumentError(expected="a sentence", got="nothing", fix="type one")


def open_setup(run: Run, device: Device) -> Setup:
    """What is needed to open a run's model. Raises `UserError` when its weights or its own backbone are not here."""
    # The module replaces itself at the end of its import. Whoever comes while another thread imports it waits, and then
    # still holds the unfinished one; only the next import statement, such as those in the methods, gets the whole one.
    import transformers  # noqa: F401

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
