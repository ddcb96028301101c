"""Metrics of a finished run, declared once as data: heading with unit, better direction, format. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from trainer.runs.result import Result
from trainer.runs.run import Run
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

    def among(self, multi_label: Collection[bool]) -> Metric:
        """The metric with the title that it has among runs of which these are multi-label: there it is exact match."""
        one, all_, some = EXACT_MATCH.get(self.key, (self.title,) * 3)
        return replace(self, title=(all_ if all(multi_label) else some) if any(multi_label) else one)

    def of(self, run: Run) -> float | int | None:
        """The run's value in the heading's unit; None if the run has none."""
        return self.in_result(run.result)

    def in_result(self, result: Result | None) -> float | int | None:
        """The result's value in the heading's unit; None if it has none."""
        value = result
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


PERCENT, MEGABYTES, MINUTES, MILLISECONDS, KILOJOULES = 100.0, 1e-6, 1 / 60, 1e3, 1e-3
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
        Metric("micro_f1", mark("F1, micro (%)"), "higher", ".2f", "test.micro.f1", PERCENT),
        Metric(
            "average_precision",
            mark("Average precision, macro (%)"),
            "higher",
            ".2f",
            "test.average_precision",
            PERCENT,
        ),
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
        Metric("host_memory", mark("Process memory, RSS (MB)"), "lower", ",.0f", "train_info.host_memory_peak", 1e-6),
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
        Metric(
            "minutes_with_parents",
            mark("Training time with parents (min)"),
            "lower",
            ".2f",
            "train_time_with_parents",
            MINUTES,
        ),
        Metric(
            "trainable_with_parents",
            mark("Parameters trained, with parents"),
            "lower",
            ",.0f",
            "trainable_with_parents",
        ),
        Metric("latency", mark("One prediction (ms)"), "lower", ",.1f", "train_info.inference.latency", MILLISECONDS),
        Metric(
            "latency_merged",
            mark("One prediction, merged (ms)"),
            "lower",
            ",.1f",
            "train_info.inference.merged.latency",
            MILLISECONDS,
        ),
        Metric(
            "predictions_per_second",
            mark("Predictions a second"),
            "higher",
            ",.0f",
            "train_info.inference.sentences_per_second",
        ),
        Metric(
            "predictions_per_second_merged",
            mark("Predictions a second, merged"),
            "higher",
            ",.0f",
            "train_info.inference.merged.sentences_per_second",
        ),
        Metric("energy", mark("Energy (kJ)"), "lower", ",.2f", "train_info.energy", KILOJOULES),
        Metric(
            "calibration_error",
            mark("Calibration error (%)"),
            "lower",
            ".2f",
            "test.calibration.expected_calibration_error",
            PERCENT,
        ),
        Metric(
            "calibration_error_scaled",
            mark("Calibration error, temperature scaled (%)"),
            "lower",
            ".2f",
            "temperature.test_calibration.expected_calibration_error",
            PERCENT,
        ),
        Metric("brier", mark("Brier score"), "lower", ".4f", "test.calibration.brier"),
    )
}

EXACT_MATCH = {
    "test_accuracy": (
        METRICS["test_accuracy"].title,
        mark("Test exact match (%)"),
        mark("Test accuracy or exact match (%)"),
    ),
    "validation_accuracy": (
        METRICS["validation_accuracy"].title,
        mark("Validation exact match (%)"),
        mark("Validation accuracy or exact match (%)"),
    ),
}
"""Metric -> its titles for runs with one label a sentence, for multi-label runs, and for both together."""

_HELP = {
    "test_accuracy": mark(
        "Share of the test sentences that the run labels right; with several labels a sentence exact match, the share "
        "that get all their labels and no other."
    ),
    "validation_accuracy": mark("Of the epoch that was kept, which is the one with the best validation accuracy."),
    "precision": mark("Of the test sentences given a label, the share that have it; the mean over labels."),
    "recall": mark(
        "Of the test sentences that have a label, the share that are given it; the mean over labels, which with one "
        "label a sentence is also called balanced accuracy."
    ),
    "f1": mark("Harmonic mean of precision and recall on the test sentences; the mean over labels."),
    "micro_f1": mark(
        "The same over all pairs of sentence and label at once; with one label a sentence it is the accuracy, and not "
        "shown."
    ),
    "average_precision": mark(
        "Area under precision against recall as the threshold on a label's probability moves, each label against the "
        "rest; the mean over labels."
    ),
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
    "test_loss": mark("Mean cross-entropy on the test sentences; with several labels the mean over the labels too."),
    "parents_minutes": mark("Training time of the runs that this one fuses; not in its own."),
    "parents_parameters": mark("Parameters trained in the runs that this one fuses; not in its own."),
    "parents_size": mark("Saved size of the runs that this one fuses; not in its own."),
    "minutes_with_parents": mark("For a fusion, its own training and that of the runs that it fuses."),
    "trainable_with_parents": mark("For a fusion, its own and those of the runs that it fuses."),
    "latency": mark(
        "One test sentence alone, from tokens to probabilities in float32 as Live computes them: median over 24 "
        "sentences and of 3 to 5 repeats."
    ),
    "latency_merged": mark("The same with LoRA's update merged into the weights; QLoRA's would be rounded to 4 bits."),
    "predictions_per_second": mark(
        "Test sentences a second in batches of 32, in float32 as Live computes them: median of 3 to 5 repeats."
    ),
    "predictions_per_second_merged": mark("The same with LoRA's update merged into the weights."),
    "energy": mark(
        "What the processor (RAPL) and the GPU (NVML) took during the run, of those that tell, other programs included."
    ),
    "calibration_error": mark(
        "Expected calibration error on all test sentences: the distance between the predicted label's probability and "
        "the share that is right, mean over 15 bins of equal width by their sentences (Guo et al. 2017). Few sentences "
        "alone make it larger."
    ),
    "calibration_error_scaled": mark(
        "The same after temperature scaling: one number, fitted on the validation sentences, divides the logits."
    ),
    "brier": mark(
        "Squared distance of the probabilities from the true label on all test sentences, summed over labels: 0 is "
        "perfect, 2 the worst (Brier 1950)."
    ),
}
