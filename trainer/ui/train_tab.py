"""Train: choose what to train, launch it in a process of its own, watch it."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from trainer import analysis, backbones, jobs, methods, recipes, tasks
from trainer.config import RunConfig
from trainer.errors import ArgumentError, UserError, sentence
from trainer.presets import PRESETS
from trainer.progress import duration
from trainer.store import ENDED, Run
from trainer.ui import charts
from trainer.ui.lab import Lab, endpoint, escape, note, run_name

CUSTOM = "custom"
SHOWN = 12
"""Runs in the queue's list, newest first; Compare has them all."""


def build(lab: Lab, page: gr.Blocks) -> None:
    """Lay out the tab and connect it."""
    defaults = PRESETS["quick"]
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            preset = gr.Radio(
                [(found.title, name) for name, found in PRESETS.items()] + [("Custom", CUSTOM)],
                value="quick",
                label="Preset",
                info=defaults.summary,
            )
            chosen = gr.CheckboxGroup(
                [(method.title, name) for name, method in methods.METHODS.items()],
                value=list(defaults.methods),
                label="Methods",
            )
            task = gr.Dropdown([(task.title, name) for name, task in tasks.TASKS.items()], value="movies", label="Task")
            backbone = gr.Dropdown(
                [(found.title, name) for name, found in backbones.BACKBONES.items()], value="minilm", label="Backbone"
            )
            with gr.Accordion("Hyperparameters", open=False):
                fields = _fields(defaults.settings)
            launch_button = gr.Button("Train", variant="primary")
            message = gr.HTML()
        with gr.Column(scale=3, min_width=320):
            gr.Markdown("### Runs")
            queue = gr.HTML()
            with gr.Row():
                which = gr.Dropdown([], label="Run to cancel", scale=3, min_width=200, value=None)
                cancel_button = gr.Button("Cancel this run", scale=1, min_width=140)
            chart = gr.Plot(label="Training loss", show_label=False)
    settings = [preset, chosen, task, backbone, *fields.values()]
    seen = gr.State("")
    form = [chosen, task, backbone, *fields.values()]
    preset.input(fill, [preset], [preset, *form], api_visibility="private", show_progress="hidden")
    for control in form:
        control.input(lambda: CUSTOM, None, preset, api_visibility="private", show_progress="hidden")
    launch_button.click(partial(submit, lab), settings[1:], [message, queue, which], api_visibility="private")
    cancel_button.click(partial(stop, lab), which, [message, queue, which], api_visibility="private")
    timer = gr.Timer(1.5)
    for listen in (page.load, timer.tick):
        listen(
            partial(refresh, lab), seen, [seen, queue, which, chart], api_visibility="private", show_progress="hidden"
        )
    gr.api(endpoint(launch_api, lab), api_name="launch")
    gr.api(endpoint(cancel_api, lab), api_name="cancel")


def _fields(settings: dict[str, Any]) -> dict[str, gr.components.Component]:
    """The hyperparameters that a person most often changes, with the recipe's own words as help."""

    def number(name: str, label: str, **options: Any) -> gr.Number:
        field = RunConfig.model_fields[name]
        value = settings.get(name, None if field.is_required() else field.default)
        return gr.Number(value, label=label, info=field.description, **options)

    def optional(name: str, label: str, otherwise: str) -> gr.Textbox:
        # A number field would show an empty value as 0.
        value = settings.get(name)
        info = RunConfig.model_fields[name].description
        return gr.Textbox(
            "" if value is None else str(value), label=label, info=info, placeholder=otherwise, min_width=150
        )

    with gr.Row():
        made = {
            "epochs": number("epochs", "Epochs", precision=0, min_width=150),
            "batch_size": number("batch_size", "Batch size", precision=0, min_width=150),
            "max_length": number("max_length", "Maximum length (tokens)", precision=0, min_width=150),
        }
    with gr.Row():
        made["train_size"] = optional("train_size", "Training sentences", "all")
        made["validation_size"] = optional("validation_size", "Validation sentences", "all")
        made["learning_rate"] = optional("learning_rate", "Learning rate", "own")
    field = RunConfig.model_fields["fairness"]
    made["fairness"] = gr.Radio(
        [("Each method's own learning rate", "own_learning_rate"), ("Everything the same", "same")],
        value=field.default,
        label="What makes the comparison fair",
        info="With everything the same, give one learning rate for all methods.",
    )
    with gr.Row():
        made["precision"] = gr.Dropdown(
            ["auto", "fp32", "bf16", "fp16"],
            value="auto",
            label="Precision",
            info=RunConfig.model_fields["precision"].description,
            min_width=150,
        )
        made["seeds"] = gr.Textbox("0", label="Seeds", info="one or more, such as 0, 1, 2", min_width=150)
        made["track"] = gr.Checkbox(
            False, label="Track with Weights & Biases", info="offline without an account", min_width=150
        )
    return made


FIELD_NAMES = (
    "epochs",
    "batch_size",
    "max_length",
    "train_size",
    "validation_size",
    "learning_rate",
    "fairness",
    "precision",
    "seeds",
    "track",
)


def fill(preset: str) -> list[Any]:
    """The form's values for a preset; custom leaves everything as it is."""
    if preset not in PRESETS:
        return [gr.update(info="Your own choice."), *[gr.skip()] * (3 + len(FIELD_NAMES))]
    found = PRESETS[preset]
    values: dict[str, Any] = {name: field.default for name, field in RunConfig.model_fields.items()}
    values |= {"learning_rate": None, "seeds": ", ".join(map(str, found.seeds)), "track": False} | found.settings
    return [
        gr.update(info=found.summary),
        list(found.methods),
        found.task,
        found.backbone,
        *("" if values[name] is None else values[name] for name in FIELD_NAMES),
    ]


def submit(lab: Lab, chosen: list[str], task: str, backbone: str, *values: Any) -> tuple[str, str, Any]:
    """Queue the form's suite; a problem is said under the button and nothing typed is lost."""
    given = dict(zip(FIELD_NAMES, values, strict=True))
    try:
        seeds = parse_seeds(given.pop("seeds"))
        given = {name: None if value == "" else value for name, value in given.items()}
        configs = recipes.suite(methods_=chosen, seeds=seeds, task=task, backbone=backbone, **given)
        launched = jobs.launch(lab.store, configs)
        text = f"{len(launched)} run{'s' if len(launched) != 1 else ''} queued. They go on without this page."
    except (UserError, OSError) as error:
        text = sentence(error)
    return note(text), queue_html(lab), gr.update(choices=waiting(lab))


def parse_seeds(text: str) -> list[int]:
    """Seeds as typed: whole numbers with commas or spaces between. Raises `ArgumentError`."""
    try:
        return list(dict.fromkeys(int(part) for part in text.replace(",", " ").split()))
    except ValueError:
        raise ArgumentError(
            expected="whole numbers as seeds", got=repr(text), fix="write them like this: 0, 1, 2"
        ) from None


def stop(lab: Lab, run_id: str | None) -> tuple[str, str, Any]:
    """Cancel the chosen run."""
    try:
        if not run_id:
            text = "Choose a run that waits or trains."
        else:
            text = f"{run_name(jobs.cancel(lab.store, run_id))} is being cancelled."
    except UserError as error:
        text = str(error)
    return note(text), queue_html(lab), gr.update(choices=waiting(lab), value=None)


def refresh(lab: Lab, seen: str) -> tuple[Any, Any, Any, Any]:
    """What changed since `seen`: the list of runs, those that can be cancelled, and the live chart."""
    runs = recent(lab)
    signature = "|".join(f"{run.id}:{run.state}:{_size(run)}" for run in runs)
    signature = signature or "empty"
    if signature == seen:
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()
    active = [run for run in runs if run.state not in ENDED]
    if active and not jobs.worker_is_alive(lab.store):
        jobs.ensure_worker(lab.store)
    return signature, queue_html(lab), gr.update(choices=waiting(lab)), live_chart(lab, runs)


def live_chart(lab: Lab, runs: list[Run]) -> Any:
    """Loss curves of the newest suite; nothing before the first step."""
    if not runs:
        return gr.skip()
    points = analysis.curves(lab.store, [run for run in runs if run.suite == runs[0].suite])
    return charts.live(points) if len(points) else gr.skip()


def recent(lab: Lab) -> list[Run]:
    """The newest runs, newest first."""
    return lab.store.list()[::-1][:SHOWN]


def waiting(lab: Lab) -> list[tuple[str, str]]:
    """(name, id) of the runs that can be cancelled."""
    return [(f"{run_name(run)} ({run.id[-8:]})", run.id) for run in lab.store.list() if run.state not in ENDED]


def queue_html(lab: Lab) -> str:
    """The newest runs with their state, progress and time left."""
    runs = recent(lab)
    if not runs:
        text = "No runs yet. Press Train: the Quick preset trains all five methods here in a few minutes."
        return f'<div class="lab-empty">{escape(text)}</div>'
    return '<div class="lab-queue">' + "".join(_run_html(lab, run) for run in runs) + "</div>"


def _run_html(lab: Lab, run: Run) -> str:
    text, share = describe(lab, run)
    bar = f'<progress max="1" value="{share:.3f}" aria-label="progress"></progress>' if run.state == "running" else ""
    return (
        f'<div class="lab-run"><div class="lab-run-head"><span class="lab-run-name">{escape(run_name(run))}</span>'
        f'<span>{escape(run.state)}</span></div>{bar}<div class="lab-run-text">{escape(text)}</div></div>'
    )


def describe(lab: Lab, run: Run) -> tuple[str, float]:
    """(what a run does or how it ended, the share of its steps that are done)."""
    if run.state == "finished":
        metric, time = analysis.METRICS["test_accuracy"], analysis.METRICS["train_minutes"]
        return f"test accuracy {metric.show(metric.of(run))}%, trained in {time.show(time.of(run))} min", 1.0
    if run.state in ENDED:
        return run.error or "", 0.0
    if run.state == "queued":
        return "waits for its turn", 0.0
    events, _ = lab.store.events(run.id)
    steps = [event for event in events if event["type"] == "step"]
    if not steps:
        return "loading the task and the backbone", 0.0
    last = steps[-1]
    return (
        f"epoch {last['epoch']:.1f}, step {last['step']} of {last['total_steps']}, loss {last['loss']:.3f}, "
        f"{last['sentences_per_second']:.0f} sentences/s, {duration(last['seconds_left'])} left",
        last["step"] / last["total_steps"],
    )


def _size(run: Run) -> int:
    try:
        return (run.folder / "events.jsonl").stat().st_size
    except OSError:
        return 0


def launch_api(
    lab: Lab, methods: list[str], task: str = "movies", backbone: str = "minilm", settings: dict | None = None
) -> list[str]:
    """Queue a suite of runs, one a method, and return their ids.

    Parameters:
        methods: names of methods, such as ["lora", "adapter"].
        task: a task's name.
        backbone: a backbone's name.
        settings: fields of the recipe or of a method, such as {"epochs": 1, "train_size": 200, "seed": 0}.
    """
    given = dict(settings or {})
    seed = given.pop("seed", 0)
    try:
        configs = recipes.suite(methods_=methods, seeds=[seed], task=task, backbone=backbone, **given)
        return [run.id for run in jobs.launch(lab.store, configs)]
    except UserError as error:
        raise gr.Error(str(error)) from None


def cancel_api(lab: Lab, run_id: str) -> str:
    """Cancel a run that waits or trains, and return its state.

    Parameters:
        run_id: the run's id.
    """
    try:
        return jobs.cancel(lab.store, run_id).state
    except UserError as error:
        raise gr.Error(str(error)) from None
