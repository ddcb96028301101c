"""Compare: its statistics on made-up numbers, its handlers on real runs, its page in a browser."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, app_on, serious, shoot, trainer

from trainer import methods
from trainer.analysis import comparisons, disputes, intervals, paired, published, variants
from trainer.analysis import tables as analysis
from trainer.analysis.figures import show, show_mean
from trainer.runs import recipes
from trainer.runs.metrics import METRICS
from trainer.runs.result import SCHEMA_VERSION
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.ui import static
from trainer.ui.common import charts, choice
from trainer.ui.common.lab import Lab
from trainer.ui.compare import cards as compare_cards
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import filters
from trainer.ui.compare import pages as compare_pages
from trainer.ui.compare import pairs as compare_pairs
from trainer.ui.compare import sentences as compare_sentences
from trainer.ui.compare import tables as compare_tables
from trainer.ui.compare import view as compare_view
from trainer.ui.compare.filters import ALL, AUTOMATIC, Selection, choices, select, settle

# Statistics


@pytest.mark.parametrize(
    ("x", "y", "better", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], ("lower", "higher"), [True, True, True]),
        ([1, 2, 3], [3, 2, 1], ("lower", "higher"), [True, False, False]),
        ([1, 1, 2], [5, 4, 5], ("lower", "higher"), [True, False, False]),
        ([1, 1], [5, 5], ("lower", "higher"), [True, True]),
        ([1, 2, float("nan")], [1, 2, 9], ("higher", "higher"), [False, True, False]),
        ([1, 2, 3], [1, 2, 3], ("lower", "lower"), [True, False, False]),
        ([], [], ("lower", "lower"), []),
    ],
)
def test_pareto_keeps_what_nothing_beats(x, y, better, expected):
    assert analysis.pareto(x, y, x_better=better[0], y_better=better[1]) == expected


def test_means_have_the_sample_standard_deviation():
    accuracy = [80.0, 82.0, 81.0, 70.0]
    table = pd.DataFrame({"variant": list("aaab"), "method": "lora", "seed": [0, 1, 2, 0]})
    table = table.assign(**dict.fromkeys(METRICS, np.nan)).assign(test_accuracy=accuracy)
    first, second = variants.means(table).to_dict("records")
    assert first["test_accuracy"] == pytest.approx(81.0)
    assert first["test_accuracy:sd"] == pytest.approx(statistics.stdev(accuracy[:3]))
    assert (first["runs"], first["seeds"], first["test_accuracy:n"], first["f1:n"]) == (3, 3, 3, 0)
    assert np.isnan(second["test_accuracy:sd"])
    same = table.assign(file_size=91.81234567 / 3)
    assert variants.means(same)["file_size:sd"].iloc[0] == 0, "no noise of a mean's rounding"
    metric = METRICS["test_accuracy"]
    assert show_mean(metric, 81.0, first["test_accuracy:sd"]) == "81.00 ± 1.00"
    assert show_mean(metric, 70.0, second["test_accuracy:sd"]) == "70.00"


def fake(number: int, *, adopted: str | None = None, **settings):
    """A run as far as its recipe and place go; `adopted` is where it comes from."""
    config = recipes.make(**{"method": "lora", "task": "movies", "backbone": "minilm", **settings})
    source = {"adopted": {"source": adopted, "label_order": []}} if adopted else {}
    return Run(
        schema_version=SCHEMA_VERSION, id=f"r{number}", folder=Path("nowhere"), label="", state="failed",
        created_at="2026-11-26T12:00:00Z", queue_order=number, suite="", recipe=config,
        lineage={"parents": [], **source}, owner=None, result=None, error="It went wrong.",
    )  # fmt: skip


def test_a_variant_is_named_by_what_sets_it_apart():
    runs = [fake(0), fake(1, seed=1), fake(2, r=4), fake(3, method="full"), fake(4, fairness="own_learning_rate")]
    assert variants.variants(runs) == {
        "r0": "LoRA", "r1": "LoRA", "r2": "LoRA r=4", "r3": "Full fine-tuning", "r4": "LoRA",
    }  # fmt: skip
    other = variants.variants([fake(0), fake(1, backbone="bert-tiny", learning_rate=1e-4, seed=3)])
    assert {name.partition(", ")[2] for name in other.values()} == {"minilm", "bert-tiny"}
    # A label that all runs of a variant have, and others have not; a setting that is not set is no other's.
    mine = [fake(0), fake(1, r=4), fake(2, r=4, seed=1), fake(3, train_size=100)]
    labelled = [mine[0], *(run.model_copy(update={"label": "mine"}) for run in mine[1:3]), mine[3]]
    assert list(variants.variants(labelled).values()) == ["LoRA", "mine", "mine", "LoRA train_size=100"]


def test_what_was_trained_elsewhere_is_a_variant_of_its_own():
    runs = [fake(0), fake(1, seed=1), fake(2, adopted="a/x"), fake(3, adopted="a/x", epochs=9)]
    theirs = "LoRA, trained elsewhere"
    assert variants.variants(runs) == {"r0": "LoRA", "r1": "LoRA", "r2": theirs, "r3": theirs}
    several = variants.variants([*runs, fake(4, adopted="b/y"), fake(5, adopted="b/y", r=4)])
    assert [several[f"r{i}"] for i in (0, 2, 4, 5)] == [
        "LoRA", f"{theirs} source=x", f"{theirs} source=y, r=16", f"{theirs} source=y, r=4",
    ]  # fmt: skip


def test_tables_tell_what_was_trained_elsewhere(elsewhere):
    runs = [run for run in elsewhere.list() if run.recipe.method == "lora"]
    names = variants.variants(runs)
    for table in (compare_tables.results(runs, names), compare_tables.over_seeds(runs, names)):
        rows = table.partition("<tbody>")[2].split("<tr>")[1:]
        assert sorted("trained elsewhere" in row for row in rows) == [False, False, False, True], "two are baselines"


def test_a_few_runs_stand_for_many():
    runs = [fake(i, seed=i) for i in range(10)] + [fake(10, method="full")]
    assert [run.id for run in variants.some(runs, 3)] == ["r8", "r9", "r10"]
    assert variants.some(runs, 11) == runs


def answers(right: list[list[int]], sure: list[list[float]], runs=None) -> disputes.Outcomes:
    """Two labels, the true one 1; `right` and `sure` have a row a sentence and a column a run."""
    predicted, probability = np.array(right), np.array(sure)
    return disputes.Outcomes(
        runs=tuple(runs or [fake(i, seed=i) for i in range(predicted.shape[1])]), names=("bad", "good"),
        texts=tuple(f"sentence {i}" for i in range(len(right))), labels=np.ones(len(right), dtype=int),
        predicted=predicted, probability=probability,
    )  # fmt: skip


def test_disputed_sentences_come_in_order():
    found = disputes.find(
        answers(
            [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0.9] * 4, [0.9] * 4, [0.6] * 4, [0.8] * 4, [0.6] * 4, [0.9] * 4],
        )
    )
    assert {kind: list(places) for kind, places in found.items()} == {
        "split": [3, 2, 1],
        "wrong": [5, 4],
        "flipped": [],
    }


def test_what_4_bit_flips_is_of_one_seed():
    assert {name: method.quantised_from for name, method in methods.METHODS.items() if method.quantised_from} == {
        "qlora": "lora"
    }
    runs = [fake(0, seed=0), fake(1, seed=1), fake(2, method="qlora", seed=1), fake(3, seed=1, r=4)]
    assert disputes.pairs(runs) == [(2, 1)]
    given = answers([[0, 1, 1, 0], [0, 1, 0, 1]], [[0.9] * 4] * 2, runs)
    assert list(disputes.find(given)["flipped"]) == [1]
    names = {run.id: run.id for run in runs}
    assert "r2 against r1: 1 labels changed, 0 to right, 1 to wrong" in compare_sentences.sentences_html(
        given, disputes.find(given), names=names, kind="flipped"
    )
    # A plain run whose settings differ is no partner, but for the learning rate; nor is one that is not known.
    quantised = fake(2, method="qlora", seed=1)
    for unlike in ({"r": 4}, {"epochs": 9}, {"seed": 2}, {"backbone": "bert-tiny"}, {"adopted": "a/x"}):
        alone = answers([[1, 0]], [[0.9] * 2], [fake(3, **{"seed": 1} | unlike), quantised])
        found = disputes.find(alone)
        assert not len(found["flipped"]), unlike
        html = compare_sentences.sentences_html(alone, found, names=names, kind="flipped")
        assert "recipe over a 4-bit backbone with the same seed." in html
        assert "labels changed" not in html
    rates = [fake(3, seed=1, learning_rate=0.01), fake(1, seed=1), quantised, fake(4, seed=1, learning_rate=0.02)]
    assert disputes.pairs([rates[0], quantised]) == [(1, 0)]
    assert disputes.pairs(rates) == [(2, 1)]


# The published report


def possible(share: float, count: int) -> bool:
    """Whether a whole number of `count` sentences is this share, which the report gives with four decimals or more."""
    return abs(round(share * count) / count - share) <= 0.5e-4 + 1e-9


def figures(method: str) -> dict[str, dict]:
    """Template -> the figures that the report's table and logs give for it."""
    report = published.load()
    row, log = next(r for r in report["summary"] if r["method"] == method), report["epochs"][method]
    made, losses = report["configuration"], [epoch["validation_loss"] for epoch in log]
    shares, best = [epoch["validation_accuracy"] for epoch in log], max(log, key=lambda e: e["validation_accuracy"])
    stated, last = row["validation_accuracy"] or 0, f"{shares[-1]:.2%}"
    accuracy = {"stated": f"{stated:.2%}", "last": last, "best": f"{max(shares):.2%}", "epoch": best["epoch"]}
    tenth, memory = made["training_set"] // 10, row["gpu_mb"]
    sizes = {"stated": f"{made['validation_set']:,}", "tenth": f"{tenth:,}"}
    sizes |= {"rest": f"{made['training_set'] - tenth:,}", "all": len(log)}
    peak = max((epoch.get("gpu_memory_peak_mb") or 0 for epoch in log), default=0)
    minutes = sum(epoch.get("epoch_seconds") or 0 for epoch in log) / 60
    found = {
        published.ACCURACY: accuracy if stated and abs(stated - shares[-1]) > 1e-4 else None,
        published.ACCURACY_KEPT: accuracy if abs(stated - shares[-1]) <= 1e-4 < max(shares) - shares[-1] else None,
        published.NO_ACCURACY: None if stated else {"last": last},
        published.PEAK: {"stated": f"{memory:,.0f}", "peak": f"{peak:,.0f}"} if peak > memory else None,
        published.NO_PEAK: {"stated": f"{memory:,.0f}"} if not peak and memory == log[-1]["gpu_memory_mb"] else None,
        published.OTHER_MEMORY: {"stated": f"{memory:,.2f}", "logged": f"{log[-1]['gpu_memory_mb']:,.2f}"}
        if not peak and memory != log[-1]["gpu_memory_mb"] else None,
        published.TIME: {"stated": f"{row['training_minutes']:.2f}", "logged": f"{minutes:.2f}"}
        if row["training_minutes"] and minutes and abs(minutes / row["training_minutes"] - 1) > 0.01 else None,
        published.NO_FIGURES: {} if all(row[k] is None for k in row if k not in ("method", "gpu_mb")) else None,
        published.STILL: {"low": f"{min(losses):.4f}", "high": f"{max(losses):.4f}", "epochs": len(log)}
        if max(losses) - min(losses) < 0.001 else None,
        published.SHARES: sizes | {"wrong": sum(not possible(share, made["validation_set"]) for share in shares)}
        if all(possible(share, tenth) for share in shares) else None,
    }  # fmt: skip
    return {text: values for text, values in found.items() if values is not None}


def test_what_is_said_of_the_published_report_is_what_its_table_and_logs_say():
    for method in published.load()["epochs"]:
        assert {text: values for name, text, values in published.FINDINGS if name == method} == figures(method), method
    text = "\n".join(published.disagreements())
    assert "QLoRA (4-bit): validation accuracy 89.37% in the table; 89.91% in the last epoch of its log" in text
    assert text.count("\n") == len(published.FINDINGS) + len(published.computed()) - 1
    assert "T4" in published.origin()


def test_published_figures_are_in_the_metrics_units():
    table = published.table().set_index("method")
    assert table.loc["lora", "test_accuracy"] == pytest.approx(90.5)
    assert table.loc["lora", "peak_memory"] == pytest.approx(2428.56)
    assert np.isnan(table.loc["full", "peak_memory"])  # its log has no peak
    assert table.loc["adapter_fusion"].isna().all()
    curves = published.curves()
    assert curves["step"].isna().all()
    assert curves.groupby("run").size().eq(45).all()
    assert curves[curves["method"] == "qlora"]["seconds"].isna().all()


# Handlers on real runs


@pytest.fixture(scope="module")
def seeds(suite, tmp_path_factory):
    """The suite's runs, a second seed of two of them, and one that failed."""
    store = Store(tmp_path_factory.mktemp("seeds"))
    shutil.copytree(suite[0].root, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "model"))
    for run in suite[0].list():
        if run.recipe.method in ("lora", "qlora"):
            twin = store.root / run.id.replace("-s0-", "-s1-")
            shutil.copytree(run.folder, twin, ignore=shutil.ignore_patterns(".*", "model"))
            test = run.result.test.model_copy(update={"accuracy": run.result.test.accuracy - 0.1})
            result = run.result.model_copy(update={"test": test})
            recipe = run.recipe.model_copy(update={"seed": 1})
            store.update(twin.name, recipe=recipe, result=result, queue_order=run.queue_order + 10**12)
    newest = max(store.list(), key=lambda run: run.queue_order)
    failed = store.create(newest.recipe.model_copy(update={"seed": 9}), label="broken")
    store.update(failed.id, state="failed", error="no more memory")
    return store


@pytest.fixture(scope="module")
def elsewhere(suite, tiny_backbone, tiny_file, tmp_path_factory):
    """The suite's runs, and its LoRA taken in again as an adapter trained elsewhere, with the label "theirs"."""
    store = Store(tmp_path_factory.mktemp("elsewhere"))
    shutil.copytree(suite[0].root, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "model"))
    source = next(run for run in suite[0].list() if run.recipe.method == "lora").model_folder
    where = ("--task", str(tiny_file), "--backbone", str(tiny_backbone), "--label", "theirs")
    trainer("adopt", str(source), *where, store=store)
    return store


@pytest.fixture
def view():
    """The tab's components."""
    with gr.Blocks():
        return compare_view.build()


def controls(view: compare_view.View) -> list:
    """The controls whose choices a drawing changes."""
    return [*view.filters, view.x, view.y, view.kind]


def whole(lab: Lab, view: compare_view.View, *values) -> dict:
    """The updates of all sub-pages, as if each was opened, and of what comes after them."""
    drawn = {}
    for page in compare_view.PAGES:
        drawn |= compare_draw.draw(lab, view, page, *values)
    more = compare_draw.conclude(lab, view, "overview", "", *values)
    return drawn | (more if view.conclusion in more else {})


def words(changes: dict) -> str:
    """All texts and HTML of a drawing."""
    return "".join(part for part in changes.values() if isinstance(part, str))


def test_filters_choose_and_let_go(seeds):
    runs = seeds.list()
    offered = choices(runs)
    (first, _), *others = offered["task"]
    assert first.startswith("tiny.csv, ")
    assert others[-1] == ("All tasks", ALL)
    selection = settle(Selection(), runs)
    assert {run.recipe.method for run in select(selection, runs)} == set(methods.DEFAULT)
    assert len(select(replace(selection, method=("lora",)), runs)) == 2
    assert len(select(replace(selection, method=("lora",), seed=(1,)), runs)) == 1
    assert [run.label for run in select(replace(selection, state=("failed",)), runs)] == ["broken"]
    assert len(select(replace(selection, task=ALL, state=()), runs)) == len(runs)
    gone = settle(Selection(task="gone", method=("lora", "gone"), seed=(1, 77), label=("gone",), x="utilisation"), runs)
    assert (gone.task, gone.method, gone.seed, gone.label) == (offered["task"][0][1], ("lora",), (1,), ())
    assert gone.x == "train_minutes"  # no run here has a GPU


def test_a_choice_that_holds_is_not_sent_back(seeds, view):
    """What a person chooses while the tab is drawn would be lost."""
    lab = Lab.open(seeds)
    given = [settle(Selection(), seeds.list()).task, [], ["lora"], ["finished"], [], [0]]
    given += [False, "run", "train_minutes", "test_accuracy", "epoch", "split"]
    drawn = whole(lab, view, *given)
    fixed = {getattr(view, name) for name in filters.FIXED} - {view.x, view.y}
    assert set(drawn) | {view.page} | fixed == set(view.outputs)
    assert not fixed & set(drawn)
    assert view.unit not in drawn
    assert all(drawn[control]["choices"] for control in controls(view))
    assert not any("value" in drawn[control] for control in controls(view))
    given[2], given[5], given[8] = ["lora", "gone"], [77], "utilisation"
    drawn = whole(lab, view, *given)
    sent = [drawn[control].get("value") for control in controls(view)]
    assert sent == [None, None, ["lora"], None, None, [], "train_minutes", None, None]


def test_the_tab_is_drawn_for_several_seeds(seeds, view):
    lab = Lab.open(seeds)
    drawn = whole(lab, view, None, [], [], ["finished"], [], [], True, "mean")
    text = words(drawn)
    assert 'LoRA <span class="lab-beside">2 seeds</span>' in text
    assert " ± " in text
    assert "LoRA, published elsewhere" in text
    assert "89.45% in the table" in text
    assert text.count("<h4>Confusion matrix") == compare_pages.FIRST_CARDS
    line = ">Finished runs of tiny.csv on tiny-bert0: 7 runs, 5 configurations; 1 more on other sentences<"
    assert line in drawn[view.controls]
    alone = whole(lab, view, None, [], ["full"])
    assert ": 1 run, 1 configuration (Full fine-tuning); 1 more on other sentences<" in alone[view.controls]
    assert "published" not in words(alone)
    assert "There is one configuration" in words(alone)
    assert compare_pages.NOTHING in words(whole(lab, view, None, [], ["full"], ["finished"], [], [1]))
    failed = words(whole(lab, view, None, [], [], ["failed"]))
    assert "None of them has finished" in failed
    every = whole(lab, view, ALL)
    assert "not all trained and tested on the same sentences" in words(every)
    assert "on other sentences" not in every[view.controls]
    assert compare_pages.EMPTY in words(whole(Lab.open(Store(seeds.root / "none")), view))


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("", {"method": ("lora",), "state": ("failed",)}),
        ("?tab=compare", {}),
        (
            "?tab=compare&view=table&method=full&method=qlora&seed=0&seed=3",
            {"method": ("full", "qlora"), "seed": (0, 3)},
        ),
        ("?state=all", {"state": ()}),
        ("?x=size&unit=run&cards=a&chosen=1", {"unit": "run", "cards": ("a",)}),
        (
            "?reference=1&machines=yes&unit=run&x=size&axis=step&columns=rss&columns=disk&cards=a&against=LoRA, r=4",
            {"reference": True, "unit": "run", "x": "size", "axis": "step", "columns": ("rss", "disk"), "cards": ("a",)}
            | {"against": "LoRA, r=4"},
        ),
        ("?tab=compare&task=", {"task": None}),
        ("?state=failed&state=cancelled", {"state": ("failed", "cancelled")}),
        ("?task=all&label=a%26b&backbone=owner/name", {"task": ALL, "label": ("a&b",), "backbone": ("owner/name",)}),
        ("?seed=x&seed=-1&seed=" + "9" * 99, {}),
        ("?" + "&".join(f"method={n}" for n in range(5000)), {"method": tuple(str(n) for n in range(100))}),
    ],
)
def test_an_addresss_filters(query, changes):
    before = filters.Selection("a task", method=("lora",), state=("failed",), unit="mean")
    after = filters.of_address(before, query)
    assert after == replace(filters.Selection("a task", unit="mean" if not query else None), **changes)


def test_the_page_names_the_controls_as_the_selection_does():
    """Their values come to compare.js in this order."""
    lists = re.findall(r"const lab(?:Filters|Options) = (\[.*?\]);", static.read("address.js"))
    assert [json.loads(one) for one in lists] == [list(filters.FILTERS), list(filters.OPTIONS)]


def test_what_an_address_names_and_no_run_has_is_said(seeds, view):
    lab = Lab.open(seeds)
    drawn = compare_draw.draw(lab, view, "table", query="?tab=compare&method=lora&method=ropa&seed=77&state=all")
    assert "The address names what no run here has: ropa, 77." in drawn[view.summary]
    assert "(LoRA)" in drawn[view.controls]
    assert drawn[view.filters[2]]["value"] == ["lora"], "the control shows what the address chose"
    known = compare_draw.draw(lab, view, "table", query="?tab=compare&method=lora&state=all")
    assert "The address names" not in known[view.summary]


def test_sets_of_sentences_are_told_apart_by_a_fingerprint_only_where_their_titles_agree(seeds):
    run = next(run for run in seeds.list() if run.result)
    size = run.result.meta_info.dataset_info.sizes.train

    def on(fingerprint: str, train: int) -> Run:
        dataset = run.result.meta_info.dataset_info
        sizes = dataset.sizes.model_copy(update={"train": train})
        dataset = dataset.model_copy(update={"fingerprint": fingerprint, "sizes": sizes})
        meta = run.result.meta_info.model_copy(update={"dataset_info": dataset})
        result = run.result.model_copy(update={"meta_info": meta})
        return run.model_copy(update={"result": result})

    titles = filters.groups([on("a" * 40, size), on("b" * 40, size), on("c" * 40, size + 1)])
    plain = f"tiny.csv, {size:,} training sentences"
    assert titles == {
        "a" * 40: f"{plain} (aaaaaa)",
        "b" * 40: f"{plain} (bbbbbb)",
        "c" * 40: f"tiny.csv, {size + 1:,} training sentences",
    }


def test_a_sub_page_draws_itself_alone(seeds, view):
    """What is not open costs nothing: its components are not among the updates."""
    lab = Lab.open(seeds)
    parts = {
        "overview": {view.key, view.accuracy}, "table": {view.table}, "significance": {view.pairs},
        "errors": {view.matrices, view.sentences, view.reliability}, "curves": set(view.curves),
        "costs": {*view.costs, view.scatter},
    }  # fmt: skip
    assert parts.keys() == compare_view.PAGES.keys() == view.tabs.keys()
    for page in parts:
        drawn = compare_draw.open_page(lab, view, page)
        assert drawn[view.page] == page
        assert {name for name, own in parts.items() if own & drawn.keys()} == {page}
        assert parts[page] <= drawn.keys()


def test_the_task_with_most_configurations_and_the_mean_of_its_seeds_come_first(seeds, suite):
    runs = seeds.list()
    first = settle(Selection(), runs)
    assert {run.task_name for run in select(first, runs)} == {"tiny.csv"}
    assert (first.unit, settle(Selection(seed=(0,)), runs).unit) == ("mean", "run")
    assert settle(Selection(unit="run"), runs).unit == "run"
    assert settle(Selection(), suite[0].list()).unit == "run"
    assert settle(Selection(), []).task == ALL


def test_one_recipe_on_two_machines_is_one_configuration(seeds):
    """It adds a seed, and no pair, unless machines are compared."""
    runs, _ = counterparts(seeds)
    lora = next(run for run in runs if run.recipe.method == "lora")
    system = lora.result.meta_info.system_info.model_copy(update={"device": "Another machine"})
    meta = lora.result.meta_info.model_copy(update={"system_info": system})
    result = lora.result.model_copy(update={"meta_info": meta})
    recipe = lora.recipe.model_copy(update={"seed": 2})
    both = [*runs, lora.model_copy(update={"id": "elsewhere", "recipe": recipe, "result": result})]
    assert set(variants.variants(both).values()) == set(variants.variants(runs).values())
    apart = variants.variants(both, machines=True)
    assert apart["elsewhere"] == "LoRA, Another machine"
    assert len(set(apart.values())) == 6
    assert variants.differing(both)["device"]["elsewhere"] == "Another machine"
    assert "device" not in variants.differing(runs)
    html = compare_tables.over_seeds(both, variants.variants(both), settings=True)
    assert "Another machine" in html
    assert "3 seeds</span>" in html


def test_columns_are_chosen_and_the_file_has_all(seeds):
    runs, names = counterparts(seeds)
    for draw, rows in ((compare_tables.results, 7 + 2), (compare_tables.over_seeds, 5 + 2)):  # two are baselines
        html = draw(runs, names, visible=("f1",))
        shown = re.findall(r'<th scope="col"(?![^>]*hidden)[^>]*data-value="([^"]+)"', html)
        assert [title.removesuffix(" mean") for title in shown] == [shown[0], METRICS["f1"].title]
        assert METRICS["test_accuracy"].title in html
        assert html.partition("<tbody>")[2].count("<tr>") == rows
        assert not re.findall(r'data-value="/[^"]*"', html), "no folder of the machine"
    assert 'data-value="learning_rate">' in compare_tables.results(runs, names, settings=True)


def test_the_report_of_the_runs_shown_is_a_file(seeds, view):
    lab = Lab.open(seeds)
    made = compare_draw.make_report(lab, view, None, [], ["lora"])
    page = Path(made[view.report]["value"]).read_text(encoding="utf-8")
    loras = [run.id for run in seeds.list() if run.recipe.method == "lora" and run.result]
    assert all(run in page for run in loras)
    assert not any(run.id in page for run in seeds.list() if run.recipe.method == "full")
    assert "The report on 2 runs is ready." in made[view.report_note]
    none = compare_draw.make_report(lab, view, None, [], ["full"], ["failed"])
    assert none[view.report]["value"] is None


def test_axes_are_figures_of_the_runs_shown(seeds, elsewhere, view):
    parents = [False, "run", "parents_minutes", "parents_size"]
    given = [None, [], ["adapter_fusion"], ["finished"], [], [], *parents]
    drawn = compare_draw.draw(Lab.open(seeds), view, "costs", *given)
    assert drawn[view.scatter].to_dict()["description"] == "Parents' size (MB) against parents' training time"
    given[2] = ["lora"]
    drawn = compare_draw.draw(Lab.open(seeds), view, "costs", *given)
    assert [drawn[axis]["value"] for axis in (view.x, view.y)] == ["train_minutes", "test_accuracy"]
    for axis in (drawn[view.x], drawn[view.y]):
        assert axis["value"] in {key for _, key in axis["choices"]}
    assert drawn[view.scatter].to_dict()["description"] == "Test accuracy (%) against training time"
    assert "against training time" in compare_draw.redraw_scatter(Lab.open(seeds), *given).to_dict()["description"]
    # Nothing is known of the training of an adapter from elsewhere.
    drawn = compare_draw.draw(Lab.open(elsewhere), view, "costs", None, [], [], ["finished"], ["theirs"])
    assert "1 run, 1 configuration (theirs)" in drawn[view.controls]
    assert drawn[view.x]["value"] in {key for _, key in drawn[view.x]["choices"]}
    assert drawn[view.scatter].to_dict()["description"] == "Test accuracy (%) against validation accuracy (%)"


def test_a_scatter_of_no_marks_is_empty():
    rows = pd.DataFrame({"name": ["a", "b"], "method": "lora", "trainable": [1.0, np.nan], "f1": [np.nan, 81.0]})
    chart = charts.scatter(rows, METRICS["trainable"], METRICS["f1"]).to_dict()
    assert not any(chart["datasets"].values())


def test_no_frontier_crosses_test_sets(seeds):
    """The parents of the fusion learnt other sentences than the rest."""

    def ringed(task: str | None, unit: str) -> int:
        scatter = compare_draw.redraw_scatter(Lab.open(seeds), task, [], [], ["finished"], [], [], False, unit)
        rows = [row for data in scatter.to_dict()["datasets"].values() for row in data]
        return sum(row["frontier"] for row in rows)

    for unit in ("run", "mean"):
        assert ringed(None, unit) > 0
        assert ringed(ALL, unit) == 0


def test_parts_are_redrawn_alone(seeds, view):
    lab = Lab.open(seeds)
    given = [None, [], [], ["finished"], [], [], False, "mean", "trainable", "test_loss", "seconds", "flipped"]
    assert "2 seeds" in compare_draw.redraw_table(lab, *given)
    specification = compare_draw.redraw_scatter(lab, *given).to_dict()
    assert specification["description"] == "Test loss against trainable parameters"
    runs = [run for run in seeds.list() if run.recipe.method in ("adapter", "lora") and run.result]
    several = [*given, AUTOMATIC, False, False, [], False, [run.id for run in runs]]
    assert compare_draw.redraw_cards(lab, *several).count("<h4>Confusion matrix") == 3
    drawn = compare_draw.redraw_curves(lab, view, *given)
    loss, validation, _, memory = [drawn[plot].to_dict() for plot in view.curves]
    ranges = [
        (layer["layer"][0] if "layer" in layer else layer)["encoding"]["y"]["scale"]["domain"]
        for layer in (loss, validation)
    ]
    assert ranges[0] == ranges[1]
    assert "memory" in memory["description"]
    html = compare_draw.redraw_sentences(lab, *given)
    assert "QLoRA (4-bit), seed 1 against LoRA, seed 1" in html


def counterparts(store: Store) -> tuple[list[Run], dict[str, str]]:
    """(the runs that Compare shows first, their recipes by id)."""
    runs = select(settle(Selection(), store.list()), store.list())
    return runs, variants.variants(runs)


def test_differences_are_tested_over_every_seed(seeds):
    """LoRA and QLoRA have two seeds: compared with each other seed by seed, with the others all the same."""
    runs, names = counterparts(seeds)
    found = comparisons.compare(seeds, runs, names)
    assert (len(found.pairs), found.recipes, found.reference) == (10, 5, None)
    by_pair = {(pair.first, pair.second): pair for pair in found.pairs}
    assert [*by_pair] == list(itertools.combinations(dict.fromkeys(names[run.id] for run in runs), 2))
    for pair in found.pairs:
        one, other = ([run for run in runs if names[run.id] == name] for name in (pair.first, pair.second))
        assert pair.result.seeds == (len(one), len(other))
        assert pair.result.matched == (len(one) == len(other) == 2)
        frames = [[rows_of_test(seeds, run) for run in side] for side in (one, other)]
        means = [np.mean([(frame["predicted"] == frame["label"]).mean() for frame in side]) for side in frames]
        assert pair.result.difference == pytest.approx(means[0] - means[1])
        assert pair.result.sentences == len(frames[0][0])
    full = by_pair["Full fine-tuning", "Adapter"].result
    alone = disputes.collect(seeds, [run for run in runs if run.recipe.method in ("full", "adapter")])
    assert (full.low, full.high, full.p) == (lambda p: (p.low, p.high, p.p))(paired.compare(*alone.correct.T))
    smallest = min(found.pairs, key=lambda pair: pair.result.p)
    assert smallest.p == pytest.approx(min(1, 10 * smallest.result.p)), "Holm's first step is Bonferroni's"
    shown = compare_draw.test_differences(Lab.open(seeds))
    assert "Of 10 differences" in shown
    assert shown.count("<tr") == 11
    assert shown.count("points would have shown") == sum(not pair.significant for pair in found.pairs)
    assert "Adjusted p (Holm)" in shown
    for text in ("of other seeds they cannot speak", "Several seeds: sentences and seeds both vary", "2 seeds"):
        assert text in shown
    assert "needs two configurations" in compare_draw.test_differences(Lab.open(seeds), None, [], ["lora"])


def rows_of_test(store: Store, run: Run) -> pd.DataFrame:
    """Predictions of a run's test split."""
    frame = store.predictions(run.id)
    return frame[frame["split"] == "test"]


def like(store: Store, run: Run, name: str, *, queue_order: int, batch: int | None = None, **settings) -> None:
    """Add a run with another one's result and predictions, and other settings."""
    folder = store.root / name
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns(".*", "model"))
    result = run.result
    if batch:
        result = result.model_copy(update={"train_info": result.train_info.model_copy(update={"batch_size": batch})})
        settings["batch_size"] = batch
    source = settings.pop("learning_rate_source", None)
    lineage = run.lineage.model_copy(update={"learning_rate": source})
    recipe = run.recipe.model_copy(update=settings)
    store.update(name, recipe=recipe, result=result, lineage=lineage, queue_order=queue_order)


@pytest.fixture
def twelve(suite, tmp_path):
    """The suite's five recipes, LoRA's at seven other rates, and LoRA in batches of 64."""
    store = Store(tmp_path / "twelve")
    shutil.copytree(suite[0].root, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "model"))
    lora = next(run for run in store.list() if run.recipe.method == "lora")
    for i in range(7):
        rate, name = 1e-4 * (i + 1), lora.id.replace("-s0-", f"-r{i}-")
        like(store, lora, name, queue_order=lora.queue_order + i + 1, learning_rate=rate, learning_rate_source="chosen")
    name = lora.id.replace("-s0-", "-b64-")
    like(store, lora, name, queue_order=lora.queue_order + 9, batch=64)
    return store


def test_of_many_recipes_none_is_dropped(twelve):
    lab, every = Lab.open(twelve), 13 * 12 // 2
    runs, names = counterparts(twelve)
    found = comparisons.compare(twelve, runs, names)
    validation = {names[run.id]: METRICS["validation_accuracy"].of(run) for run in runs}
    assert validation[found.reference] == max(validation.values())
    assert (found.recipes, len(found.pairs)) == (13, 12)
    shown = compare_draw.test_differences(lab)
    assert f"12 others are compared with {found.reference}, the configuration of the best validation accuracy" in shown
    rest = [None, [], [], ["finished"], [], [], False, "run", "train_minutes", "test_accuracy", "epoch", "split"]
    assert compare_draw.test_differences(lab, *rest, "every pair").count("<tr") == every + 1
    shown = compare_draw.test_differences(lab, *rest, "Adapter")
    assert "compared with Adapter, which you chose" in shown
    assert shown.count("<tr") == 13


def test_what_differs_in_a_setting_is_named_and_tested_only_on_request(twelve):
    runs, names = counterparts(twelve)
    found = comparisons.compare(twelve, runs, names, every_pair=True)
    left = [pair for pair in found.pairs if not pair.result]
    assert len(left) == 12
    assert len(found.tested) == 13 * 12 // 2 - 12
    assert all([setting.name for setting in pair.settings] == ["batch_size"] for pair in left)
    assert all("64" in (pair.settings[0].first, pair.settings[0].second) for pair in left)
    asked = comparisons.compare(twelve, runs, names, every_pair=True, unlike=True)
    assert len(asked.tested) == 13 * 12 // 2
    lab, rest = (
        Lab.open(twelve),
        [None, [], [], ["finished"], [], [], False, "run", "", "", "epoch", "split", "Adapter"],
    )
    shown = compare_draw.test_differences(lab, *rest)
    assert "1 comparison was not tested: the configurations differ in batch size" in shown
    assert shown.count("not tested</td>") == 1
    assert "batch size: 64 / 16" in shown
    assert "not tested</td>" not in compare_draw.test_differences(lab, *rest, True)
    # The source of a learning rate is named, and keeps nothing from being tested.
    other = [run for run in runs if run.recipe.method == "full"]
    like(twelve, other[0], other[0].id.replace("-s0-", "-tuned-"), queue_order=1, seed=7, learning_rate_source="tuned")
    runs, names = counterparts(twelve)
    found = comparisons.compare(twelve, runs, names, every_pair=True)
    rates = {frozenset((pair.rate.first, pair.rate.second)) for pair in found.tested if pair.rate}
    both = ", ".join(sorted({run.lineage.learning_rate for run in runs if run.recipe.method == "full"}))
    assert rates == {frozenset((both, "chosen"))}
    assert any("set in different ways: tuned, chosen" in text for text in analysis.comparable(runs))
    assert any("batches of different size: 16, 64" in text for text in analysis.comparable(runs))


def test_runs_on_other_splits_are_tested_on_common_sentences_alone(twelve):
    runs, names = counterparts(twelve)
    lora, full = (next(run for run in runs if run.recipe.method == name) for name in ("lora", "full"))
    about = full.result.meta_info.dataset_info.model_copy(update={"fingerprint": "0123456789abcdef"})
    meta = full.result.meta_info.model_copy(update={"dataset_info": about})
    twelve.update(full.id, result=full.result.model_copy(update={"meta_info": meta}))
    frame = twelve.predictions(full.id)
    frame["row"] += 1000  # the rows of another split say nothing
    tests = frame.index[frame["split"] == "test"]
    frame.drop(tests[:3]).to_parquet(full.folder / "predictions.parquet")
    members = [twelve.load(run.id) for run in (lora, full)]
    (pair,) = comparisons.compare(twelve, members, names).pairs
    assert [setting.name for setting in pair.settings] == ["splits"]
    assert pair.result is None
    (pair,) = comparisons.compare(twelve, members, names, unlike=True).pairs
    assert pair.result.sentences == len(tests) - 3


def test_documents_in_the_predictions_are_taken_together(twelve):
    runs, names = counterparts(twelve)
    pair = [next(run for run in runs if run.recipe.method == name) for name in ("lora", "full")]
    for run in pair:
        frame = twelve.predictions(run.id)
        frame["group"] = [f"document {row // 5}" for row in frame["row"]]
        frame.to_parquet(run.folder / "predictions.parquet")
    (found,) = comparisons.compare(twelve, pair, names).pairs
    documents = len({row // 5 for row in rows_of_test(twelve, pair[0])["row"]})
    assert found.result.units == documents < found.result.sentences
    html = compare_pairs.section(Lab.open(twelve), pair, names)
    assert f"{documents} groups of {found.result.sentences} sentences" in html


def test_accuracies_have_their_intervals(seeds):
    runs, names = counterparts(seeds)
    html = compare_tables.results(runs, names)
    full = next(run for run in runs if run.recipe.method == "full")
    sizes = full.result.meta_info.dataset_info.sizes
    for share, count in (
        (full.result.test.accuracy, sizes.test), (full.result.train_info.best_validation_accuracy, sizes.validation),
    ):  # fmt: skip
        low, high = intervals.wilson(share, count)
        assert f"{100 * low:.1f}–{100 * high:.1f}</span>" in html
    lora = [run for run in runs if run.recipe.method == "lora"]
    low, high = intervals.accuracy([run.result.test.accuracy for run in lora], sizes.test)
    assert f"{100 * low:.1f}–{100 * high:.1f}</span>" in compare_tables.over_seeds(runs, names)


def test_an_absent_label_is_named_in_the_report(seeds):
    runs, names = counterparts(seeds)
    full = next(run for run in runs if run.recipe.method == "full")
    first, *others = full.result.test.per_class
    scores = dict(full.result.test.per_class)
    scores[first] = scores[first].model_copy(update={"support": 0})
    test = full.result.test.model_copy(update={"per_class": scores})
    without = full.model_copy(update={"result": full.result.model_copy(update={"test": test})})
    assert analysis.absent(full) == []
    assert analysis.absent(without) == [first]
    macro = analysis.per_class(without).iloc[-2]
    assert macro["f1"] == pytest.approx(np.mean([scores[name].f1 for name in others]))
    assert f"No test sentence has the label {first}" in compare_cards.cards([without], names)
    assert "No test sentence" not in compare_cards.cards([full], names)


def test_an_axis_of_more_than_two_decades_is_logarithmic():
    rows = pd.DataFrame({"name": ["a", "b"], "method": ["lora", "full"], "trainable": [1e3, 2e5], "f1": [80.0, 81.0]})
    x, y = METRICS["trainable"], METRICS["f1"]

    def scales(table: pd.DataFrame) -> list[str | None]:
        line = charts.scatter(table, x, y).to_dict()["layer"][0]["encoding"]
        return [line[axis]["scale"].get("type") for axis in ("x", "y")]

    assert scales(rows) == ["log", None]
    assert scales(rows.assign(trainable=[0.0, 2e5])) == [None, None]
    assert scales(rows.assign(trainable=[1e3, 9e4])) == [None, None]


def test_only_what_is_shown_is_read(seeds, view, monkeypatch):
    read = []
    for name in ("events", "predictions"):
        found = getattr(Store, name)
        monkeypatch.setattr(Store, name, lambda self, run, found=found: (read.append(run), found(self, run))[1])
    monkeypatch.setattr(compare_pages, "MAX_CURVES", 2)
    monkeypatch.setattr(compare_pages, "MAX_CARDS", 2)
    lab = Lab.open(seeds)
    for page, count in {"overview": 0, "table": 0, "costs": 0, "curves": 2, "errors": 2, "significance": 7}.items():
        read.clear()
        drawn = compare_draw.draw(lab, view, page)
        assert len(read) == count, page
        if page == "curves":
            assert "Curves show 2 of 7 runs" in drawn[view.curves_note]
    read.clear()
    assert "significant" in compare_draw.conclude(lab, view, "overview")[view.conclusion]
    assert read == [], "the tests of the sub-page before are known"


def test_long_curves_are_thinned():
    rows = [{"run": run, "step": i, "value": float(i)} for run in "abc" for i in range(3000)]
    points = charts.thin(pd.DataFrame(rows))
    assert len(points) <= 4000
    assert points.groupby("run")["step"].max().eq(2999).all()


def test_published_bars_are_hollow(seeds):
    table = compare_tables.with_variant([run for run in seeds.list() if run.result], {r.id: "a" for r in seeds.list()})
    plain = charts.bars(table, METRICS["test_accuracy"]).to_json()
    both = charts.bars(table, METRICS["test_accuracy"], reference=published.table()).to_json()
    assert published.MARK not in plain
    assert "LoRA, published elsewhere" in both
    assert '"filled": false' in both
    menu = charts.bars(table, METRICS["test_accuracy"]).to_dict()["usermeta"]["embedOptions"]
    assert menu["actions"] == {
        "export": {"png": True, "svg": True},
        "source": False,
        "compiled": False,
        "editor": False,
    }
    assert menu["downloadFileName"] == "test-accuracy"


def test_every_chart_is_json_that_a_browser_reads(seeds):
    """NaN is no JSON: one missing value would leave a chart empty."""
    runs = [run for run in seeds.list() if run.result]
    table = compare_tables.with_variant(runs, {run.id: "a" for run in runs})
    points, reference = analysis.curves(seeds, runs), published.curves()
    drawn = charts.bar_charts(table, reference=published.table())
    drawn += [charts.curves(points, curve, x="seconds", reference=reference) for curve in set(points["curve"])]
    assert len(drawn) == 10
    for chart in drawn:
        json.dumps(chart.to_dict(), allow_nan=False)


def test_texts_are_never_html(seeds):
    given = answers([[0, 1]], [[0.9, 0.9]])
    given = replace(given, texts=("<img src=x onerror=alert(1)>",), names=("<b>bad</b>", "good"))
    names = {run.id: "<i>mine</i>" for run in given.runs}
    html = compare_sentences.sentences_html(given, disputes.find(given), names=names, kind="split")
    for mark in ("<img", "<b>", "<i>"):
        assert mark not in html


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("train_minutes", 185 / 60, "3 min 05 s"), ("train_minutes", 8 / 60, "8 s"),
        ("train_minutes", 59.4 / 60, "59 s"), ("train_minutes", 8.26 / 60, "8.3 s"),
        ("train_minutes", 0.25 / 60, "0.25 s"), ("train_minutes", 61.5, "1 h 01 min"), ("train_minutes", None, "–"),
        ("evaluation_minutes", 1.0, "1 min 00 s"), ("test_accuracy", 81.234, "81.23"),
    ],
)  # fmt: skip
def test_durations_have_their_unit(key, value, text):
    assert show(METRICS[key], value) == text
    assert charts.title(METRICS["train_minutes"]) == "Training time"
    assert charts.title(METRICS["test_accuracy"]) == "Test accuracy (%)"


@pytest.mark.parametrize(("p", "text"), [(0.0004, "<0.001"), (0.001, "0.001"), (0.04213, "0.042"), (1.0, "1.000")])
def test_p_values(p, text):
    assert compare_pairs.show_p(p) == text


def test_curves_tell_seeds_apart_on_axes_that_can_be_read():
    """One epoch, and five seeds that agree to a thousandth: no 42.000000%, no tick twice."""
    point = {
        "curve": "validation accuracy",
        "method": "lora",
        "task": "movies",
        "step": 1,
        "seconds": 1.0,
        "epoch": 1.0,
    }
    rows = [point | {"run": f"r{i}", "name": f"LoRA, seed {i}", "seed": i, "value": 0.42 + i / 4000} for i in range(5)]
    chart = charts.curves(pd.DataFrame(rows), "validation accuracy").to_dict()
    line = chart["layer"][0]["encoding"]
    assert line["y"]["axis"]["format"] == ".2~%"
    assert line["x"]["axis"]["values"] == [1]
    assert line["strokeDash"]["field"] == "Seed"
    assert line["strokeDash"]["scale"]["domain"] == [f"seed {i}" for i in range(5)]
    assert "seed" in [tip["field"] for tip in line["tooltip"]]
    alone = charts.curves(pd.DataFrame(rows[:1]), "validation accuracy").to_dict()["layer"][0]["encoding"]
    assert "strokeDash" not in alone
    assert alone["y"]["axis"]["format"] in (".0~%", ".1~%")
    wide = pd.DataFrame(rows).assign(value=[0.5, 0.6, 0.7, 0.8, 1.0])
    whole_range = charts.curves(wide, "validation accuracy").to_dict()["layer"][0]["encoding"]["y"]
    assert whole_range["axis"]["format"] == ".0~%"
    assert whole_range["scale"]["domain"][1] <= 1


# The page

SIZES = [(1440, 900), (1280, 720), (390, 844)]
SIGNS = {
    "overview": ".lab-conclusion .lab-summary", "table": ".lab-results tbody tr", "significance": ".lab-pairs tbody tr",
    "errors": ".lab-card", "curves": ".lab-chart .vega-embed svg.marks", "costs": ".lab-chart .vega-embed svg.marks",
}  # fmt: skip
"""Sub-page -> its first result."""


def opened(page, view: str):
    """Press a sub-page of Compare, and wait for its first result."""
    page.locator(f'#compare-pages button[data-tab-id="{view}"]').first.click()
    found = page.locator(SIGNS[view]).filter(visible=True).first
    found.wait_for()
    return found


def drawn(page, rows: int) -> None:
    """Wait for the table's rows of runs: below them are two baselines."""
    page.wait_for_function(f"document.querySelectorAll('.lab-results tbody tr').length == {rows + 2}")


def compare(page) -> None:
    """Open Compare, and wait for what it concludes."""
    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("test sentences and").first.wait_for()


def test_sub_pages_draw_when_they_are_opened(trained_page):
    page = trained_page
    compare(page)
    page.get_by_role("button", name="Finished runs of tiny.csv on").wait_for()
    page.locator(".lab-chart .vega-embed svg.marks").wait_for()
    page.get_by_role("button", name="Make report").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    assert "<table" in download.value.path().read_text(encoding="utf-8")
    shoot(page, "compare-overview")
    for view in SIGNS:
        opened(page, view)
        if view != "table":
            shoot(page, f"compare-{view}")
    page.wait_for_function(
        "[...document.querySelectorAll('.lab-chart svg.marks')].filter(m => m.checkVisibility()).length >= 4"
    )
    assert serious(page) == []


def test_the_table_in_a_browser(trained_page, tmp_path):
    page = trained_page
    compare(page)
    chart = page.locator(".lab-chart").filter(visible=True).first
    chart.locator("svg.marks").wait_for()
    for kind in ("PNG", "SVG"):  # by keyboard alone
        page.keyboard.press("Escape")
        chart.locator("summary").focus()
        page.keyboard.press("Enter")
        chart.get_by_role("link", name=f"Download {kind}").focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == f"test-accuracy.{kind.lower()}"
        download.value.save_as(tmp_path / f"chart.{kind.lower()}")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert (tmp_path / "chart.png").stat().st_size > 5000
    picture = ET.parse(tmp_path / "chart.svg").getroot()
    assert picture.find("{http://www.w3.org/2000/svg}rect").get("fill") == "white"
    assert "Full fine-tuning" in "".join(picture.itertext())
    opened(page, "table")
    drawn(page, 5)
    # Sorting by a heading
    names = page.locator(".lab-results tbody th")
    before = names.all_inner_texts()
    page.get_by_role("button", name="Trainable parameters").click()
    after = names.all_inner_texts()
    assert sorted(before) == sorted(after)
    assert before != after
    with page.expect_download() as download:
        page.locator(".lab-results").get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8-sig").splitlines()))
    baselines = [row["Run"] for row in rows if not row["id"]]
    assert (len(rows), baselines) == (7, ["Bag of words", "Majority class"])
    assert {"id", "seed", "Test accuracy (%)", "Brier score"} <= set(rows[0])
    assert {row["task"] for row in rows if row["id"]} == {"tiny.csv"}
    values = [text for row in rows for text in row.values()]
    assert not [text for text in values if "/" in text], "no folder of the machine"
    numbers = [text for text in values if re.fullmatch(r"-?\d+\.\d+", text)]
    assert numbers
    assert max(len(text.replace(".", "").lstrip("-0")) for text in numbers) <= 9, "no noise"
    # Other columns, another row a run, and the report's figures
    page.get_by_role("button", name=re.compile("^Columns")).click()
    page.get_by_label("Settings: only what differs").check()
    page.locator(".lab-results thead th:visible", has_text="learning_rate").wait_for()
    page.get_by_role("radio", name="Mean over seeds").check()
    page.get_by_text("After ± stands").filter(visible=True).wait_for()
    page.get_by_role("button", name="Finished runs of").click()
    page.get_by_label("Show the published report's figures").check()
    page.get_by_text("89.45% in the table;").wait_for()
    drawn(page, 9)
    assert serious(page) == []
    shoot(page, "compare-table")
    page.get_by_label("Show the published report's figures").uncheck()
    # A filter stays chosen
    page.get_by_role("textbox", name="Method", exact=True).click()
    page.get_by_role("option", name="QLoRA (4-bit)").click()
    page.keyboard.press("Escape")
    drawn(page, 1)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_timeout(1500)
    drawn(page, 1)


def test_an_address_opens_compare_drawn_each_time(trained_page, trained):
    """Gradio fails where a tab is pressed while the page is drawn: an error on the page fails the test."""
    for view in ("overview", "table", "overview"):
        trained_page.goto(f"{trained[0]}/?tab=compare&view={view}")
        trained_page.locator(SIGNS[view]).filter(visible=True).first.wait_for()


def test_two_choices_in_quick_succession_both_stay(trained_page):
    from playwright.sync_api import expect

    page = trained_page
    compare(page)
    opened(page, "table")
    drawn(page, 5)
    page.get_by_role("button", name="Finished runs of").click()
    page.get_by_role("textbox", name="Method", exact=True).click()
    for name in ("QLoRA (4-bit)", "Full fine-tuning"):
        page.get_by_role("option", name=name).click()
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Seed", exact=True).click()
    page.get_by_role("option", name="0", exact=True).click()
    page.keyboard.press("Escape")
    drawn(page, 2)
    page.wait_for_timeout(2000)
    drawn(page, 2)
    assert page.locator(".lab-results tbody th").all_inner_texts()[:2] == ["Full fine-tuning", "QLoRA (4-bit)"]
    # They are in the address: a reload has them, and Back takes them back one by one.
    chosen = {"tab": ["compare"], "view": ["table"], "method": ["qlora", "full"]}
    assert parse_qs(urlsplit(page.url).query) == chosen | {"seed": ["0"]}
    page.reload()
    drawn(page, 2)
    # So is what a row of the table is.
    runs, means = (page.get_by_role("radio", name=name) for name in ("Individual runs", "Mean over seeds"))
    means.check()
    page.wait_for_url(re.compile("unit=mean"))
    # And its columns, and what is drawn besides.
    page.get_by_role("button", name="Columns", exact=True).click()
    page.get_by_label("Settings: only what differs").check()
    page.wait_for_url(re.compile("differing=1"))
    page.get_by_role("button", name="Finished runs of").click()
    page.get_by_label("Show the published report's figures").check()
    page.wait_for_url(re.compile("reference=1"))
    page.reload()
    expect(means).to_be_checked()
    expect(page.get_by_label("Show the published report's figures")).to_be_checked()
    expect(page.get_by_label("Settings: only what differs")).to_be_checked()
    page.locator(".lab-results thead th", has_text="learning_rate").wait_for()
    page.go_back()
    page.go_back()
    expect(page.get_by_label("Settings: only what differs")).not_to_be_checked()
    page.go_back()
    expect(runs).to_be_checked()
    drawn(page, 2)
    page.go_back()
    page.wait_for_function("!location.search.includes('seed=')")
    page.get_by_role("button", name="(QLoRA (4-bit), Full fine-tuning)").wait_for()
    assert parse_qs(urlsplit(page.url).query) == chosen
    for _ in range(2):  # two choices of the same moment are one step
        if "method=" in page.url:
            page.go_back()
    drawn(page, 5)
    assert parse_qs(urlsplit(page.url).query) == {"tab": ["compare"], "view": ["table"]}
    if not page.locator("input[aria-label='Task']:visible").count():
        page.get_by_role("button", name="Finished runs of").click()
    page.locator("input[aria-label='Task']:visible").click()
    page.get_by_role("option").filter(has_text="second.csv").click()
    page.get_by_role("button", name="Finished runs of second.csv").wait_for()
    page.go_back()
    page.get_by_role("button", name="Finished runs of tiny.csv").wait_for()


def test_another_task_brings_its_own_runs_without_an_error(trained_page):
    """The runs chosen for the matrices are of the earlier task, and an event that follows still sends them."""
    page = trained_page
    compare(page)
    opened(page, "errors")
    page.wait_for_function("document.querySelectorAll('#compare-errors .lab-card, .lab-card').length >= 2")
    page.get_by_role("button", name="Finished runs of").click()
    page.locator("input[aria-label='Task']:visible").click()
    page.get_by_role("option").filter(has_text="second.csv").click()
    page.wait_for_function("document.querySelectorAll('.lab-card').length == 1")
    page.wait_for_timeout(2000)
    assert page.locator(".toast-body").count() == 0


def test_a_sentence_goes_to_live_again_and_again(trained_page):
    from playwright.sync_api import expect

    page = trained_page
    for place in range(2):
        page.get_by_role("tab", name="Compare").click()
        opened(page, "errors")
        kinds = page.get_by_label("All wrong")
        if not page.locator(".lab-sentences .lab-pick").count():
            kinds.check()
        button = page.locator(".lab-sentences .lab-pick").nth(place)
        text = button.inner_text()
        button.click()
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        expect(page.get_by_label("A sentence")).to_have_value(text)
        page.get_by_text(f"Sentence: “{text}”").wait_for()
    page.locator(".lab-answer").nth(4).wait_for()


# Many runs


@pytest.fixture(scope="module")
def crowded(suite, tmp_path_factory):
    """The app on 300 runs: copies of the suite's, sixty configurations with five seeds each."""
    store = Store(tmp_path_factory.mktemp("crowded"))
    runs = [run for run in suite[0].list() if run.result and run.task_name == "tiny.csv"]
    for number in range(60):
        for seed in range(5):
            source = runs[number % len(runs)]
            recipe = source.recipe.model_copy(update={"seed": seed, "learning_rate": 1e-4 * (1 + number // len(runs))})
            run = source.model_copy(update={"recipe": recipe, "queue_order": number * 5 + seed})
            folder = store.root / f"{source.recipe.method}-{number}-s{seed}"
            shutil.copytree(source.folder, folder, ignore=shutil.ignore_patterns(".*", "model"))
            (folder / "run.json").write_text(json.dumps(run.as_json() | {"id": folder.name}), encoding="utf-8")
    assert len(store.list()) == 300
    with app_on(store.root) as found:
        yield found


def test_with_300_runs_each_sub_page_has_its_first_result_in_view_and_ends(crowded, open_page):
    """Not below the fold on a laptop, a projector and a phone; at most three screens on a laptop and a phone."""
    pages = open_page(crowded[0])
    page = next(pages)
    compare(page)
    page.get_by_role("button", name="300 runs, 60 configurations").wait_for()
    for view in SIGNS:
        opened(page, view)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("window.scrollTo(0, 0)")
            page.wait_for_timeout(500)
            box = page.locator(SIGNS[view]).filter(visible=True).first.bounding_box()
            assert box["y"] + min(box["height"], 40) <= height, (view, width, box)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), (view, width)
            if width in (1440, 390):
                tall = page.evaluate("document.documentElement.scrollHeight")
                assert tall <= 3 * height, (view, width, tall)
        page.set_viewport_size({"width": 1440, "height": 900})
    # The first column and the heading of the table stay in view.
    opened(page, "table")
    box = page.locator(".lab-results .lab-table")
    place = box.bounding_box()
    box.evaluate("box => { box.scrollTop = 400; box.scrollLeft = 200; }")
    first = page.locator(".lab-results thead th").first.bounding_box()
    assert abs(first["x"] - place["x"]) < 3
    assert abs(first["y"] - place["y"]) < 3
    next(pages, None)


@pytest.mark.parametrize(
    ("payload", "taken"),
    [(None, True), ("gone", True), (["a", "gone"], True), ([], True), (3, True), ({"a": 1}, False), ([["a"]], False),
     ("x" * 5000, False), (["a"] * 1001, False)],
)  # fmt: skip
def test_a_value_that_has_left_its_choices_is_for_the_handler_to_judge(payload, taken):
    """And no file is written beside the module, as Gradio does for a subclass of a component."""
    for kind in (choice.Dropdown, choice.Radio):
        control = kind(["a"])
        assert control.get_block_name() == kind.__name__.lower()
        if taken:
            assert control.preprocess(payload) == payload
        else:
            with pytest.raises(ValueError, match="no choice"):
                control.preprocess(payload)
    assert not list((ROOT / "trainer").rglob("*.pyi"))
