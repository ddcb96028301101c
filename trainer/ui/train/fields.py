"""The form of the Train tab: its controls, and handlers for presets and the values that this browser stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.markup import render
from trainer.runs.presets import PRESETS
from trainer.sources import backbones
from trainer.texts import tr
from trainer.ui.common.fold import fold
from trainer.ui.common.lab import Lab, run_name
from trainer.ui.train import file as train_file
from trainer.ui.train.control import control, type_of
from trainer.ui.train.file import task_choices
from trainer.ui.train.form import COLUMNS, RECIPE, default, defaults, options_of

CUSTOM = "custom"


@dataclass(frozen=True)
class Form:
    """The preset, the fields by name in the order of `form.defaults`."""

    preset: gr.Radio
    fields: dict[str, Component]

    @property
    def controls(self) -> list[Component]:
        """Every control of the form."""
        return [self.preset, *self.fields.values()]


def build(lab: Lab) -> Form:
    """Lay out the form."""
    values, fields = defaults(), {}
    quick = PRESETS["quick"]
    preset = gr.Radio(
        [(tr(suite.title), name) for name, suite in PRESETS.items()] + [(tr("Custom"), CUSTOM)],
        value=quick.name,
        label=tr("Preset"),
        info=tr(quick.summary),
    )
    _what(lab, values, fields)
    with fold(tr("Hyperparameters")):
        _hyperparameters(values, fields)
    with fold(tr("Options of the chosen methods")):
        # By CSS: an event that shows and hides the groups sets off the methods' change again and again.
        gr.HTML(render("train/options.html", methods=methods.DEFAULT), padding=False)
        for name in methods.DEFAULT:
            _method_options(lab, name, values, fields)
        _more_options(values, fields)
    return Form(preset, {name: fields[name] for name in values})


def _what(lab: Lab, values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Lay out methods, task, backbone, seeds and name."""
    fields["methods"] = gr.CheckboxGroup(
        [(tr(methods.get(name).title), name) for name in methods.DEFAULT],
        value=values["methods"],
        label=tr("Methods"),
        info=tr("A run each. What each does, and its paper, stands below, with its own options."),
        elem_id="train-methods",
    )
    fields["more_methods"] = gr.Dropdown(
        [(f"{tr(methods.GROUPS[method.group])}: {tr(method.title)}", method.name) for method in _more()],
        value=values["more_methods"],
        multiselect=True,
        label=tr("More methods"),
        info=tr("By group; type to search. A run each too."),
        elem_id="train-more-methods",
    )
    fields["task"] = gr.Dropdown(
        task_choices(lab),
        value=values["task"],
        label=tr("Task"),
        info=tr("The sentences and labels to learn."),
    )
    train_file.build(lab, fields)
    fields["backbone"] = gr.Dropdown(
        [(tr(backbone.title), name) for name, backbone in backbones.BACKBONES.items()],
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


def _hyperparameters(values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Lay out the recipe's fields that all methods share, under their headings."""
    for heading in dict.fromkeys(RECIPE.values()):
        gr.Markdown("#### " + tr(heading))
        described = {name: RunConfig.model_fields[name] for name, under in RECIPE.items() if under == heading}
        # In a row a checkbox and its help would be too narrow.
        ticks = [name for name, field in described.items() if type_of(field) is bool]
        with gr.Row():
            for name in (name for name in described if name not in ticks):
                fields[name] = control(described[name], values[name], name)
        for name in ticks:
            fields[name] = control(described[name], values[name], name)
    fields["track"] = gr.Checkbox(
        False, label=tr("Track with Weights & Biases"), info=tr("Kept on this machine without an account.")
    )


def _method_options(lab: Lab, name: str, values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Lay out one method's own fields, seen while the method is chosen."""
    method = methods.get(name)
    with gr.Group(elem_classes=f"lab-options-{name}"):
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
                fields[key] = control(
                    field, values[key], own, choices=choices, help=rates if own == "learning_rate" else None
                )


def _more() -> list[methods.Method]:
    """The methods beside the default ones, in the order of their groups."""
    more = [method for name, method in methods.METHODS.items() if name not in methods.DEFAULT]
    return sorted(more, key=lambda method: list(methods.GROUPS).index(method.group))


def _more_options(values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Lay out the options of the other methods as one text: controls for all of them would slow the page down."""
    with gr.Group():
        gr.Markdown("#### " + tr("More methods"), padding=True)
        fields["more_options"] = gr.Textbox(
            values["more_options"],
            label=tr("Options of more methods"),
            info=tr(
                "METHOD.NAME=VALUE, with spaces between them, such as {example}; names and defaults stand below.",
                example="vera.r=128 ia3.target_modules=key,value",
            ),
            max_length=2_000,
        )
    gr.HTML(render_more())


def render_more() -> str:
    """The other methods as HTML: what each does, its paper, its options with their defaults."""
    return render("train/more.html", methods=[(method, _limits(method), _written(method)) for method in _more()])


def _limits(method: methods.Method) -> list[str]:
    """Sentences on what a method cannot do that others can."""
    limits = []
    if method.families != tuple(backbones.FAMILIES):
        limits.append(tr("Only on encoders of the kinds {names}.", names=", ".join(method.families)))
    if method.saves_whole:
        limits.append(tr("Saves the whole model."))
    elif not method.merges:
        limits.append(tr("Cannot be merged into the encoder's weights."))
    if not method.speedups.packing:
        limits.append(tr("Trains on padded batches, which takes longer."))
    return limits


def _written(method: methods.Method) -> list[tuple[str, str]]:
    """(an option with its default as it is written in the form, its line of help) of each option of a method."""
    written = []
    for key, field in options_of(method.name).items():
        value = default(field)
        shown = ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else value
        if key.endswith(".learning_rate"):
            shown = " / ".join(f"{rate:g}" for rate in method.learning_rates)
        written.append((f"{key}={shown}", tr(field.description)))
    return written


# Handlers


def fill(form: Form, preset: str) -> dict[Component, Any]:
    """The form with the values of a preset; "custom" changes nothing."""
    changes: dict[Component, Any] = {form.preset: summary(preset)}
    if preset in PRESETS:
        values = defaults(preset)
        # A typed name is not replaced.
        changes |= {field: values[name] for name, field in form.fields.items() if name != "label"}
    return changes


def summary(preset: str) -> Any:
    """The preset's line of help."""
    return gr.update(info=tr(PRESETS[preset].summary) if preset in PRESETS else tr("Your own settings."))


def restore(lab: Lab, form: Form, saved: dict[str, Any] | None) -> dict[Component, Any]:
    """The form as this browser stored it, without values that no longer exist."""
    choices = _choices_now(lab)
    if not isinstance(saved, dict):
        # In a new browser the form has its defaults: only the choices may have changed since the app started.
        return {form.fields[name]: gr.update(choices=offered) for name, offered in choices.items()}
    preset = saved.get("preset")
    preset = preset if preset in PRESETS else CUSTOM
    changes: dict[Component, Any] = {form.preset: {**summary(preset), "value": preset}}
    for name, value in defaults().items():
        changes[form.fields[name]] = _restored(name, saved.get(name, value), value, choices.get(name))
    return changes


def _restored(name: str, stored: Any, default_value: Any, choices: list[tuple[str, str]] | None) -> Any:
    """One field's stored value if it still exists, else the default; with the field's choices if they change."""
    if name in ("separator", "encoding"):
        return stored or ""
    if name == "several_labels":
        return bool(stored)
    if name == "label_columns":
        return gr.update(choices=list(stored or []), value=list(stored or []))
    if name in COLUMNS:
        return gr.update(choices=[stored] if stored else [], value=stored or None)
    if name == "methods":
        return [method for method in stored or [] if method in methods.DEFAULT]
    if name == "more_methods":
        return [method for method in stored or [] if method in methods.METHODS and method not in methods.DEFAULT]
    if name == "backbone":
        return stored if stored in backbones.BACKBONES else default_value
    if choices is None:
        return stored
    values = {value for _, value in choices}
    if isinstance(default_value, list):
        stored = [value for value in stored or [] if value in values]
    elif stored not in values:
        stored = default_value
    return gr.update(choices=choices, value=stored)


def _choices_now(lab: Lab) -> dict[str, list[tuple[str, str]]]:
    """The current choices of the fields whose choices change: files and runs are added and deleted."""
    parents = {
        f"{name}.parents": parent_choices(lab, name) for name, method in methods.METHODS.items() if method.parent_method
    }
    return {"task": task_choices(lab), **parents}


def parent_choices(lab: Lab, method: str) -> list[tuple[str, str]]:
    """(name, id) of the finished runs that a method can fuse."""
    parent = methods.get(method).parent_method
    return [
        (tr("{run} on {backbone} ({id})", run=run_name(run), backbone=run.recipe.backbone, id=run.id[-8:]), run.id)
        for run in lab.runs()
        if run.can_predict and run.recipe.method == parent
    ]
