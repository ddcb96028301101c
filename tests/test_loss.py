"""What a recipe may change of the loss, and which epoch it takes: weights, smoothing, best epoch, early stopping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import BAD, GOOD, THINGS
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from test_loop import ready_loop, recipe, still_backbone, weights  # noqa: F401  (a fixture)

from trainer import tasks
from trainer.errors import ArgumentError, Problems
from trainer.events import Evaluated
from trainer.runs import recipes
from trainer.tasks import Split, TaskData
from trainer.training import baselines, evaluate, train
from trainer.training.loss import Loss, class_weights
from trainer.training.request import Request


@pytest.fixture(scope="module")
def rare_file(tmp_path_factory):
    """300 sentences, of which one in ten has the rare label, and no word says it for certain."""
    generator = np.random.default_rng(0)
    rows = []
    for i in range(300):
        rare = i % 10 == 0
        words = GOOD if rare == (generator.random() < 0.8) else BAD
        noun, second = generator.choice(THINGS, 2)
        rows.append(
            (f"the {noun} is {generator.choice(words)} and the {second} number {i} is {i}", ("often", "rare")[rare])
        )
    path = tmp_path_factory.mktemp("rare") / "rare.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


def test_balanced_weights_are_scikit_learns_and_their_mean_over_the_sentences_is_one():
    labels = [0] * 90 + [1] * 9 + [2]
    own = class_weights("balanced", label_names=("a", "b", "c"), labels=labels)
    assert own.numpy() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels), rel=1e-6)
    assert own[torch.tensor(labels)].mean() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("chosen", ["none", "balanced", {"a": 3.0, "b": 0.5}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_mean_that_scikit_learn_computes(chosen, smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 2), torch.tensor([0] * 9 + [1] * 3)
    config = recipes.make(
        method="full", task="movies", backbone="minilm", class_weights=chosen, label_smoothing=smoothing
    )
    loss = Loss(config, label_names=("a", "b"), labels=labels.tolist())
    output = type("Output", (), {"logits": logits, "loss": torch.nn.functional.cross_entropy(logits, labels)})
    assert loss.plain == (chosen == "none" and not smoothing)
    weight = {"none": [1, 1], "balanced": [12 / 18, 12 / 6]}.get(chosen if isinstance(chosen, str) else "", [3.0, 0.5])
    target = np.eye(2)[labels] * (1 - smoothing) + smoothing / 2
    logs = torch.log_softmax(logits.double(), dim=1).numpy()
    expected = -(target * np.array(weight) * logs).sum() / 12
    assert float(loss(output, {"labels": labels})) == pytest.approx(expected, rel=1e-5)
    if not smoothing:
        by_library = log_loss(labels, np.exp(logs), sample_weight=np.array(weight)[labels], normalize=False) / 12
        assert expected == pytest.approx(by_library, rel=1e-6)


def test_accumulated_batches_of_weighted_sentences_are_one_batch(still_backbone, rare_file, tmp_path):  # noqa: F811
    """A mean over the weights' sum, which torch takes, would count each batch as much whatever its labels."""
    after = []
    for batches in ([list(range(16))], [list(range(4)), list(range(4, 16))]):
        config = recipe("full", rare_file, still_backbone, class_weights="balanced", label_smoothing=0.1)
        loop = ready_loop(config, tmp_path)
        loop.step(batches, loop.load([batches]))
        after.append(weights(loop))
    for name, one in after[0].items():
        torch.testing.assert_close(one, after[1][name], rtol=1e-4, atol=2e-6, msg=name)


def trained(folder, emit=lambda event: None, **settings):
    folder.mkdir()
    config = recipe(settings.pop("method", "full"), settings.pop("task"), settings.pop("backbone"), **settings)
    return train.train(Request(config, folder, emit, costs=False))


def test_a_rare_label_is_recalled_more_often_with_balanced_weights(tiny_backbone, rare_file, tmp_path):
    """By balanced accuracy: the most accurate epoch is the one that never predicts the rare label."""
    recall = {}
    for chosen in ("none", "balanced"):
        result = trained(
            tmp_path / chosen, task=rare_file, backbone=tiny_backbone, epochs=6, class_weights=chosen,
            learning_rate=1e-3, best_by="balanced_accuracy",
        )  # fmt: skip
        recall[chosen] = [result.validation.per_class["rare"].recall, result.test.per_class["rare"].recall]
    assert sum(recall["balanced"]) > sum(recall["none"])


def test_weights_of_other_labels_are_refused_in_one_sentence(tiny_backbone, rare_file, tmp_path):
    with pytest.raises(ArgumentError, match="a number for each label \\(often, rare\\), got often, seldom"):
        trained(tmp_path / "run", task=rare_file, backbone=tiny_backbone, class_weights={"often": 1.0, "seldom": 2.0})


@pytest.mark.parametrize("value", ["heavy", {"a": -1.0, "b": 1.0}, {"a": 1.0}, {}, {"a": float("nan"), "b": 1.0}])
def test_weights_are_positive_numbers_for_at_least_two_labels(value):
    with pytest.raises(Problems, match="class_weights"):
        recipes.make(method="full", task="movies", backbone="minilm", class_weights=value)


@pytest.mark.parametrize("figure", ["accuracy", "macro_f1", "balanced_accuracy", "loss"])
def test_the_best_epoch_is_the_one_with_the_best_of_the_chosen_figure(figure):
    truth = np.array([0, 0, 0, 1])
    predictions = evaluate.score(np.array([[2.0, 1], [2, 1], [1, 2], [1, 2]]), truth)
    expected = {
        "accuracy": 0.75,
        "macro_f1": f1_score(truth, predictions.predicted, average="macro"),
        "balanced_accuracy": balanced_accuracy_score(truth, predictions.predicted),
        "loss": -log_loss(truth, predictions.probabilities),
    }
    assert predictions.by(figure) == pytest.approx(expected[figure])


def test_baselines_are_scikit_learns_and_see_no_test_sentence(rare_file):
    from sklearn.dummy import DummyClassifier

    data = tasks.get(str(rare_file)).load(0)
    found = baselines.baselines(data)
    dummy = DummyClassifier().fit(data.train.texts, data.train.labels)
    assert found["majority"]["accuracy"] == pytest.approx(dummy.score(data.test.texts, data.test.labels))
    assert found["majority"]["balanced_accuracy"] == pytest.approx(0.5)
    half = replace(data, test=data.test.take(range(0, len(data.test), 2)))
    rest = replace(data, test=data.test.take(range(1, len(data.test), 2)))
    right = sum(baselines.baselines(part)["bag_of_words"]["accuracy"] * len(part.test) for part in (half, rest))
    assert found["bag_of_words"]["accuracy"] * len(data.test) == pytest.approx(right), "what is tested changes no fit"


def test_a_bag_of_words_reads_chinese_and_single_letters():
    words = [("好", "a"), ("坏", "b")]
    texts = [f"{words[i % 2][0]} {i}" for i in range(40)]
    labels = tuple(i % 2 for i in range(40))
    split = Split(tuple(range(40)), tuple(texts), labels)
    data = TaskData("x", ("a", "b"), split, split, split)
    assert baselines.baselines(data)["bag_of_words"]["accuracy"] == 1.0


def test_average_precision_is_the_mean_of_each_label_against_the_rest():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 60)
    probabilities = generator.dirichlet([1, 1, 1, 1], 60)  # no sentence has the fourth label
    hot = np.eye(4)[truth][:, :3]
    expected = average_precision_score(hot, probabilities[:, :3], average="macro")
    assert evaluate.average_precision(probabilities, truth) == pytest.approx(expected)


def test_training_ends_early_and_the_best_epoch_is_taken(tiny_backbone, tiny_file, tmp_path):
    """With a learning rate at which nothing is learnt the first epoch stays the best."""
    events = []
    result = trained(
        tmp_path / "run", events.append, task=tiny_file, backbone=tiny_backbone, epochs=9, learning_rate=1e-12,
        early_stopping=2, best_by="macro_f1",
    )  # fmt: skip
    validations = [event for event in events if isinstance(event, Evaluated) and event.split == "validation"]
    best = next(event.epoch for event in reversed(validations) if event.best)
    assert [event.epoch for event in validations] == [float(epoch) for epoch in range(1, int(best) + 3)]
    info = result.train_info
    assert info.best_epoch == best
    assert len(info.metrics) == len(validations) < 9
    assert info.steps == validations[-1].step
    assert 0 < result.test.average_precision <= 1
    assert result.baselines.majority.accuracy == pytest.approx(0.5, abs=0.05)
    assert info.metrics[-1].peft_train_samples == result.meta_info.dataset_info.sizes.train * len(validations)
