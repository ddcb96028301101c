"""Upgrades of run.json from older versions of its format: one function for each step from a version to the next.

A step maps plain JSON to plain JSON, and does not change when the models change later. The file on the disk stays as it
is; a run is written in the newest version the next time it is updated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.runs.damage import Damaged
from trainer.runs.result import SCHEMA_VERSION

Json = dict[str, Any]


def upgrade(content: Any) -> Json:
    """Content of a run.json in the newest version. Raises `ValueError`, for a newer one `Damaged`, which is one."""
    if not isinstance(content, dict):
        raise ValueError("an object is expected")
    version = content.get("schema_version")
    if type(version) is not int:
        raise ValueError("schema_version: a number is expected")
    if version > SCHEMA_VERSION:
        raise Damaged("version", version=str(version)[:20], newest=SCHEMA_VERSION)
    try:
        while (version := content["schema_version"]) != SCHEMA_VERSION:
            content = STEPS[version](content)
    except KeyError as error:
        raise ValueError(f"{error.args[0]}: it is missing or unknown in version {version}") from None
    except (IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"a part of version {version} is of another type ({error})") from None
    return content


def _from_1(content: Json) -> Json:
    """Version 1 to 2: adds the names that PEFT's reader expects, and renames `place` to `queue_order`.

    In version 2 full fine-tuning has no `peft_config`.
    """
    # Before recipes had this field, sentences were always batched by length.
    recipe = {"group_by_length": True} | content["recipe"]
    result = content["result"]
    if result is not None:
        result = _result_from_1(result, run_id=content["id"], adopted="adopted" in content["lineage"])
    order = {"queue_order": content["place"]}
    others = {name: value for name, value in content.items() if name != "place"}
    return others | order | {"schema_version": 2, "recipe": recipe, "result": result}


PEFT_TYPES = {"lora": "LORA", "qlora": "LORA", "adapter": "ADAPTER", "adapter_fusion": "ADAPTER_FUSION"}
"""PEFT's names of the adapter types of version 1's methods; full fine-tuning has none."""


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
        sentences, epochs = meta["dataset_info"]["sizes"]["train"], run["train_config"]["epochs"]
        if type(sentences) is not int or type(epochs) is not int:  # a text times a number is a long text
            raise TypeError("sizes.train and epochs are numbers")
        peft = {
            "test accuracy": result["test"]["accuracy"],
            "train loss": last["train_loss"],
            "train samples": sentences * epochs,
            "train total tokens": train["real_tokens"],
        }
        train = train | {"metrics": [*others, last | peft]}
    return result | {"run_info": run, "train_info": train}


def _from_2(content: Json) -> Json:
    """Version 2 to 3, which adds figures: null where an older run did not record them."""
    return content | {"schema_version": 3}


STEPS: dict[int, Callable[[Json], Json]] = {1: _from_1, 2: _from_2}
"""Version -> function that upgrades to the next version."""
