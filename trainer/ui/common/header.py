"""The page's first line, with what this machine computes on."""

from __future__ import annotations

from functools import partial

import gradio as gr

from trainer.machine import hosting
from trainer.markup import render
from trainer.ui.common import documents
from trainer.ui.common.lab import Lab, running_on


def build(lab: Lab, page: gr.Blocks) -> None:
    """Lay out the line; it follows until the device is known."""
    line = gr.HTML(html(lab), elem_id="lab-top")
    timer = gr.Timer(2)
    for listen in (page.load, timer.tick):
        listen(partial(device_now, lab), None, [line, timer], api_visibility="private", show_progress="hidden")


def device_now(lab: Lab) -> tuple[str, gr.Timer]:
    """(the line as HTML, an update that stops the timer once the device is known)."""
    return html(lab), gr.Timer(active=not lab.warm)


def html(lab: Lab) -> str:
    """The line as HTML, and below it what is wrong with the device, or with the disk that holds the runs."""
    machine, device = lab.device_line, lab.device
    about = ""
    if device is not None:
        machine, about = running_on(device), "" if device.problem else hosting.about_hardware(device.kind)
    links = {"documentation": "", "teaching": ""} | documents.links()
    warnings = [text for text in (lab.problem, hosting.about_runs(lab.store.root)) if text]
    return render("common/header.html", machine=machine, links=links, about=about, warnings=warnings)
