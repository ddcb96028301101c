"""Compare's endpoints for other programs."""

from __future__ import annotations

import json

import gradio as gr

from trainer.analysis import tables as analysis
from trainer.methods import METHODS
from trainer.ui.common.lab import Lab, endpoint


def build(lab: Lab) -> None:
    """Publish the endpoints."""
    gr.api(endpoint(compare_api, lab), api_name="compare")
    gr.api(endpoint(runs_api, lab), api_name="runs")


def compare_api(lab: Lab) -> list[dict]:
    """Every finished run with its figures: one object a run, each figure in its unit (see /runs for states)."""
    table = analysis.runs_table([run for run in lab.store.list() if run.state == "finished"])
    for column in ("task", "backbone"):
        table[column] = table[column].map(lab.shown)
    return json.loads(table.to_json(orient="records", double_precision=12))


def runs_api(lab: Lab) -> list[dict]:
    """Every run in the store: id, label, state, method, title, task, backbone, seed, error."""
    return [
        {
            "id": run.id,
            "label": run.label,
            "state": run.state,
            "method": run.recipe.method,
            "title": METHODS[run.recipe.method].title if run.recipe.method in METHODS else run.recipe.method,
            "task": lab.shown(run.recipe.task),
            "backbone": lab.shown(run.recipe.backbone),
            "seed": run.recipe.seed,
            "error": run.error and lab.shown(run.error),
        }
        for run in lab.store.list()
    ]
