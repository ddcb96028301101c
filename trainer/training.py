"""The one training loop: a recipe in, events out, a result at the end. HF Trainer runs the steps."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from trainer import backbones, checkpoints, evaluation, measure, methods, tasks
from trainer.batching import ByLength, Collator, Encoded
from trainer.config import RunConfig
from trainer.device import Device, detect
from trainer.errors import Cancelled, TrainingStopped
from trainer.events import Evaluated, Event, Finished, Saved, Started, State, Step
from trainer.methods import Method, Parent, Setup
from trainer.tasks import TaskData

SECONDS_BETWEEN_STEPS = 0.25
"""Steps are reported at most this often, so that a log stays readable."""


@dataclass(frozen=True)
class Request:
    """What `train` needs: the recipe, where to write, whom to tell, when to stop."""

    config: RunConfig
    folder: Path
    emit: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    parents: tuple[Parent, ...] = ()
    parent_results: tuple[dict[str, Any], ...] = ()


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
    result = _result(request, work, trainer, clock, memory, (trainable, total, size), started_at)
    result["validation"] = evaluation.metrics(validation, work.data.label_names)
    result["test"] = evaluation.metrics(test, work.data.label_names)
    shutil.rmtree(request.folder / "checkpoints", ignore_errors=True)
    request.emit(Finished(result))
    return result


@dataclass(frozen=True)
class _Work:
    """What is fixed before the first step."""

    method: Method
    setup: Setup
    data: TaskData
    ids: dict[str, list[list[int]]]
    pad_id: int
    device: Device

    def logits(self, model, split: str, batch_size: int, on_batch=None):
        return evaluation.predict_logits(
            model,
            self.ids[split],
            pad_id=self.pad_id,
            batch_size=batch_size,
            device=self.device,
            precision=self.setup.precision,
            on_batch=on_batch,
        )


def _prepare(request: Request) -> _Work:
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
    return _Work(method, setup, data, ids, tokeniser.pad_token_id, device)


class LabTrainer:
    """What this project adds to the library's trainer; mixed in before it.

    Batches by length, our own evaluation, the best epoch kept, a crash-safe checkpoint after each epoch.
    """

    def attach(self, request: Request, work: _Work, clock: measure.Clock, meter: measure.Meter) -> None:
        """Give the trainer what it reports to; called once, before training."""
        self.request, self.work, self.clock, self.meter = request, work, clock, meter
        self.best: dict[str, Any] | None = None
        self.best_state: dict[str, Any] | None = None
        self.epochs: list[dict[str, Any]] = []
        self.epoch_losses: list[tuple[float, int]] = []
        self.last_loss = math.nan

    def _get_train_sampler(self, dataset=None) -> ByLength:
        lengths = [len(ids) for ids in self.work.ids["train"]]
        return ByLength(lengths, batch_size=self.args.train_batch_size, seed=self.args.seed)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.last_loss = float(loss)
        if not math.isfinite(self.last_loss):
            kept = f"; the best epoch so far ({self.best['epoch']}) is kept" if self.best else ""
            raise TrainingStopped(
                expected=f"a training loss that is a number at step {self.state.global_step + 1}",
                got=str(self.last_loss),
                fix=f"lower learning_rate or choose another precision{kept}",
            )
        self.epoch_losses.append((self.last_loss, len(inputs["labels"])))
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        batch_size = self.args.eval_batch_size
        since = time.perf_counter()
        with self.clock("evaluation"):
            logits = self.work.logits(self.model, "validation", batch_size, self._heed)
            found = evaluation.judge(logits, self.work.data.validation.labels)
        seconds = time.perf_counter() - since
        better = self.best is None or (found.accuracy, -found.loss) > (self.best["accuracy"], -self.best["loss"])
        epoch = round(self.state.epoch or 0.0, 4)
        if better:
            self.best = {"epoch": epoch, "step": self.state.global_step, "accuracy": found.accuracy, "loss": found.loss}
            self.best_state = checkpoints.snapshot(self.model)
        count = sum(size for _, size in self.epoch_losses)
        train_loss = sum(loss * size for loss, size in self.epoch_losses) / count if count else None
        self.epoch_losses = []
        event = Evaluated(
            split="validation",
            epoch=epoch,
            step=self.state.global_step,
            loss=found.loss,
            accuracy=found.accuracy,
            seconds=seconds,
            train_loss=train_loss,
            memory=self.meter.now(),
            utilisation=self.meter.utilisation[-1] if self.meter.utilisation else None,
            best=better,
        )
        row = event.as_dict() | {"train_seconds": self.clock.seconds["training"]}
        self.epochs.append({key: value for key, value in row.items() if key not in ("type", "split")})
        self.request.emit(event)
        return {"eval_loss": found.loss, "eval_accuracy": found.accuracy}

    def _heed(self, _: int) -> None:
        if self.request.should_stop():
            raise Cancelled("Cancelled on request.")

    def _save_checkpoint(self, model, trial) -> None:
        step = self.state.global_step
        if step >= self.state.max_steps:
            return  # the model itself is saved next
        with self.clock("checkpoints"):
            folder = self.request.folder / "checkpoints"
            written, final = folder / ".writing", folder / f"step-{step}"
            shutil.rmtree(written, ignore_errors=True)
            written.mkdir(parents=True)
            checkpoints.save_state(written / checkpoints.TRAINABLE, checkpoints.snapshot(self.model))
            checkpoints.save_state(written / checkpoints.BEST, self.best_state)
            self._save_optimizer_and_scheduler(str(written))
            self._save_scaler(str(written))
            self._save_rng_state(str(written))
            self.state.save_to_json(str(written / "trainer_state.json"))
            collator = self.data_collator
            progress = {
                "best": self.best,
                "epochs": self.epochs,
                "seconds": dict(self.clock.seconds),
                "tokens": [collator.real_tokens, collator.padded_tokens],
            }
            (written / checkpoints.PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
            checkpoints.commit(written, final)
            for older in folder.glob("step-*"):
                if older != final:
                    shutil.rmtree(older, ignore_errors=True)
        self.request.emit(Saved(step=step, what="checkpoint", bytes=measure.folder_bytes(final)))

    def recall(self, checkpoint: Path) -> int:
        """Take up what was known at a checkpoint; the step it was written at."""
        progress = checkpoints.read_progress(checkpoint)
        self.best, self.epochs = progress["best"], progress["epochs"]
        self.best_state = checkpoints.load_state(checkpoint / checkpoints.BEST)
        for part, seconds in progress["seconds"].items():
            self.clock.seconds[part] += seconds
        self.data_collator.real_tokens, self.data_collator.padded_tokens = progress["tokens"]
        return int(checkpoint.name.removeprefix("step-"))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        checkpoints.restore(self.model, checkpoints.load_state(Path(resume_from_checkpoint) / checkpoints.TRAINABLE))


class _Progress(TrainerCallback):
    """Reports steps with the time that is left, and stops when asked to."""

    def __init__(self, trainer: LabTrainer) -> None:
        self.trainer = trainer
        self.last_report = 0.0
        self.losses: list[float] = []
        self.first_step: int | None = None

    def on_train_begin(self, args, state, control, **_: Any) -> None:
        self.since, self.first_step = time.perf_counter(), state.global_step

    def on_step_end(self, args, state, control, **_: Any) -> None:
        trainer = self.trainer
        trainer._heed(0)
        self.losses.append(trainer.last_loss)
        now = time.perf_counter()
        last_of_all = state.global_step >= state.max_steps
        if now - self.last_report < SECONDS_BETWEEN_STEPS and not last_of_all:
            return
        elapsed = now - self.since
        evaluating = sum(row["seconds"] for row in trainer.epochs if row["step"] > self.first_step)
        done = state.global_step - self.first_step
        per_step = (elapsed - evaluating) / done
        per_evaluation = trainer.epochs[-1]["seconds"] if trainer.epochs else 0.0
        evaluations_left = args.num_train_epochs - len(trainer.epochs)
        trainer.request.emit(
            Step(
                step=state.global_step,
                total_steps=state.max_steps,
                epoch=round(state.epoch, 4),
                loss=sum(self.losses) / len(self.losses),
                learning_rate=trainer.lr_scheduler.get_last_lr()[0],
                sentences_per_second=args.train_batch_size / per_step,
                seconds=trainer.clock.seconds["training"] + elapsed - evaluating,
                seconds_left=(state.max_steps - state.global_step) * per_step + evaluations_left * per_evaluation,
                memory=trainer.meter.now(),
            )
        )
        self.losses, self.last_report = [], now


def _trainer(request: Request, work: _Work, model, clock: measure.Clock, meter: measure.Meter):
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
    trainer.add_callback(_Progress(trainer))
    return trainer


def _save_best(request: Request, work: _Work, trainer) -> int:
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


def _test(request: Request, work: _Work, trainer) -> tuple[evaluation.Predictions, evaluation.Predictions]:
    """Predictions of the best epoch on the test and the validation split, written row by row."""
    import pandas as pd

    batch_size = trainer.args.eval_batch_size
    found, frames = {}, []
    for split in ("validation", "test"):
        since = time.perf_counter()
        sentences = getattr(work.data, split)
        with trainer.clock("test" if split == "test" else "evaluation"):
            logits = work.logits(trainer.model, split, batch_size, trainer._heed)
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


def _result(request: Request, work: _Work, trainer, clock, memory, counts, started_at) -> dict[str, Any]:
    """The result in PEFT's field names, and what they lack."""
    config, data, setup = request.config, work.data, work.setup
    trainable, total, size = counts
    collator, seconds = trainer.data_collator, clock.seconds
    last = {"train loss": trainer.epochs[-1]["train_loss"], "train total tokens": collator.real_tokens}
    return {
        "run_info": {
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
            "total_time": sum(seconds.values()),
            "train_config": config.model_dump(mode="json"),
            "peft_config": {"method": config.method, **setup.options.model_dump(mode="json")},
            "error_msg": "",
        },
        "train_info": {
            **memory,
            "train_time": seconds["training"],
            "evaluation_time": seconds["evaluation"],
            "test_time": seconds["test"],
            "loading_time": seconds["loading"],
            "file_size": size,
            "num_trainable_params": trainable,
            "num_total_params": total,
            "sentences_per_second": trainer.state.global_step * config.batch_size / max(seconds["training"], 1e-9),
            "steps": trainer.state.global_step,
            "batch_size": config.batch_size,
            "precision": setup.precision,
            "real_tokens": collator.real_tokens,
            "padded_tokens": collator.padded_tokens,
            "best_epoch": trainer.best["epoch"],
            "best_validation_accuracy": trainer.best["accuracy"],
            "status": "success",
            "metrics": [*trainer.epochs[:-1], trainer.epochs[-1] | last],
        },
        "parents": _parents(request),
        "meta_info": {
            "model_info": {
                "name": setup.backbone.name,
                "hub_id": setup.backbone.hub_id,
                "revision": setup.backbone.revision,
                "sha256": setup.backbone.sha256(),
            },
            "dataset_info": {
                "name": data.name,
                "label_names": list(data.label_names),
                "sizes": {split: len(getattr(data, split)) for split in tasks.SPLITS},
                "fingerprint": data.fingerprint,
                "notes": list(data.notes),
            },
            "package_info": measure.package_info(),
            "system_info": measure.system_info(work.device),
            "pytorch_info": torch.__config__.show(),
        },
    }


def _parents(request: Request) -> dict[str, Any] | None:
    """What the parents cost, counted apart; None for a method without parents."""
    if not request.parents:
        return None
    infos = [result["train_info"] for result in request.parent_results]
    return {
        "runs": [parent.run_id for parent in request.parents],
        "names": [parent.name for parent in request.parents],
        "train_time": sum(info["train_time"] for info in infos),
        "file_size": sum(info["file_size"] for info in infos),
        "num_trainable_params": sum(info["num_trainable_params"] for info in infos),
    }
