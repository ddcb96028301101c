"""The Train tab: the form, loading, launching in a separate process, and live progress."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.texts import tr, tr_count
from trainer.ui import static
from trainer.ui.common import access, launching
from trainer.ui.common.access import guarded
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, note
from trainer.ui.train import api as train_api
from trainer.ui.train import fields as train_fields
from trainer.ui.train import form as train_form
from trainer.ui.train import load as train_load
from trainer.ui.train import panel as train_panel
from trainer.ui.train import plan as train_plan
from trainer.ui.train import queue as train_queue
from trainer.ui.train import watch as train_watch
from trainer.ui.train.fields import Form
from trainer.ui.train.panel import QUIET


@dataclass(frozen=True)
class Stored:
    """What the browser stores: the form, and the grant that a password gave it."""

    form: gr.BrowserState
    grant: gr.BrowserState


@dataclass(frozen=True)
class Launch:
    """The components of a launch: its cost, command line, and in the bar its cost in short, button and message."""

    cost: gr.HTML
    command: gr.HTML
    short: gr.HTML
    train: gr.Button
    message: gr.HTML


def states() -> Stored:
    """The stored values; call outside the tabs: in one that is not open they are read after the page's load event."""
    form = gr.BrowserState(None, storage_key="peft-lab-form", secret="the form holds no secret")
    return Stored(form, access.state())


def build(lab: Lab, page: gr.Blocks, stored: Stored) -> None:
    """Lay out the tab and connect it. Handlers that change runs are `guarded`: see `trainer.machine.access`.

    Those that draw runs are `isolated`.
    """
    access.build(lab, page, stored.grant)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            gr.Markdown("## " + tr("What to train"))
            form = train_fields.build(lab)
            launch = _launch()
            loaders = train_load.build()
        with gr.Column(scale=3, min_width=320, elem_id="lab-runs", elem_classes="lab-runs"):
            gr.Markdown("## " + tr("Runs"))
            # Two lists: what trains changes at every look, and the many runs that have ended seldom.
            active = gr.HTML(js_on_load=static.read("train-list.js"))
            panel = train_panel.build()
            ended = gr.HTML(js_on_load=static.read("train-list.js") + static.read("train-address.js"))
            pulse = gr.HTML(train_watch.pulse_html(train_watch.BUSY), js_on_load=static.read("train-pulse.js"))
    view = train_watch.View(gr.State({}), pulse, active, ended, panel)
    watch = isolated(lab, partial(train_watch.refresh, lab, view))
    refresh = {"fn": watch, "inputs": [view.seen, panel.run], "outputs": view.outputs, **QUIET}
    _connect_form(lab, form, launch, stored.form)
    submitted = guarded(lab, train_form.named(submit, list(form.fields), lab))
    fields = list(form.fields.values())
    launch.train.click(submitted, fields, launch.message, api_visibility="private", show_progress="minimal").then(
        **refresh
    ).then(None, None, None, js="() => labShowRuns()", **QUIET)
    train_panel.connect(lab, panel, refresh)
    train_panel.choose(lab, panel, refresh, [active, ended])
    train_load.connect(lab, loaders, form.fields, refresh)
    stopped = gr.State("")
    stop = guarded(lab, partial(train_queue.cancel, lab))
    active.stop(train_panel.picked, None, stopped, **QUIET).then(stop, stopped, panel.message, **QUIET).then(**refresh)
    # The first comes when the tab is seen for the first time.
    pulse.tick(**refresh)
    train_api.build(lab)


def _launch() -> Launch:
    """Lay out the estimate, and the bar that stays in view below the form (train.css)."""
    gr.Markdown("### " + tr("Estimated cost"))
    cost, command = gr.HTML(), gr.HTML()
    with gr.Column(elem_id="lab-train-bar"):
        with gr.Row(equal_height=True):
            short = gr.HTML()
            train = gr.Button(tr("Train"), variant="primary", min_width=110, scale=0)
        message = gr.HTML()
    return Launch(cost, command, short, train, message)


def _connect_form(lab: Lab, form: Form, launch: Launch, stored: gr.BrowserState) -> None:
    fields, preset = list(form.fields.values()), form.preset
    preset.input(partial(train_fields.fill, form), [preset], form.controls, **QUIET)
    # In the browser, without a request for each of many quick changes.
    gr.on([field.input for field in fields], None, None, preset, js="() => 'custom'", **QUIET)
    preset.change(train_fields.summary, preset, preset, **QUIET)
    plan = {
        "fn": isolated(lab, train_form.named(planned, list(form.fields), lab)),
        "inputs": [*fields, preset],
        "outputs": [launch.cost, launch.command, launch.short, stored],
        **QUIET,
    }
    simulate = isolated(lab, train_form.named(simulated, list(form.fields), lab))
    better = plan | {"fn": simulate, "outputs": [launch.cost, launch.short]}
    changed = gr.on([field.change for field in fields] + [preset.change], trigger_mode="always_last", **plan)
    restored = partial(train_fields.restore, lab, form)
    # An estimate takes seconds of a core: not for who opens another tab.
    opened = gr.HTML(js_on_load=static.read("first-seen.js"), elem_classes="lab-off")
    for shown in (changed, opened.tick(restored, stored, form.controls, **QUIET).then(**plan)):
        shown.then(trigger_mode="always_last", **better)


# Handlers


def planned(lab: Lab, form: dict[str, Any], preset: str) -> tuple[str, str, str, dict[str, Any]]:
    """(the estimate, the command line, the estimate in short, the form's values for this browser to store)."""
    return (*train_plan.plan(lab, form), {**form, "preset": preset})


def simulated(lab: Lab, form: dict[str, Any], _: str) -> Any:
    """The estimate again, and in short, once steps that had not been simulated are."""
    if not train_plan.simulate(lab, form):
        return gr.skip(), gr.skip()
    made = train_plan.plan(lab, form)
    return made.cost, made.short


def submit(lab: Lab, form: dict[str, Any]) -> str:
    """Queue the form's suite. Returns a message or an error sentence; the form does not change."""
    try:
        configs, label = train_form.recipes_of(form)
        launched = launching.launch(lab, configs, label=label)
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(
        tr_count(
            "{count} run queued. It goes on without this page.",
            "{count} runs queued. They go on without this page.",
            len(launched),
        )
    )
