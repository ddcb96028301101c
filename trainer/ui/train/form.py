"""The form of the Train tab: what can be set, what a preset fills in, and from its values a suite of recipes."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import gradio as gr

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import ArgumentError
from trainer.runs import recipes
from trainer.runs.presets import PRESETS
from trainer.sources import backbones
from trainer.texts import mark, tr
from trainer.ui.common.lab import Lab, run_name
from trainer.ui.train import file as train_file
from trainer.ui.train.file import task_choices

CUSTOM = "custom"
TRAINING, SENTENCES, OPTIMISER = mark("Training"), mark("Sentences"), mark("Optimiser")
RECIPE = {
    "epochs": TRAINING,
    "batch_size": TRAINING,
    "gradient_accumulation_steps": TRAINING,
    "group_by_length": TRAINING,
    "max_length": TRAINING,
    "learning_rate": TRAINING,
    "fairness": TRAINING,
    "precision": TRAINING,
    "train_size": SENTENCES,
    "validation_size": SENTENCES,
    "test_size": SENTENCES,
    "split_seed": SENTENCES,
    "warmup_ratio": OPTIMISER,
    "lr_scheduler": OPTIMISER,
    "weight_decay": OPTIMISER,
    "max_grad_norm": OPTIMISER,
}
"""The recipe's fields that the form shows, each under its heading. Their titles and help stand in `RunConfig`."""
COLUMNS = ("text_column", "label_column")
MOST_SEEDS = 20
"""Runs of each method that one press queues; a page also estimates them at every change."""
CHOICES = {
    "fairness": [(mark("Own learning rates"), "own_learning_rate"), (mark("Everything the same"), "same")],
}
WORDS = (mark("auto"), mark("linear"), mark("cosine"), mark("constant"))
"""Values that are words: other languages show their own; what is no word, such as fp32, stays as it is."""
HELP = {
    "fairness": mark("Each method with its own learning rate, or one learning rate for all."),
    "precision": mark("Auto takes what the device does well."),
}
"""Where the recipe's own help names values that the form shows in other words."""
_ALL = mark("all")
PLACEHOLDERS = {
    "learning_rate": mark("each method's own"),
    "train_size": _ALL,
    "validation_size": _ALL,
    "test_size": _ALL,
}


def options_of(method: str) -> dict[str, Any]:
    """The fields of one method alone, by their name in the form: its options, and what else it alone has."""
    found = methods.get(method)
    named = {f"{method}.{name}": field for name, field in found.options.model_fields.items()}
    named[f"{method}.learning_rate"] = RunConfig.model_fields["learning_rate"]
    if found.parent_method:
        named[f"{method}.parents"] = RunConfig.model_fields["parents"]
    return named


def defaults(preset: str = "quick") -> dict[str, Any]:
    """The form's values for a preset, by field; empty text stands for a value that is not given."""
    found = PRESETS[preset]
    values: dict[str, Any] = {"methods": list(found.methods), "task": found.task, "backbone": found.backbone}
    values |= {name: _shown(found.settings.get(name, _default(RunConfig.model_fields[name]))) for name in RECIPE}
    for method in methods.METHODS:
        values |= {name: _shown(_default(field)) for name, field in options_of(method).items()}
    return values | dict.fromkeys(COLUMNS) | {"seeds": ", ".join(map(str, found.seeds)), "label": "", "track": False}


def suite_of(form: dict[str, Any]) -> dict[str, Any]:
    """The form's values as `recipes.suite` takes them, and `label` besides. Raises `ArgumentError` for the seeds."""
    chosen = form["methods"] or []
    settings: dict[str, Any] = {}
    for name, value in form.items():
        if name in ("methods", "task", "backbone", "seeds", "label") or value is None or value == "":
            continue
        method, dot, own = name.partition(".")
        if dot and (method not in chosen or _same(value, _default(options_of(method)[name]))):
            continue
        if not dot and name not in COLUMNS and _same(value, _default(RunConfig.model_fields[name])):
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
    """(the suite, its label). Raises `Problems` with everything that is wrong."""
    suite = suite_of(form)
    label = suite.pop("label")
    return recipes.suite(**suite), label


def parse_seeds(text: str) -> list[int]:
    """Seeds as typed: whole numbers with commas or spaces between. Raises `ArgumentError`, for too many too."""
    try:
        seeds = list(dict.fromkeys(int(part) for part in str(text).replace(",", " ").split()))
    except ValueError:
        raise ArgumentError(
            expected=tr("whole numbers as seeds"), got=repr(text), fix=tr("write them like this: 0, 1, 2")
        ) from None
    return few(seeds)


def few(seeds: list[Any]) -> list[Any]:
    """The seeds, if they are at most `MOST_SEEDS`. Raises `ArgumentError`."""
    if len(seeds) > MOST_SEEDS:
        raise ArgumentError(
            expected=tr("at most {count} seeds at a time", count=MOST_SEEDS),
            got=f"{len(seeds):,}",
            fix=tr("launch the others afterwards"),
        )
    return seeds


def parent_choices(lab: Lab, method: str) -> list[tuple[str, str]]:
    """(name, id) of the finished runs that a method could fuse."""
    wanted = methods.get(method).parent_method
    return [
        (tr("{run} on {backbone} ({id})", run=run_name(run), backbone=run.recipe.backbone, id=run.id[-8:]), run.id)
        for run in lab.store.list()
        if run.answers and run.recipe.method == wanted
    ]


# Components


def build(lab: Lab) -> tuple[gr.Radio, dict[str, gr.components.Component]]:
    """Lay out the form; (the preset, the fields by name)."""
    values, fields = defaults(), {}
    quick = PRESETS["quick"]
    preset = gr.Radio(
        [(tr(found.title), name) for name, found in PRESETS.items()] + [(tr("Custom"), CUSTOM)],
        value=quick.name,
        label=tr("Preset"),
        info=tr(quick.summary),
    )
    fields["methods"] = gr.CheckboxGroup(
        [(tr(method.title), name) for name, method in methods.METHODS.items()],
        value=values["methods"],
        label=tr("Methods"),
        info=tr("A run each. What each does, and its paper, stands below, with its own options."),
    )
    fields["task"] = gr.Dropdown(
        task_choices(lab),
        value=values["task"],
        label=tr("Task"),
        info=tr("The sentences and labels to learn."),
    )
    train_file.build(lab, fields)
    fields["backbone"] = gr.Dropdown(
        [(tr(found.title), name) for name, found in backbones.BACKBONES.items()],
        value=values["backbone"],
        label=tr("Backbone"),
        info=tr("All but MiniLM come from the Hugging Face Hub."),
    )
    with gr.Row():
        fields["seeds"] = gr.Textbox(
            values["seeds"],
            label=tr("Seeds"),
            info=tr("One or more, such as 0, 1, 2: a run each."),
            min_width=140,
            max_length=200,
        )
        fields["label"] = gr.Textbox(
            "",
            label=tr("Name"),
            info=tr("Your own name for these runs."),
            placeholder=tr("none"),
            min_width=140,
            max_length=80,
        )
    with gr.Accordion(tr("Hyperparameters"), open=False):
        for heading in dict.fromkeys(RECIPE.values()):
            gr.Markdown("#### " + tr(heading))
            described = {name: RunConfig.model_fields[name] for name, under in RECIPE.items() if under == heading}
            # A tick and its help would be pressed together in a row.
            ticks = [name for name, field in described.items() if _type(field) is bool]
            with gr.Row():
                for name in (name for name in described if name not in ticks):
                    fields[name] = _component(described[name], values[name], name)
            for name in ticks:
                fields[name] = _component(described[name], values[name], name)
        fields["track"] = gr.Checkbox(
            False, label=tr("Track with Weights & Biases"), info=tr("Kept on this machine without an account.")
        )
    with gr.Accordion(tr("Options of the methods"), open=False):
        groups = {name: _method_options(lab, name, values, fields) for name in methods.METHODS}
    fields["methods"].change(
        lambda chosen: [gr.update(visible=name in (chosen or [])) for name in groups],
        fields["methods"],
        list(groups.values()),
        api_visibility="private",
        show_progress="hidden",
    )
    return preset, {name: fields[name] for name in values}


def _method_options(lab: Lab, name: str, values: dict[str, Any], fields: dict[str, Any]) -> gr.Group:
    """One method's own fields, shown while the method is chosen."""
    method = methods.get(name)
    with gr.Group() as group:
        gr.Markdown(f"#### {tr(method.title)}\n{tr(method.summary)} {method.paper}.", padding=True)
        with gr.Row():
            for key, field in options_of(name).items():
                own = key.partition(".")[2]
                small, other = (f"{rate:g}" for rate in method.learning_rates)
                rates = tr("Its own: {small} on small encoders, {other} on others", small=small, other=other)
                choices = None
                if own == "parents":
                    choices = parent_choices(lab, name)
                elif own == "parent_tasks":
                    choices = [(tr(task.title).split(":")[0], task.name) for task in tasks.TASKS.values()]
                fields[key] = _component(
                    field, values[key], own, choices=choices, help=rates if own == "learning_rate" else None
                )
    return group


def _component(field: Any, value: Any, name: str, *, choices: list | None = None, help: str | None = None) -> Any:
    """The control that fits a field's type, with its title and its line of help."""
    kind, own = _type(field), HELP.get(name)
    shared: dict[str, Any] = {
        "label": tr(field.title) if field.title else name,
        "info": help or (tr(own) if own else _sentence(field.description)),
        "min_width": 210,
    }
    if choices is not None:
        return gr.Dropdown(choices, value=value, multiselect=True, **shared)
    if kind is bool:
        return gr.Checkbox(value, **shared)
    if typing.get_origin(kind) is Literal:
        return gr.Dropdown(_choices(name, kind), value=value, **shared)
    if typing.get_origin(kind) is tuple:
        return gr.CheckboxGroup(list(typing.get_args(typing.get_args(kind)[0])), value=value, **shared)
    if _default(field) is None:
        # A number field would show an empty value as 0.
        left_out = mark("own") if help else PLACEHOLDERS.get(name)
        return gr.Textbox(str(value), placeholder=left_out and tr(left_out), max_length=20, **shared)
    return gr.Number(value, precision=0 if kind is int else None, **shared)


def _choices(name: str, kind: Any) -> list[tuple[str, Any]]:
    """(shown, value) of a field that takes one of some values."""
    return [(tr(title), value) for title, value in CHOICES.get(name) or [(str(v), v) for v in typing.get_args(kind)]]


def _type(field: Any) -> Any:
    """A field's type without None: `int | None` is a whole number that may be left out."""
    kind = field.annotation
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _sentence(text: str | None) -> str | None:
    if not text:
        return None
    text = tr(text)
    return tr("{sentence}.", sentence=f"{text[:1].upper()}{text[1:]}")


def _default(field: Any) -> Any:
    return None if field.is_required() else field.default


def _shown(value: Any) -> Any:
    """A value as its control shows it."""
    return "" if value is None else list(value) if isinstance(value, tuple) else value


def _same(value: Any, default: Any) -> bool:
    """Whether a control's value is the field's default."""
    return _shown(value) == _shown(default)


# What happens in the form


def fill(preset: str) -> list[Any]:
    """Updates of (preset, the fields in their order) for a preset; custom leaves everything as it is."""
    if preset not in PRESETS:
        return [summary(preset), *[gr.skip()] * len(defaults())]
    values = defaults(preset) | {"label": gr.skip()}  # a name that was typed stays
    return [summary(preset), *values.values()]


def summary(preset: str) -> Any:
    """The preset's line of help."""
    return gr.update(info=tr(PRESETS[preset].summary) if preset in PRESETS else tr("Your own settings."))


def named(function: Callable[..., Any], names: list[str], *fixed: Any) -> Callable[..., Any]:
    """`function(*fixed, form)` for Gradio, which hands over the values of the fields in their order."""
    return partial(_call, function, names, fixed)


def _call(function: Callable[..., Any], names: list[str], fixed: tuple, *values: Any) -> Any:
    return function(*fixed, dict(zip(names, values[: len(names)], strict=True)), *values[len(names) :])


def restore(lab: Lab, saved: dict[str, Any] | None) -> list[Any]:
    """Updates of (preset, the fields in their order) from what this browser kept; what no longer exists is left out."""
    known = defaults()
    offered = _offered(lab)
    if not isinstance(saved, dict):
        # A fresh browser shows the form as it is: only what can be chosen may have changed since the app began.
        return [gr.skip(), *(gr.update(choices=offered[name]) if name in offered else gr.skip() for name in known)]
    updates = []
    for name, value in known.items():
        kept = saved.get(name, value)
        if name in COLUMNS:
            updates.append(gr.update(choices=[kept] if kept else [], value=kept))
            continue
        choices = offered.get(name)
        values = {found for _, found in choices} if choices else set()
        if name == "methods":
            kept = [method for method in kept or [] if method in methods.METHODS]
        elif name == "backbone" and kept not in backbones.BACKBONES:
            kept = value
        elif choices is not None:
            kept = [one for one in kept or [] if one in values] if isinstance(value, list) else kept
            kept = kept if isinstance(value, list) or kept in values else value
        updates.append(gr.update(choices=choices, value=kept) if choices is not None else kept)
    preset = saved.get("preset")
    preset = preset if preset in PRESETS else CUSTOM
    return [{**summary(preset), "value": preset}, *updates]


def _offered(lab: Lab) -> dict[str, list[tuple[str, str]]]:
    """What can be chosen now in the fields whose choices change: files and runs come and go."""
    parents = {name: parent_choices(lab, name) for name, method in methods.METHODS.items() if method.parent_method}
    return {"task": task_choices(lab), **{f"{name}.parents": found for name, found in parents.items()}}
