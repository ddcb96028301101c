"""run.json of older versions, raised to the newest: one function for each step, from one version to the next.

A step takes and gives plain JSON, and stays as it is when the models change later. Nothing on the disk changes: a run
is written in the newest version the next time that it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.runs.result import SCHEMA_VERSION

Json = dict[str, Any]


def upgrade(content: Json) -> Json:
    """The content of a run.json in the newest version. Raises `ValueError` for a newer or a damaged one."""
    try:
        while (version := content["schema_version"]) != SCHEMA_VERSION:
            content = STEPS[version](content)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no run of version {SCHEMA_VERSION} or older: {error!r}") from None
    return content


def _from_1(content: Json) -> Json:
    """2 reads with PEFT's reader: its names stand beside ours, and full fine-tuning has no `peft_config`.

    `place` is `queue_order` since.
    """
    # Batches were of like lengths before recipes had the field.
    recipe = {"group_by_length": True} | content["recipe"]
    result = content["result"]
    if result is not None:
        result = _result_from_1(result, run_id=content["id"], adopted="adopted" in content["lineage"])
    order = {"queue_order": content["place"]}
    others = {name: value for name, value in content.items() if name != "place"}
    return others | order | {"schema_version": 2, "recipe": recipe, "result": result}


PEFT_TYPES = {"lora": "LORA", "qlora": "LORA", "adapter": "ADAPTER", "adapter_fusion": "ADAPTER_FUSION"}
"""Of the methods that version 1 had; full fine-tuning has none."""


def _result_from_1(result: Json, *, run_id: str, adopted: bool) -> Json:
    run, train, meta = result["run_info"], result["train_info"], result["meta_info"]
    version, peft_type = meta["package_info"].get("peft-version"), PEFT_TYPES.get(run["peft_config"]["method"])
    model_id = meta["model_info"]["hub_id"]
    run = run | {
        "experiment_name": run_id,
        "peft_branch": f"v{version}" if version else "",
        "train_config": {"group_by_length": True} | run["train_config"] | {"model_id": model_id},
        "peft_config": {"peft_type": peft_type} | run["peft_config"] if peft_type else None,
    }
    if adopted:
        train = train | {"status": "evaluated"}
    else:
        *others, last = train["metrics"]
        samples = meta["dataset_info"]["sizes"]["train"] * run["train_config"]["epochs"]
        peft = {
            "test accuracy": result["test"]["accuracy"],
            "train loss": last["train_loss"],
            "train samples": samples,
            "train total tokens": train["real_tokens"],
        }
        train = train | {"metrics": [*others, last | peft]}
    return result | {"run_info": run, "train_info": train}


STEPS: dict[int, Callable[[Json], Json]] = {1: _from_1}
"""Version -> what raises it to the next."""
