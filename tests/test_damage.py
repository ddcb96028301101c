"""Damaged files of a run: each makes one damaged run with its reason, everywhere, and the others go on."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, trainer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import escape

from trainer import events
from trainer.analysis import method_comparison, parents
from trainer.analysis import tables as analysis
from trainer.errors import ArgumentError, UserError
from trainer.events import State
from trainer.publish import bundled, report
from trainer.runs import archive
from trainer.runs.damage import FILES
from trainer.runs.metrics import METRICS
from trainer.runs.run import DamagedRun, Run
from trainer.runs.store import Store
from trainer.ui.common.isolation import damaged_html, isolated
from trainer.ui.common.lab import Lab
from trainer.ui.compare import api as compare_api
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.lesson import choose as lesson_choose
from trainer.ui.lesson import cost as lesson_cost
from trainer.ui.lesson import curves as lesson_curves
from trainer.ui.lesson import real as lesson_real
from trainer.ui.live import missing as live_missing
from trainer.ui.live import selection as live_selection
from trainer.ui.live.groups import groups
from trainer.ui.train import panel as train_panel
from trainer.ui.train import queue as train_queue

BAD = "lora-movies-minilm-s0-bundled"
SIZES = {"validation": 300, "test": 1004}


@cache
def shipped() -> list[Run]:
    """Runs that come with the program, on the same sentences: one of them is damaged in the tests."""
    runs = [run for run in bundled.shipped() if run.task_name == "movies" and run.recipe.seed == 0]
    return [run for run in runs if run.recipe.method != "qlora"]


@pytest.fixture
def stored(own_store) -> Store:
    """A store with copies of those runs; their weights are links."""
    for run in shipped():
        folder = own_store.root / run.id
        folder.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(run.folder / name, folder / name)
        if run.model_folder.is_dir():
            os.symlink(run.model_folder, folder / "model")
    return own_store


# run.json


def put(store: Store, name: str, content: bytes | str) -> Path:
    """Replace a file of the run `BAD`, as a person or a crash would."""
    path = store.root / BAD / name
    path.unlink(missing_ok=True)  # file systems take milliseconds to write over a file
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@cache
def content() -> dict[str, Any]:
    """run.json of the run `BAD`, in the newest version."""
    return next(run for run in bundled.shipped() if run.id == BAD).as_json()


def changed(path: str, value: Any) -> str:
    spoilt = copy.deepcopy(content())
    *folders, last = path.split("/")
    inner = spoilt
    for name in folders:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(spoilt)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


RUN_FILES: dict[str, tuple[Any, str]] = {
    "null": ("null", "an object is expected"),
    "a list": ("[]", "an object is expected"),
    "a number": ("7", "an object is expected"),
    "a text": ('"run"', "an object is expected"),
    "empty": ("", "it is no JSON"),
    "half": (json.dumps(content())[:400], "it is no JSON"),
    "not UTF-8": (b"\xff\xfe{}", "it is no JSON"),
    "null bytes": ("\x00" * 100, "it is no JSON"),
    "deep": ("[" * 100_000, "it is no JSON"),
    "deep inside": ('{"schema_version": 3, "recipe": ' + "[" * 5_000 + "]" * 5_000 + "}", "it is no JSON"),
    "long number": ('{"schema_version": ' + "9" * 5_000 + "}", "it is no JSON"),
    "no version": ("{}", "schema_version"),
    "newer": (changed("schema_version", 4), "its version 4 is newer than 3"),
    "version of another type": (changed("schema_version", "3"), "schema_version"),
    "version 1 without parts": ('{"schema_version": 1}', "recipe: it is missing"),
    "version 1 with other parts": ('{"schema_version": 1, "recipe": [], "result": 3}', "of another type"),
    "a text for a position": (changed("queue_order", "first"), "queue_order"),
    "a missing part": (changed("result/test/macro", ...), "result.test.macro"),
    "an unknown part": (changed("result/surprise", 1), "result.surprise"),
    "a huge number": (changed("result/train_info/file_size", 10**400), "result.train_info.file_size"),
    "infinity": (changed("result/train_info/train_time", float("inf")), "result.train_info.train_time"),
    "no number": (changed("result/test/accuracy", float("nan")), "result.test.accuracy"),
    "an option of another type": (changed("recipe/options/r", "wide"), "recipe.options.r"),
    "an unknown option": (changed("recipe/options/surprise", [1]), "recipe.options.surprise"),
    "a folder": (as_folder, "it is no file"),
    "none": (Path.unlink, "it is missing"),
}
"""Kind of damage of run.json -> (its content, or what makes it; a part of the reason)."""


# events.jsonl


def sound_events() -> list[bytes]:
    return (ROOT / "adapters_store" / BAD / "events.jsonl").read_bytes().splitlines(keepends=True)


def line(kind: str, **changes: Any) -> bytes:
    """The first line of a type, with changes; a line without the fields that are `...`."""
    found = next(event for event in map(json.loads, sound_events()) if event["type"] == kind) | changes
    return (json.dumps({name: value for name, value in found.items() if value is not ...}) + "\n").encode()


SPOILT_LINES: dict[str, tuple[bytes, str]] = {
    "another object": (b'{"a": 1}\n', "type: an event's is expected"),
    "a number": (b"3\n", "an object"),
    "null": (b"null\n", "an object"),
    "a list": (b"[]\n", "an object"),
    "half a line": (line("step")[:30] + b"\n", "JSON"),
    "not UTF-8": (b"\xff\xfe\n", "JSON"),
    "an unknown type": (line("step", type="surprise"), "type: an event's is expected"),
    "a type that is a list": (line("step", type=[]), "type: an event's is expected"),
    "a number as text": (line("step", step="1"), "step.step"),
    "a negative number": (line("step", step=-1), "step.step"),
    "no steps": (line("step", total_steps=0), "step.total_steps"),
    "no number": (line("step", seconds=float("nan")), "step.seconds"),
    "infinity": (line("step", epoch=float("inf")), "step.epoch"),
    "a huge number": (line("step", memory=10**4000), "step.memory"),
    "a missing field": (line("step", loss=...), "step.loss"),
    "an unknown field": (line("step", more=1), "step.more"),
    "no time": (line("step", time=...), "step.time"),
    "a time that is none": (line("step", time="noon"), "step.time"),
    "an accuracy above 1": (line("finished", test_accuracy=91.5), "finished.test_accuracy"),
    "an epoch without a loss": (line("evaluation", train_loss=None), "train_loss"),
    "a huge line": (b"x" * (3 << 20) + b"\n", "at most 1,048,576 bytes"),
}
"""Kind of damage of events.jsonl -> (a line in it, a part of the reason)."""


# predictions.parquet


def sound_predictions() -> pd.DataFrame:
    return pd.read_parquet(ROOT / "adapters_store" / BAD / "predictions.parquet")


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def with_values(**columns: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The first row with other values."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        for name, value in columns.items():
            values = list(frame[name])
            values[0] = value
            frame = frame.assign(**{name: values})
        return frame

    return spoil


PREDICTIONS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame] | bytes, str]] = {
    "garbage": (b"no table", "no Parquet file"),
    "garbage in a frame": (b"PAR1" + b"x" * 100 + b"PAR1", "no Parquet file"),
    "empty": (b"", "no Parquet file"),
    "half": (parquet(sound_predictions())[:5000], "no Parquet file"),
    "a page overwritten": (
        (whole := parquet(sound_predictions()))[:200] + b"\xff" * 3000 + whole[3200:], "no Parquet file"
    ),
    "no rows": (lambda frame: frame[:0], "it has no rows"),
    "a missing column": (lambda frame: frame.drop(columns="predicted"), "column predicted"),
    "labels as text": (lambda frame: frame.assign(label=frame["label"].astype(str)), "column label"),
    "numbers as text": (lambda frame: frame.assign(text=1), "column text"),
    "a group that is a number": (lambda frame: frame.assign(group=1), "column group"),
    "probabilities as numbers": (lambda frame: frame.assign(probabilities=0.5), "column probabilities"),
    "gaps": (with_values(text=None), "row 0 has a text"),
    "a label outside": (with_values(label=2), "row 0 has a label"),
    "a negative label": (with_values(predicted=-1), "row 0 has a predicted"),
    "another split": (with_values(split="dev"), "row 0 has a split"),
    "too few probabilities": (with_values(probabilities=np.float32([1])), "row 0 has a probabilities"),
    "probabilities above 1": (with_values(probabilities=np.float32([2, -1])), "row 0 has a probabilities"),
    "probabilities that are none": (with_values(probabilities=np.float32([np.nan, 1])), "row 0 has a probabilities"),
    "a row twice": (
        lambda frame: frame.assign(row=frame["row"].replace(frame["row"][1], frame["row"][0])), "occurs twice"
    ),
    "too many rows": (
        lambda frame: pd.concat([frame, frame.assign(row=frame["row"] + 10_000)]), "and the run 2,008"
    ),
    "too many of a split": (
        lambda frame: frame.assign(split="validation", row=range(len(frame))), "2,008 rows of validation"
    ),
}  # fmt: skip
"""Kind of damage of predictions.parquet -> (its content, or what makes it of a sound one; a part of the reason)."""

KINDS = [
    *(("run.json", kind) for kind in RUN_FILES),
    *(("events.jsonl", kind) for kind in [*SPOILT_LINES, "cut", "folder"]),
    *(("predictions.parquet", kind) for kind in PREDICTIONS),
]


def spoil(store: Store, file: str, kind: str) -> str:
    """Damage a file of the run `BAD`; a part of the reason."""
    path = store.root / BAD / file
    if kind == "folder":
        as_folder(path)
        return "it is no file"
    if file == "run.json":
        made, reason = RUN_FILES[kind]
        made(path) if callable(made) else put(store, file, made)
    elif kind == "cut":
        put(store, file, path.read_bytes()[:-10])
        reason = "its last line is cut"
    elif file == "events.jsonl":
        spoilt, reason = SPOILT_LINES[kind]
        lines = sound_events()
        put(store, file, b"".join([*lines[:3], spoilt, *lines[3:]]))
        reason = f"line 4: {reason}" if reason.startswith(("step", "finished", "type:")) else reason
    else:
        made, reason = PREDICTIONS[kind]
        put(store, file, made if isinstance(made, bytes) else parquet(made(sound_predictions())))
    return reason


@pytest.fixture(scope="module")
def views() -> Any:
    """The components of the tabs, once."""
    import gradio as gr

    from trainer.ui.lesson import tab as lesson_tab

    with gr.Blocks():
        states = lesson_tab.states()
        lab = Lab.open(Store(ROOT / "adapters_store"))
        return {
            "compare": compare_view.build(),
            "panel": train_panel.build(),
            "steps": {
                "cost": lesson_cost.build(lab, states.guesses),
                "curves": lesson_curves.build(lab, states.run),
                "real": lesson_real.build(lab, states.run),
                "choose": lesson_choose.build(lab),
            },
        }


def pages(lab: Lab, views: dict[str, Any]) -> dict[str, str]:
    """What each page shows, as a text: what its handlers return when the page is opened."""
    compare, panel = views["compare"], views["panel"]
    compared = {}
    for page in ("overview", "significance", "errors", "curves", "costs", "table"):
        compared |= isolated(
            lab, partial(compare_draw.draw, lab, compare, page, None, [], [], [], [], [], False, "run")
        )()
    opened = isolated(lab, partial(train_panel.open_run, lab, panel))(BAD)
    lesson = {}
    for step in views["steps"].values():
        values = [None] * len(step.inputs)
        draw = partial(step.draw.func, lab, *step.draw.args[1:]) if step.name != "cost" else step.draw
        lesson[step.name] = str(isolated(lab, draw)(*values))
    costs = isolated(lab, partial(lesson_cost.show, lab))(*[None] * 4)
    return {
        "compare": str(compared[compare.summary]) + str(compared[compare.table]),
        "panel": str(opened[panel.details]),
        "train": train_queue.queue_html(lab),
        "live": isolated(lab, partial(live_missing.missing_html, lab))(),
        "lesson": damaged_html(lab) + "".join(lesson.values()) + costs,
    }


@pytest.mark.parametrize(("file", "kind"), KINDS, ids=[f"{file}: {kind}" for file, kind in KINDS])
def test_a_damaged_file_is_one_damaged_run_with_its_reason(file, kind, stored):
    reason = spoil(stored, file, kind)
    others = [run.id for run in shipped() if run.id != BAD]
    if file == "run.json":
        with pytest.raises(DamagedRun, match=r"a damaged one: run\.json") as raised:
            stored.load(BAD[:12])
        damage = raised.value.damage
        assert damage.reason in str(raised.value)
    else:
        damage = stored.check(BAD)
    told = str(damage)
    assert told.startswith(f"The run {BAD} is damaged: {file}: ")
    assert told.endswith(".")
    assert "\n" not in told
    assert reason in told
    # In this process, and in another
    for store in (stored, Store(stored.root)):
        runs, damaged = store.scan()
        assert list(map(str, damaged)) == [told]
        assert [run.id for run in runs if run.id != BAD] == [run.id for run in shipped() if run.id != BAD]
        assert (BAD in {run.id for run in runs}) == (file != "run.json")
        assert [store.check(name) for name in others] == [None] * len(others)
        rows(runs)
    lab = Lab.open(store)
    shown = {
        "report": report.html(store, [run for run in store.list() if run.state == "finished"]),
        "train": train_queue.queue_html(lab),
        "live": live_missing.missing_html(lab),
        "lesson": damaged_html(lab),
    }
    for page, html in shown.items():
        assert html.count(str(escape(told))) == html.count("is damaged:") == 1, page
    assert all(name in shown["report"] for name in others)
    (row,) = [row for row in compare_api.runs_api(lab) if row["id"] == BAD]
    assert (row["state"], row["error"]) == (("damaged", told) if file == "run.json" else ("finished", None))
    stored.delete(BAD)
    assert stored.damaged() == Store(stored.root).damaged() == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("run.json", "null"),
        ("run.json", "a text for a position"),
        ("events.jsonl", "another object"),
        ("events.jsonl", "cut"),
        ("predictions.parquet", "garbage"),
        ("predictions.parquet", "a label outside"),
    ],
)
def test_every_page_says_it_once_and_draws_the_others(file, kind, stored, views):
    """The pages themselves find it, for they read the files."""
    reason = spoil(stored, file, kind)
    lab = Lab.open(stored)
    shown = pages(lab, views)
    (damage,) = lab.damaged()
    assert damage.run_id == BAD
    assert reason in str(damage)
    for page, html in shown.items():
        assert html.count(str(escape(str(damage)))) == html.count("is damaged:") == 1, page
    assert all(run.id in shown["compare"] for run in shipped() if run.id != BAD)


def test_damage_goes_with_the_file_that_had_it(stored):
    for file, kind in (("events.jsonl", "half a line"), ("predictions.parquet", "garbage"), ("run.json", "null")):
        spoil(stored, file, kind)
        stored.check(BAD) if file != "run.json" else None
        assert len(stored.damaged()) == 1
        shutil.copyfile(ROOT / "adapters_store" / BAD / file, stored.root / BAD / file)
        assert stored.damaged() == []
        assert stored.check(BAD) is None


@pytest.mark.parametrize("register", ["", "null", "{", '{"a": 1}', '{"lora-movies-minilm-s0-bundled": {"events.jsonl":'
    ' {"signature": [1, 2, 3], "kind": "line", "values": {}}}}', "\xff"])  # fmt: skip
def test_a_damaged_register_spoils_nothing(register, stored):
    (stored.root / ".damaged.json").write_text(register)
    assert stored.damaged() == []
    spoil(stored, "events.jsonl", "half a line")
    stored.events(BAD)
    assert [damage.run_id for damage in Store(stored.root).damaged()] == [BAD]


# Runs at work


def test_a_half_last_line_of_a_run_at_work_is_no_damage(own_store):
    from trainer.runs import recipes

    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    own_store.append(run.id, State("running"))
    path = run.folder / "events.jsonl"
    with path.open("ab") as file:
        file.write(b'{"time": 1, "ty')
    assert own_store.check(run.id) is None
    found, end = own_store.events(run.id)
    assert len(found) == 1
    # A crash cut that line short; the next process goes on.
    own_store.append(run.id, State("failed", "cut"))
    assert [event["state"] for event in own_store.events(run.id)[0]] == ["running", "failed"]
    assert [event["state"] for event in own_store.events(run.id, after=end)[0]] == ["failed"]
    assert own_store.check(run.id) is None


# What enters


@pytest.mark.parametrize(
    ("file", "kind"),
    [("run.json", "a missing part"), ("events.jsonl", "another object"), ("predictions.parquet", "a label outside")],
)
def test_a_damaged_run_does_not_enter_the_store(file, kind, stored, tmp_path):
    reason = spoil(stored, file, kind)
    other = Store(tmp_path / "other")
    _, left_out = archive.load_folder(other, stored.root / BAD)
    assert len(left_out) == 1
    assert file in left_out[0]
    assert reason in left_out[0]
    assert other.list() == other.damaged() == []
    if file != "run.json":
        archive.export(stored, BAD, tmp_path / "run.zip")
        with pytest.raises(ArgumentError, match=file):
            archive.load(other, tmp_path / "run.zip")
        assert other.list() == other.damaged() == []


# Any value anywhere


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 0.5, "<b>x</b>", "NaN", [], {}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def paths(part: Any, at: tuple = ()) -> list[tuple]:
    """The paths of all values, containers too."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path for name, value in inner for path in [(*at, name), *paths(value, (*at, name))]]


def mutated(whole: Any, path: tuple, value: Any) -> Any:
    spoilt = inner = copy.deepcopy(whole)
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return spoilt


def folders(root: Path) -> Store:
    """A store with two sound runs and the run `BAD`, without their weights."""
    for run in shipped():
        if run.id == BAD or run.recipe.method in ("full", "adapter_fusion"):
            shutil.copytree(run.folder, root / run.id, ignore=shutil.ignore_patterns("model"), dirs_exist_ok=True)
    return Store(root)


def rows(runs: list[Run]) -> None:
    """What `list`, `compare` and `show` print of runs."""
    assert [metric.show(metric.of(run)) for run in runs for metric in METRICS.values()]
    analysis.runs_table(runs).join(method_comparison.columns(runs)).to_csv()
    analysis.comparable(runs) + parents.other_tasks(runs)
    for run in runs:
        json.dumps(run.as_json(), default=str)
        if run.result:
            analysis.per_class(run)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_in_run_json_is_read_or_is_damage(data, tmp_path_factory):
    whole = content()
    path = data.draw(st.sampled_from(paths(whole)))
    spoilt = mutated(whole, path, data.draw(values | st.just(...)))
    own = folders(tmp_path_factory.getbasetemp() / "fuzzed")
    put(own, "run.json", json.dumps(spoilt))
    runs, damaged = own.scan()
    assert [run.id for run in runs if run.id == BAD] + [damage.run_id for damage in damaged] == [BAD]
    assert len(runs) + len(damaged) == 3
    assert all(str(damage).startswith(f"The run {BAD} is damaged: run.json: ") for damage in damaged)
    rows(runs)
    lab = Lab.open(own)
    train_queue.queue_html(lab)
    for run in runs:
        if run.id == BAD:
            finished = [run for run in runs if run.result]
            assert f"{len(finished)} finished runs" in report.html(own, finished)
            train_panel.details_html(lab, run)
            read = run.as_json()
            part = path[:-1] if isinstance(path[-1], int) else path  # without one item the later ones move up
            kept = [at for at in paths(whole) if at[: len(part)] != part]
            assert all(_at(read, at) == _at(whole, at) for at in kept), "the rest is read as it was"


def _at(part: Any, path: tuple) -> Any:
    for name in path:
        part = part[name] if not isinstance(part, dict) else part.get(name, "gone")
    return type(part) if isinstance(part, (dict, list)) else part


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_in_a_line_is_read_or_is_damage(data, tmp_path_factory):
    lines = sound_events()
    index = data.draw(st.integers(0, len(lines) - 1))
    event = json.loads(lines[index])
    path = data.draw(st.sampled_from([(), *paths(event)]))
    value = data.draw(values | st.just(...))
    spoilt = (None if value is ... else value) if not path else mutated(event, path, value)
    own = folders(tmp_path_factory.getbasetemp() / "fuzzed-events")
    text = (json.dumps(spoilt) + "\n").encode()
    put(own, "events.jsonl", b"".join([*lines[:index], text, *lines[index + 1 :]]))
    found, end = own.events(BAD)
    assert end == (own.root / BAD / "events.jsonl").stat().st_size
    damaged = own.damaged()
    assert len(found) + len(damaged) == len(lines)
    assert all(damage.values["line"] == index + 1 for damage in damaged)
    assert all(event["type"] in events.LINES for event in found)
    analysis.curves(own, own.list())
    lab = Lab.open(own)
    train_panel.log_text(lab, own.load(BAD))


# A run that cannot be drawn, whatever the cause


def test_pages_and_the_report_go_on_without_a_run_that_breaks_them(stored, views, monkeypatch, caplog):
    """As a fault of the program would: an error that nobody expects, of one run, wherever it is drawn."""

    def broken(read: Callable[..., Any]) -> Callable[..., Any]:
        def of(thing: Any, run: Run) -> Any:
            if run.id == BAD:
                raise ZeroDivisionError("of <b>one</b> run")
            return read(thing, run)

        return of

    monkeypatch.setattr(type(METRICS["test_accuracy"]), "of", broken(type(METRICS["test_accuracy"]).of))
    others = [run.id for run in shipped() if run.id != BAD]
    lab = Lab.open(stored)
    with caplog.at_level(logging.ERROR):
        shown = pages(lab, views)
    (message,) = {record.getMessage() for record in caplog.records}
    assert len(caplog.records) == 1, "one line"
    assert BAD in message
    assert "ZeroDivisionError" in message
    assert "test_damage.py" in message
    for page, html in shown.items():
        assert html.count("it could not be shown (ZeroDivisionError: of &lt;b&gt;one&lt;/b&gt; run)") == 1, page
    assert all(name in shown["compare"] for name in others)
    html = report.html(stored, stored.list())
    assert html.count("could not be shown") == 1
    assert all(name in html for name in others)
    monkeypatch.undo()
    assert lab.find(BAD) is None, "as long as its files are as they were"
    stored.update(BAD, label="again")
    assert lab.find(BAD).label == "again"
    assert lab.damaged() == []


def test_an_error_that_is_no_runs_fault_is_raised(stored):
    lab = Lab.open(stored)

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        isolated(lab, fails)()
    assert lab.damaged() == []

    def together() -> int:
        if len(lab.runs()) == len(shipped()):
            raise ZeroDivisionError
        return 1

    with pytest.raises(ZeroDivisionError):
        isolated(lab, together)()
    assert lab.damaged() == []


def test_of_many_runs_those_at_fault_are_found_with_few_drawings(stored):
    lab = Lab.open(stored)
    bad, drawn = {run.id for run in stored.list()[:2]}, []

    def draw() -> int:
        drawn.append(runs := lab.runs())
        if any(run.id in bad for run in runs):
            raise ZeroDivisionError
        return len(runs)

    assert isolated(lab, draw)() == len(shipped()) - 2
    assert {damage.run_id for damage in lab.damaged()} == bad
    assert len(drawn) < 14
    assert draw() == len(shipped()) - 2
    with pytest.raises(UserError):
        isolated(lab, lambda: lab.store.load("none"))()


def test_what_may_predict_leaves_out_a_damaged_run(stored):
    spoil(stored, "run.json", "null")
    lab = Lab.open(stored)
    offered = {run_id for task in groups(live_selection.able(lab)) for _, run_id in live_selection.choices(task)}
    assert BAD not in offered
    assert len(offered) == sum(run.can_predict for run in shipped()) - 1


@pytest.mark.parametrize("file", FILES)
def test_the_command_line_names_a_damaged_run_and_deletes_it(file, stored, tmp_path):
    reason = spoil(stored, file, next(kind for name, kind in KINDS if name == file))
    others = [run.id for run in shipped() if run.id != BAD]
    told = f"The run {BAD} is damaged: {file}: "
    if file != "run.json":
        assert told in trainer("show", BAD, store=stored).stderr, "show reads every file"
    for command in (["list"], ["compare"], ["report", "--out", str(tmp_path / "report.html")]):
        done = trainer(*command, store=stored)
        assert told in done.stderr
        assert reason in done.stderr
        if command != ["report", "--out", str(tmp_path / "report.html")]:
            assert all(name in done.stdout for name in others)
    trainer("delete", BAD, "--yes", store=stored)
    assert trainer("list", store=stored).stderr == ""


def test_the_command_line_compares_the_runs_beside_one_that_cannot_be(stored, monkeypatch):
    """Whatever breaks a row of the table breaks that row alone."""
    of = METRICS["trainable"].__class__.of

    def broken(metric, run):
        if run.id == BAD and metric.key == "trainable":
            raise ZeroDivisionError
        return of(metric, run)

    monkeypatch.setattr(METRICS["trainable"].__class__, "of", broken)
    done = trainer("compare", store=stored)
    assert f"The run {BAD} is damaged: it could not be shown" in done.stderr
    assert all(run.id in done.stdout for run in shipped() if run.id != BAD)
