"""A run from its recipe to its result: the library's trainer runs the steps, events tell of them."""

from __future__ import annotations

import math
import shutil
import time
from typing import Any

from transformers import AutoTokenizer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from trainer import backbones, checkpoints, evaluation, measure, methods, results, tasks
from trainer.batching import Collator, Encoded
from trainer.device import detect
from trainer.errors import TrainingStopped
from trainer.events import Evaluated, Finished, Saved, Started, State
from trainer.loop import LabTrainer, Progress, Request, Work
from trainer.methods import Setup

__all__ = ["Request", "train"]


def train(request: Request) -> dict[str, Any]:
    """Train one run, keep its best epoch, test it, and write model/ and predictions.parquet into its folder.

    Continues from the newest checkpoint in the folder if there is one. Returns the result that run.json holds.

    Raises:
        TrainingStopped: the loss is no longer a number; the last good state is in model/ if an epoch had ended.
        Cancelled: `should_stop` said so.
        UserError: the task, backbone, parents or precision cannot be had.
    """
    transformers_logging.set_verbosity_error()
    config, clock, started_at = request.config, measure.Clock(), time.time()
    with clock("loading"):
        request.emit(State("running", "loading the task and the backbone"))
        work = _prepare(request)
        with measure.Meter(work.device) as meter:
            model = work.method.build(work.setup)
            trainable, total = measure.count_parameters(model)
            trainer = _trainer(request, work, model, clock, meter)
            checkpoint = checkpoints.latest(request.folder / "checkpoints")
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
                        _save_best(request, work, trainer)
                    raise
            size = _save_best(request, work, trainer)
            test, validation = _test(request, work, trainer)
            memory = meter.result()
    result = results.assemble(request, work, trainer, clock, memory, (trainable, total, size), started_at)
    result["validation"] = evaluation.metrics(validation, work.data.label_names)
    result["test"] = evaluation.metrics(test, work.data.label_names)
    shutil.rmtree(request.folder / "checkpoints", ignore_errors=True)
    request.emit(Finished(result))
    return result


def _prepare(request: Request) -> Work:
    config = request.config
    device = detect()
    precision = device.choose(config.precision)
    data = tasks.from_config(config)
    backbone = backbones.locate(config.backbone)
    tokeniser = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True)
    ids = {
        split: evaluation.tokenise(tokeniser, getattr(data, split).texts, config.max_length) for split in tasks.SPLITS
    }
    method = methods.get(config.method)
    options = method.options(**config.options)
    setup = Setup(backbone, data.label_names, options, device, precision, request.parents)
    set_seed(config.seed)
    return Work(method, setup, data, ids, tokeniser.pad_token_id, device)


def _trainer(request: Request, work: Work, model, clock: measure.Clock, meter: measure.Meter):
    config = request.config
    arguments = TrainingArguments(
        output_dir=str(request.folder / "checkpoints"),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=max(64, config.batch_size),
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
    base = work.method.trainer_class()
    dataset = Encoded(work.ids["train"], work.data.train.labels)
    trainer = type("Trainer", (LabTrainer, base), {})(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=Encoded(work.ids["validation"], work.data.validation.labels),
        data_collator=Collator(work.pad_id),
    )
    trainer.attach(request, work, clock, meter)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(trainer))
    return trainer


def _save_best(request: Request, work: Work, trainer) -> int:
    """Put the best epoch back into the model and write model/; its size in bytes, parents apart."""
    with trainer.clock("saving"):
        checkpoints.restore(trainer.model, trainer.best_state)
        written, final = request.folder / ".model", request.folder / "model"
        shutil.rmtree(written, ignore_errors=True)
        written.mkdir(parents=True)
        work.method.save(trainer.model, written, work.setup)
        checkpoints.commit(written, final)
        size = work.method.file_size(final)
    request.emit(Saved(step=trainer.best["step"], what="model", bytes=size))
    return size


def _test(request: Request, work: Work, trainer) -> tuple[evaluation.Predictions, evaluation.Predictions]:
    """Predictions of the best epoch on the test and the validation split, written row by row."""
    import pandas as pd

    batch_size = trainer.args.eval_batch_size
    found, frames = {}, []
    for split in ("validation", "test"):
        since = time.perf_counter()
        sentences = getattr(work.data, split)
        with trainer.clock("test" if split == "test" else "evaluation"):
            logits = work.logits(trainer.model, split, batch_size, trainer.heed)
        found[split] = evaluation.judge(logits, sentences.labels)
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
            epoch=trainer.best["epoch"],
            step=trainer.best["step"],
            loss=found["test"].loss,
            accuracy=found["test"].accuracy,
            seconds=time.perf_counter() - since,
        )
    )
    pd.concat(frames, ignore_index=True).to_parquet(request.folder / "predictions.parquet", index=False)
    return found["test"], found["validation"]
