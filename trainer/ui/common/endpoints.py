"""What "Use via API" says of the endpoints for other programs: each input by its name, with what it is."""

from __future__ import annotations

import gradio as gr
from gradio import utils


def describe(page: gr.Blocks) -> None:
    """Name the inputs and the output of every public endpoint, by its parameters and its documentation.

    Gradio would call them "1st" and "2nd", and leave out what the documentation says of them.
    """
    for fn in page.fns.values():
        if fn.api_visibility != "public" or fn.fn is None:
            continue
        _, about, _ = utils.get_function_description(fn.fn)
        for component, (name, *_) in zip(fn.inputs, utils.get_function_params(fn.fn), strict=True):
            component.label = name
            component._api_info = {**component._api_info, "additional_description": about.get(name, "")}
        for component in fn.outputs:
            component.label = "output"
