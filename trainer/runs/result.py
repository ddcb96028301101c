"""Pydantic models of run.json: a run, and the result of a finished one. docs/run.schema.json is generated from them.

Bytes, seconds, and shares from 0 to 1, unless a field says otherwise. `run_info`, `train_info` and `meta_info` have the
field names of PEFT's method comparison (huggingface/peft, method_comparison/processing.py), and fields that it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, JsonValue, model_serializer, model_validator

from trainer.config import RunConfig, Strict

SCHEMA_VERSION = 3
RUN_ID = re.compile("[a-z0-9_][a-z0-9_-]{3,120}")
"""Pattern of the ids that the program makes."""

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]
"""A tuple, read from a JSON array (not strict, for JSON has no tuples); its items are strict."""
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Loss = Annotated[float, Field(allow_inf_nan=True)]
"""Cross-entropy; NaN for an epoch that diverged, which is then not the best one."""
Time = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""Time in UTC, to the second."""


class Record(Strict):
    """Base of the parts of run.json: frozen, no unknown fields, types are not converted ("3" is no number)."""

    model_config = ConfigDict(strict=True, ser_json_inf_nan="constants")


# lineage: what the run is made from


class Adopted(Record):
    """Origin of an adapter that was trained elsewhere."""

    source: str = Field(description="the repository on the Hub, or the last two parts of the folder's path")
    label_order: Many[str] = Field(description="the labels in the adapter's own order; empty if not given")


class Bundled(Record):
    """Origin of a run that comes with the program."""

    command: str = Field(description="the command line that trains it again")
    weights: bool = Field(description="whether model/ is there")


RateSource = Literal["tuned", "published", "chosen"]
"""tuned: the method's own, from the sweep in benchmarks/rates.json; published: the method's own, from its paper or
library; chosen: another value, set by a person or by a suite."""


class Lineage(Record):
    """Other runs or sources that the run is made from."""

    parents: Many[str] = Field(description="runs that a fusion fuses, as recipe.parents names them")
    content: dict[str, Sha256] | None = Field(
        None, description="of what the recipe names as it was when training began, and how its task is split"
    )
    learning_rate: RateSource | None = Field(
        None, description="how recipe.learning_rate came about when the run was launched; absent where not recorded"
    )
    adopted: Adopted | None = Field(None, description="absent for a run that was trained here")
    bundled: Bundled | None = Field(None, description="absent for a run that does not come with the program")

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, write: Callable[[Lineage], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}


# run_info: time and recipe


class TrainConfig(RunConfig):
    """The recipe, with PEFT's name for the backbone."""

    model_id: str = Field(description="PEFT's name of model_info.hub_id")


class PeftConfig(Record):
    """The method and its options, with PEFT's name for the method."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    peft_type: str = Field(description="PEFT's own name where PEFT has the method (LORA), else the method in capitals")
    method: str


class RunInfo(Record):
    """Time, duration and recipe of the training."""

    experiment_name: str = Field(description="the run's id when it was trained")
    created_at: Time = Field(description="when training began")
    total_time: Seconds = Field(description="seconds in all")
    train_config: TrainConfig
    peft_branch: str = Field(description="PEFT's version as a tag of its repository, such as v0.21.2")
    peft_config: PeftConfig | None = Field(description="null for full fine-tuning")
    error_msg: str = Field(description="PEFT's field; empty")


# train_info: cost of the training


class StepMemory(Record):
    """Bytes of live tensors at the peak of a training step, apart by what they hold; the parts sum to `peak`."""

    peak: Count = Field(description="bytes at the peak, over the steps that were watched")
    weights: Count = Field(description="bytes of the model's parameters and buffers")
    gradients: Count = Field(description="bytes of gradients at that peak")
    optimizer_states: Count = Field(description="bytes of AdamW's moments at that peak")
    activations: Count = Field(description="bytes kept from the forward pass for the backward pass at that peak")
    temporary: Count = Field(description="bytes of everything else at that peak, the batch included")
    steps: Count = Field(description="steps that were watched, on the batches with the most tokens")


class Speed(Record):
    """Speed of predicting the test sentences, tokenised before, as the median of repeats."""

    latency: Seconds = Field(description="seconds for one sentence alone (batches of 1)")
    sentences_per_second: Annotated[float, Field(ge=0)] = Field(description="in batches of 32")
    repeats: Count = Field(description="measurements that each median is of")


class Inference(Speed):
    """Speed of predicting with the model as it is saved and served."""

    merged: Speed | None = Field(
        None,
        description="the same with the update merged into the weights; null for methods whose updates cannot be",
    )


class Memory(Record):
    """Memory and energy, as `machine.measure.Meter` reports them."""

    accelerator_memory_reserved_avg: Count | None = Field(
        description="bytes that torch reserved on the GPU, mean over samples; null without a GPU"
    )
    accelerator_memory_max: Count | None = Field(
        description="bytes reserved on the GPU at the peak; null without a GPU"
    )
    accelerator_memory_reserved_99th: Count | None = Field(
        description="bytes reserved on the GPU, 99th percentile of the samples; null without a GPU"
    )
    accelerator_memory_allocated_max: Count | None = Field(
        description="bytes allocated on the GPU at the peak; null without a GPU"
    )
    accelerator_utilisation_avg: Percent | None = Field(
        description="per cent of the time in which the GPU was busy; null where the driver does not tell"
    )
    accelerator_energy_joules: Annotated[float, Field(ge=0)] | None = Field(
        description="joules that the GPU took; null where the driver does not tell"
    )
    host_memory_start: Count | None = Field(description="resident bytes of the process before training")
    host_memory_peak: Count | None = Field(description="resident bytes of the process at its peak")
    host_energy_joules: Annotated[float, Field(ge=0)] | None = Field(
        None, description="joules that the processor took, by RAPL; null where the system does not tell"
    )
    step_memory: StepMemory | None = Field(
        None, description="what a training step needs; null for an adapter from elsewhere and where not recorded"
    )

    @property
    def peak(self) -> int | None:
        """Peak memory in bytes: live tensors of a training step; where that was not recorded, `process_peak`.

        None for a run that was trained elsewhere.
        """
        return self.step_memory.peak if self.step_memory else self.process_peak

    @property
    def process_growth(self) -> int | None:
        """Growth of the process's resident memory over everything: loading, evaluation, what the allocator retains too.

        None for a run that was trained elsewhere.
        """
        if self.host_memory_peak is None or self.host_memory_start is None:
            return None
        return self.host_memory_peak - self.host_memory_start

    @property
    def process_peak(self) -> int | None:
        """Bytes allocated on the GPU at the peak, over the whole run; on a CPU `process_growth`."""
        allocated = self.accelerator_memory_allocated_max
        return self.process_growth if allocated is None else allocated

    @property
    def energy(self) -> float | None:
        """Joules of processor and GPU together, of the one alone where the other does not tell; None where neither."""
        known = [joules for joules in (self.accelerator_energy_joules, self.host_energy_joules) if joules is not None]
        return sum(known) if known else None


class Epoch(Record):
    """Evaluation of the validation split after an epoch. PEFT's names have a space; only the last epoch has them."""

    epoch: float = Field(ge=0, description="epochs done")
    step: Count = Field(description="updates done")
    loss: Loss = Field(description="mean cross-entropy on the validation split")
    accuracy: Share = Field(description="on the validation split")
    seconds: Seconds = Field(description="of this evaluation")
    train_loss: Loss = Field(description="mean over the epoch")
    memory: Count | None = Field(description="bytes in use after the epoch")
    utilisation: Percent | None = Field(description="per cent of the time in which the GPU was busy")
    best: bool = Field(description="whether it was the best so far")
    train_seconds: Seconds = Field(description="of training so far")
    peft_test_accuracy: Share | None = Field(None, alias="test accuracy", description="PEFT's name of test.accuracy")
    peft_train_loss: Loss | None = Field(None, alias="train loss", description="PEFT's name of train_loss")
    peft_train_samples: Count | None = Field(
        None, alias="train samples", description="sentences trained on, all epochs together"
    )
    peft_train_total_tokens: Count | None = Field(
        None, alias="train total tokens", description="PEFT's name of real_tokens"
    )

    @property
    def has_peft_names(self) -> bool:
        """Whether all fields that PEFT's reader takes from the last entry have values."""
        peft = (self.peft_test_accuracy, self.peft_train_loss, self.peft_train_samples, self.peft_train_total_tokens)
        return None not in peft

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, write: Callable[[Epoch], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None or " " not in name}


TRAINED = (
    "host_memory_start",
    "host_memory_peak",
    "train_time",
    "sentences_per_second",
    "steps",
    "real_tokens",
    "padded_tokens",
    "best_epoch",
)
"""Fields of `TrainInfo` that are null only for an adapter that was trained elsewhere."""


def _trained_schema(schema: dict[str, Any]) -> None:
    """Add to a JSON Schema the rule that `TrainInfo` checks for runs that were trained here."""
    figures = {name: {"not": {"type": "null"}} for name in TRAINED}
    schema["if"] = {"properties": {"status": {"const": "success"}}}
    schema["then"] = {"properties": figures | {"metrics": {"minItems": 1}}}


class TrainInfo(Memory):
    """Cost of the training. Figures that only training can measure are null for an adapter from elsewhere."""

    model_config = ConfigDict(json_schema_extra=_trained_schema)

    evaluation_time: Seconds = Field(description="seconds of evaluating the validation split, all epochs together")
    test_time: Seconds = Field(description="seconds of evaluating the test split")
    loading_time: Seconds = Field(description="seconds of loading the data and the backbone and of building the model")
    file_size: Count = Field(description="bytes of model/; for a fusion without the copies of its parents")
    num_trainable_params: Count = Field(
        description="parameters that train, the head included; of an adapter from elsewhere those that its files hold"
    )
    num_total_params: Annotated[int, Field(ge=1, le=2**63 - 1)] = Field(description="parameters of the whole model")
    batch_size: Annotated[int, Field(ge=1, le=2**63 - 1)] = Field(description="sentences in one step")
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="what was computed in, auto resolved")
    status: Literal["success", "evaluated"] = Field(
        description="evaluated for an adapter from elsewhere, which PEFT's reader leaves out; else success"
    )
    train_time: Seconds | None = Field(description="seconds of forward passes, backward passes and updates")
    sentences_per_second: Annotated[float, Field(ge=0)] | None = Field(
        description="sentences trained on, all epochs together, over train_time"
    )
    steps: Count | None = Field(description="updates")
    real_tokens: Count | None = Field(description="tokens of the sentences that were trained on, all epochs")
    padded_tokens: Count | None = Field(description="the same with the padding")
    best_epoch: Annotated[float, Field(ge=0)] | None = Field(description="the epoch that was kept")
    best_validation_accuracy: Share = Field(description="validation accuracy of the epoch that was kept")
    metrics: Many[Epoch] = Field(description="one entry an epoch")
    inference: Inference | None = Field(None, description="speed when predicting; null where not recorded")

    @property
    def trainable_share(self) -> float:
        """Trainable parameters as a share of all parameters of the model."""
        return self.num_trainable_params / self.num_total_params

    @model_validator(mode="after")
    def _whole(self) -> TrainInfo:
        if self.status == "success":
            if missing := [name for name in TRAINED if getattr(self, name) is None]:
                raise ValueError(f"a run that was trained here has {missing[0]}")
            if not self.metrics or not self.metrics[-1].has_peft_names:
                raise ValueError("the last entry of metrics has the figures that PEFT's reader takes")
        return self


class Parents(Record):
    """Cost of a fusion's parents, as sums over them; null if one was trained elsewhere. Not part of `train_info`."""

    runs: Many[str] = Field(description="their ids")
    names: Many[str] = Field(description="their names in the fused model")
    train_time: Seconds | None = Field(description="seconds")
    file_size: Count | None = Field(description="bytes")
    num_trainable_params: Count | None = Field(description="parameters")


# meta_info: model, data and machine


class ModelInfo(Record):
    """The backbone."""

    name: str
    hub_id: str
    revision: str | None = Field(description="the commit on the Hub; null for an embedded backbone or a folder")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of its weights")


class Sizes(Record):
    """Sentences of each split."""

    train: Count
    validation: Count
    test: Count


class DatasetInfo(Record):
    """The data of the task."""

    name: str
    label_names: Annotated[Many[str], Field(min_length=2)] = Field(description="label i is the i-th")
    sizes: Sizes
    pairs: bool = Field(False, description="whether each text is a pair of sentences, joined by ||")
    multi_label: bool = Field(False, description="whether a sentence may have several labels, or none")
    group: str | None = Field(
        None, description="what joins sentences that are not independent, such as document; null if each stands alone"
    )
    groups: Sizes | None = Field(None, description="number of groups in each split; null without groups")
    fingerprint: str = Field(
        pattern="^[0-9a-f]{16}$",
        description="a hash over every sentence and label of the splits: equal fingerprints, equal data",
    )
    notes: Many[str] = Field(description="what was left out, in words")


class SystemInfo(Record):
    """The machine."""

    system: str
    release: str
    machine: str
    python: str
    cpu_count: Count | None = Field(description="logical cores")
    device: str = Field(description="the CPU's or GPU's name")
    device_kind: Literal["cpu", "cuda"]
    device_memory: Count = Field(description="bytes")
    capability: Annotated[tuple[Count, Count], Field(strict=False)] | None = Field(
        description="CUDA compute capability"
    )


class MetaInfo(Record):
    """Model, data, packages and machine."""

    model_info: ModelInfo
    dataset_info: DatasetInfo
    package_info: dict[str, str] = Field(
        description="<package>-version for each library that shapes the result, such as peft-version"
    )
    system_info: SystemInfo
    pytorch_info: str = Field(description="torch.__config__.show()")


# Scores


class Means(Record):
    """Scores averaged over the labels. A label that is never predicted has precision 0."""

    precision: Share
    recall: Share
    f1: Share


class LabelScores(Means):
    """Scores of one label."""

    support: Count = Field(description="sentences that have the label")
    average_precision: Share | None = Field(
        None, description="null where no sentence has the label, and unless the task is multi-label"
    )


class Bin(Record):
    """Predictions whose confidence, the probability of the predicted label, lies in one interval."""

    low: Share = Field(description="lower end of the interval")
    high: Share = Field(description="upper end, included")
    count: Count = Field(description="sentences")
    confidence: Share | None = Field(description="mean confidence; null for an empty bin")
    accuracy: Share | None = Field(description="share labelled right; null for an empty bin")


class Calibration(Record):
    """Agreement of the probabilities with the outcomes."""

    expected_calibration_error: Share = Field(
        description="mean over sentences of |accuracy - confidence| of their bin (Guo et al. 2017, equation 3)"
    )
    brier: Annotated[float, Field(ge=0, le=2)] = Field(
        description="mean squared difference of the probabilities and the true label's indicator, summed over labels"
    )
    bins: Many[Bin] = Field(description="of equal width, from 0 to 1")


class Temperature(Record):
    """Temperature that divides the logits, fitted on the validation split (Guo et al. 2017, section 4.2)."""

    value: Annotated[float, Field(gt=0)] = Field(description="above 1 makes the probabilities less sure")
    test_calibration: Calibration = Field(description="of the test split with this temperature")


class Scores(Record):
    """Scores of the predictions on a split."""

    accuracy: Share = Field(
        description="share of the sentences labelled right; in a multi-label task with all their labels: exact match"
    )
    loss: Loss = Field(
        description="mean cross-entropy; in a multi-label task the binary one, over sentences and labels"
    )
    micro: Means | None = Field(None, description="over all pairs of sentence and label; null unless multi-label")
    macro: Means = Field(description="mean over the labels")
    weighted: Means = Field(description="mean over the labels, by how many sentences have each")
    per_class: dict[str, LabelScores] = Field(description="by label name")
    confusion_matrix: Many[Many[Count]] | None = Field(
        description="sentences; rows are true labels, columns predicted ones; null if multi-label"
    )
    label_confusion: dict[str, Many[Many[Count]]] | None = Field(
        None,
        description="by label name the sentences without it and with it (rows), by whether it is predicted (columns); "
        "null unless multi-label",
    )
    calibration: Calibration | None = Field(None, description="null where not recorded")
    average_precision: Share | None = Field(
        None,
        description="mean over the labels, each against the rest; null where not recorded",
    )

    def fit(self, label_names: tuple[str, ...], *, multi_label: bool) -> bool:
        """Whether the scores cover exactly these labels, one a sentence or, if `multi_label`, any number."""
        count, names = len(label_names), set(label_names)
        if self.per_class.keys() != names or (self.confusion_matrix is None) != multi_label:
            return False
        if not multi_label:
            return self.label_confusion is None and [len(row) for row in self.confusion_matrix] == [count] * count
        tables = self.label_confusion or {}
        shapes = {tuple(len(row) for row in table) for table in tables.values()}
        return tables.keys() == names and shapes == {(2, 2)} and self.micro is not None


class Baseline(Record):
    """Scores of a baseline on the test split."""

    accuracy: Share = Field(description="share of the sentences labelled right; exact match if multi-label")
    macro_f1: Share = Field(description="mean over the labels")
    micro_f1: Share | None = Field(None, description="over all pairs of sentence and label; null unless multi-label")
    balanced_accuracy: Share = Field(
        description="mean recall of the labels; if multi-label, of having a label and of not having it"
    )


class Baselines(Record):
    """What the test split gives without a neural network, from the run's own training sentences."""

    majority: Baseline = Field(description="the most frequent training label, or set of labels, for every sentence")
    bag_of_words: Baseline = Field(description="logistic regression on tf-idf of words and pairs of words")


class Result(Record):
    """Result of a run: PEFT's three parts, the cost of a fusion's parents, and the scores of the best epoch."""

    run_info: RunInfo
    train_info: TrainInfo
    parents: Parents | None = Field(description="null for methods without parents")
    meta_info: MetaInfo
    validation: Scores = Field(description="of the epoch that was kept")
    test: Scores = Field(description="of the epoch that was kept, computed once")
    temperature: Temperature | None = Field(None, description="null where not recorded")
    baselines: Baselines | None = Field(None, description="null where not recorded")
    thresholds: dict[str, Share] | None = Field(
        None,
        description="by label name the probability from which it is predicted, chosen on the validation split by F1; "
        "null unless the task is multi-label",
    )

    @property
    def train_time_with_parents(self) -> float | None:
        """Seconds of training, for a fusion with those of its parents; None if any of them is not known."""
        return _sum(self.train_info.train_time, self.parents, "train_time")

    @property
    def trainable_with_parents(self) -> int | None:
        """Parameters that were trained, for a fusion with those of its parents; None if any of them is not known."""
        return _sum(self.train_info.num_trainable_params, self.parents, "num_trainable_params")

    @model_validator(mode="after")
    def _of_one_task(self) -> Result:
        about = self.meta_info.dataset_info
        names = about.label_names
        for scores in (self.validation, self.test):
            if not scores.fit(names, multi_label=about.multi_label):
                raise ValueError(f"scores of the labels {', '.join(names)} are expected")
        if (self.thresholds or {}).keys() != (set(names) if about.multi_label else set()):
            raise ValueError("a threshold for each label of a multi-label task, and none of another, is expected")
        return self


def _sum(own: T | None, parents: Parents | None, name: str) -> T | None:
    """A run's own figure and, if it has parents, theirs."""
    if own is None or parents is None:
        return own
    theirs = getattr(parents, name)
    return None if theirs is None else own + theirs


# The whole of run.json

State = Literal["queued", "running", "finished", "failed", "cancelled"]


def _run_schema(schema: dict[str, Any]) -> None:
    """Add to a JSON Schema the rules across fields that `Content` checks, and when a run has an error."""
    null = {"type": "null"}
    finished = {"properties": {"state": {"const": "finished"}}}
    ended_badly = {"properties": {"state": {"enum": ["failed", "cancelled"]}}}
    adopted = {"properties": {"lineage": {"required": ["adopted"], "properties": {"adopted": {"type": "object"}}}}}
    trained = {"properties": {"train_info": {"properties": {"status": {"const": "success"}}}}}
    schema["allOf"] = [
        {
            "if": finished,
            "then": {"properties": {"result": {"type": "object"}}},
            "else": {"properties": {"result": null}},
        },
        {
            "if": ended_badly,
            "then": {"properties": {"error": {"type": "string", "minLength": 1}}},
            "else": {"properties": {"error": null}},
        },
        {"if": adopted, "else": {"properties": {"result": {"anyOf": [null, trained]}}}},
    ]


class Content(Record):
    """Content of run.json, for a run in any state. A missing `error` is accepted; the program always writes one."""

    model_config = ConfigDict(json_schema_extra=_run_schema)

    schema_version: Literal[3] = Field(description="changes with the content; the program reads older versions")
    id: str = Field(
        pattern=f"^{RUN_ID.pattern}$", description="made by the program; also the folder's name, which counts"
    )
    label: Annotated[str, Field(max_length=1000)] = Field(
        description="a person's own name for the run; may be empty, need not be unique"
    )
    state: State
    created_at: Time = Field(description="when it was queued")
    queue_order: Count = Field(description="its order in the queue: nanoseconds since 1970 when it was queued last")
    suite: str = Field(description="the same for runs that were launched together; empty for one that was not")
    recipe: RunConfig
    lineage: Lineage
    owner: str | None = Field(description="who launched it, where that is known")
    result: Result | None = Field(description="what came out; null until the run has finished")
    error: str | None = Field(description="why it failed or was cancelled, in a sentence")

    @model_validator(mode="after")
    def _consistent(self) -> Content:
        if (self.state == "finished") != (self.result is not None):
            raise ValueError("a finished run, and no other, has a result")
        if self.result and not self.lineage.adopted and self.result.train_info.status != "success":
            raise ValueError("only an adapter from elsewhere has no figures of training")
        if self.result and self.result.meta_info.dataset_info.multi_label != self.recipe.multi_label:
            raise ValueError("the result is multi-label where the recipe is")
        return self
