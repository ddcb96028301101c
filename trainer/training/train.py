"""A run from its recipe to its result: load, train, test, write; its events report the progress."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import Any

from transformers import AutoTokenizer, set_seed

from trainer import methods, pairs, tasks
from trainer.engine import checkpoints, forward
from trainer.engine.prepare import Prepared, prepare
from trainer.errors import ArgumentError, TrainingStopped
from trainer.events import Evaluated, Finished, Saved, Started, State
from trainer.machine import measure
from trainer.machine.cuda import require_usable_card
from trainer.machine.device import Device, detect, quiet_libraries
from trainer.methods import Setup
from trainer.runs import lengths
from trainer.runs.result import Result
from trainer.sources import backbones
from trainer.texts import tr
from trainer.training import baselines, speed, watch
from trainer.training import evaluate as evaluation
from trainer.training import summary as results
from trainer.training.loop import Loop, eval_batch_size
from trainer.training.optimiser import start_accelerator
from trainer.training.request import Request, Work

__all__ = ["Request", "evaluate", "train"]


def train(request: Request) -> Result:
    """Train one run, test its best epoch, and write model/ and predictions.parquet into its folder.

    Continues from the newest sound checkpoint in the folder if there is one. Returns the result for run.json.

    Raises:
        TrainingStopped: the loss is not finite; model/ has the best epoch, if one had ended.
        Cancelled: `should_stop` returned true.
        UserError: the task, backbone, parents or precision is not available.
    """
    quiet_libraries()
    config, clock, started_at = request.config, measure.Clock(), time.time()
    with clock("loading"):
        device = detect()
        accelerator = start_accelerator(device, device.choose(config.precision))
        if not accelerator.is_main_process:
            request = replace(request, emit=lambda event: None)
        request.emit(State("running", "loading the task and the backbone"))
        work = _load(request, device)
        with measure.Meter(work.device) as meter:
            model = work.method.build(work.setup)
            trainable, total = measure.count_parameters(model)
            prepared = _speed_up(model, work, training=True)
            loop = Loop(request, work, prepared, accelerator=accelerator, clock=clock, meter=meter)
            set_seed(config.seed + accelerator.process_index)  # dropout differs between processes
            loop.resume_if_possible()
            request.emit(
                Started(
                    total_steps=loop.total_steps,
                    epochs=config.epochs,
                    train_sentences=len(work.data.train),
                    trainable_parameters=trainable,
                    total_parameters=total,
                    device=work.device.name,
                    precision=work.setup.precision,
                    resumed_at_step=loop.progress.step,
                )
            )
            with clock("training"):
                try:
                    loop.run()
                except TrainingStopped:
                    if loop.progress.best is not None:
                        _save_best(request, work, loop)
                    raise
            step_memory = None
            if request.costs:
                with clock("watching memory"):
                    step_memory = watch.step_memory(loop, watch.largest_groups(loop, watch.STEPS))
            size = _save_best(request, work, loop)
            at, main = loop.progress.best, accelerator.is_main_process
            predictions = _test(request, work, prepared, clock, at=at, write=main)
            memory = meter.result() | {"step_memory": step_memory}
    real_tokens, padded_tokens = loop.tokens()
    figures = results.trained(
        epochs=loop.progress.epochs,
        best=loop.progress.best,
        steps=loop.progress.step,
        samples=loop.samples(),
        real_tokens=real_tokens,
        padded_tokens=padded_tokens,
        seconds=clock.seconds["training"],
    )
    counts = (trainable, total, size)
    del model, prepared, loop  # their memory is free again while the saved model is measured
    accelerator.free_memory()
    return _finish(
        request, work, predictions, clock, memory=memory, counts=counts, started_at=started_at, training=figures,
        write=main,
    )  # fmt: skip


def evaluate(request: Request) -> Result:
    """Test the adapter in the run's source/ folder, which was trained elsewhere, as `train` tests its own.

    Writes model/ and predictions.parquet. Returns the result for run.json; figures of training are None.
    Raises `Cancelled` and `UserError` as `train` does, the latter also for an adapter that does not fit.
    """
    quiet_libraries()
    clock, started_at = measure.Clock(), time.time()
    with clock("loading"):
        request.emit(State("running", "opening the adapter"))
        work = _load(request, detect())
        source, final = request.folder / "source", request.folder / "model"
        if source.is_dir():  # absent if an earlier attempt got this far
            with checkpoints.replacing(final, request.folder / ".model") as written:
                work.method.adopt(source, written, work.setup, request.label_order)
        model = work.method.open(final, work.setup)
    _, total = measure.count_parameters(model)
    prepared = _speed_up(model, work, training=False)
    predictions = _test(request, work, prepared, clock, at={"epoch": 0.0, "step": 0, "accuracy": None})
    counts = (measure.saved_parameters(final), total, work.method.file_size(final))
    del model, prepared
    result = _finish(
        request, work, predictions, clock, memory=dict.fromkeys(measure.FIGURES), counts=counts, started_at=started_at,
        training=results.trained_elsewhere(predictions["validation"].accuracy),
    )  # fmt: skip
    shutil.rmtree(source, ignore_errors=True)
    return result


def _finish(
    request: Request, work: Work, predictions, clock: measure.Clock, *, write: bool = True, **figures: Any
) -> Result:
    """The result with the metrics of its predictions and its speed; deletes checkpoints and emits `Finished`."""
    inference = None
    if write and request.costs:  # one process has the machine to itself
        with clock("inference"):
            model = request.folder / "model"
            inference = speed.inference(work, model, on_pass=request.raise_if_cancelled)
    scores = {split: evaluation.metrics(predictions[split], work.data.label_names) for split in ("validation", "test")}
    temperature = evaluation.temperature(predictions["validation"], predictions["test"])
    with clock("baselines"):
        simple = baselines.baselines(work.data)
    result = results.assemble(
        request, work, seconds=clock.seconds, inference=inference, temperature=temperature, baselines=simple,
        thresholds=_thresholds(work, predictions["validation"]), **figures, **scores,
    )  # fmt: skip
    shutil.rmtree(request.folder / "checkpoints", ignore_errors=True)
    request.emit(Finished(result))
    return result


def _thresholds(work: Work, validation: Any) -> dict[str, float] | None:
    """The thresholds by label name that the validation split chose; None unless the task is multi-label."""
    if not work.data.multi_label:
        return None
    return dict(zip(work.data.label_names, validation.thresholds.tolist(), strict=True))


def _load(request: Request, device: Device) -> Work:
    require_usable_card()
    config = request.config
    precision = device.choose(config.precision)
    data = tasks.from_config(config)
    backbone = backbones.locate(config.backbone)
    tokeniser = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True, trust_remote_code=False)
    longest = lengths.limit(config, backbone.shape)
    if data.pairs and config.truncation != "head":
        raise ArgumentError(
            expected=tr("truncation head for pairs of sentences, of which the longer one is cut"),
            got=config.truncation,
            fix=tr("choose head"),
        )
    ids = {
        split: forward.tokenise(
            tokeniser, pairs.inputs(getattr(data, split).texts, data.pairs), longest, config.truncation
        )
        for split in tasks.SPLITS
    }
    method = methods.get(config.method)
    options = method.options(**config.options)
    setup = Setup(
        backbone, data.label_names, options, device, precision, request.parents, training=True,
        multi_label=data.multi_label,
    )  # fmt: skip
    set_seed(config.seed)
    return Work(method, setup, data, ids, backbone.pad_id, device)


def _speed_up(model, work: Work, *, training: bool) -> Prepared:
    backbone = work.setup.backbone
    return prepare(
        model,
        work.method.speedups,
        family=backbone.family,
        device=work.device,
        pad_id=work.pad_id,
        longest=backbone.shape.longest,
        precision=work.setup.precision,
        training_ids=work.ids["train"] if training else None,
    )


def _save_best(request: Request, work: Work, loop: Loop) -> int:
    """Restore the best epoch and write model/. Returns its size in bytes, without parents."""
    with loop.clock("saving"):
        model = loop.accelerator.unwrap_model(loop.model, keep_fp32_wrapper=False)
        checkpoints.restore(model, loop.best_state)
        loop.prepared.restore()
        final = request.folder / "model"
        if loop.accelerator.is_main_process:
            with checkpoints.replacing(final, request.folder / ".model") as written:
                work.method.save(model, written, work.setup)
        loop.accelerator.wait_for_everyone()
        size = work.method.file_size(final)
    request.emit(Saved(step=loop.progress.best["step"], what="model", bytes=size))
    return size


def _test(
    request: Request, work: Work, prepared: Prepared, clock: measure.Clock, *, at: dict[str, Any], write: bool = True
) -> dict[str, evaluation.Predictions]:
    """Predictions on the validation and the test split, written row by row. `at` has the model's epoch and step."""
    import pandas as pd

    batch_size = eval_batch_size(request.config.batch_size)
    predictions, frames = {}, []
    for split in ("validation", "test"):
        since = time.perf_counter()
        sentences = getattr(work.data, split)
        with clock("test" if split == "test" else "evaluation"):
            logits = prepared.logits(work.ids[split], batch_size=batch_size, on_batch=request.raise_if_cancelled)
        known = predictions.get("validation")  # which chose the thresholds of a multi-label task
        thresholds = known.thresholds if known is not None and work.data.multi_label else None
        scores = predictions[split] = evaluation.of_split(logits, sentences, work.data, thresholds=thresholds)
        frames.append(
            pd.DataFrame(
                {
                    "split": split,
                    "row": sentences.rows,
                    **({} if sentences.groups is None else {"group": sentences.groups}),
                    "text": sentences.texts,
                    **scores.columns,
                    "probabilities": list(scores.probabilities.astype("float32")),
                }
            )
        )
    request.emit(
        Evaluated(
            split="test",
            epoch=at["epoch"],
            step=at["step"],
            loss=predictions["test"].loss,
            accuracy=predictions["test"].accuracy,
            seconds=time.perf_counter() - since,
        )
    )
    if write:
        pd.concat(frames, ignore_index=True).to_parquet(request.folder / "predictions.parquet", index=False)
    return predictions
