"""Compare's endpoints for other programs."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from trainer.analysis import tables as analysis
from trainer.methods import METHODS
from trainer.runs.damage import Damage
from trainer.ui.common.isolation import isolated
from trainer.ui.common.lab import Lab, endpoint


def build(lab: Lab) -> None:
    """Publish the endpoints."""
    gr.api(isolated(lab, endpoint(compare_api, lab)), api_name="compare")
    gr.api(endpoint(runs_api, lab), api_name="runs")


def compare_api(lab: Lab) -> list[dict]:
    """Every finished run with its figures: one object a run, each figure in its unit (see /runs for states)."""
    table = analysis.runs_table([run for run in lab.runs() if run.state == "finished"])
    for column in ("task", "backbone"):
        table[column] = table[column].map(lab.shown)
    return json.loads(table.to_json(orient="records", double_precision=12))


def runs_api(lab: Lab) -> list[dict]:
    """Every run in the store: id, label, state, method, title, task, backbone, seed, error.

    A run whose run.json is damaged has the state damaged and the reason as its error; its other fields are empty.
    """
    runs, damaged = lab.store.scan()
    known = {run.id for run in runs}
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
        for run in runs
    ] + [_damaged(lab, damage) for damage in damaged if damage.run_id not in known]


def _damaged(lab: Lab, damage: Damage) -> dict[str, Any]:
    """A run whose run.json is damaged, with the fields of the others."""
    empty = dict.fromkeys(("label", "method", "title", "task", "backbone"), "")
    return {"id": damage.run_id, "state": "damaged", **empty, "seed": None, "error": lab.shown(str(damage))}
