"""Multi-label runs: training, thresholds, figures, predictions everywhere, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import finished_run, trainer
from sklearn import metrics as theirs
from test_label_sets import examples, forms  # noqa: F401

from trainer.analysis import comparisons, disputes, reliability
from trainer.errors import ArgumentError, UserError
from trainer.jobs import adoption
from trainer.methods import DEFAULT, METHODS, Parent
from trainer.runs import archive, entry, recipes
from trainer.runs.store import Store
from trainer.serving.predictor import Predictor
from trainer.sources.backbones import FAMILIES
from trainer.tasks import label_sets
from trainer.ui.common.lab import Lab


@pytest.fixture(scope="module")
def trained_runs(tmp_path_factory, forms, tiny_backbone):  # noqa: F811
    """(store, a run of each method): the fusion is of the adapter run and of one of another file. Do not change it."""
    from trainer.training.request import Request
    from trainer.training.train import train

    store, runs = Store(tmp_path_factory.mktemp("several") / "store"), {}
    path, how = forms["cells"]
    shared = {"backbone": str(tiny_backbone), "epochs": 3, "batch_size": 16, "learning_rate": 3e-3}
    for name in DEFAULT:
        config = recipes.make(method=name, task=str(path), **how, **shared)
        if not METHODS[name].parent_method:
            runs[name] = finished_run(store, config)
            continue
        second, columns = forms["columns"]
        other = finished_run(store, recipes.make(method="adapter", task=str(second), **columns, **shared))
        fused = [runs["adapter"], other]
        parents = tuple(Parent(f"parent{i}", run.id, run.model_folder) for i, run in enumerate(fused))
        run = store.create(config.model_copy(update={"parents": tuple(run.id for run in fused)}))
        request = Request(
            config, run.folder, lambda event: None, costs=False, parents=parents,
            parent_results=tuple(run.result for run in fused),
        )  # fmt: skip
        store.update(run.id, state="finished", result=train(request))
        runs[name] = store.load(run.id)
    return store, runs


# Training and its figures


def test_every_method_trains_and_opens_with_its_library_alone(trained_runs, tiny_backbone):
    import torch
    from transformers import AutoTokenizer

    store, runs = trained_runs
    texts = [text for text, _ in examples(20)]
    tokens = AutoTokenizer.from_pretrained(tiny_backbone)(texts, padding=True, return_tensors="pt")
    assert len(runs) == 5
    for name, run in runs.items():
        first, *_, last = run.result.train_info.metrics
        assert last.train_loss < first.train_loss, name
        stored = store.predictions(run.id)
        again = Predictor(store).predict_many(list(stored["text"]), run)
        assert np.allclose(again, np.stack(stored["probabilities"].to_numpy()), atol=0.02), name
        entry.admit(run)
        method, scope = METHODS[name], {"folder": str(run.model_folder), "torch": torch}
        options, head = method.options(**run.recipe.options), FAMILIES["bert"].head
        exec(method.loading(base=repr(str(tiny_backbone)), labels=3, options=options, head=head), scope)
        with torch.no_grad():
            probabilities = scope["model"].eval()(**tokens).logits.float().sigmoid().numpy()
        near = 3e-2 if name == "qlora" else 1e-4  # bitsandbytes may compute in bf16: see test_methods.py
        assert np.allclose(probabilities, Predictor(store).predict_many(texts, run), atol=near), name
    heads = [path.read_text(encoding="utf-8") for path in store.root.glob("*/model/**/head_config.json")]
    assert {json.loads(head)["config"]["head_type"] for head in heads} == {"multilabel_classification"}
    config = json.loads((runs["full"].model_folder / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"


def test_figures_are_those_of_scikit_learn_with_thresholds_of_validation_alone(trained_runs):
    store, runs = trained_runs
    for run in runs.values():
        result, names, stored = run.result, run.label_names, store.predictions(run.id)
        thresholds = np.array(run.thresholds)
        for split in ("validation", "test"):
            rows, scores = stored[stored["split"] == split], getattr(result, split)
            truth = label_sets.matrix(list(rows["label"]), len(names))
            probabilities = np.stack(rows["probabilities"].to_numpy()).astype(float)
            predicted = probabilities >= thresholds
            assert label_sets.rows(predicted) == list(rows["predicted"])
            assert scores.accuracy == pytest.approx(theirs.accuracy_score(truth, predicted))
            for average in ("micro", "macro", "weighted"):
                expected = theirs.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
                assert tuple(dict(getattr(scores, average)).values()) == pytest.approx(expected[:3]), average
            assert scores.average_precision == pytest.approx(theirs.average_precision_score(truth, probabilities))
            counts = theirs.multilabel_confusion_matrix(truth, predicted)
            assert [np.array(table).tolist() for table in scores.label_confusion.values()] == counts.tolist()
            if split == "test":
                continue
            for i, threshold in enumerate(thresholds):  # no other has a higher F1 on validation sentences
                f1 = [
                    theirs.f1_score(truth[:, i], probabilities[:, i] >= one)
                    for one in (threshold, *probabilities[:, i])
                ]
                assert f1[0] == max(f1)
        assert result.train_info.best_validation_accuracy == pytest.approx(result.validation.accuracy)
        assert result.test.confusion_matrix is result.test.calibration is result.temperature is None
        assert result.baselines.majority.accuracy < result.baselines.bag_of_words.accuracy
        assert result.meta_info.dataset_info.multi_label


# Predictions


def test_predictions_of_a_sentence_and_of_a_file(trained_runs, tmp_path, monkeypatch):
    from trainer.ui.live.tab import predict_api

    store, runs = trained_runs
    run, text = runs["full"], "the film is warm"
    done = trainer("predict", text, "--runs", run.id, "--json", store=store)
    (said,) = json.loads(done.stdout)
    given = [name for name in run.label_names if said["probabilities"][name] >= run.result.thresholds[name]]
    assert said["labels"] == given
    assert said["predicted"] == "|".join(given)
    assert said["temperature"] is None
    (answer,) = predict_api(Lab(store, Predictor(store)), text, [run.id])
    assert {name: answer[name] for name in ("labels", "predicted")} == {
        "labels": tuple(given),
        "predicted": "|".join(given),
    }
    assert answer["thresholds"] == run.result.thresholds
    shown = trainer("predict", text, "--runs", run.id, store=store).stdout
    assert (", ".join(given) or "no label") in shown
    texts = [text for text, _ in examples(30)]
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "in.csv", index=False)
    trainer(
        "predict", "--file", str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv"), "--runs", run.id, store=store
    )
    out = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    columns = [f"{run.id}:probability:{name}" for name in run.label_names]
    assert list(out.columns) == ["text", run.id, *columns]
    for row in out.to_dict("records"):
        over = [
            name
            for name, column in zip(run.label_names, columns, strict=True)
            if row[column] >= run.result.thresholds[name]
        ]
        assert row[run.id] == "|".join(over)


def test_live_shows_each_label_and_its_threshold(trained_runs):
    from trainer.ui.live.board import Board
    from trainer.ui.live.groups import groups, verdict
    from trainer.ui.live.guess import count_guess
    from trainer.ui.live.predict import fill
    from trainer.ui.live.session import Session

    store, runs = trained_runs
    lab = Lab(store, Predictor(store))
    board = Board("the film is warm", groups(list(runs.values())[:3]), True, "good")
    list(fill(lab, board))
    (group,) = board.groups
    drawn = board.html("")
    assert drawn.count("lab-threshold") == 3 * 4
    said = [board.predictions[run.id] for run in group.runs]
    assert drawn.count("lab-over") == sum(len(one.labels) for one in (*said, *board.untrained.values()))
    assert drawn.count("a guess of one is not counted") == 3
    assert count_guess(Session(), board)[0].tally == {}
    nothing = replace(said[0], labels=(), predicted="")
    same = verdict(group, [nothing] * 3)
    assert "all 3 runs say no label" in same.text
    assert verdict(group, [nothing, said[1], said[1]]).minority or said[1].labels == ()
    why = lab.predictor.explain(board.text, group.runs[0])
    assert why.label == max(said[0].probabilities, key=said[0].probabilities.get)
    assert why.complete


# Compare, reports, archives


def test_compare_shows_exact_match_and_both_f1(trained_runs):
    from trainer.publish import push, report
    from trainer.ui.compare import cards, pairs, sentences, tables

    store, runs = trained_runs
    chosen = list(runs.values())
    names = {run.id: METHODS[run.recipe.method].title for run in chosen}
    shown = tables.results(chosen, names, store=store)
    assert "Test exact match (%)" in shown
    assert "F1, micro (%)" in shown
    assert "Test accuracy" not in shown
    compared = comparisons.compare(store, chosen, names)
    for pair in compared.tested:
        first, second = (next(run for run in chosen if names[run.id] == name) for name in (pair.first, pair.second))
        assert pair.result.difference == pytest.approx(first.result.test.accuracy - second.result.test.accuracy)
    section = pairs.section(Lab(store, Predictor(store)), chosen, names)
    assert "Differences in test exact match" in section
    assert "accuracy" not in section
    outcomes = disputes.collect(store, chosen)
    assert outcomes.correct.mean(axis=0) == pytest.approx([run.result.test.accuracy for run in chosen])
    assert "%" not in sentences.section(Lab(store, Predictor(store)), chosen, names, "wrong")[0]
    card = cards.cards(chosen[:1], names)
    assert [title for title in ("Label by label", "micro average", "Average precision") if title not in card] == []
    assert reliability.of(store, chosen[0]) is None
    page = report.html(store, chosen)
    assert "Test exact match (%)" in page
    assert "Test accuracy" not in page
    assert "sigmoid()" in push.usage(chosen[0], "owner/name")
    assert "Exact match" in push.card(chosen[0], "owner/name")
    for command in ("compare", "list"):
        assert "Test exact match (%)" in trainer(command, store=store).stdout
    for row in json.loads(trainer("compare", "--json", store=store).stdout):
        assert row["multi_label"]
        assert row["micro_f1"] > 0


def test_a_run_leaves_and_enters_a_store_whole_or_not_at_all(trained_runs, tmp_path, own_store):
    store, runs = trained_runs
    run = runs["lora"]
    path = archive.export(store, run.id, tmp_path / "run.zip")
    assert archive.load(own_store, tmp_path / "run.zip").result == run.result, path
    copied = tmp_path / run.id
    shutil.copytree(run.folder, copied)
    content = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    del content["result"]["thresholds"]["good"]
    (copied / "run.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="a threshold for each label"):
        Store(tmp_path).load(run.id)
    shutil.copy(run.folder / "run.json", copied / "run.json")
    table = pd.read_parquet(run.folder / "predictions.parquet")
    assert Store(tmp_path).check(run.id) is None
    for column, value in (("label", [2, 1]), ("predicted", [3]), ("label", [None]), ("probabilities", [0.5, 0.5, 1.5])):
        table.assign(**{column: [value, *table[column][1:]]}).to_parquet(copied / "predictions.parquet", index=False)
        assert column in Store(tmp_path).check(run.id).reason, value


def test_an_adapter_from_elsewhere_is_not_taken(trained_runs, own_store):
    recipe = trained_runs[1]["lora"].recipe
    with pytest.raises(ArgumentError, match="a task with one label a sentence for an adapter from elsewhere"):
        adoption.adopt(
            own_store, str(trained_runs[1]["lora"].model_folder), task=recipe.task, backbone=recipe.backbone,
            several_labels=True,
        )  # fmt: skip
