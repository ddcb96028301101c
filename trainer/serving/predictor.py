"""Predictions of trained runs for one text or many, in parallel, in a fixed order."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer import methods, pairs
from trainer.engine import forward
from trainer.engine.building import BUILDING
from trainer.engine.prepare import Prepared, Speedups, prepare
from trainer.engine.sharing import Pool, unique_bytes
from trainer.errors import ArgumentError, UserError
from trainer.machine.device import Device, detect, quiet_libraries, release_freed_memory
from trainer.methods import ParentWeights, Setup
from trainer.methods.base import CLASSIFIER_SPEEDUPS, load_classifier
from trainer.runs import entry, lengths
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.serving import attribution
from trainer.serving.attribution import Attribution
from trainer.serving.opening import SECONDS, Openings, StillOpening, too_long
from trainer.serving.prediction import Prediction, Tokens, predicted_labels
from trainer.sources import backbones
from trainer.tasks import label_sets
from trainer.texts import tr

UNTRAINED_SEED = 0


NEAR = 0.05
"""Where the two best probabilities differ by less, a quick prediction is computed again in float32."""


@dataclass
class _Loaded:
    prepared: Prepared
    tokeniser: Any
    max_length: int
    truncation: str
    pairs: bool
    multi_label: bool
    folder: Path
    """Of the run that it predicts for."""
    seconds: float = 0.0
    """The time of its last prediction."""

    @property
    def model(self) -> Any:
        return self.prepared.model

    @property
    def reading(self) -> tuple[int, int, str, bool]:
        """A key of how it reads a text: models with equal keys read equal tokens."""
        return id(self.tokeniser), self.max_length, self.truncation, self.pairs

    @property
    def pad_id(self) -> int:
        return self.prepared.pad_id


class Predictor:
    """Predicts with trained runs; a cache of the models used last. Thread-safe: predictions run one after another.

    Runs of one backbone share its frozen weights. On a CPU the runs of one call share the cores. The cache has at most
    `max_models`, in at most half of the device's memory; untrained backbones are counted separately. A model is opened
    in a thread of its own, while others predict; after `seconds` its caller gets a `UserError`.
    """

    def __init__(self, store: Store, *, max_models: int = 24, max_untrained: int = 4, seconds: float = SECONDS) -> None:
        self.store, self.max_models, self.max_untrained = store, max_models, max_untrained
        self._models: OrderedDict[str, _Loaded] = OrderedDict()
        self._untrained: OrderedDict[tuple, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._openings: Openings[_Loaded] = Openings(seconds)
        self._device: Device | None = None
        self._pool = Pool()
        self._workers: ThreadPoolExecutor | None = None
        self._worker_count = 1
        self._tokenisers: dict[Path, Any] = {}

    def predict(self, text: str, runs: Sequence[Run]) -> list[Prediction]:
        """Each run's prediction for one text, in the order of `runs`.

        Raises `ArgumentError` for an empty text, and the error of the first run that cannot predict.
        """
        predictions = self.predict_each(text, runs)
        for prediction in predictions:
            if isinstance(prediction, Exception):
                raise prediction
        return predictions

    def predict_each(self, text: str, runs: Sequence[Run]) -> list[Prediction | Exception]:
        """Like `predict`, but with the error of a run that cannot predict instead of its prediction.

        Raises `ArgumentError` for an empty text.
        """
        _check(text)
        predictions: dict[int, Prediction | Exception] = {}
        loaded: dict[int, _Loaded] = {}
        seconds = self._openings.seconds
        for index, run in enumerate(runs):
            try:
                model = self._load(run, seconds)
            except Exception as error:  # of any kind: the other runs still predict
                predictions[index] = error
                if isinstance(error, StillOpening):
                    seconds = 0.0  # the others of this call are not to wait as long again
                continue
            if any(runs[earlier].id not in self._models for earlier in loaded):
                # Loading it evicted a model that has not predicted yet: predict with those first.
                with self._lock:
                    predictions |= self._predict_loaded(text, runs, loaded)
                loaded = {}
            loaded[index] = model
        with self._lock:
            predictions |= self._predict_loaded(text, runs, loaded)
        return [predictions[index] for index in range(len(runs))]

    def predict_one(self, text: str, run: Run) -> Prediction:
        """One run's prediction. Raises `ArgumentError` for an empty text, `UserError` for a run that cannot predict."""
        return self.predict(text, [run])[0]

    def untrained(self, text: str, run: Run) -> Prediction:
        """The prediction of the run's backbone with a new head, before any training; its seed is fixed."""
        _check(text)
        loaded = self._load_untrained(run)
        with self._lock:
            backbone = run.recipe.backbone
            name, label = f"untrained {backbone}", tr("untrained {backbone}", backbone=backbone)
            tokens = _tokenise(loaded, [text])
            middle = (0.5,) * len(run.label_names) if run.multi_label else None
            prediction = self._predict_tokens(loaded, tokens, run, thresholds=middle)
            return replace(prediction, run_id=name, label=label, method="")

    def explain(self, text: str, run: Run) -> Attribution:
        """The word attributions of the run's prediction (see `attribution`)."""
        _check(text)
        loaded = self._load(run)
        _inputs(loaded, [text])  # raises where it takes a pair and this is none
        with self._lock:
            return attribution.explain(
                loaded.model,
                loaded.tokeniser,
                text,
                pair=loaded.pairs,
                label_names=run.label_names,
                multi_label=run.multi_label,
                max_length=loaded.max_length,
                truncation=loaded.truncation,
                device=self._device,
                pad_id=loaded.pad_id,
            )

    def parent_weights(self, text: str, run: Run) -> ParentWeights | None:
        """The attention weight of each parent of a fusion for this text; None for a method without parents."""
        _check(text)
        loaded = self._load(run)
        with self._lock:
            ids = _tokenise(loaded, [text]).ids
            batch = dict(zip(("input_ids", "attention_mask"), forward.pad(ids, loaded.pad_id), strict=True))
            if (types := forward.token_types(ids, batch["input_ids"].shape)) is not None:
                batch["token_type_ids"] = types
            batch = {name: values.to(self._device.kind) for name, values in batch.items()}
            with loaded.prepared.every_token():  # a mean over every token of the text
                return methods.get(run.recipe.method).parent_weights(loaded.model, batch)

    def predict_many(self, texts: Sequence[str], run: Run, *, batch_size: int = 64, quick: bool = False) -> np.ndarray:
        """Probabilities (texts, labels) of one run, in the order given; equal texts are computed once.

        `quick` computes in the device's best precision, and again in float32 where the two best probabilities differ by
        less than `NEAR`, or in a multi-label task one is as near to its threshold: labels equal float32's,
        probabilities are close to them (benchmarks/README.md).
        """
        if not len(texts):
            return np.empty((0, len(run.label_names)), dtype=np.float32)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        ids = self.tokenise(list(row_of), run).ids
        order = forward.longest_first(ids)
        probabilities = np.empty((len(ids), len(run.label_names)), dtype=np.float32)
        probabilities[order] = self.predict_sorted([ids[i] for i in order], run, batch_size=batch_size, quick=quick)
        return probabilities[[row_of[text] for text in texts]]

    def tokenise(self, texts: Sequence[str], run: Run) -> Tokens:
        """The tokens of each text as the run's model reads them."""
        loaded = self._load(run)
        with self._lock:
            return _tokenise(loaded, texts)

    def predict_sorted(
        self, ids: Sequence[list[int]], run: Run, *, batch_size: int = 64, quick: bool = False
    ) -> np.ndarray:
        """Like `predict_many`, for token ids that are `forward.longest_first`: nothing is sorted here or below."""
        loaded = self._load(run)
        with self._lock:
            precision = self._device.precisions[0] if quick else "fp32"
            probabilities = self._token_probabilities(loaded, ids, batch_size, precision)
            if precision != "fp32":
                if run.multi_label:
                    margins = np.abs(probabilities - np.array(run.thresholds)).min(axis=1)
                else:
                    best = np.sort(probabilities, axis=1)
                    margins = best[:, -1] - best[:, -2]
                near = np.flatnonzero(margins < NEAR)
                if len(near):  # a part of what is sorted is sorted
                    probabilities[near] = self._token_probabilities(loaded, [ids[i] for i in near], batch_size, "fp32")
        return probabilities

    def is_loaded(self, run: Run) -> bool:
        """Whether the run's model is in memory."""
        return run.id in self._models

    def forget(self, run_id: str) -> None:
        """Remove a model from memory, such as a deleted run's."""
        with self._lock:
            known = self._models.pop(run_id, None) is not None
        if known:
            release_freed_memory()

    def _predict_loaded(
        self, text: str, runs: Sequence[Run], models: dict[int, _Loaded]
    ) -> dict[int, Prediction | Exception]:
        """Predictions of loaded models for one text, by their index in `runs`."""
        tokens = {}
        for loaded in models.values():  # a tokeniser is not thread-safe
            if loaded.reading not in tokens:
                try:
                    tokens[loaded.reading] = _tokenise(loaded, [text])
                except ArgumentError as error:  # the other runs still predict
                    tokens[loaded.reading] = error

        def predict(index: int) -> Prediction | Exception:
            loaded = models[index]
            read = tokens[loaded.reading]
            if isinstance(read, Exception):
                return read
            try:
                return self._predict_tokens(loaded, read, runs[index])
            except Exception as error:
                return error

        if len(models) < 2 or self._device.kind != "cpu":
            return {index: predict(index) for index in models}
        # The slowest first, so that no thread starts one last.
        order = sorted(models, key=lambda index: -models[index].seconds)
        return dict(zip(order, self._thread_pool().map(predict, order), strict=True))

    def _thread_pool(self) -> ThreadPoolExecutor:
        """Threads that share the cores between models: for one short text torch's own threads mostly wait."""
        if self._workers is None:
            import torch

            cores = torch.get_num_threads()
            count = min(cores, 4)
            started = threading.Barrier(count + 1)

            def begin() -> None:
                torch.get_num_threads()  # without this first read, torch would later overwrite the number set next
                torch.set_num_threads(cores // count)
                started.wait()

            self._worker_count = count
            self._workers = ThreadPoolExecutor(count, "predict", initializer=begin)
            for _ in range(count):
                self._workers.submit(int)
            started.wait()
            torch.set_num_threads(cores)  # the default of threads that start later
        return self._workers

    def _predict_tokens(
        self, loaded: _Loaded, tokens: Tokens, run: Run, *, thresholds: Sequence[float] | None = None
    ) -> Prediction:
        """The prediction of one text, in a multi-label task by `thresholds`, by default the run's own."""
        thresholds = thresholds or run.thresholds
        since = time.perf_counter()
        probabilities = self._token_probabilities(loaded, tokens.ids, 1, "fp32")[0]
        loaded.seconds = time.perf_counter() - since
        names = run.label_names
        labels = predicted_labels(probabilities, names, thresholds)
        return Prediction(
            run_id=run.id,
            label=run.label,
            method=run.recipe.method,
            predicted=label_sets.joined(labels),
            labels=labels,
            thresholds=None if thresholds is None else dict(zip(names, thresholds, strict=True)),
            probabilities={name: float(p) for name, p in zip(names, probabilities, strict=True)},
            seconds=loaded.seconds,
            tokens_read=tokens.read[0],
            tokens=tokens.lengths[0],
            truncation=loaded.truncation,
        )

    def _token_probabilities(self, loaded: _Loaded, ids, batch_size, precision) -> np.ndarray:
        """Probabilities of token ids that are `forward.longest_first`."""
        from scipy.special import expit, softmax

        def shares(values: np.ndarray) -> np.ndarray:
            return expit(values) if loaded.multi_label else softmax(values, axis=-1)

        def logits(part: Sequence[int]) -> np.ndarray:
            return loaded.prepared.logits(
                [ids[i] for i in part], batch_size=batch_size, precision=precision, is_sorted=True
            )

        if self._device.kind != "cpu" or len(ids) <= batch_size:
            return shares(logits(range(len(ids))))
        # Batches in parallel, each with its share of the cores, are faster than all threads in one batch.
        workers = self._thread_pool()
        # Each part has sentences of every length, in their order: equal work, and still sorted.
        parts = [range(start, len(ids), self._worker_count) for start in range(min(self._worker_count, len(ids)))]
        computed = list(workers.map(logits, parts))
        whole = np.empty((len(ids), computed[0].shape[1]), dtype=np.float32)
        for part, rows in zip(parts, computed, strict=True):
            whole[part] = rows
        return shares(whole)

    def _load(self, run: Run, seconds: float | None = None) -> _Loaded:
        """The run's model, from the cache or opened now. Call it without the lock."""
        with self._lock:
            if not run.model_folder.is_dir():
                self._models.pop(run.id, None)
            if not run.folder.is_dir():
                raise _deleted(run)
            if run.id in self._models:
                self._models.move_to_end(run.id)
                return self._models[run.id]
        try:
            return self._openings.wait(run.id, run.id, lambda: self._open(run), seconds=seconds)
        except Exception:
            if not run.folder.is_dir():  # deleted while it was opened: files were missing
                raise _deleted(run) from None
            raise

    def _open(self, run: Run) -> _Loaded:
        self._device = self._device or detect()
        setup = open_setup(run, self._device)
        method = methods.get(run.recipe.method)
        with self._alone(run.id):
            if (run.folder / entry.UNCHECKED).exists():
                entry.finish(run, setup)
            else:
                method.check(run.model_folder, setup)
            model = method.for_inference(method.open(run.model_folder, setup), setup)
            loaded = self._prepare(model, method.speedups, setup, run)
        with self._lock:
            if run.folder.is_dir():  # else it was deleted meanwhile
                self._models[run.id] = loaded
        self._evict()
        return loaded

    def _evict(self) -> None:
        """Remove models of deleted runs, and those used longest ago that are too many or too large."""
        with self._lock:
            evicted = [name for name, loaded in self._models.items() if not loaded.folder.is_dir()]
            for name in evicted:
                del self._models[name]
            while len(self._models) > 1 and (
                len(self._models) > self.max_models or self._bytes() > self._device.memory / 2
            ):
                evicted.append(self._models.popitem(last=False)[0])
            while len(self._untrained) > self.max_untrained:
                evicted.append(str(self._untrained.popitem(last=False)[0]))
        if evicted:
            release_freed_memory()

    def _load_untrained(self, run: Run) -> _Loaded:
        """The run's backbone with a new head, from the cache or built now. Call it without the lock."""
        name = f"untrained {run.recipe.backbone}"
        key = (run.recipe.backbone, *_untrained_key(run))
        return self._openings.wait(key, name, lambda: self._open_untrained(run, name))

    def _open_untrained(self, run: Run, name: str) -> _Loaded:
        import torch

        self._device = self._device or detect()
        setup = open_setup(run, self._device)
        key = (setup.backbone.sha256(), *_untrained_key(run))
        with self._lock:
            if key in self._untrained:
                self._untrained.move_to_end(key)
                return self._untrained[key]
        with self._alone(name):
            if key not in self._untrained:
                with torch.random.fork_rng():
                    torch.manual_seed(UNTRAINED_SEED)
                    model = load_classifier(setup).to(self._device.kind).eval()
                loaded = self._prepare(model, CLASSIFIER_SPEEDUPS, setup, run)
                with self._lock:
                    self._untrained[key] = loaded
                self._evict()
            with self._lock:
                self._untrained.move_to_end(key)
                return self._untrained[key]

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Wait for the models that are being built. Raises `UserError` where one takes longer than a caller waits."""
        if not BUILDING.acquire(timeout=self._openings.seconds):  # the pool is not safe to use at once either
            raise too_long(name, self._openings.seconds)
        try:
            yield
        finally:
            BUILDING.release()

    def _prepare(self, model: Any, speedups: Speedups, setup: Setup, run: Run) -> _Loaded:
        from transformers import AutoTokenizer

        folder = setup.backbone.folder
        if folder not in self._tokenisers:
            self._tokenisers[folder] = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        tokeniser = self._tokenisers[folder]
        longest = lengths.limit(run.recipe, setup.backbone.shape)
        prepared = prepare(
            model,
            speedups,
            family=setup.backbone.family,
            device=self._device,
            pad_id=setup.backbone.pad_id,
            longest=longest,
            pool=self._pool,
        )
        loaded = _Loaded(
            prepared, tokeniser, longest, run.recipe.truncation, run.has_pairs, run.multi_label, run.folder
        )
        # The first pass of a new model allocates memory: it must not count in a prediction's time.
        with self._lock:  # a tokeniser is not thread-safe
            ids = _tokenise(loaded, ["warm up || here" if loaded.pairs else "warm up"]).ids
        self._token_probabilities(loaded, ids, 1, "fp32")
        return loaded

    def _bytes(self) -> int:
        return unique_bytes(loaded.model for loaded in self._models.values())


def _untrained_key(run: Run) -> tuple[Any, ...]:
    """What an untrained model's predictions depend on beside the backbone."""
    return run.label_names, run.recipe.max_length, run.recipe.truncation, run.has_pairs, run.multi_label


def _tokenise(loaded: _Loaded, texts: Sequence[str]) -> Tokens:
    inputs = _inputs(loaded, texts)
    ids = forward.tokenise(loaded.tokeniser, inputs, loaded.max_length, loaded.truncation)
    lengths = [len(one) for one in ids]
    # Only a text of that length may be longer: the others are not tokenised again.
    if full := [row for row, length in enumerate(lengths) if length >= loaded.max_length]:
        for row, length in zip(
            full, forward.count_tokens(loaded.tokeniser, [inputs[row] for row in full]), strict=True
        ):
            lengths[row] = length
    return Tokens(ids, lengths)


def _inputs(loaded: _Loaded, texts: Sequence[str]) -> list[str] | list[tuple[str, str]]:
    """Texts as the run's tokenizer takes them. Raises `ArgumentError` for one sentence where it takes pairs."""
    if loaded.pairs and (single := next((text for text in texts if pairs.split(text) is None), None)) is not None:
        raise ArgumentError(
            expected=tr("two sentences with || between them, as this run was trained on pairs"),
            got=tr("one ({text})", text=repr(single[:40])),
            fix=tr("add the other"),
        )
    return pairs.inputs(texts, loaded.pairs)


def _check(text: str) -> None:
    if not text.strip():
        raise ArgumentError(expected=tr("a sentence"), got=tr("nothing"), fix=tr("type one"))


def _deleted(run: Run) -> UserError:
    return UserError(
        expected=tr("the run {run}", run=run.id),
        got=tr("one that was deleted"),
        fix=tr("choose another run"),
    )


def open_setup(run: Run, device: Device) -> Setup:
    """The setup to open a run's model. Raises `UserError` when its weights or its backbone are not on this machine."""
    quiet_libraries()
    # transformers replaces its own module at the end of its import. A thread that imports it while another one does
    # waits, and then has the unfinished module; only a later import statement, as in the methods, gets the whole one.
    import transformers  # noqa: F401

    if run.state == "finished" and not run.can_predict:
        raise UserError(
            expected=tr("a run with its weights"),
            got=tr("{run}, which came without them", run=run.id),
            fix=tr("train it again"),
            option_fix=tr("train it: python -m trainer again {run}", run=run.id),
        )
    if not run.can_predict:
        raise UserError(
            expected=tr("a finished run with its weights"),
            got=tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("choose another run"),
        )
    backbone = backbones.locate(run.recipe.backbone)
    trained_on = run.result.meta_info.model_info.sha256
    if backbone.sha256() != trained_on:
        raise UserError(
            expected=tr("the backbone that {run} was trained on (weights {hash})", run=run.id, hash=trained_on[:12]),
            got=tr("other weights in {folder} ({hash})", folder=backbone.folder, hash=backbone.sha256()[:12]),
            fix=tr("put the original weights back"),
        )
    return entry.setup(run, backbone, device)


def choose(store: Store, names: Sequence[str] | None = None, *, pair: bool | None = None) -> list[Run]:
    """The named runs, or every run that can predict, in the order of the methods and then of the queue.

    `pair`: of those that are not named, the ones that take a pair of sentences, or a single one; all where there are
    none of this kind, so that each says what it takes.
    """
    if names:
        return [store.load(name) for name in names]
    order = {name: index for index, name in enumerate(methods.METHODS)}
    runs = [run for run in store.list() if run.can_predict]
    if pair is not None:
        runs = [run for run in runs if run.has_pairs == pair] or runs
    return sorted(runs, key=lambda run: (order.get(run.recipe.method, len(order)), run.queue_order))
