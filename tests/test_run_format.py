"""docs/run-format.md and docs/run.schema.json against what the program writes: real runs in every state, every method.

`PYTHONPATH=. python tests/test_run_format.py` writes the parts of the schema that the program knows anew.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import time
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, trainer
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from trainer import events, methods
from trainer.config import RunConfig, Strict
from trainer.jobs import queue as jobs
from trainer.publish import bundled
from trainer.runs import archive, recipes, store
from trainer.runs.store import Store

SCHEMA = ROOT / "docs" / "run.schema.json"
GUIDE = ROOT / "docs" / "run-format.md"
EVENTS = (events.State, events.Started, events.Step, events.Evaluated, events.Saved)


def generated() -> dict[str, Any]:
    """The parts of the schema's $defs that the program's own models tell."""
    recipe = _plain(RunConfig)
    found = {f"options_{name}": _plain(method.options) for name, method in methods.METHODS.items()}
    recipe["allOf"] = [
        {
            "if": {"properties": {"method": {"const": name}}},
            "then": {"properties": {"options": {"$ref": f"#/$defs/options_{name}"}}},
        }
        for name in methods.METHODS
    ]
    for kind in EVENTS:
        found[f"event_{kind.kind}"] = _line(kind, TypeAdapter(kind).json_schema()["properties"])
    found["event_finished"] = _line(events.Finished, {"test_accuracy": {"type": "number"}})
    return {"recipe": recipe, **found}


def _plain(model: type[Strict]) -> dict[str, Any]:
    """The fields of a model; what its docstring says is for those who read the code."""
    return {name: part for name, part in model.model_json_schema().items() if name != "description"}


def _line(kind: type[events.Event], properties: dict[str, Any]) -> dict[str, Any]:
    head = {"time": {"type": "number", "description": "seconds since 1970"}, "type": {"const": kind.kind}}
    whole = head | properties
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": whole,
        "required": list(whole),
        "additionalProperties": False,
    }


def write(schema: dict[str, Any]) -> None:
    """The schema with its generated parts as they are now."""
    schema["$defs"] = {name: part for name, part in schema["$defs"].items() if not _is_generated(name)} | generated()
    SCHEMA.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


def _is_generated(name: str) -> bool:
    return name == "recipe" or name.startswith(("options_", "event_"))


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def strict(part: Any) -> Any:
    """The schema with no room for what it does not name: a new figure must be written down."""
    if isinstance(part, list):
        return [strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {name: strict(value) for name, value in part.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


def documented() -> dict[str, Any]:
    """The strict schema; only peft_config has more fields, the method's options."""
    found = schema()
    run_info = found["$defs"]["result"]["properties"]["run_info"]
    run_info["properties"]["peft_config"]["additionalProperties"] = True
    return strict(found)


def problems(content: Any, of: dict[str, Any] | None = None) -> list[str]:
    validator = Draft202012Validator(of or schema())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(content)]


def content(run: store.Run) -> dict[str, Any]:
    return json.loads((run.folder / "run.json").read_text(encoding="utf-8"))


def lines(run: store.Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def hold(run: store.Run) -> None:
    """A run's run.json and events.jsonl are what the schema says, and nothing in them goes unsaid."""
    assert problems(content(run)) == []
    assert problems(content(run), documented()) == []
    if (run.folder / "events.jsonl").is_file():
        for event in lines(run):
            assert problems(event, an_event()) == [], event


def an_event() -> dict[str, Any]:
    """The schema of a line of events.jsonl."""
    return {"$ref": "#/$defs/event", "$defs": schema()["$defs"]}


def wait(own: Store, run_id: str, *states: str) -> store.Run:
    end = time.monotonic() + 120
    while (run := own.load(run_id)).state not in states:
        assert time.monotonic() < end, f"{run_id} stayed {run.state}"
        time.sleep(0.1)
    return run


# The schema and the program


def test_the_schema_is_one_and_knows_the_programs_own_models():
    found = schema()
    Draft202012Validator.check_schema(found)
    parts = {name: part for name, part in found["$defs"].items() if _is_generated(name)}
    assert parts == json.loads(json.dumps(generated())), "PYTHONPATH=. python tests/test_run_format.py writes it anew"
    head = found["properties"]
    assert head["schema_version"]["const"] == store.SCHEMA_VERSION
    assert tuple(head["state"]["enum"]) == store.STATES
    assert set(head) == {field.name for field in fields(store.Run)} - {"folder"} | {"schema_version"}
    assert found["$defs"]["run_id"]["pattern"] == f"^{archive.RUN_ID.pattern}$"


def test_finished_runs_of_every_method_are_what_the_schema_says(suite):
    runs = suite[0].list()
    assert {run.recipe.method for run in runs} == set(methods.METHODS)
    for run in runs:
        hold(run)
        assert content(run)["state"] == "finished"
    kinds = {event["type"] for run in runs for event in lines(run)}
    assert kinds == {kind.kind for kind in (*EVENTS, events.Finished)}


def test_runs_in_every_other_state_are_what_the_schema_says(own_store, tiny_backbone, tiny_file, tmp_path):
    settings = {"task": str(tiny_file), "backbone": str(tiny_backbone), "batch_size": 16}
    waiting = own_store.create(recipes.make(method="adapter", **settings))
    hold(waiting)
    assert content(waiting)["state"] == "queued"
    own_store.delete(waiting.id)

    (long,) = jobs.launch(own_store, [recipes.make(method="lora", epochs=500, **settings)])
    wait(own_store, long.id, "running")
    hold(long)
    jobs.cancel(own_store, long.id)
    wait(own_store, long.id, "cancelled")
    hold(long)
    assert content(long)["state"] == "cancelled"

    one_label = tmp_path / "one.csv"
    one_label.write_text("sentence,label\n" + "".join(f"sentence {i},same\n" for i in range(30)), encoding="utf-8")
    (failing,) = jobs.launch(own_store, [recipes.make(method="lora", **settings | {"task": str(one_label)})])
    wait(own_store, failing.id, "failed")
    hold(failing)


def test_an_adopted_run_has_no_figures_of_training(suite, own_store, tiny_backbone, tiny_file):
    source = next(run for run in suite[0].list() if run.recipe.method == "lora")
    trainer(
        "adopt", str(source.model_folder), "--task", str(tiny_file), "--backbone", str(tiny_backbone),
        store=own_store,
    )  # fmt: skip
    (run,) = own_store.list()
    hold(run)
    assert content(run)["result"]["train_info"]["train_time"] is None
    trained = content(run)
    del trained["lineage"]["adopted"]
    assert problems(trained), "only of an adopted run may these figures be unknown"


def test_the_runs_that_come_with_the_program_are_what_the_schema_says():
    runs = bundled.shipped()
    assert {run.recipe.method for run in runs} == set(methods.METHODS)
    for run in runs:
        hold(run)
        assert content(run)["lineage"]["bundled"]["weights"] == run.model_folder.is_dir()


def _set(path: str, value: Any):
    def spoil(found: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        for name in folders:
            found = found[name]
        found[last] = value

    return spoil


def _remove(path: str):
    def spoil(found: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        for name in folders:
            found = found[name]
        del found[last]

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _set("state", "paused"),
        _set("schema_version", 2),
        _set("label", None),
        _set("id", "../elsewhere"),
        _set("created_at", "yesterday"),
        _set("place", "first"),
        _set("surprise", 1),
        _set("error", "a finished run has none"),
        _set("result", None),
        _set("state", "queued"),
        _set("state", "failed"),
        _set("recipe/epochs", "three"),
        _set("recipe/epochs", 0),
        _set("recipe/surprise", 1),
        _set("recipe/options/r", 0),
        _set("recipe/options/surprise", 1),
        _set("result/test/accuracy", 91.5),
        _set("result/train_info/train_time", None),
        _set("result/train_info/precision", "auto"),
        _set("result/train_info/metrics", []),
        _set("result/meta_info/dataset_info/label_names", ["one"]),
        _set("result/test/confusion_matrix", [[1.5, 0], [0, 1]]),
        _remove("schema_version"),
        _remove("recipe"),
        _remove("recipe/learning_rate"),
        _remove("lineage/parents"),
        _remove("result/train_info/file_size"),
        _remove("result/test/macro/f1"),
        _remove("result/meta_info/model_info/sha256"),
    ],
)
def test_what_is_no_run_is_refused(spoil, suite):
    found = content(next(run for run in suite[0].list() if run.recipe.method == "lora"))
    assert problems(found) == []
    spoilt = copy.deepcopy(found)
    spoil(spoilt)
    assert problems(spoilt)


def test_an_event_of_an_unknown_kind_or_without_a_time_is_refused(suite):
    event = lines(suite[0].list()[0])[-1]
    assert problems(event, an_event()) == []
    for spoilt in (event | {"type": "surprise"}, {k: v for k, v in event.items() if k != "time"}, event | {"more": 1}):
        assert problems(spoilt, an_event())


# The guide


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the guide, without its head."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_guide_names_every_field_and_every_event():
    assert [names(row[0])[0] for row in rows("run.json")] == list(schema()["properties"])
    found = {names(row[0])[0]: names(row[1]) for row in rows("events.jsonl")}
    assert set(found) == {kind.kind for kind in (*EVENTS, events.Finished)}
    for kind in EVENTS:
        assert found[kind.kind] == [field.name for field in fields(kind)]
    text = GUIDE.read_text(encoding="utf-8")
    result = schema()["$defs"]["result"]["properties"]
    for name in ("run_info", "train_info"):
        missing = [field for field in result[name]["properties"] if f"`{field}`" not in text]
        assert not missing, f"{name}: {missing}"
    for name, part in result["meta_info"]["properties"].items():
        assert not [field for field in (name, *part.get("properties", ())) if f"`{field}`" not in text]


def test_the_guide_names_the_columns_of_the_predictions(suite):
    import pyarrow.parquet as parquet

    for run in suite[0].list():
        columns = parquet.read_schema(run.folder / "predictions.parquet")
        kinds = {"large_string": "string", "list<element: float>": "list of float32"}
        found = [[name, kinds.get(str(kind), str(kind))] for name, kind in zip(columns.names, columns.types)]
        assert [[names(row[0])[0], row[1]] for row in rows("predictions.parquet")] == found


def test_the_guide_names_the_files_of_every_methods_model(suite):
    told = {method: row for row in rows("model/") for method in names(row[0])}
    assert set(told) == set(methods.METHODS)
    for run in suite[0].list():
        there = {
            path.relative_to(run.model_folder).as_posix() for path in run.model_folder.rglob("*") if path.is_file()
        }
        parents = [path.name for path in run.model_folder.glob("adapters/*")]
        wanted = [
            name.replace("NAME", parent) for name in names(told[run.recipe.method][1]) for parent in parents or [""]
        ]
        assert there == set(wanted), run.recipe.method


def test_the_guide_says_what_a_zip_holds(suite, tmp_path):
    text = GUIDE.read_text(encoding="utf-8").partition("## A run as a zip file")[2]
    assert all(f"`{suffix}`" in text for suffix in archive.SUFFIXES)
    assert all(f"`{name}/`" in text for name in archive.LEFT_OUT)
    run = suite[0].list()[0]
    trainer("export", run.id, str(tmp_path / "run.zip"), store=suite[0])
    with zipfile.ZipFile(tmp_path / "run.zip") as file:
        inside = file.namelist()
    assert all(name.startswith(f"{run.id}/") for name in inside)
    assert {"run.json", "events.jsonl", "predictions.parquet", "log.txt", "model"} == {
        Path(name).parts[1] for name in inside
    }


def test_a_run_with_a_missing_or_unknown_field_is_left_out_of_the_list(suite, own_store):
    """As the guide says: what the schema refuses at the top level, the store does not read."""
    source = suite[0].list()[0]
    for place, spoil in enumerate((_remove("recipe"), _remove("schema_version"), _set("surprise", 1))):
        folder = own_store.root / f"spoilt-{place}"
        shutil.copytree(source.folder, folder)
        found = content(source)
        spoil(found)
        (folder / "run.json").write_text(json.dumps(found), encoding="utf-8")
    shutil.copytree(source.folder, own_store.root / "whole")
    assert [run.id for run in own_store.list()] == ["whole"]


if __name__ == "__main__":
    write(schema())
