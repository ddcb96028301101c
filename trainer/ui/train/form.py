"""The values of Train's form: a preset's, and the suite of recipes that they make. Imports no Gradio."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import ArgumentError
from trainer.runs import recipes
from trainer.runs.presets import PRESETS
from trainer.texts import mark, tr

TRAINING, SENTENCES, OPTIMISER = mark("Training"), mark("Sentences"), mark("Optimiser")
RECIPE = {
    "epochs": TRAINING,
    "early_stopping": TRAINING,
    "best_by": TRAINING,
    "batch_size": TRAINING,
    "gradient_accumulation_steps": TRAINING,
    "group_by_length": TRAINING,
    "max_length": TRAINING,
    "truncation": TRAINING,
    "learning_rate": TRAINING,
    "fairness": TRAINING,
    "precision": TRAINING,
    "train_size": SENTENCES,
    "validation_size": SENTENCES,
    "test_size": SENTENCES,
    "validation_share": SENTENCES,
    "split_seed": SENTENCES,
    "warmup_ratio": OPTIMISER,
    "lr_scheduler": OPTIMISER,
    "weight_decay": OPTIMISER,
    "max_grad_norm": OPTIMISER,
    "class_weights": OPTIMISER,
    "label_smoothing": OPTIMISER,
}
"""The recipe's fields in the form, each with its heading. Their titles and help are in `RunConfig`."""
COLUMNS = (
    "text_column", "label_column", "group_column", "separator", "encoding", "several_labels", "label_columns",
)  # fmt: skip
"""Fields of the recipe that say how a file is read."""
_OWN = ("methods", "more_methods", "more_options", "task", "backbone", "seeds", "label")
"""Fields of the form that are no settings of a suite."""
MOST_SEEDS = 20
"""The most seeds of one launch; the page also estimates their cost at every change."""


def options_of(method: str) -> dict[str, Any]:
    """The fields of one method by their name in the form: its options, its learning rate, and its parents if any."""
    of = methods.get(method)
    fields = {f"{method}.{name}": field for name, field in of.options.model_fields.items()}
    fields[f"{method}.learning_rate"] = RunConfig.model_fields["learning_rate"]
    if of.parent_method:
        fields[f"{method}.parents"] = RunConfig.model_fields["parents"]
    return fields


def defaults(preset: str = "quick") -> dict[str, Any]:
    """The form's values for a preset, by field; an empty text means no value."""
    suite = PRESETS[preset]
    values: dict[str, Any] = {"methods": list(suite.methods), "task": suite.task, "backbone": suite.backbone}
    values |= {name: shown(suite.settings.get(name, default(RunConfig.model_fields[name]))) for name in RECIPE}
    values["methods"] = [name for name in suite.methods if name in methods.DEFAULT]
    values["more_methods"] = [name for name in suite.methods if name not in methods.DEFAULT]
    values["more_options"] = ""
    for method in methods.DEFAULT:
        values |= {name: shown(default(field)) for name, field in options_of(method).items()}
    columns = dict.fromkeys(COLUMNS) | {"several_labels": False, "label_columns": []}
    return values | columns | {"seeds": ", ".join(map(str, suite.seeds)), "label": "", "track": False}


def suite_of(form: dict[str, Any]) -> dict[str, Any]:
    """The form's values as arguments of `recipes.suite`, and `label`. Raises `ArgumentError` for the seeds,
    and `Problems` for the options of more methods."""
    chosen = [*(form["methods"] or ()), *(form["more_methods"] or ())]
    settings: dict[str, Any] = {}
    if form["more_methods"]:
        settings |= recipes.parse_settings((form["more_options"] or "").split(), example="vera.r=128", own=True)
    for name, value in form.items():
        if name in _OWN or value is None or value == "":
            continue
        method, dot, own = name.partition(".")
        if dot and (method not in chosen or same(value, default(options_of(method)[name]))):
            continue
        if not dot and same(value, default(RunConfig.model_fields[name])):
            continue
        if name in COLUMNS and not tasks.is_file(form["task"]):
            continue
        if form["fairness"] == "same" and own == "learning_rate":
            continue
        settings[name] = tuple(value) if isinstance(value, list) else value
    return {
        "methods_": chosen,
        "seeds": parse_seeds(form["seeds"]),
        "task": form["task"] or "",
        "backbone": form["backbone"] or "",
        "label": (form["label"] or "").strip(),
        **settings,
    }


def recipes_of(form: dict[str, Any]) -> tuple[list[RunConfig], str]:
    """(the suite, its label). Raises `Problems` with every error in the form."""
    suite = suite_of(form)
    label = suite.pop("label")
    return recipes.suite(**suite), label


def parse_seeds(text: str) -> list[int]:
    """The seeds in a text: whole numbers separated by commas or spaces. Raises `ArgumentError`, for too many too."""
    try:
        seeds = list(dict.fromkeys(int(part) for part in str(text).replace(",", " ").split()))
    except ValueError:
        raise ArgumentError(
            expected=tr("whole numbers as seeds"), got=repr(text), fix=tr("write them like this: 0, 1, 2")
        ) from None
    return few(seeds)


def few(seeds: list[Any]) -> list[Any]:
    """The same seeds. Raises `ArgumentError` for more than `MOST_SEEDS`."""
    if len(seeds) > MOST_SEEDS:
        raise ArgumentError(
            expected=tr("at most {count} seeds at a time", count=MOST_SEEDS),
            got=f"{len(seeds):,}",
            fix=tr("launch the others afterwards"),
        )
    return seeds


def named(function: Callable[..., Any], names: list[str], *fixed: Any) -> Callable[..., Any]:
    """`function(*fixed, form)` as a handler: Gradio passes the values of the fields in the order of `names`."""
    return partial(_call, function, names, fixed)


def _call(function: Callable[..., Any], names: list[str], fixed: tuple, *values: Any) -> Any:
    return function(*fixed, dict(zip(names, values[: len(names)], strict=True)), *values[len(names) :])


def default(field: Any) -> Any:
    """A field's default; None for one that is required."""
    return None if field.is_required() else field.default


def shown(value: Any) -> Any:
    """A value in the form that its control takes."""
    return "" if value is None else list(value) if isinstance(value, tuple) else value


def same(value: Any, default: Any) -> bool:
    """Whether a control's value is the field's default."""
    return shown(value) == shown(default)
