"""Baselines of a task: what its test split gives without a neural network, so that one sees what fine-tuning buys.

`majority` predicts the most frequent training label. `bag_of_words` is a logistic regression on the counts of words and
pairs of words, weighted by tf-idf (scikit-learn's defaults), fitted on the training split; nothing is tuned.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.tasks import SPLITS, label_sets
from trainer.training import multi_label

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from trainer.tasks import TaskData


def baselines(data: TaskData) -> dict[str, dict[str, float]]:
    """Baseline -> the fields of `result.Baseline`, of the test split. Seconds for ten thousand sentences."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if data.multi_label:
        return _of_label_sets(data)
    truth = np.asarray(data.test.labels)
    (majority, _), *_ = Counter(data.train.labels).most_common(1)
    words = make_pipeline(_vectorizer(), LogisticRegression(max_iter=1000))
    words.fit(data.train.texts, data.train.labels)
    return {
        "majority": _scores(truth, np.full(len(truth), majority)),
        "bag_of_words": _scores(truth, words.predict(data.test.texts)),
    }


def _vectorizer() -> TfidfVectorizer:
    """What reads a sentence for `bag_of_words`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A token pattern of its own: the default drops words of one letter, and every sign of Chinese text.
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")


def _scores(truth: np.ndarray, predicted: Any) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    return {
        "accuracy": float((truth == predicted).mean()),
        "macro_f1": float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, predicted)),
    }


def _of_label_sets(data: TaskData) -> dict[str, dict[str, float]]:
    """`baselines` of a multi-label task: the most frequent set of labels, and a bag of words for each label.

    The thresholds of the latter are chosen on the validation split, as those of a run are.
    """
    from sklearn.linear_model import LogisticRegression

    count = len(data.label_names)
    train, validation, test = (label_sets.matrix(getattr(data, split).labels, count) for split in SPLITS)
    (majority, _), *_ = Counter(data.train.labels).most_common(1)
    reader = _vectorizer().fit(data.train.texts)
    inputs = [reader.transform(getattr(data, split).texts) for split in SPLITS]
    columns = []
    for has in train.T:
        if has.all() or not has.any():  # nothing to learn
            columns.append([np.full(part.shape[0], float(has[0])) for part in inputs[1:]])
            continue
        classifier = LogisticRegression(max_iter=1000).fit(inputs[0], has)
        columns.append([classifier.predict_proba(part)[:, 1] for part in inputs[1:]])
    on_validation, on_test = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    words = on_test >= multi_label.choose_thresholds(on_validation, validation)
    constant = np.tile(label_sets.matrix([majority], count), (len(test), 1))
    return {"majority": _label_scores(test, constant), "bag_of_words": _label_scores(test, words)}


def _label_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float((truth == predicted).all(axis=1).mean()),
        "macro_f1": multi_label.averaged(truth, predicted, "macro")["f1"],
        "micro_f1": multi_label.averaged(truth, predicted, "micro")["f1"],
        "balanced_accuracy": multi_label.balanced_accuracy(truth, predicted),
    }
