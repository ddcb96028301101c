"""Metrics of a finished run, declared once as data: heading with unit, better direction, format. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.runs.store import Run
from trainer.texts import mark


@dataclass(frozen=True)
class Metric:
    """One metric: column name `key`, heading with the unit, better direction ("higher" or "lower"), number format.

    `path` is the attribute path from the run's `Result`, and `scale` converts that value to the heading's unit.
    `title` and `help` are marked for `tr`.
    """

    key: str
    title: str
    better: str | None
    format: str
    path: str
    scale: float = 1.0

    def of(self, run: Run) -> float | int | None:
        """The run's value in the heading's unit; None if the run has none."""
        value = run.result
        for name in self.path.split("."):
            if value is None:
                return None
            value = getattr(value, name)
        return None if value is None else value * self.scale

    @property
    def help(self) -> str:
        """Explanation of the metric, in a sentence."""
        return _HELP[self.key]

    def show(self, value: float | None) -> str:
        """The value formatted for people; a dash for None and NaN."""
        return "–" if value is None or value != value else format(value, self.format)


PERCENT, MEGABYTES, MINUTES = 100.0, 1e-6, 1 / 60
METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("test_accuracy", mark("Test accuracy (%)"), "higher", ".2f", "test.accuracy", PERCENT),
        Metric(
            "validation_accuracy",
            mark("Validation accuracy (%)"),
            "higher",
            ".2f",
            "train_info.best_validation_accuracy",
            PERCENT,
        ),
        Metric("precision", mark("Precision, macro (%)"), "higher", ".2f", "test.macro.precision", PERCENT),
        Metric("recall", mark("Recall, macro (%)"), "higher", ".2f", "test.macro.recall", PERCENT),
        Metric("f1", mark("F1, macro (%)"), "higher", ".2f", "test.macro.f1", PERCENT),
        Metric("train_minutes", mark("Training time (min)"), "lower", ".2f", "train_info.train_time", MINUTES),
        Metric("trainable", mark("Trainable parameters"), "lower", ",.0f", "train_info.num_trainable_params"),
        Metric(
            "trainable_share",
            mark("Trainable share (%)"),
            "lower",
            ".2f",
            "train_info.trainable_share",
            PERCENT,
        ),
        Metric("peak_memory", mark("Peak memory (MB)"), "lower", ",.0f", "train_info.peak", MEGABYTES),
        Metric("step_weights", mark("Weights (MB)"), "lower", ",.0f", "train_info.step_memory.weights", MEGABYTES),
        Metric(
            "step_gradients", mark("Gradients (MB)"), "lower", ",.0f", "train_info.step_memory.gradients", MEGABYTES
        ),
        Metric(
            "step_optimizer_states",
            mark("Optimiser states (MB)"),
            "lower",
            ",.0f",
            "train_info.step_memory.optimizer_states",
            MEGABYTES,
        ),
        Metric(
            "step_activations",
            mark("Activations (MB)"),
            "lower",
            ",.0f",
            "train_info.step_memory.activations",
            MEGABYTES,
        ),
        Metric(
            "step_temporary",
            mark("Temporary tensors (MB)"),
            "lower",
            ",.0f",
            "train_info.step_memory.temporary",
            MEGABYTES,
        ),
        Metric(
            "process_growth",
            mark("Growth of the process (MB)"),
            "lower",
            ",.0f",
            "train_info.process_growth",
            MEGABYTES,
        ),
        Metric(
            "reserved_memory",
            mark("GPU memory reserved (MB)"),
            "lower",
            ",.0f",
            "train_info.accelerator_memory_max",
            1e-6,
        ),
        Metric(
            "host_memory", mark("Host memory, whole process (MB)"), "lower", ",.0f", "train_info.host_memory_peak", 1e-6
        ),
        Metric("utilisation", mark("GPU utilisation (%)"), "higher", ".0f", "train_info.accelerator_utilisation_avg"),
        Metric("file_size", mark("Saved size (MB)"), "lower", ",.2f", "train_info.file_size", MEGABYTES),
        Metric("speed", mark("Sentences a second"), "higher", ",.0f", "train_info.sentences_per_second"),
        Metric(
            "evaluation_minutes", mark("Evaluation time (min)"), "lower", ".2f", "train_info.evaluation_time", MINUTES
        ),
        Metric("test_loss", mark("Test loss"), "lower", ".4f", "test.loss"),
        Metric("parents_minutes", mark("Parents' training time (min)"), "lower", ".2f", "parents.train_time", MINUTES),
        Metric("parents_parameters", mark("Parents' parameters"), "lower", ",.0f", "parents.num_trainable_params"),
        Metric("parents_size", mark("Parents' size (MB)"), "lower", ",.2f", "parents.file_size", MEGABYTES),
    )
}

_HELP = {
    "test_accuracy": mark("Share of the test sentences that the run labels right."),
    "validation_accuracy": mark("Of the epoch that was kept, which is the one with the best validation accuracy."),
    "precision": mark("Of the test sentences given a label, the share that have it; the mean over labels."),
    "recall": mark("Of the test sentences that have a label, the share that are given it; the mean over labels."),
    "f1": mark("Harmonic mean of precision and recall on the test sentences; the mean over labels."),
    "train_minutes": mark("Forward passes, backward passes and updates alone: no loading, no evaluation."),
    "trainable": mark("Parameters that training changes, the classification head included."),
    "trainable_share": mark("Trainable parameters as a share of all parameters of the model."),
    "peak_memory": mark(
        "Tensors of a training step at its peak. For runs from before this was counted: allocated on the GPU, or what "
        "the process grew by on a CPU."
    ),
    "step_weights": mark("Parameters and buffers of the model at that peak, 4-bit weights as they are."),
    "step_gradients": mark("Gradients of the trained parameters at that peak."),
    "step_optimizer_states": mark("AdamW's two moments of each trained parameter at that peak."),
    "step_activations": mark("Tensors that the forward pass keeps for the backward pass, at that peak."),
    "step_temporary": mark("Everything else at that peak: the batch, dropout masks, gradients of activations."),
    "process_growth": mark("Resident memory above the process's start: loading, evaluation and freed memory too."),
    "reserved_memory": mark("The most that PyTorch held of the GPU's memory, its cache included."),
    "host_memory": mark("The most that the process had resident, Python and its libraries included."),
    "utilisation": mark("Mean over the run of the share of time in which the GPU was busy."),
    "file_size": mark("The saved model on the disk, without a backbone that stays frozen."),
    "speed": mark("Training sentences a second."),
    "evaluation_minutes": mark("Evaluations on the validation sentences, one an epoch."),
    "test_loss": mark("Mean cross-entropy on the test sentences."),
    "parents_minutes": mark("Training time of the runs that this one fuses; not in its own."),
    "parents_parameters": mark("Parameters trained in the runs that this one fuses; not in its own."),
    "parents_size": mark("Saved size of the runs that this one fuses; not in its own."),
}
