"""A run from its recipe to its result: the library's trainer runs the steps, events tell of them."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from trainer import methods, tasks
from trainer.engine import checkpoints, forward
from trainer.engine.batching import Encoded, PackingCollator, PaddingCollator
from trainer.engine.dropout import quicken
from trainer.engine.embedding_rows import ReadRows
from trainer.engine.first_token import FirstToken, hold_frozen
from trainer.engine.packing import Packing
from trainer.errors import TrainingStopped
from trainer.events import Evaluated, Finished, Saved, Started, State
from trainer.machine import measure
from trainer.machine.device import detect, quiet_libraries
from trainer.methods import Setup
from trainer.runs.result import Result
from trainer.sources import backbones
from trainer.training import evaluate as evaluation
from trainer.training import summary as results
from trainer.training.loop import LabTrainer, Progress, Renewal, Request, Work

__all__ = ["Request", "evaluate", "train"]


def train(request: Request) -> Result:
    """Train one run, keep its best epoch, test it, and write model/ and predictions.parquet into its folder.

    Continues from the newest checkpoint in the folder if there is one. Returns the result that run.json holds.

    Raises:
        TrainingStopped: the loss is no longer a number; the last good state is in model/ if an epoch had ended.
        Cancelled: `should_stop` said so.
        UserError: the task, backbone, parents or precision cannot be had.
    """
    quiet_libraries()
    config, clock, started_at = request.config, measure.Clock(), time.time()
    with clock("loading"):
        request.emit(State("running", "loading the task and the backbone"))
        work = _prepare(request)
        with measure.Meter(work.device) as meter:
            model = work.method.build(work.setup)
            family = work.setup.backbone.family
            packing = Packing(model, family, FirstToken(model, family))
            hold_frozen(model, family, work.setup.precision)
            masks = quicken(model) if work.device.kind == "cpu" else None
            trainable, total = measure.count_parameters(model)
            rows = ReadRows(model, work.ids["train"], work.pad_id)
            trainer = _trainer(request, work, model, clock, meter, packing)
            if masks:
                trainer.add_callback(Renewal(masks))
            checkpoint = checkpoints.latest(request.folder / "checkpoints", model)
            done = trainer.recall(checkpoint) if checkpoint else 0
            steps = math.ceil(len(work.data.train) / config.batch_size) * config.epochs
            request.emit(
                Started(
                    total_steps=steps,
                    epochs=config.epochs,
                    train_sentences=len(work.data.train),
                    trainable_parameters=trainable,
                    total_parameters=total,
                    device=work.device.name,
                    precision=work.setup.precision,
                    resumed_at_step=done,
                )
            )
            with clock("training"):
                try:
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
                except TrainingStopped:
                    if trainer.best is not None:
                        _save_best(request, work, trainer, rows)
                    raise
            size = _save_best(request, work, trainer, rows)
            found = _test(request, work, trainer.model, clock, at=trainer.best)
            memory = meter.result()
    collator = trainer.data_collator
    figures = results.trained(
        epochs=trainer.epochs,
        best=trainer.best,
        steps=trainer.state.global_step,
        samples=round(len(trainer.train_dataset) * trainer.state.epoch),
        real_tokens=collator.real_tokens,
        padded_tokens=collator.padded_tokens,
        seconds=clock.seconds["training"],
    )
    counts = (trainable, total, size)
    return _finish(request, work, found, clock, memory=memory, counts=counts, started_at=started_at, training=figures)


def evaluate(request: Request) -> Result:
    """Take the adapter in the run's source/ folder, trained elsewhere, and test it as `train` tests its own.

    Writes model/ and predictions.parquet. Returns the result that run.json holds; what only training tells is None.
    Raises `Cancelled` and `UserError` as `train` does, the latter also for an adapter that does not fit.
    """
    quiet_libraries()
    clock, started_at = measure.Clock(), time.time()
    with clock("loading"):
        request.emit(State("running", "opening the adapter"))
        work = _prepare(request)
        source, final = request.folder / "source", request.folder / "model"
        if source.is_dir():  # gone where this was done before
            written = _empty(request.folder / ".model")
            work.method.adopt(source, written, work.setup, request.label_order)
            checkpoints.commit(written, final)
        model = work.method.open(final, work.setup)
    _, total = measure.count_parameters(model)
    found = _test(request, work, model, clock, at={"epoch": 0.0, "step": 0, "accuracy": None})
    counts = (measure.saved_parameters(final), total, work.method.file_size(final))
    result = _finish(
        request, work, found, clock, memory=dict.fromkeys(measure.FIGURES), counts=counts, started_at=started_at,
        training=results.trained_elsewhere(found["validation"].accuracy),
    )  # fmt: skip
    shutil.rmtree(source, ignore_errors=True)
    return result


def _finish(request: Request, work: Work, found, clock: measure.Clock, **known: Any) -> Result:
    """The result with what the predictions say; the run is over."""
    scores = {split: evaluation.metrics(found[split], work.data.label_names) for split in ("validation", "test")}
    result = results.assemble(request, work, seconds=clock.seconds, **known, **scores)
    shutil.rmtree(request.folder / "checkpoints", ignore_errors=True)
    request.emit(Finished(result))
    return result


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _prepare(request: Request) -> Work:
    config = request.config
    device = detect()
    precision = device.choose(config.precision)
    data = tasks.from_config(config)
    backbone = backbones.locate(config.backbone)
    tokeniser = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True)
    longest = min(config.max_length, backbone.shape.longest)
    ids = {split: forward.tokenise(tokeniser, getattr(data, split).texts, longest) for split in tasks.SPLITS}
    method = methods.get(config.method)
    options = method.options(**config.options)
    setup = Setup(backbone, data.label_names, options, device, precision, request.parents, training=True)
    set_seed(config.seed)
    return Work(method, setup, data, ids, tokeniser.pad_token_id, device)


def _trainer(request: Request, work: Work, model, clock: measure.Clock, meter: measure.Meter, packing: Packing):
    config = request.config
    longest = work.setup.backbone.shape.longest
    padded = config.group_by_length or not packing.possible
    collator = PaddingCollator(work.pad_id) if padded else PackingCollator(work.pad_id, longest)
    arguments = TrainingArguments(
        output_dir=str(request.folder / "checkpoints"),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=eval_batch_size(config.batch_size),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(config.lr_scheduler, config.lr_scheduler),
        optim="adamw_torch_fused",
        bf16=work.setup.precision == "bf16",
        fp16=work.setup.precision == "fp16",
        use_cpu=work.device.kind == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=config.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=work.device.kind == "cuda",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else the library splits each batch over every GPU that it finds
    base = work.method.trainer_class()
    dataset = Encoded(work.ids["train"], work.data.train.labels)
    trainer = type("Trainer", (LabTrainer, base), {})(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=Encoded(work.ids["validation"], work.data.validation.labels),
        data_collator=collator,
    )
    trainer.attach(request, work, clock, meter, packing)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(trainer))
    return trainer


def _save_best(request: Request, work: Work, trainer, rows: ReadRows) -> int:
    """Put the best epoch back into the model and write model/; its size in bytes, parents apart."""
    with trainer.clock("saving"):
        checkpoints.restore(trainer.model, trainer.best_state)
        rows.restore()
        written, final = _empty(request.folder / ".model"), request.folder / "model"
        work.method.save(trainer.model, written, work.setup)
        checkpoints.commit(written, final)
        size = work.method.file_size(final)
    request.emit(Saved(step=trainer.best["step"], what="model", bytes=size))
    return size


def _test(
    request: Request, work: Work, model, clock: measure.Clock, *, at: dict[str, Any]
) -> dict[str, evaluation.Predictions]:
    """Predictions on the validation and the test split, written row by row. `at` says which epoch and step it is."""
    import pandas as pd

    batch_size = eval_batch_size(request.config.batch_size)
    found, frames = {}, []
    for split in ("validation", "test"):
        since = time.perf_counter()
        sentences = getattr(work.data, split)
        with clock("test" if split == "test" else "evaluation"):
            logits = work.logits(model, split, batch_size, request.heed)
        found[split] = evaluation.score(logits, sentences.labels)
        probabilities = found[split].probabilities.astype("float32")
        frames.append(
            pd.DataFrame(
                {
                    "split": split,
                    "row": sentences.rows,
                    "text": sentences.texts,
                    "label": sentences.labels,
                    "predicted": found[split].predicted,
                    "probabilities": list(probabilities),
                }
            )
        )
    request.emit(
        Evaluated(
            split="test",
            epoch=at["epoch"],
            step=at["step"],
            loss=found["test"].loss,
            accuracy=found["test"].accuracy,
            seconds=time.perf_counter() - since,
        )
    )
    pd.concat(frames, ignore_index=True).to_parquet(request.folder / "predictions.parquet", index=False)
    return found


def eval_batch_size(batch_size: int) -> int:
    """Sentences in one batch when nothing is kept for a backward pass."""
    return max(64, batch_size)
