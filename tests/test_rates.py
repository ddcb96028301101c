"""Learning rates: the sweep that finds them, the table that it wrote, and how a run says where its rate is from."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
from conftest import VERSION_1, trainer

from benchmarks import rates
from trainer import methods, tasks
from trainer.analysis import tables
from trainer.jobs import adoption, queue
from trainer.methods.base import TUNED
from trainer.publish import report
from trainer.runs import archive, recipes
from trainer.runs.store import Store
from trainer.serving.predictor import Predictor
from trainer.sources import backbones
from trainer.tasks.base import normalise
from trainer.ui.common.lab import Lab
from trainer.ui.train import panel

OWN = methods.get("lora").learning_rate_sources[0].kind
"""What a run says of a method's own rate for small encoders, the same for every method."""


def row(rate: float, accuracy: float, *, task: str = "movies", seed: int = 0, method: str = "lora", **more) -> dict:
    return {
        "backbone": "minilm", "method": method, "task": task, "rate": rate, "seed": seed, "train": 1000,
        "validation": 1000, "accuracy": accuracy, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "steps", "expected"),
    [(1e-3, 1, 2e-3), (1e-3, 2, 5e-3), (5e-3, 1, 1e-2), (2e-5, -1, 1e-5), (2e-5, -2, 5e-6), (1e-5, -1, 5e-6),
     (0.5, 1, 1.0), (5e-4, 3, 5e-3), (2e-3, 0, 2e-3)],
)  # fmt: skip
def test_the_rates_beside_a_rate_are_1_2_and_5_times_powers_of_ten(rate, steps, expected):
    assert rates.beside(rate, steps) == expected


def test_only_a_best_rate_at_an_end_makes_the_range_longer_and_only_there():
    assert rates.widened((1e-3, 2e-3, 5e-3), 2e-3) == (1e-3, 2e-3, 5e-3)
    assert rates.widened((1e-3, 2e-3, 5e-3), 5e-3) == (1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
    assert rates.widened((1e-3, 2e-3, 5e-3), 1e-3) == (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
    assert rates.widened((0.2, 0.5), 0.5) == (0.2, 0.5, 1.0)
    assert rates.widened((0.5, 1.0), 1.0) == (0.5, 1.0), "a rate above 1 is refused by the recipe"


def test_a_summary_is_the_mean_over_tasks_of_the_mean_over_seeds():
    """Not the mean over runs: a task with more seeds counts no more than the other."""
    rows = [row(1e-3, 0.7, seed=seed) for seed in range(4)] + [row(1e-3, 0.9, task="tweets")]
    (one,) = rates.summary(rows)
    assert (one["accuracy"], one["runs"]) == (pytest.approx(0.8), 5)
    assert one["tasks"] == {"movies": pytest.approx(0.7), "tweets": 0.9}
    assert one["sd"]["tweets"] is None
    accuracies = [0.6, 0.7, 0.9]
    (other,) = rates.summary([row(1e-3, accuracy, seed=seed) for seed, accuracy in enumerate(accuracies)])
    assert other["sd"]["movies"] == pytest.approx(statistics.stdev(accuracies))


def test_the_best_rate_is_the_lower_of_two_equals_and_of_this_method_alone():
    rows = [row(2e-3, 0.8), row(1e-3, 0.8), row(5e-3, 0.7), row(1e-2, 0.9, method="qlora")]
    assert rates.best(rows, "lora", "minilm")["rate"] == 1e-3
    assert rates.best(rows, "adapter", "minilm") is None
    assert rates.parent_rate(rows, "adapter_fusion", "minilm") == methods.get("adapter").learning_rates[0]
    assert rates.parent_rate([*rows, row(5e-4, 0.5, method="adapter")], "adapter_fusion", "minilm") == 5e-4
    assert rates.parent_rate(rows, "lora", "minilm") is None
    shown = rates.table(rows).splitlines()
    assert [line.split("|")[3].strip() for line in shown[2:]] == ["**0.001**", "0.002", "0.005", "**0.01**"]


def test_a_sweep_that_goes_on_takes_up_the_rates_to_which_its_range_was_widened():
    """Otherwise a rate with two seeds could be the best beside others with five."""
    own = rates.DEFAULT_RANGE
    assert rates.rates_of([row(5e-2, 0.9), row(0.1, 0.8), row(0.2, 0.9, method="qlora")], "lora", "minilm") == (
        *own, 5e-2, 0.1,
    )  # fmt: skip
    fusion = row(1e-3, 0.8, method="adapter_fusion", parent_rate=2e-3)
    assert rates.is_current(fusion, "adapter_fusion", "minilm", 2e-3)
    assert not rates.is_current(fusion, "adapter_fusion", "minilm", 5e-3), "its parents had another rate"
    assert rates.is_current(row(1e-3, 0.8), "adapter_fusion", "minilm", 5e-3)


def test_only_runs_on_the_present_splits_are_taken_over():
    """What was a training sentence then may be a test sentence now. A table that does not say is not taken."""
    rows = [row(1e-3, 0.8), row(1e-3, 0.9, task="tweets")]
    present = rates.fingerprints()
    assert rates.of_present_splits({"splits": present, "runs": rows}) == rows
    assert rates.of_present_splits({"splits": present | {"tweets": "0" * 16}, "runs": rows}) == rows[:1]
    assert rates.of_present_splits({"runs": rows}) == []


@pytest.mark.parametrize("task", rates.TASKS)
def test_the_sweep_reads_no_test_sentence_of_its_tasks(task, tmp_path):
    files = rates.write_splits(task, tmp_path, train=rates.TRAIN)
    texts = {}
    for split in ("train", "validation"):
        with open(files[split], encoding="utf-8", newline="") as file:
            texts[split] = {normalise(line["text"]) for line in csv.DictReader(file)}
    assert len(texts["train"]) == rates.TRAIN
    assert len(texts["validation"]) == rates.VALIDATION >= 1000
    assert not texts["train"] & texts["validation"]
    tested = {normalise(text) for text in tasks.get(task).load(0).test.texts}
    assert tested
    assert not tested & (texts["train"] | texts["validation"])


def test_no_parent_of_a_fusion_in_the_sweep_has_seen_its_validation_sentences(tmp_path):
    """The task's own adapter would be trained on sentences that the sweep validates on."""
    files = {}
    for name in ("train", "validation", "test"):
        files[name] = str(tmp_path / f"{name}.csv")
        Path(files[name]).write_text("text,label\na,b\n", encoding="utf-8")
    for task in rates.TASKS:
        job = {"method": "adapter_fusion", "task": task, "backbone": "minilm", "rate": 1e-3, "seed": 0}
        fused = [parent.task for parent in recipes.parents_of(rates.recipe(job, files))]
        assert fused[0] == files["train"]
        assert set(fused[1:]) == set(tasks.EMBEDDED) - {task}


def test_a_sweep_trains_what_its_table_lacks(tiny_backbone, tmp_path, monkeypatch):
    """A fusion with its parents: of three rows one is kept, one had parents of another rate, one is missing."""
    monkeypatch.setattr(rates, "TASKS", ("tweets",))
    monkeypatch.setattr(rates, "VALIDATION", 64)
    monkeypatch.setattr(rates, "RANGES", {"adapter_fusion": (1e-3, 2e-3, 5e-3)})
    monkeypatch.setattr(rates, "widened", lambda known, best_rate: known)
    backbone, out = str(tiny_backbone), tmp_path / "rates.json"
    common = {"task": "tweets", "backbone": backbone}
    kept = row(1e-3, 0.123, method="adapter_fusion", parent_rate=1e-2, **common)
    outdated = row(2e-3, 0.456, method="adapter_fusion", parent_rate=2e-3, **common)
    rows = [row(1e-2, 0.8, method="adapter", **common), kept, outdated]
    rates.sweep(rows, names=("adapter_fusion",), backbone=backbone, seeds=(0,), train=64, processes=1, out=out)
    table = json.loads(out.read_text(encoding="utf-8"))
    assert table["splits"] == rates.fingerprints()
    assert sorted(table["runs"], key=lambda one: one["rate"]) == sorted(rows, key=lambda one: one["rate"])
    by_rate = {one["rate"]: one for one in rows if one["method"] == "adapter_fusion"}
    assert (len(rows), by_rate[1e-3]) == (4, kept)
    for rate in (2e-3, 5e-3):
        assert by_rate[rate]["parent_rate"] == 1e-2
        assert (by_rate[rate]["train"], by_rate[rate]["validation"]) == (64, 64)
        assert by_rate[rate]["accuracy"] * 64 == pytest.approx(round(by_rate[rate]["accuracy"] * 64)), "of 64 sentences"


# The table


def test_every_rate_that_is_called_tuned_is_the_best_of_the_table():
    """At least six rates, five seeds each, both tasks, at least 1,000 validation sentences, and none at an end."""
    kept = json.loads(rates.TABLE.read_text(encoding="utf-8"))
    assert kept["splits"] == rates.fingerprints(), "the tasks' splits have changed: sentences it read may be test ones"
    for name in methods.DEFAULT:
        method = methods.get(name)
        assert method.learning_rate_sources[0] == TUNED, name
        own = [row for row in kept["runs"] if (row["method"], row["backbone"]) == (name, "minilm")]
        by_rate: dict[float, set] = {}
        for one in own:
            by_rate.setdefault(one["rate"], set()).add((one["task"], one["seed"]))
        every = {(task, seed) for task in rates.TASKS for seed in rates.SEEDS}
        assert len(by_rate) >= 6, name
        assert all(there == every for there in by_rate.values()), name
        assert min(one["validation"] for one in own) >= 1000, name
        best = rates.best(kept["runs"], name, "minilm")["rate"]
        assert min(by_rate) < best < max(by_rate), name
        assert method.learning_rates[0] == best, name


def test_every_method_names_the_source_of_both_rates():
    """One that has rates of its own has sources of its own: it does not inherit those of its parent class."""
    for name, method in methods.METHODS.items():
        small, other = method.learning_rate_sources
        assert (small == TUNED) == (name in methods.DEFAULT), name
        assert other.kind == "published" or name not in methods.DEFAULT, name
        assert all((small.reference, other.reference)), name
        own = vars(type(method))
        assert name not in methods.DEFAULT or ("learning_rates" in own) == ("learning_rate_sources" in own), name


# What a run says of its rate


@pytest.mark.parametrize(
    ("backbone", "settings", "expected"),
    [
        ("minilm", {}, OWN),
        ("bert-base", {}, "published"),
        ("minilm", {"learning_rate": 3.3e-4}, "chosen"),
        ("minilm", {"learning_rate": methods.get("lora").learning_rates[1]}, "chosen"),
        ("minilm", {"learning_rate": methods.get("lora").learning_rates[0], "fairness": "same"}, OWN),
        ("bert-base", {"learning_rate": 3.3e-4, "fairness": "same"}, "chosen"),
    ],
)
def test_a_rate_is_the_methods_own_or_was_chosen(backbone, settings, expected):
    config = recipes.make(method="lora", task="movies", backbone=backbone, **settings)
    assert recipes.rate_source(config) == expected
    own = methods.get("lora").learning_rate(backbones.shape_of(backbone)) == config.learning_rate
    assert own or expected == "chosen"


def test_a_recipe_whose_backbone_is_gone_says_nothing_of_its_rate(tmp_path):
    config = recipes.make(method="lora", task="movies", backbone="minilm")
    assert recipes.rate_source(config.model_copy(update={"backbone": str(tmp_path / "gone")})) is None


def test_launched_runs_and_their_parents_keep_where_their_rates_are_from(own_store, monkeypatch):
    monkeypatch.setattr(queue, "ensure_worker", lambda store: None)
    common = {"task": "movies", "backbone": "minilm"}
    configs = recipes.suite(methods_=["lora", "adapter_fusion"], seeds=[0], **common, **{"lora.learning_rate": 1e-4})
    queue.launch(own_store, configs)
    sources = {(run.recipe.method, run.lineage.learning_rate) for run in own_store.list()}
    assert sources == {("lora", "chosen"), ("adapter", OWN), ("adapter_fusion", OWN)}
    same = recipes.suite(methods_=["adapter_fusion"], seeds=[1], fairness="same", learning_rate=3e-4, **common)
    (fusion,) = queue.launch(own_store, same)
    parents = [own_store.load(name) for name in fusion.recipe.parents]
    assert len(parents) == 4
    assert {run.lineage.learning_rate for run in (fusion, *parents)} == {"chosen"}
    own_store.update(fusion.id, state="cancelled", error="Cancelled on request.")
    assert queue.retrain(own_store, fusion.id).lineage.learning_rate == "chosen"


def test_runs_whose_rates_came_about_differently_are_compared_with_a_warning(suite):
    runs = suite[0].list()
    assert {run.lineage.learning_rate for run in runs} == {OWN}

    def warned(*compared):
        return [text for text in tables.comparable(compared) if "learning rates were set in different ways" in text]

    def with_source(run, source):
        return run.model_copy(update={"lineage": run.lineage.model_copy(update={"learning_rate": source})})

    lora, full = (next(run for run in runs if run.recipe.method == name) for name in ("lora", "full"))
    assert not warned(*runs)
    (warning,) = warned(with_source(lora, "tuned"), with_source(full, "chosen"))
    assert "tuned, chosen" in warning
    assert not warned(lora, with_source(full, None)), "it is not known to differ"


def test_a_runs_rate_is_shown_with_how_it_came_about(suite, own_store):
    """On the command line, in the run's panel and in the report; without a word where it was not recorded."""
    run = next(run for run in suite[0].list() if run.recipe.method == "lora")
    text = f"{run.recipe.learning_rate:g}: {recipes.RATE_SOURCES[OWN]}"
    assert f"Learning rate {text}." in trainer("show", run.id, store=suite[0]).stdout
    assert text in panel.details_html(Lab(suite[0], Predictor(suite[0])), run)
    assert f"Learning rate {text}; " in report.html(suite[0], [run])
    (old,) = (run for run in Store(VERSION_1).list() if run.recipe.method == "lora")
    assert recipes.rate_text(old) == f"{old.recipe.learning_rate:g}"
    archive.load_folder(own_store, run.folder)
    assert own_store.load(run.id).lineage == run.lineage, "what a loaded run says of its rate is what it said"


def test_an_adapter_from_elsewhere_says_nothing_of_its_rate(suite, own_store, monkeypatch):
    monkeypatch.setattr(queue, "ensure_worker", lambda store: None)
    run = next(run for run in suite[0].list() if run.recipe.method == "lora")
    adopted = adoption.adopt(
        own_store,
        str(run.model_folder),
        task=run.recipe.task,
        backbone=run.recipe.backbone,
        label_order=["bad", "good"],
    )
    assert adopted.lineage.learning_rate is None
    assert "Learning rate" not in panel.details_html(Lab(own_store, Predictor(own_store)), adopted)
