"""docs/run-format.md and docs/run.schema.json against what the program writes: real runs in every state, every method.

`PYTHONPATH=. python tests/test_run_format.py` writes the parts of the schema that the program knows anew.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import shutil
import time
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, VERSION_1, trainer
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from trainer import events, methods
from trainer.analysis import method_comparison, tables, variants
from trainer.config import Strict
from trainer.errors import UserError
from trainer.jobs import queue as jobs
from trainer.publish import bundled
from trainer.runs import archive, damage, recipes, result, store, upgrade
from trainer.runs.metrics import METRICS
from trainer.runs.run import STATES, Run
from trainer.runs.store import Store
from trainer.ui.common.lab import Lab
from trainer.ui.compare import cards as compare_cards
from trainer.ui.train import panel as train_panel

SCHEMA = ROOT / "docs" / "run.schema.json"
GUIDE = ROOT / "docs" / "run-format.md"
EVENTS = (events.State, events.Started, events.Step, events.Evaluated, events.Saved)
ABOUT = (
    "Explained in run-format.md. A line of events.jsonl is #/$defs/event. Made from the program's own models: "
    "PYTHONPATH=. python tests/test_run_format.py writes it again."
)


def generated() -> dict[str, Any]:
    """The schema, from the program's own models."""
    made = _renamed(result.Content.model_json_schema())
    parts = {name: _without_titles(part) for name, part in sorted(made.pop("$defs").items()) if name != "recipe"}
    parts |= {"recipe": _plain(result.RunConfig)}
    parts |= {f"options_{name}": _plain(method.options) for name, method in methods.METHODS.items()}
    for part in (parts["recipe"], parts["train_config"]):
        part["allOf"] = [
            {
                "if": {"properties": {"method": {"const": name}}},
                "then": {"properties": {"options": {"$ref": f"#/$defs/options_{name}"}}},
            }
            for name in methods.METHODS
        ]
    for kind in EVENTS:
        parts[f"event_{kind.kind}"] = _line(kind, TypeAdapter(kind).json_schema()["properties"])
    parts["event_finished"] = _line(events.Finished, {"test_accuracy": {"type": "number"}})
    every = [{"$ref": f"#/$defs/{name}"} for name in parts if name.startswith("event_")]
    parts["event"] = {"description": "a line of events.jsonl", "oneOf": every}
    whole = _without_titles(made) | {"title": f"run.json of PEFT Lab, schema_version {store.SCHEMA_VERSION}"}
    return {"$schema": Draft202012Validator.META_SCHEMA["$id"], **whole, "description": ABOUT, "$defs": parts}


def _renamed(part: Any) -> Any:
    """The models under the names of their fields: RunInfo is run_info."""
    if isinstance(part, list):
        return [_renamed(one) for one in part]
    if not isinstance(part, dict):
        return f"#/$defs/{_name(part[8:])}" if isinstance(part, str) and part.startswith("#/$defs/") else part
    made = {name: _renamed(value) for name, value in part.items()}
    if "$defs" in made:
        made["$defs"] = {_name(name): value for name, value in made["$defs"].items()}
    return made


def _name(model: str) -> str:
    return "recipe" if model == "RunConfig" else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", model).lower()


def _without_titles(part: Any) -> Any:
    """Without the titles that pydantic makes of the fields' names."""
    if isinstance(part, list):
        return [_without_titles(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {name: _without_titles(value) for name, value in part.items() if name != "title"}


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


def write() -> None:
    SCHEMA.write_text(json.dumps(generated(), indent=1) + "\n", encoding="utf-8")


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def problems(content: Any, of: dict[str, Any] | None = None) -> list[str]:
    validator = Draft202012Validator(of or schema())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(content)]


def content(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "run.json").read_text(encoding="utf-8"))


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def hold(run: Run) -> None:
    """A run's run.json and events.jsonl are what the schema says, which has no room for what it does not name."""
    assert problems(content(run)) == []
    if (run.folder / "events.jsonl").is_file():
        for event in lines(run):
            assert problems(event, an_event()) == [], event


def an_event() -> dict[str, Any]:
    """The schema of a line of events.jsonl."""
    return {"$ref": "#/$defs/event", "$defs": schema()["$defs"]}


def wait(own: Store, run_id: str, *states: str) -> Run:
    end = time.monotonic() + 120
    while (run := own.load(run_id)).state not in states:
        assert time.monotonic() < end, f"{run_id} stayed {run.state}"
        time.sleep(0.1)
    return run


# The schema and the program


def test_the_schema_is_what_the_programs_models_say():
    found = schema()
    Draft202012Validator.check_schema(found)
    assert found == json.loads(json.dumps(generated())), "PYTHONPATH=. python tests/test_run_format.py writes it again"
    head = found["properties"]
    assert head["schema_version"]["const"] == store.SCHEMA_VERSION
    assert tuple(found["properties"]["state"]["enum"]) == STATES
    assert set(head) == set(Run.model_fields) - {"folder"}
    assert head["id"]["pattern"] == f"^{archive.RUN_ID.pattern}$"


def test_finished_runs_of_every_method_are_what_the_schema_says(suite):
    runs = suite[0].list()
    assert {run.recipe.method for run in runs} == set(methods.DEFAULT)
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
    # `launch` refuses such a file; one that changes while its run waits is not noticed before.
    failing = own_store.create(recipes.make(method="lora", **settings | {"task": str(one_label)}))
    jobs.ensure_worker(own_store)
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
    assert {run.recipe.method for run in runs} == set(methods.DEFAULT)
    for run in runs:
        assert problems(run.as_json()) == []
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


OVERLOOKED = [
    _set("id", "../elsewhere"),  # the folder's name counts
    _set("error", "a finished run has none"),
]
"""What the schema refuses and a reader need not know: it harms nothing that is shown."""


@pytest.mark.parametrize(
    "spoil",
    [
        *OVERLOOKED,
        _set("recipe/options/r", 0),
        _set("recipe/options/surprise", 1),
        _set("state", "paused"),
        _set("schema_version", store.SCHEMA_VERSION + 1),
        _set("label", None),
        _set("created_at", "yesterday"),
        _set("queue_order", "first"),
        _set("surprise", 1),
        _set("result", None),
        _set("state", "queued"),
        _set("state", "failed"),
        _set("recipe/epochs", "three"),
        _set("recipe/epochs", 0),
        _set("recipe/surprise", 1),
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
        _set("result/surprise", 1),
        _set("result/train_info/steps", "96"),
        _set("result/train_info/steps", 10**30),
        _set("result/train_info/status", "evaluated"),
        _set("result/train_info/num_total_params", 0),
        _set("lineage", []),
    ],
)
def test_what_is_no_run_is_refused_and_left_out_of_the_list(spoil, suite, own_store):
    found = content(next(run for run in suite[0].list() if run.recipe.method == "lora"))
    assert problems(found) == []
    spoilt = copy.deepcopy(found)
    spoil(spoilt)
    assert problems(spoilt)
    put(own_store, "whole", found)
    put(own_store, "spoilt", spoilt)
    assert [run.id for run in own_store.list()] == (["spoilt", "whole"] if spoil in OVERLOOKED else ["whole"])
    assert [found.run_id for found in own_store.damaged()] == ([] if spoil in OVERLOOKED else ["spoilt"])


def put(own: Store, name: str, found: Any) -> Path:
    """A run folder with nothing but this run.json."""
    folder = own.root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").unlink(missing_ok=True)  # file systems take milliseconds to write over a file
    (folder / "run.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


BAD = (None, "<b>x</b>", True, -1, 0.5, 10**400, float("inf"), float("nan"), [None], {"x": {}})


def test_no_value_anywhere_in_run_json_breaks_a_table(own_store):
    """Every value of a finished run is put wrong in every way: the run is damaged, or tables and pages show it.

    Those that are shown are drawn all together, and where that fails each alone.
    """
    fusion = next(run for run in bundled.shipped() if run.recipe.method == "adapter_fusion")
    whole = fusion.as_json()
    del whole["result"]["train_info"]["metrics"][:-1]  # one epoch is enough
    lab, read = Lab.open(own_store), {}
    for number, (path, value) in enumerate(itertools.product(leaves(whole), BAD)):
        inner = whole
        for name in path[:-1]:
            inner = inner[name]
        sound, inner[path[-1]] = inner[path[-1]], value
        put(own_store, "spoilt", whole)
        inner[path[-1]] = sound
        found, broken = Store(own_store.root).scan()
        assert len(found) + len(broken) == 1, "a run, or a damaged run"
        for run in found:
            read[f"spoilt-{number}"] = path, value, run.model_copy(update={"id": f"spoilt-{number}"})

    def draw(runs: list[Run]) -> None:
        [metric.show(metric.of(run)) for run in runs for metric in METRICS.values()]
        both = [fusion, *runs]
        tables.runs_table(both), tables.comparable(both), variants.variants(both)
        compare_cards.cards([run for run in runs if run.result], {run.id: "a run" for run in runs})
        for run in runs:
            train_panel.details_html(lab, run)
            json.dumps(run.as_json())

    failed = damage.culprits([run for _, _, run in read.values()], draw)
    assert [(*read[run.id][:2], repr(error)) for run, error in failed] == []
    assert len(read) > 50, "names, notes and the like may be anything"


def test_a_loss_that_broke_after_the_best_epoch_is_written_and_read(own_store):
    """The run is finished all the same: its best epoch was kept."""
    found = next(run for run in bundled.shipped() if run.recipe.method == "lora").as_json()
    for entry in (found["result"]["train_info"]["metrics"][-1], found["result"]["validation"]):
        entry["loss"] = float("nan")
    folder = put(own_store, found["id"], found)
    own_store.update(found["id"], label="mine")
    again = Store(own_store.root).load(found["id"]).result
    assert math.isnan(again.train_info.metrics[-1].loss)
    assert math.isnan(again.validation.loss)
    assert (folder / "run.json").read_text(encoding="utf-8").count("NaN") == 2


def leaves(part: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values, containers too."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [at for name, value in inner for at in [(*path, name), *leaves(value, (*path, name))]]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '"text"', "{}", '{"schema_version": []}', '{"schema_version": {}}',
        '{"schema_version": 1}', '{"schema_version": 1, "recipe": [], "result": 3}', '{"schema_version": 99}',
        '{"schema_version": "1"}', "[" * 100_000, '{"schema_version": 2, "label": "\\ud800"}', "\x00" * 100,
    ],
)  # fmt: skip
def test_a_damaged_file_never_reaches_the_list(text, own_store):
    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    folder = put(own_store, "damaged-run", {})
    (folder / "run.json").write_text(text, encoding="utf-8")
    assert [one.id for one in own_store.list()] == [run.id]
    with pytest.raises(UserError, match="a damaged one"):
        own_store.load("damaged-run")


# Older versions


def test_every_older_version_is_raised_by_one_step():
    assert set(upgrade.STEPS) == set(range(1, store.SCHEMA_VERSION))


LATER = {"gradient_accumulation_steps": 1, "use_dora": False, "use_rslora": False, "lora_bias": False}
LATER |= {"train_pooler": False, "truncation": "head", "pairs": False}
LATER |= {"class_weights": "none", "label_smoothing": 0.0, "best_by": "accuracy"}
LATER |= dict.fromkeys(
    (
        *("group_column", "group", "groups", "step_memory", "host_energy_joules"),
        *("inference", "calibration", "temperature", "baselines", "average_precision"),
        *("separator", "encoding", "validation_share", "early_stopping"),
        *("thresholds", "micro", "micro_f1", "label_confusion"),
    )
)
LATER |= {"freeze_a": False, "b_rate": 1, "several_labels": False, "label_columns": list, "multi_label": False}
"""Settings that came later, at the values that do what was done before them."""


def test_runs_of_version_1_read_as_they_are(tmp_path):
    """The files on the disk stay what they are until a run is written, which writes the newest version."""
    runs = Store(VERSION_1).list()
    before = {run.id: content(run) for run in runs}
    assert {found["recipe"]["method"] for found in before.values()} == {"full", "lora", "adapter_fusion"}
    for run in runs:
        old, new = before[run.id], run.as_json()
        assert old["schema_version"] == 1
        assert new["schema_version"] == store.SCHEMA_VERSION
        assert problems(new) == []
        lost = [path for path in leaves(old) if at(old, path) != at(new, path) and not _changed(path, old)]
        assert lost == []
        added = set(leaves(new)) - set(leaves(old))
        last = ("result", "train_info", "metrics", len(old["result"]["train_info"]["metrics"]) - 1)
        assert new["queue_order"] == old["place"]
        expected = {
            ("queue_order",),
            ("result", "run_info", "experiment_name"),
            ("result", "run_info", "peft_branch"),
            ("result", "run_info", "train_config", "model_id"),
            ("result", "run_info", "peft_config", "peft_type"),
            (*last, "test accuracy"),
            (*last, "train samples"),
        }
        if run.recipe.method == "full":
            expected.remove(("result", "run_info", "peft_config", "peft_type"))
        later = {path for path in added if path[-1] in LATER}
        assert all(at(new, path) == LATER[path[-1]] for path in later)
        assert added - later == expected
    shutil.copytree(run.folder, tmp_path / run.id)
    own = Store(tmp_path)
    assert own.update(run.id, label="mine").label == "mine"
    assert problems(content(own.load(run.id))) == []


def at(part: Any, path: tuple) -> Any:
    """The value at a path; of a container, only what kind it is."""
    for name in path:
        try:
            part = part[name]
        except (KeyError, TypeError, IndexError):
            return "gone"
    return type(part) if isinstance(part, (dict, list)) else part


def _changed(path: tuple, old: Any) -> bool:
    """What version 2 writes otherwise: its own number, and null as peft_config of full fine-tuning."""
    full = old["recipe"]["method"] == "full"
    return path in (("schema_version",), ("place",)) or (full and path[:3] == ("result", "run_info", "peft_config"))


def test_a_bare_run_of_version_1_reads(own_store):
    """With no more than version 1 asked for: a recipe of four fields, in the queue."""
    recipe = {"method": "lora", "task": "movies", "backbone": "minilm", "learning_rate": 0.002}
    old = {
        "schema_version": 1, "id": "lora-movies-minilm-s0-00000000", "label": "", "state": "queued",
        "created_at": "2026-11-23T20:00:08Z", "place": 1, "suite": "", "recipe": recipe, "lineage": {"parents": []},
        "owner": None, "result": None, "error": None,
    }  # fmt: skip
    put(own_store, old["id"], old)
    (run,) = own_store.list()
    assert run.recipe.group_by_length, "batches were of like lengths before the field was there"
    assert problems(run.as_json()) == []
    assert own_store.update(run.id, state="cancelled", error="Cancelled on request.").recipe == run.recipe
    assert problems(content(run)) == []


def test_a_finished_run_of_version_1_reads_with_the_recipe_that_it_had_then(own_store):
    """Of a run that was trained here, and of an adapter from elsewhere, of which training is not known."""
    old = content(next(run for run in Store(VERSION_1).list() if run.recipe.method == "lora"))
    for recipe in (old["recipe"], old["result"]["run_info"]["train_config"]):
        del recipe["group_by_length"], recipe["track"]
    put(own_store, "trained-here", old)
    foreign = copy.deepcopy(old)
    foreign["lineage"]["adopted"] = {"source": "someone/adapter", "label_order": []}
    foreign["result"]["train_info"] |= dict.fromkeys(result.TRAINED) | {"metrics": []}
    put(own_store, "from-elsewhere", foreign)
    here, elsewhere = own_store.load("trained-here"), own_store.load("from-elsewhere")
    for run in (here, elsewhere):
        assert run.recipe.group_by_length
        assert run.result.run_info.train_config.group_by_length
        assert problems(run.as_json()) == []
    assert elsewhere.adopted.source == "someone/adapter"
    assert elsewhere.result.train_info.status == "evaluated"
    assert elsewhere.result.train_info.peak is None
    assert METRICS["train_minutes"].of(elsewhere) is None
    assert METRICS["test_accuracy"].of(elsewhere) == METRICS["test_accuracy"].of(here)


# PEFT's method comparison


def as_peft_reads(found: dict[str, Any]) -> dict[str, Any] | None:
    """The figures that processing.py of PEFT's method_comparison takes, under its names; None for what it skips."""
    run, train, meta = found["run_info"], found["train_info"], found["meta_info"]
    if train["status"] != "success":
        return None
    last = train["metrics"][-1]
    packages = ("peft", "transformers", "datasets", "torch", "bitsandbytes")
    return {
        "experiment_name": run["experiment_name"],
        "model_id": run["train_config"]["model_id"],
        "peft_type": run["peft_config"]["peft_type"] if run["peft_config"] else "full-finetuning",
        "peft_branch": run["peft_branch"],
        "created_at": run["created_at"],
        "total_time": run["total_time"],
        "train_time": train["train_time"],
        "file_size": train["file_size"],
        "num_trainable_params": train["num_trainable_params"],
        "memory": [train[f"accelerator_memory_{name}"] for name in ("reserved_avg", "max", "reserved_99th")],
        "test_accuracy": last["test accuracy"],
        "train_loss": last["train loss"],
        "train_samples": last["train samples"],
        "train_total_tokens": last["train total tokens"],
        "versions": [meta["package_info"][f"{name}-version"] for name in packages],
    }


def test_pefts_own_reader_gets_the_figures_of_every_method(suite, tmp_path):
    """Of the files that the guide's command writes."""
    import peft

    trainer("compare", "--peft", str(tmp_path), store=suite[0])
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*/*.json")}
    types = {"full": "full-finetuning", "lora": "LORA", "qlora": "LORA"}
    runs = suite[0].list()
    assert {run.recipe.method for run in runs} == set(methods.DEFAULT)
    for run in runs:
        rows = suite[0].predictions(run.id).query("split == 'test'")
        read, started = as_peft_reads(written[run.id]), events_of(run, "started")[-1]
        expected = content(run)["result"]
        for name in method_comparison.MEMORY:
            expected["train_info"][name] = expected["train_info"][name] or 0
        assert written[run.id] == expected
        assert read["experiment_name"] == run.id
        assert read["peft_type"] == types.get(run.recipe.method, run.recipe.method.upper())
        assert read["model_id"] == run.recipe.backbone
        assert read["peft_branch"] == f"v{peft.__version__}"
        assert read["test_accuracy"] == pytest.approx((rows["label"] == rows["predicted"]).mean())
        assert read["train_loss"] == [e["train_loss"] for e in events_of(run, "evaluation") if e["train_loss"]][-1]
        assert read["train_samples"] == 3 * started["train_sentences"]
        assert read["train_samples"] < read["train_total_tokens"] == run.result.train_info.real_tokens
        assert read["num_trainable_params"] == started["trainable_parameters"]
        assert read["train_time"] < read["total_time"]
        assert read["memory"] == [0] * 3 or min(read["memory"]) > 0


def events_of(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in lines(run) if event["type"] == kind]


def test_every_method_but_full_fine_tuning_has_a_name_for_peft():
    assert {name for name, method in methods.METHODS.items() if method.peft_type is None} == {"full"}
    assert {name: methods.get(name).peft_type for name in upgrade.PEFT_TYPES} == upgrade.PEFT_TYPES


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
    text, parts = GUIDE.read_text(encoding="utf-8"), schema()["$defs"]
    for name in ("result", "run_info", "train_info", "epoch", "parents", "meta_info", "model_info", "dataset_info",
                 "system_info", "scores", "lineage", "adopted", "bundled"):  # fmt: skip
        missing = [field for field in parts[name]["properties"] if f"`{field}`" not in text]
        assert not missing, f"{name}: {missing}"


def test_the_guide_names_the_columns_of_the_predictions(suite):
    import pyarrow.parquet as parquet

    for run in suite[0].list():
        columns = parquet.read_schema(run.folder / "predictions.parquet")
        kinds = {"large_string": "string", "list<element: float>": "list of float32"}
        found = [[name, kinds.get(str(kind), str(kind))] for name, kind in zip(columns.names, columns.types)]
        table = [[names(row[0])[0], row[1]] for row in rows("predictions.parquet")]
        assert ["group", "string"] in table
        grouped = run.result.meta_info.dataset_info.group is not None
        assert [row for row in table if grouped or row[0] != "group"] == found


def test_the_guide_names_the_files_of_every_methods_model(suite):
    told = {method: row for row in rows("model/") for method in names(row[0])}
    assert set(told) == set(methods.DEFAULT)
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


if __name__ == "__main__":
    write()
