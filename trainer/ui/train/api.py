"""The Train tab's endpoints for other programs."""

from __future__ import annotations

import gradio as gr

from trainer.errors import ArgumentError
from trainer.jobs import queue as jobs
from trainer.runs import recipes
from trainer.texts import tr
from trainer.ui.common import access, arguments, launching, log
from trainer.ui.common.lab import Lab, endpoint
from trainer.ui.train import form as train_form


def build(lab: Lab) -> None:
    """Publish the endpoints."""
    gr.api(endpoint(launch_api, lab), api_name="launch")
    gr.api(endpoint(cancel_api, lab), api_name="cancel")


def launch_api(
    lab: Lab,
    methods: list[str],
    task: str = "movies",
    backbone: str = "minilm",
    settings: dict | None = None,
    password: str | None = None,
    request: gr.Request = None,
) -> list[str]:
    """Queue a suite of runs, one a method, and return their ids.

    Parameters:
        methods: names of methods, such as ["lora", "adapter"].
        task: a task's name, or where everybody may change runs the path of a file on the machine that runs the app.
        backbone: a backbone's name, or where everybody may change runs a folder on the machine that runs the app.
        settings: of the recipe or of a method, such as {"epochs": 1, "lora.r": 8}, or "seed"; "seeds" is a list.
        password: the app's password, where it has one; the owner of a Space may send a sign-in's cookie instead.
    """
    access.require(lab, request, password)
    with arguments.sentence_errors(lab):
        chosen = arguments.settings("settings", settings)
        seeds = chosen.pop("seeds", None)
        if seeds is None:
            seeds = [chosen.pop("seed", 0)]
        if not isinstance(seeds, list):
            raise ArgumentError(expected=tr("a list of seeds"), got=repr(seeds), fix=tr("write it as [0, 1, 2]"))
        recipes.refuse_own_arguments(chosen)
        names, seeds = arguments.texts("methods", methods), train_form.few(seeds)
        about = {"task": arguments.text("task", task), "backbone": arguments.text("backbone", backbone)}
        launching.check_request(lab, names=names, seeds=seeds, **about, settings=chosen)
        configs = recipes.suite(methods_=names, seeds=seeds, **about, **chosen)
        return [run.id for run in launching.launch(lab, configs)]


def cancel_api(lab: Lab, run_id: str, password: str | None = None, request: gr.Request = None) -> str:
    """Cancel a run that waits or trains, and return its state.

    Parameters:
        run_id: the id of a run that waits or trains.
        password: the app's password, where it has one; the owner of a Space may send a sign-in's cookie instead.
    """
    access.require(lab, request, password)
    with arguments.sentence_errors(lab):
        run = jobs.cancel(lab.store, arguments.text("run_id", run_id))
        log.event("cancel", run=run.id, by=access.current_person())
        return run.state
