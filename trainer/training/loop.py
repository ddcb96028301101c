"""The training loop: steps, epochs, evaluations, checkpoints and resuming.

On accelerate (device, precision, gradient scaling, several processes), torch's AdamW and transformers' schedules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch.utils.data import DataLoader

from trainer.config import RunConfig
from trainer.engine import checkpoints
from trainer.engine.batching import ByLength, Encoded
from trainer.engine.prepare import Prepared
from trainer.errors import Cancelled, TrainingStopped
from trainer.events import Evaluated, Saved, State, Step
from trainer.machine import measure
from trainer.texts import tr
from trainer.training import evaluate as evaluation
from trainer.training.loss import loss_of, targets
from trainer.training.optimiser import make_optimizer, make_schedule
from trainer.training.request import Request, Work

SECONDS_BETWEEN_REPORTS = 0.25
"""The least time between two reports, so that a log is readable and a GPU seldom waits for one."""
SECONDS_BETWEEN_CHECKPOINTS = 300.0
"""A checkpoint is written at each epoch's end, and within an epoch once this long has passed since the last."""


@dataclass
class Progress:
    """The progress of a run, as stored in a checkpoint's progress.json."""

    step: int = 0
    best: dict[str, Any] | None = None
    """The best epoch so far: epoch, step; accuracy, loss and, to compare epochs by, `score` on the validation split."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """The figures of each evaluation on the validation split."""
    loss_sum: float = 0.0
    """The number of the epoch's sentences so far; `loss_sum` is their training loss, summed."""
    sentences: int = 0


class Loop:
    """Trains one prepared model: its optimiser, schedule and progress."""

    def __init__(
        self,
        request: Request,
        work: Work,
        prepared: Prepared,
        *,
        accelerator: Accelerator,
        clock: measure.Clock,
        meter: measure.Meter,
    ) -> None:
        config = request.config
        self.request, self.work, self.prepared, self.config = request, work, prepared, config
        self.accelerator, self.clock, self.meter = accelerator, clock, meter
        self.dataset, self.collator = Encoded(work.ids["train"], targets(work.data)), prepared.collator()
        self.sampler = ByLength(
            [len(ids) for ids in work.ids["train"]],
            batch_size=config.batch_size,
            seed=config.seed,
            similar=config.group_by_length,
        )
        self.steps_per_epoch = steps_per_epoch(config, len(self.dataset))
        self.total_steps = total_steps(config, len(self.dataset))
        factor = partial(work.method.rate_factor, options=work.setup.options)
        optimizer = make_optimizer(prepared.model, config, precision=work.setup.precision, factor=factor)
        self.schedule = make_schedule(optimizer, config, steps=self.total_steps)
        self.loss = loss_of(config, work.data)
        self.parameters = [p for p in prepared.model.parameters() if p.requires_grad]
        self.model, self.optimizer = accelerator.prepare(prepared.model, optimizer)
        self.progress = Progress()
        self.best_state: dict[str, torch.Tensor] | None = None
        self.pending: list[tuple[torch.Tensor, int]] = []
        """(mean loss, sentences) of steps whose losses are still on the device."""
        self.losses: list[float] = []
        """Losses since the last report."""

    def run(self) -> None:
        """Train all epochs. `best_state` then has the weights of the best one.

        Raises `TrainingStopped` for a loss that is not finite, `Cancelled` when the request is cancelled.
        """
        self.first_step, self.started = self.progress.step, time.perf_counter()
        self.reported_at, self.saved_at = 0.0, self.started
        self.model.train()
        for epoch in range(self.progress.step // self.steps_per_epoch, math.ceil(self.config.epochs)):
            done = self.progress.step % self.steps_per_epoch
            if done == 0:
                self.prepared.start_epoch()
            groups = self.groups(epoch)[done:]
            batches = self.load(groups)
            for group in groups:
                self.step(group, batches)
                stop, report, save = self.due()
                if stop:
                    raise Cancelled(tr("Cancelled on request."))
                if report:
                    self.report()
                if save:
                    self.checkpoint()
            self.evaluate()
            if self.stalled():
                break
            self.checkpoint()

    def groups(self, epoch: int) -> list[list[list[int]]]:
        """The sentence indices of an epoch: for each step a group of `gradient_accumulation_steps` batches.

        Of an epoch that is trained in part, only the steps that are trained.
        """
        batches, count = self.sampler.batches(epoch), self.config.gradient_accumulation_steps
        groups = [batches[start : start + count] for start in range(0, len(batches), count)]
        return groups[: self.total_steps - epoch * self.steps_per_epoch]

    def load(self, groups: list[list[list[int]]]) -> Iterator[dict[str, torch.Tensor]]:
        """An iterator over this process's share of each batch, collated."""
        shares = [self.share(batch) or batch[:1] for group in groups for batch in group]
        return iter(
            DataLoader(
                self.dataset,
                batch_sampler=shares,
                collate_fn=self.collator,
                pin_memory=self.accelerator.device.type == "cuda",
                generator=torch.Generator(),  # the default is torch's own, and a resumed epoch would differ
            )
        )

    def share(self, batch: list[int]) -> list[int]:
        """The sentences of a batch that this process computes; none if the batch is too small for all processes."""
        return batch[self.accelerator.process_index :: self.accelerator.num_processes]

    def step(self, group: list[list[int]], batches: Iterator[dict[str, torch.Tensor]]) -> None:
        """One step of training: an update, its schedule and its loss."""
        mean = self.update(group, batches)
        if not self.optimizer.step_was_skipped:
            self.schedule.step()
        self.progress.step += 1
        self.pending.append((mean, sum(map(len, group))))

    def update(self, group: list[list[int]], batches: Iterator[dict[str, torch.Tensor]]) -> torch.Tensor:
        """Update the weights by the clipped gradient of the mean loss over a group's sentences. Returns that loss."""
        accelerator, sentences, mean = self.accelerator, sum(map(len, group)), 0.0
        for number, indices in enumerate(group, start=1):
            batch = {name: values.to(accelerator.device, non_blocking=True) for name, values in next(batches).items()}
            # Processes average their gradients, so each multiplies its share by the number of processes.
            weight = len(self.share(indices)) * accelerator.num_processes / sentences
            last = number == len(group)
            self.request.progressed()
            with nullcontext() if last else accelerator.no_sync(self.model), self.prepared.batch(batch):
                loss = self.loss(self.model(**batch), batch) * weight
                extra = self.work.method.extra_loss(self.prepared.model) if last else None
                accelerator.backward(loss if extra is None else loss + extra)
            mean = mean + loss.detach()
        accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return mean

    def due(self) -> list[bool]:
        """(whether to stop, to report, to write a checkpoint) after this step, as the main process decides."""
        step, now = self.progress.step, time.perf_counter()
        stop = self.request.should_stop()
        report = now - self.reported_at >= SECONDS_BETWEEN_REPORTS or step == self.total_steps
        save = now - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS and step % self.steps_per_epoch != 0
        return broadcast_object_list([stop, report, save])

    def settle(self) -> None:
        """Read the losses of the steps since the last call from the device: the only synchronisation between reports.

        Raises `TrainingStopped` for one that is not finite, before any of it is saved.
        """
        if not self.pending:
            return
        means = self.accelerator.reduce(torch.stack([mean for mean, _ in self.pending]), "mean").tolist()
        first = self.progress.step - len(means) + 1
        for step, (mean, (_, sentences)) in enumerate(zip(means, self.pending, strict=True), start=first):
            if not math.isfinite(mean):
                raise self.stopped(tr("a training loss that is a number at step {step}", step=step), mean)
            self.progress.loss_sum += mean * sentences
            self.progress.sentences += sentences
        self.losses += means
        self.pending = []

    def stopped(self, expected: str, loss: float) -> TrainingStopped:
        """The error for a loss that is not finite."""
        fix = tr("lower learning_rate or choose another precision")
        if self.progress.best:
            fix = tr(
                "lower learning_rate or choose another precision; the best epoch so far ({epoch}) is kept",
                epoch=self.progress.best["epoch"],
            )
        return TrainingStopped(expected=expected, got=str(loss), fix=fix)

    def report(self) -> None:
        """Emit a `Step` with the mean loss since the last one, and the remaining time."""
        self.settle()
        config, progress, now = self.config, self.progress, time.perf_counter()
        evaluating = sum(row["seconds"] for row in progress.epochs if row["step"] > self.first_step)
        per_step = (now - self.started - evaluating) / (progress.step - self.first_step)
        per_evaluation = progress.epochs[-1]["seconds"] if progress.epochs else 0.0
        steps_left, evaluations_left = self.total_steps - progress.step, math.ceil(config.epochs) - len(progress.epochs)
        self.request.emit(
            Step(
                step=progress.step,
                total_steps=self.total_steps,
                epoch=self.epoch,
                loss=sum(self.losses) / len(self.losses),
                learning_rate=self.schedule.get_last_lr()[0],
                sentences_per_second=config.batch_size * config.gradient_accumulation_steps / per_step,
                seconds=self.clock.so_far("training"),
                seconds_left=steps_left * per_step + evaluations_left * per_evaluation,
                memory=self.meter.now(),
            )
        )
        self.losses, self.reported_at = [], now

    @property
    def epoch(self) -> float:
        """The number of passes over the training split so far."""
        return round(self.progress.step / self.steps_per_epoch, 4)

    def evaluate(self) -> None:
        """Evaluate the model on the validation split, and store its weights if they are the best so far."""
        self.settle()
        progress, since = self.progress, time.perf_counter()
        with self.clock("evaluation"):
            logits = self.prepared.logits(
                self.work.ids["validation"],
                batch_size=eval_batch_size(self.config.batch_size),
                on_batch=self.request.raise_if_cancelled,
            )
            scores = evaluation.of_split(logits, self.work.data.validation, self.work.data)
        seconds = time.perf_counter() - since
        if not math.isfinite(scores.loss):
            expected = tr("a validation loss that is a number after step {step}", step=progress.step)
            raise self.stopped(expected, scores.loss)
        best = progress.best
        score = scores.by(self.config.best_by)
        better = best is None or (score, -scores.loss) > (best["score"], -best["loss"])
        if better:
            progress.best = {
                "epoch": self.epoch, "step": progress.step, "accuracy": scores.accuracy, "loss": scores.loss,
                "score": score,
            }  # fmt: skip
            self.best_state = checkpoints.snapshot(self.prepared.model)
        event = Evaluated(
            split="validation",
            epoch=self.epoch,
            step=progress.step,
            loss=scores.loss,
            accuracy=scores.accuracy,
            seconds=seconds,
            train_loss=progress.loss_sum / progress.sentences,
            memory=self.meter.now(),
            utilisation=self.meter.utilisation[-1] if self.meter.utilisation else None,
            best=better,
        )
        progress.loss_sum, progress.sentences = 0.0, 0
        row = event.as_dict() | {"train_seconds": self.clock.seconds["training"]}
        progress.epochs.append({key: value for key, value in row.items() if key not in ("type", "split")})
        self.request.emit(event)

    def stalled(self) -> bool:
        """Whether `early_stopping` epochs have ended since the best one."""
        patience = self.config.early_stopping
        return patience is not None and self.epoch - self.progress.best["epoch"] >= patience

    def checkpoint(self) -> None:
        """Write a checkpoint, from which a run ends as if it had not been interrupted; none after the last step."""
        if self.progress.step == self.total_steps:
            return  # the model itself is saved next
        self.settle()
        with self.clock("checkpoints"):
            weights = checkpoints.snapshot(self.prepared.model)
            if not all(values.isfinite().all() for values in weights.values()):
                return  # the next loss will not be finite: a run can only resume from an earlier checkpoint
            own = {
                "random": checkpoints.random_state(),
                "prepared": self.prepared.state_dict(),
                "tokens": [self.collator.real_tokens, self.collator.padded_tokens],
            }
            training = {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                "processes": gather_object([own]),
            }
            size = 0
            if self.accelerator.is_main_process:
                size = checkpoints.write(
                    self.request.folder / "checkpoints",
                    self.progress.step,
                    weights=weights,
                    best=self.best_state,
                    training=training,
                    progress={**asdict(self.progress), "losses": self.losses, "seconds": dict(self.clock.seconds)},
                    identity=self.request.identity(),
                )
        self.saved_at = time.perf_counter()
        self.request.emit(Saved(step=self.progress.step, what="checkpoint", bytes=size))

    def resume_if_possible(self) -> None:
        """Resume from the newest sound checkpoint; call before `run`. Damaged ones are reported once, and deleted."""
        accelerator, folder = self.accelerator, self.request.folder / "checkpoints"
        checkpoint, unusable = checkpoints.newest_sound(folder, self.prepared.model, self.request.identity())
        accelerator.wait_for_everyone()  # every process has read them
        then = f"going on from {checkpoint.name}" if checkpoint else "no other is whole: the run starts again"
        for one in unusable:
            self.request.emit(State("running", f"checkpoint {one.folder.name} is not used: {one.reason}; {then}"))
            if accelerator.is_main_process:
                one.put_away()
        if checkpoint:
            self.resume(checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Restore the state that `checkpoint` wrote; call before `run`."""
        progress, training = checkpoints.read_progress(checkpoint), checkpoints.read_training(checkpoint)
        self.losses = progress.pop("losses")
        for part, seconds in progress.pop("seconds").items():
            self.clock.seconds[part] += seconds
        self.progress = Progress(**progress)
        if self.progress.best:  # earlier versions compared accuracies alone
            self.progress.best.setdefault("score", self.progress.best["accuracy"])
        checkpoints.restore(self.prepared.model, checkpoints.load_state(checkpoint / checkpoints.WEIGHTS))
        if self.progress.best:
            self.best_state = checkpoints.load_state(checkpoint / checkpoints.BEST)
        self.optimizer.load_state_dict(training["optimizer"])
        self.schedule.load_state_dict(training["schedule"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(training["scaler"])
        own = training["processes"][self.accelerator.process_index % len(training["processes"])]
        self.collator.real_tokens, self.collator.padded_tokens = own["tokens"]
        self.prepared.load_state_dict(own["prepared"])
        checkpoints.restore_random(own["random"])

    def samples(self) -> int:
        """Sentences trained on so far, those of each epoch counted again."""
        epochs, steps = divmod(self.progress.step, self.steps_per_epoch)
        part = sum(map(len, chain.from_iterable(self.groups(epochs)[:steps]))) if steps else 0
        return epochs * len(self.dataset) + part

    def tokens(self) -> tuple[int, int]:
        """(real, padded) tokens of training so far, over all processes."""
        own = torch.tensor([self.collator.real_tokens, self.collator.padded_tokens], device=self.accelerator.device)
        real, padded = self.accelerator.reduce(own, "sum").tolist()
        return real, padded


def steps_per_epoch(config: RunConfig, sentences: int) -> int:
    """Optimiser steps in one pass over the training split."""
    return math.ceil(math.ceil(sentences / config.batch_size) / config.gradient_accumulation_steps)


def total_steps(config: RunConfig, sentences: int) -> int:
    """Optimiser steps of all epochs; a part of an epoch is at least one."""
    # Rounded before: 0.1 * 30 is a little more than 3 in binary.
    return math.ceil(round(steps_per_epoch(config, sentences) * config.epochs, 6))


def eval_batch_size(batch_size: int) -> int:
    """The batch size of evaluation, which needs no memory for a backward pass."""
    return max(64, batch_size)
