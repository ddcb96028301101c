"""Baselines of a task: what its test split gives without a neural network, so that one sees what fine-tuning buys.

`majority` predicts the most frequent training label. `bag_of_words` is a logistic regression on the counts of words and
pairs of words, weighted by tf-idf (scikit-learn's defaults), fitted on the training split; nothing is tuned.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.training import multi_label

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from trainer.tasks import TaskData


def baselines(data: TaskData) -> dict[str, dict[str, float]]:
    """Baseline -> the fields of `result.Baseline`, of the test split. Seconds for ten thousand sentences."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if data.multi_label:
        return multi_label.baselines(data)
    truth = np.asarray(data.test.labels)
    (majority, _), *_ = Counter(data.train.labels).most_common(1)
    words = make_pipeline(vectorizer(), LogisticRegression(max_iter=1000))
    words.fit(data.train.texts, data.train.labels)
    return {
        "majority": _scores(truth, np.full(len(truth), majority)),
        "bag_of_words": _scores(truth, words.predict(data.test.texts)),
    }


def vectorizer() -> TfidfVectorizer:
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
