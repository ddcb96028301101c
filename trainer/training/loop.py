"""What this project adds to the library's trainer: batches by length, the best epoch, events, safe checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trainer.config import RunConfig
from trainer.engine import checkpoints, forward
from trainer.engine.batching import ByLength
from trainer.engine.dropout import Masks
from trainer.engine.packing import Packing
from trainer.errors import Cancelled, TrainingStopped
from trainer.events import Evaluated, Event, Saved, Step
from trainer.machine import measure
from trainer.machine.device import Device
from trainer.methods import Method, Parent, Setup
from trainer.runs.result import Result
from trainer.tasks import TaskData
from trainer.texts import tr
from trainer.training import evaluate as evaluation

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
    parent_results: tuple[Result, ...] = ()
    label_order: tuple[str, ...] = ()
    """For an adapter trained elsewhere: its labels in its own order, where that is not the task's."""

    def heed(self, _: int = 0) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        if self.should_stop():
            raise Cancelled(tr("Cancelled on request."))


@dataclass(frozen=True)
class Work:
    """What is fixed before the first step."""

    method: Method
    setup: Setup
    data: TaskData
    ids: dict[str, list[list[int]]]
    pad_id: int
    device: Device

    def logits(self, model, split: str, batch_size: int, on_batch=None):
        return forward.predict_logits(
            model,
            self.ids[split],
            pad_id=self.pad_id,
            batch_size=batch_size,
            device=self.device,
            precision=self.setup.precision,
            on_batch=on_batch,
        )


class LabTrainer:
    """What this project adds to the library's trainer; mixed in before it.

    Batches by length, our own evaluation, the best epoch kept, a crash-safe checkpoint after each epoch.
    """

    def attach(
        self, request: Request, work: Work, clock: measure.Clock, meter: measure.Meter, packing: Packing
    ) -> None:
        """Give the trainer what it reports to, and how the model takes batches; called once, before training."""
        self.request, self.work, self.clock, self.meter, self.packing = request, work, clock, meter, packing
        self.best: dict[str, Any] | None = None
        self.best_state: dict[str, Any] | None = None
        self.epochs: list[dict[str, Any]] = []
        self.epoch_losses: list[tuple[float, int]] = []
        self.last_loss = math.nan

    def _get_train_sampler(self, dataset=None) -> ByLength:
        lengths = [len(ids) for ids in self.work.ids["train"]]
        config = self.request.config
        return ByLength(lengths, batch_size=config.batch_size, seed=config.seed, alike=config.group_by_length)

    def training_step(self, model, inputs, num_items_in_batch=None):
        with self.packing.of(inputs):
            loss = super().training_step(model, inputs, num_items_in_batch)
        self.last_loss = float(loss)
        if not math.isfinite(self.last_loss):
            fix = tr("lower learning_rate or choose another precision")
            if self.best:
                fix = tr(
                    "lower learning_rate or choose another precision; the best epoch so far ({epoch}) is kept",
                    epoch=self.best["epoch"],
                )
            raise TrainingStopped(
                expected=tr("a training loss that is a number at step {step}", step=self.state.global_step + 1),
                got=str(self.last_loss),
                fix=fix,
            )
        self.epoch_losses.append((self.last_loss, len(inputs["labels"])))
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: at each step the library would add up the model's parameters for a figure that nobody reads."""
        return 0

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        batch_size = self.args.eval_batch_size
        since = time.perf_counter()
        with self.clock("evaluation"):
            logits = self.work.logits(self.model, "validation", batch_size, self.request.heed)
            found = evaluation.score(logits, self.work.data.validation.labels)
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


class Renewal(TrainerCallback):
    """Each epoch begins with fresh dropout masks, so that a resumed one goes on as an unbroken one would."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def on_epoch_begin(self, args, state, control, **_: Any) -> None:
        self.masks.renew()


class Progress(TrainerCallback):
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
        trainer.request.heed()
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
                seconds=trainer.clock.so_far("training"),
                seconds_left=(state.max_steps - state.global_step) * per_step + evaluations_left * per_evaluation,
                memory=trainer.meter.now(),
            )
        )
        self.losses, self.last_report = [], now
