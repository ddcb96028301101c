"""Recipe of a run: every hyperparameter, documented once and validated together."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from trainer.errors import Problems
from trainer.texts import mark, tr

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Fairness = Literal["own_learning_rate", "same"]
Encoding = Literal[
    "utf-8", "utf-16", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "latin-1", "koi8-r",
    "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr",
]  # fmt: skip
_SIGNS = {",": "comma", ";": "semicolon", "\t": "tab", "\\t": "tab", "|": "pipe"}
ClassWeights = Literal["none", "balanced"]
Weights = Annotated[
    dict[Annotated[str, Field(max_length=200)], Annotated[float, Field(gt=0, le=1e6)]],
    Field(min_length=2, max_length=1000),
]
Epochs = Annotated[
    float,
    # A whole number stays an int, so that it is stored, hashed and shown as "3".
    AfterValidator(lambda value: int(value) if value.is_integer() else value),
    PlainSerializer(lambda value: value, return_type=Any),
]
Truncation = Literal["head", "tail", "head_and_tail"]
BestBy = Literal["accuracy", "macro_f1", "balanced_accuracy", "loss"]
Separator = Annotated[
    Literal["comma", "semicolon", "tab", "pipe"],
    BeforeValidator(lambda value: _SIGNS.get(value, value) if isinstance(value, str) else value),
]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Dialect(Strict):
    """How a file of text is read: the fields of a recipe with these names, for files that no recipe names."""

    separator: Separator | None = None
    encoding: Encoding | None = None


class Names(Enum):
    """Kind of thing that a field names, for fields that may hold a path: `recipes.make` makes the path absolute."""

    TASK = "task"
    FILE = "file"
    BACKBONE = "backbone"


class RunConfig(Strict):
    """Recipe of one run. The field descriptions are also the command line's help and, translated, the form's."""

    # What is trained
    method: str = Field(
        description=mark("how the backbone is adapted: full, lora, qlora, adapter, adapter_fusion and others")
    )
    task: Annotated[str, Names.TASK] = Field(
        description=mark(
            "a task's name, or the path of a file: CSV, TSV, JSON, JSON Lines, Parquet, Excel or OpenDocument"
        )
    )
    backbone: Annotated[str, Names.BACKBONE] = Field(
        description=mark("a backbone's name, or a local folder that holds one")
    )
    text_column: str | None = Field(
        None,
        title=mark("Text column"),
        description=mark(
            "for a file: the column with the text, or two with || between them for pairs of sentences (recognised if "
            "not given)"
        ),
    )
    label_column: str | None = Field(
        None,
        title=mark("Label column"),
        description=mark("for a file: the column with the label (recognised if not given)"),
    )
    several_labels: bool = Field(
        False,
        title=mark("Several labels"),
        description=mark(
            "for a file: a cell of the label column is any number of labels, as a list or with vertical bars between"
        ),
    )
    label_columns: tuple[str, ...] = Field(
        (),
        title=mark("Label columns"),
        description=mark("for a file with a column of 0 and 1 for each label: these columns, in place of label_column"),
    )
    group_column: str | None = Field(
        None,
        title=mark("Group column"),
        description=mark("for a file: the column that joins sentences of one document, kept in one split together"),
    )
    separator: Separator | None = Field(
        None,
        title=mark("Separator"),
        description=mark("for a CSV or TSV file: what separates the columns (recognised if not given)"),
    )
    encoding: Encoding | None = Field(
        None,
        title=mark("Encoding"),
        description=mark("for a file that is not UTF-8: its encoding, such as cp1252 (UTF-16 is recognised)"),
    )

    validation_share: float | None = Field(
        None,
        gt=0,
        le=0.4,
        title=mark("Validation share"),
        description=mark("for a file: share held out for validation, and as much for the test (0.1 if not given)"),
    )
    validation_file: Annotated[str | None, Names.FILE] = Field(
        None, description=mark("for a file: another file to validate on, same columns")
    )
    test_file: Annotated[str | None, Names.FILE] = Field(
        None, description=mark("for a file: another file to test on, same columns")
    )

    # Seeds and sizes
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        title=mark("Seed"),
        description=mark("seeds the new weights, the order of batches and dropout"),
    )
    split_seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        title=mark("Seed of the splits"),
        description=mark("seeds the splits; the same for all runs to be compared"),
    )
    train_size: int | None = Field(
        None,
        ge=8,
        title=mark("Training sentences"),
        description=mark("train on this many sentences, stratified (all if not given)"),
    )
    validation_size: int | None = Field(
        None, ge=4, title=mark("Validation sentences"), description=mark("validate on this many (all if not given)")
    )
    test_size: int | None = Field(
        None, ge=4, title=mark("Test sentences"), description=mark("test on this many (all if not given)")
    )

    # Optimisation: AdamW (Loshchilov and Hutter 2019)
    learning_rate: float = Field(
        gt=0, le=1, title=mark("Learning rate"), description=mark("peak learning rate (each method's own if not given)")
    )
    fairness: Fairness = Field(
        "own_learning_rate",
        title=mark("What makes the comparison fair"),
        description=mark("own_learning_rate: methods differ in it alone; same: every hyperparameter is the same"),
    )
    batch_size: int = Field(32, ge=1, le=1024, title=mark("Batch size"), description=mark("sentences in one batch"))
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=1024,
        title=mark("Gradient accumulation"),
        description=mark("batches in one optimiser step: a larger batch in the memory of a small one"),
    )
    group_by_length: bool = Field(
        False,
        title=mark("Group by length"),
        description=mark(
            "off: each batch has short and long sentences alike; on: sentences of like length, which is no faster and "
            "which full fine-tuning may lose from"
        ),
    )
    epochs: Epochs = Field(
        3,
        gt=0,
        le=1000,
        title=mark("Epochs"),
        description=mark("passes over the training split; 0.5 is half a pass"),
    )
    warmup_ratio: float = Field(
        0.06,
        ge=0,
        lt=1,
        title=mark("Warm-up"),
        description=mark("share of the steps in which the learning rate rises (Goyal et al. 2017)"),
    )
    lr_scheduler: Literal["linear", "cosine", "constant"] = Field(
        "linear", title=mark("Learning rate schedule"), description=mark("course after the warm-up")
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        le=1,
        title=mark("Weight decay"),
        description=mark("decoupled (Loshchilov and Hutter 2019); not on biases and layer norms"),
    )
    max_grad_norm: float = Field(
        1.0,
        gt=0,
        title=mark("Gradient norm"),
        description=mark("gradients are clipped to this norm (Pascanu et al. 2013)"),
    )

    # What is minimised, and which epoch is taken
    class_weights: ClassWeights | Weights = Field(
        "none",
        title=mark("Class weights"),
        description=mark("balanced: rare labels count as much as frequent ones; or a number for each label"),
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        title=mark("Label smoothing"),
        description=mark("share of the target that is spread over all labels (Szegedy et al. 2016)"),
    )
    best_by: BestBy = Field(
        "accuracy", title=mark("Best epoch by"), description=mark("the validation figure that chooses the best epoch")
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        le=1000,
        title=mark("Early stopping"),
        description=mark("end once this many epochs have brought no better one (never if not given)"),
    )

    # Text and numbers
    max_length: int = Field(
        128,
        ge=8,
        le=512,
        title=mark("Maximum length (tokens)"),
        description=mark("longer sentences are cut to this many tokens"),
    )
    truncation: Truncation = Field(
        "head",
        title=mark("Longer sentences"),
        description=mark(
            "what is read of a longer sentence: its head, its tail, or both (a quarter of the tokens from the head; "
            "Sun et al. 2019)"
        ),
    )
    precision: Precision = Field(
        "auto", title=mark("Precision"), description=mark("auto takes what the device does well: bf16, fp16 or fp32")
    )

    # The method's own options, and the runs that a fusion builds on
    options: dict[str, Any] = Field(default_factory=dict, description=mark("the method's own hyperparameters"))
    parents: tuple[str, ...] = Field(
        (), title=mark("Runs to fuse"), description=mark("for AdapterFusion: ids of the adapter runs to fuse")
    )

    # Does not change the result
    track: bool = Field(
        False, title=mark("Track with Weights & Biases"), description=mark("track the run with Weights & Biases")
    )

    @property
    def multi_label(self) -> bool:
        """Whether a sentence may have several labels, or none."""
        return self.several_labels or bool(self.label_columns)

    def fingerprint(self) -> str:
        """Hash (16 hexadecimal digits) of all fields that affect the result: equal recipes have equal fingerprints.

        A file is hashed by its path; `recipes.identity` adds the hash of its content.
        A field that was added later is left out while it has the value that older recipes imply: their hashes stay.
        """
        recipe = self.model_dump(mode="json", exclude={"track"})
        for name, value in _ADDED.items():
            if recipe[name] == value:
                del recipe[name]
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


_ADDED = {
    "gradient_accumulation_steps": 1,
    "several_labels": False,
    "label_columns": [],
    "group_column": None,
    "separator": None,
    "encoding": None,
    "validation_share": None,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "best_by": "accuracy",
    "early_stopping": None,
    "truncation": "head",
}
"""Fields added after the first fingerprints were stored -> the value that a recipe without the field implies."""


def describe(error: ValidationError) -> list[str]:
    """One translated sentence for each problem in a pydantic error."""
    return [_sentence(problem) for problem in error.errors()]


def check(model: type[Strict], values: dict[str, Any]) -> Any:
    """`model(**values)`. Raises `Problems`, which names every problem at once."""
    try:
        return model(**values)
    except ValidationError as error:
        raise Problems(describe(error)) from None


_BOUNDS = {
    "greater_than": ("gt", mark("a number above {bound}")),
    "greater_than_equal": ("ge", mark("a number of at least {bound}")),
    "less_than": ("lt", mark("a number below {bound}")),
    "less_than_equal": ("le", mark("a number of at most {bound}")),
}
_PYDANTICS = (
    mark("a valid integer"),
    mark("a valid integer, unable to parse string as an integer"),
    mark("a valid integer, got a number with a fractional part"),
    mark("a valid number"),
    mark("a valid number, unable to parse string as a number"),
    mark("a finite number"),
    mark("a valid string"),
    mark("a valid boolean"),
    mark("a valid boolean, unable to interpret input"),
    mark("a valid tuple"),
    mark("a valid dictionary"),
    mark("tuple should have at least 1 item after validation, not 0"),
)
"""Pydantic's own messages for wrong values, marked so that they are in the catalogue for translation."""


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or tr("the settings")
    kind, context, got = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind in _BOUNDS:
        key, text = _BOUNDS[kind]
        expected = tr(text, bound=f"{context[key]:.15g}")
    elif kind == "literal_error":
        choices, _, last = context["expected"].rpartition(" or ")
        expected = tr("one of {choices}", choices=tr("{one} or {other}", one=choices, other=last) if choices else last)
    elif kind == "extra_forbidden":
        return tr("{name}: expected a known setting, got an unknown one; check its spelling.", name=name)
    elif kind == "missing":
        return tr("{name}: expected a value, got none; give one.", name=name)
    else:
        message = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        expected = tr(message)
    return tr("{name}: expected {expected}, got {got}; change it.", name=name, expected=expected, got=repr(got))
