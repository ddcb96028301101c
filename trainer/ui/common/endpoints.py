"""What "Use via API" says of the endpoints for other programs: each input by its name, with what it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.utils import get_function_params

INPUTS = "Parameters:"
"""The line of a docstring after which each input stands, further in, with its description."""


def describe(page: gr.Blocks) -> None:
    """Name the inputs and the output of every public endpoint, by its parameters and its documentation.

    Gradio would call them "1st" and "2nd", and leave out what the documentation says of them.
    """
    for fn in page.fns.values():
        if fn.api_visibility != "public" or fn.fn is None:
            continue
        about = inputs_of(fn.fn)
        for component, (name, *_) in zip(fn.inputs, get_function_params(fn.fn), strict=True):
            component.label = name
            component._api_info = {**component._api_info, "additional_description": about.get(name, "")}
        for component in fn.outputs:
            component.label = "output"


def inputs_of(function: Callable[..., Any]) -> dict[str, str]:
    """Input -> its description in a function's docstring; a description may go on in lines that stand further in."""
    lines = (inspect.getdoc(function) or "").split("\n")
    if INPUTS not in lines:
        return {}
    about: dict[str, str] = {}
    for line in lines[lines.index(INPUTS) + 1 :]:
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            break
        if depth > 4 and about:
            name = next(reversed(about))
            about[name] = f"{about[name]} {line.strip()}"
        else:
            name, _, text = line.strip().partition(": ")
            about[name] = text
    return about
