"""The course report: its impossible figures, and the page that holds its statements against runs here."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import study
from trainer.analysis import published
from trainer.publish import bundled
from trainer.runs.store import Store


@pytest.mark.parametrize("sentences", [1, 7, 872, 1500, 3000, 25000])
@pytest.mark.parametrize("share", [0.0, 0.1234, 0.8937, 0.8945, 0.9387, 1.0])
def test_the_counts_of_a_share_are_all_that_round_to_it_and_no_other(sentences, share):
    expected = tuple(k for k in range(sentences + 1) if abs(k / sentences - share) <= 0.5e-4 + 1e-9)
    assert published.counts(share, sentences) == expected


def test_a_share_with_fewer_decimals_has_more_counts():
    assert published.counts(0.9, 10, decimals=1) == (9,)
    assert published.counts(0.91, 200, decimals=2) == (181, 182, 183)


def test_which_figures_of_the_report_are_shares_of_what():
    assert published.counts(0.8945, 872) == (780,)
    assert published.counts(0.8945, 1500) == published.counts(0.8945, 3000) == ()
    assert published.counts(0.8937, 872) == published.counts(0.8937, 1500) == ()
    assert published.counts(0.8937, 3000) == (2681,)
    assert {name: published.training(name) for name in published.load()["epochs"]} == {
        "full": (13500, 422), "lora": (13500, 422), "qlora": (15000, 469), "adapter_fusion": (15000, 469),
    }  # fmt: skip


def test_what_follows_from_the_reports_numbers_is_said():
    text = "\n".join(published.disagreements())
    for part in (
        "QLoRA (4-bit): said to be the fastest, with 50.60 min in the table; LoRA took 48.34.",
        "13,500 to train on (422 steps an epoch)",
        "beside 15,000 (469 steps)",
        "LoRA: validation accuracy 89.45% in the table is no share of the 1,500 sentences of its log; it is 780 of 872",
        "QLoRA (4-bit): validation accuracy 89.37% in the table is no share of the 872 sentences of its log; "
        "it is 2,681 of 3,000",
        "said to be of validation, is of 3,000 sentences (1,500 of each label): the test set; 872 were stated",
    ):
        assert part in text


def test_a_report_without_these_contradictions_has_none(monkeypatch):
    """Each of the four goes when the number that makes it is put right, and only that one."""
    report = published.load()
    rows = [dict(row) for row in report["summary"]]
    rows[1]["training_minutes"] = 51.0  # LoRA slower than QLoRA
    rows[1]["validation_accuracy"], rows[2]["validation_accuracy"] = 0.92, 0.8991  # the last epochs of their logs
    support = {label: {"support": 436} for label in ("negative", "positive")}
    right = report | {"summary": rows, "classification_report_lora": support}
    monkeypatch.setattr(published, "load", lambda: right)
    assert [text for _, text, _ in published.computed()] == [published.SPLITS]
    monkeypatch.setattr(published, "load", lambda: right | {"epochs": {"full": report["epochs"]["full"]}})
    assert published.computed() == []


def test_the_page_is_what_the_command_writes(tmp_path):
    """After the bundled runs were made again, or the statistics changed: python -m benchmarks.study."""
    page = tmp_path / "page.md"
    kept = study.PAGE.read_text(encoding="utf-8")
    page.write_text(kept.replace("holds here", "is stale"), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.study", "--store", str(bundled.BUNDLED), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    written = page.read_text(encoding="utf-8").partition(study.BEGIN)[2]
    assert written == kept.partition(study.BEGIN)[2]
    assert written.count("python -m trainer") == len(study.statements(study.Study(Store(bundled.BUNDLED), "movies")))


@pytest.fixture
def first_seeds(tmp_path):
    """The runs of the first seed that come with the program, as a store of their own."""
    for run in bundled.shipped():
        if run.recipe.seed == bundled.SEEDS[0]:
            shutil.copytree(run.folder, tmp_path / run.id)
    return Store(tmp_path)


def test_a_study_takes_all_seeds_of_one_recipe_and_needs_every_method(first_seeds):
    """A second seed of full fine-tuning that gets every sentence right is counted; one of another recipe is not."""
    import pandas as pd

    root = first_seeds.root
    full = next(run for run in first_seeds.list() if run.recipe.method == "full")
    for name, changes in (("full-again", {"seed": 1}), ("full-other", {"seed": 2, "epochs": 9})):
        shutil.copytree(full.folder, root / name)
        recipe = full.recipe.model_copy(update=changes)
        Store(root).update(name, recipe=recipe)
    path = root / "full-again" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.assign(predicted=frame["label"]).to_parquet(path)
    several = study.Study(Store(root), "movies")
    assert [run.recipe.seed for run in several.runs["full"]] == [0, 1]
    assert several.correct["full"].mean(axis=1) == pytest.approx([full.result.test.accuracy, 1.0])
    assert several.basis("full", "lora") == "1,004 test sentences, 1 or 2 seeds"
    ((_, difference, _),) = several.differences([("full", "lora")])
    expected = several.correct["full"].mean() - several.correct["lora"].mean()
    assert np.isclose(difference.difference, expected)
    assert difference.seeds == (2, 1)
    shutil.rmtree(root / next(run.id for run in several.runs["qlora"]))
    with pytest.raises(SystemExit, match="got none of qlora"):
        study.Study(Store(root), "movies")


def test_memory_is_compared_by_what_a_step_needs_once_every_run_has_it(first_seeds):
    from trainer.runs.result import StepMemory

    def put(method, step):
        (run,) = (run for run in first_seeds.list() if (run.recipe.method, run.recipe.task) == (method, "movies"))
        info = run.result.train_info.model_copy(update={"step_memory": step})
        first_seeds.update(run.id, result=run.result.model_copy(update={"train_info": info}))

    def statement():
        (found,) = (s for s in study.statements(study.Study(first_seeds, "movies")) if "least memory" in s.text)
        return found

    peaks = {"full": 300_000_000, "lora": 200_000_000, "qlora": 150_000_000}
    for method in peaks:
        put(method, None)
    for method, peak in peaks.items():
        assert statement().holds == "not measured"
        put(
            method,
            StepMemory(peak=peak, weights=peak, gradients=0, optimizer_states=0, activations=0, temporary=0, steps=3),
        )
    assert statement().holds == "yes"
    assert "Full fine-tuning 300 MB, LoRA 200 MB, QLoRA (4-bit) 150 MB" in statement().here
