"""The interface of a method: how it builds, saves, opens and counts a model.

Importing a method imports no torch, so that the form, the command line and estimates start fast.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainer.config import Strict
from trainer.engine.prepare import Speedups
from trainer.errors import ArgumentError
from trainer.machine.device import Device
from trainer.machine.measure import folder_bytes
from trainer.sources import weights
from trainer.sources.backbones import FAMILIES, Located, Part, Shape
from trainer.sources.configs import is_off
from trainer.texts import mark, tr

if TYPE_CHECKING:
    from torch import Tensor, nn


REFERENCE, ADAPTERS, PROMPTS, QUANTISED = "reference", "adapters", "prompts", "quantised"
LOW_RANK, VECTORS, ORTHOGONAL, SPECTRAL = "low-rank", "vectors", "orthogonal", "spectral"
GROUPS = {
    REFERENCE: mark("Reference"),
    LOW_RANK: mark("Low-rank"),
    VECTORS: mark("Vectors"),
    ORTHOGONAL: mark("Orthogonal"),
    SPECTRAL: mark("Sparse and spectral"),
    ADAPTERS: mark("Adapters"),
    PROMPTS: mark("Prompts"),
    QUANTISED: mark("Quantised"),
}
"""The groups of methods, in the form's order; their names are those of `Method.group`."""

CLASSIFIER_SPEEDUPS = Speedups(packing=True, first_token=True, prepacked=True, dropout_stock=True, embedding_rows=True)
"""The speed-ups of transformers' own classifiers (`load_classifier`)."""


class Options(Strict):
    """A method's own hyperparameters. Titles and descriptions are marked texts, for the form."""


@dataclass(frozen=True)
class Parent:
    """A finished adapter run that a fusion builds on: its name in the fused model, and its model folder."""

    name: str
    run_id: str
    folder: Path


@dataclass(frozen=True)
class ParentWeights:
    """A fusion's attention weights over its parents for one text: `weights` (layers, parents), each row summing to 1.

    `layers` names the fusions in the order of the forward pass (one or two a layer), `parents` the fused adapters.
    """

    layers: tuple[str, ...]
    parents: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Setup:
    """The inputs of a method to build or open a model."""

    backbone: Located
    label_names: tuple[str, ...]
    options: Any
    device: Device
    precision: str = "fp32"
    parents: tuple[Parent, ...] = field(default=())
    training: bool = False
    multi_label: bool = False

    @property
    def problem_type(self) -> str:
        """transformers' name of the kind of task, which decides the loss that the library itself would compute."""
        return f"{'multi' if self.multi_label else 'single'}_label_classification"

    @property
    def attention(self) -> str:
        """transformers' attention implementation. Training on a CPU takes the plain one: there the fused one has no
        dropout, and its backward pass is slower for sentences."""
        plain = (self.training and self.device.kind == "cpu") or not self.backbone.family.sdpa
        return "eager" if plain else "sdpa"

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.label_names))


@dataclass(frozen=True)
class RateSource:
    """Source of a method's own learning rate: how it came about, and the table or the place in a paper that has it."""

    kind: Literal["tuned", "published", "chosen"]
    reference: str


TUNED = RateSource("tuned", "benchmarks/rates.json, on all-MiniLM-L6-v2")
"""Highest mean validation accuracy in the sweep that all methods share (tests/test_rates.py)."""


UNSWEPT = RateSource("chosen", "the best of a few on 400 validation sentences of movies, one seed; not swept yet")
UNSWEPT_BASE = RateSource("chosen", "a first guess for encoders of base size, not swept")


class Method(ABC):
    """One way to adapt a backbone to a task. Subclasses supply only what differs.

    Attributes:
        name, title, summary: the registry's name, and texts for the page, marked for `tr`.
        paper: the method's source.
        options: the class of its own hyperparameters.
        learning_rates: its own peak learning rates, (hidden size below 512, others): the first for the embedded
            backbone, the second as its authors or its library use it on encoders of base size.
        learning_rate_sources: the source of each of them.
        group: its group in the form and the documents, a key of `GROUPS`.
        library: the library that opens its saved model without this project.
        parent_method: for a method that fuses runs, the method of those runs.
        quantised_from: for a method that is another one over a quantised backbone, that one's name.
        speedups: the speed-ups that it allows; none unless the class declares them itself.
        trains_backbone: whether all of the encoder's own parameters train.
        families: the encoder families that it works on.
        merges: whether its update can be added to the encoder's weights.
        saves_whole: whether the whole model is saved, not only what the method adds to a frozen encoder.
    """

    name: str
    title: str
    summary: str
    paper: str
    library: str
    learning_rates: tuple[float, float]
    learning_rate_sources: tuple[RateSource, RateSource]
    group: str = LOW_RANK
    options: type[Options] = Options
    parent_method: str | None = None
    quantised_from: str | None = None
    min_parents = 0
    trains_backbone = False
    saves_whole = False
    families: tuple[str, ...] = tuple(FAMILIES)
    merges = False
    speedups = Speedups()

    def __init_subclass__(cls) -> None:
        """Reset `speedups`: a subclass does not inherit those that were tested for its parent."""
        super().__init_subclass__()
        if "speedups" not in cls.__dict__:
            cls.speedups = Speedups()

    @property
    def peft_type(self) -> str | None:
        """The method's name in results that PEFT's method comparison reads: PEFT's own if any; None for full."""
        return self.name.upper()

    @abstractmethod
    def build(self, setup: Setup) -> nn.Module:
        """A model on `setup.device` whose trainable parameters are exactly those that the method trains."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path, setup: Setup) -> None:
        """Write a folder that the method's own library opens; weights as safetensors."""

    @abstractmethod
    def open(self, folder: Path, setup: Setup) -> nn.Module:
        """The saved model on `setup.device`, in evaluation mode, with the logits that it had when saved."""

    @abstractmethod
    def rebuild(self, folder: Path, setup: Setup) -> dict[str, dict[str, Any]]:
        """The configurations of a saved folder made again from the run's own recipe: path in the folder -> content.

        Raises `UserError` for a file that is missing, damaged, or says something else than the recipe. No torch.
        """

    @abstractmethod
    def tensors(self, folder: Path, setup: Setup) -> dict[str, weights.Shapes]:
        """The tensors that each file of weights of a saved folder has: path in the folder -> name -> shape. No torch.

        Call `rebuild` first: this may read configurations that it has checked.
        """

    def check(self, folder: Path, setup: Setup) -> None:
        """Raise `UserError` unless a saved folder holds what `save` writes for this setup, all weights finite.

        Without torch, and before a library opens a file: a folder may come from elsewhere or be damaged.
        """
        self.rebuild(folder, setup)
        for file, expected in self.tensors(folder, setup).items():
            weights.check(folder / file, expected, whole=self.saves_whole)

    def check_options(self, shape: Shape, options: Any) -> None:
        """Raise `ArgumentError` for an encoder of another family, and for options that do not fit one of this shape."""
        if shape.family not in self.families:
            raise ArgumentError(
                expected=tr(
                    "an encoder of the kinds {names} for {method}",
                    names=", ".join(self.families),
                    method=tr(self.title),
                ),
                got=shape.family,
                fix=tr("choose another backbone or method"),
            )

    def runs_on(self, device: Device) -> bool:
        """Whether models of this method can be built on the device."""
        return True

    def for_inference(self, model: nn.Module, setup: Setup) -> nn.Module:
        """An opened model made faster for inference: the same logits, but it can no longer be trained or saved."""
        return model

    def merge(self, model: nn.Module) -> nn.Module | None:
        """An opened model with its updates merged into the backbone's weights, as transformers' own classifier.

        Its logits are the same up to rounding. None for a method whose updates cannot be merged.
        """
        return None

    def longest(self, shape: Shape, options: Any) -> int:
        """The most tokens of a text."""
        return shape.longest

    def rate_factor(self, parameter: str, options: Any) -> float:
        """What the learning rate is multiplied by for a trained parameter, by its name; 1 for most methods."""
        return 1.0

    def extra_loss(self, model: nn.Module) -> Tensor | None:
        """A term added to each step's loss, such as a regulariser; None for most methods. In float32, a scalar."""
        return None

    @abstractmethod
    def trainable_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        """The number of parameters that the method trains, by theory, the head included.

        `parents`, here and below, are the options of the runs that are fused, for a method that fuses runs.
        """

    def learning_rate(self, shape: Shape) -> float:
        """The method's own peak learning rate for an encoder of this shape: small encoders take larger steps."""
        return self.learning_rates[_size(shape)]

    def rate_source(self, shape: Shape, rate: float) -> Literal["tuned", "published", "chosen"]:
        """How a learning rate came about for an encoder of this shape; "chosen" if it is not the method's own."""
        return self.learning_rate_sources[_size(shape)].kind if rate == self.learning_rate(shape) else "chosen"

    def added_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        """The number of parameters that the method adds to the encoder, trained or not, the head included."""
        added = self.added_parts(shape, options, parents=parents)
        return sum(part.total for part in added) + shape.head_parameters(labels)

    def parts(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        """The whole model in parts: the encoder's, the method's own, the head.

        The totals of those that train sum to `trainable_parameters`, all of them to the encoder's and
        `added_parameters`.
        """
        encoder = tuple(replace(part, trains=self.trains_backbone) for part in shape.parts())
        head = Part("head", shape.head_parameters(labels), trains=True)
        return (*encoder, *self.added_parts(shape, options, parents=parents), head)

    def added_parts(self, shape: Shape, options: Any, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        """The parts that the method adds inside the encoder's layers."""
        return ()

    def weight_bytes(self, shape: Shape) -> float:
        """Bytes that the encoder's frozen or trained weights take in memory."""
        return 4.0 * shape.encoder_parameters

    def file_size(self, folder: Path) -> int:
        """Bytes of a saved model, without copies of its parents."""
        return folder_bytes(folder)

    def loading(self, *, base: str, labels: int, options: Any, head: tuple[str, ...]) -> str:
        """Python code that loads `model` from the `folder` of `save` with the method's library alone.

        Its imports, an empty line, its statements.

        `base` is the backbone as written in a call (its name on the Hub, quoted, and its revision), `head` names the
        modules of its classification head.
        """
        return (
            "from transformers import AutoModelForSequenceClassification\n\n"
            "model = AutoModelForSequenceClassification.from_pretrained(folder)"
        )

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        """This method's options from the adapter_config.json of a foreign adapter; None for another method's.

        `shape` is the encoder's. Raises `ArgumentError` for a setting that changes predictions and has no option here.
        """
        return None

    def check_source(self, source: Path, shape: Shape, options: Any) -> None:  # noqa: B027 - most have none
        """Raise `UserError` for an adapter trained elsewhere that `adopt` would refuse for its weights.

        As far as that is known without torch and the task: a pickle is checked by `adopt` alone.
        """

    def adopt(self, source: Path, folder: Path, setup: Setup, order: Sequence[str]) -> None:
        """Convert an adapter trained elsewhere to the format of `save`; `order`: its labels in its own order, if known.

        Raises `UserError` when it does not fit the backbone or the task, or has no classification head.
        """
        raise ArgumentError(
            expected=tr("an adapter of a method that takes them from elsewhere"),
            got=self.name,
            fix=tr("choose another"),
        )

    def parent_options(self, options: Any) -> dict[str, Any]:
        """Options of the parents that are trained as part of a run."""
        return {}

    def parent_tasks(self, task: str, options: Any) -> tuple[str, ...]:
        """Tasks whose runs are fused when no parents are named; empty for most methods."""
        return ()

    def parent_weights(self, model: nn.Module, batch: dict[str, Tensor]) -> ParentWeights | None:
        """The parents' weights for one text; None without parents.

        `batch`: the model's inputs, such as ids and mask, (1, tokens) each, on its device.
        """
        return None


def _size(shape: Shape) -> int:
    """Index of an encoder's size in `learning_rates`: 0 for small ones, 1 for others."""
    return 0 if shape.hidden < 512 else 1


def refuse_lost(method: Method, settings: dict[str, Any], *, plain: dict[str, Any], ignored: Collection[str]) -> None:
    """Raise `ArgumentError` for settings of an adapter trained elsewhere that the method's options cannot express.

    `plain`: the value that a setting without an option must have; `ignored`: settings that are options or change no
    prediction. Every other setting must be off: None, False or empty.
    """
    lost = {
        name: value
        for name, value in settings.items()
        if name not in ignored and (value != plain[name] if name in plain else not is_off(value))
    }
    if lost:
        raise ArgumentError(
            expected=tr("an adapter that the options of {method} describe in full", method=tr(method.title)),
            got=", ".join(f"{name}={json.dumps(value)[:60]}" for name, value in lost.items()),
            fix=tr("choose another"),
        )


def label_rows(setup: Setup, order: Sequence[str], count: int) -> list[int]:
    """For each label of the task, the index of its row in a head trained elsewhere over `count` labels.

    Raises `ArgumentError` when the head or `order` does not fit the task.
    """
    names = setup.label_names
    if count != len(names):
        raise ArgumentError(
            expected=tr("a head over {count} labels ({names})", count=len(names), names=", ".join(names[:9])),
            got=tr("one over {count}", count=count),
            fix=tr("choose the task that the adapter was trained on"),
        )
    if not order:
        return list(range(count))
    if sorted(order) != sorted(names):
        raise ArgumentError(
            expected=tr("the labels {names} in the adapter's order", names=", ".join(names[:9])),
            got=", ".join(order),
            fix=tr("write each of them once"),
        )
    return [list(order).index(name) for name in names]


def load_classifier(setup: Setup, **arguments: Any) -> nn.Module:
    """transformers' sequence classifier on the backbone, with a new head, on the CPU by default."""
    from transformers import AutoModelForSequenceClassification

    if setup.multi_label:
        arguments["problem_type"] = setup.problem_type
    model = AutoModelForSequenceClassification.from_pretrained(
        setup.backbone.folder,
        id2label=setup.id2label,
        label2id={name: i for i, name in setup.id2label.items()},
        local_files_only=True,
        trust_remote_code=False,
        attn_implementation=setup.attention,
        # A folder that was saved with a head: every run starts with a new one, else all seeds would start alike, and
        # the methods whose library has heads of its own differently.
        key_mapping={rf"^({'|'.join(setup.backbone.family.head)})\.": r"head_of_the_folder.\1."},
        **arguments,
    )
    # The saved configuration must name the official weights, not a folder of this machine.
    model.name_or_path = model.config._name_or_path = setup.backbone.hub_id
    return model


def common_linears(shape: Shape, names: Iterable[str]) -> list[tuple[int, int]]:
    """(inputs, outputs) of linear layers inside one encoder layer, by their common names."""
    return [shape.linear(name) for name in names]
