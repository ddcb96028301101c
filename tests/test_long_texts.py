"""Sentences longer than a run reads: which part is read, the same in training, predictions, attributions and cards."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import BAD, GOOD, THINGS, finished_run
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from trainer.engine import forward
from trainer.errors import Problems
from trainer.publish import push
from trainer.runs import recipes
from trainer.runs.store import Store
from trainer.serving import files
from trainer.serving.predictor import Predictor
from trainer.ui.live.board import cut_text

LONGEST = 16
PARTS = ("head", "tail", "head_and_tail")


@given(st.integers(1, 300), st.integers(8, 64), st.integers(1, 2), st.integers(1, 2), st.sampled_from(PARTS))
def test_what_is_read_has_both_ends_and_is_as_long_as_it_may_be(words, longest, before, after, truncation):
    special = [1] * before + [0] * words + [1] * after
    read = forward.read_positions(special, longest, truncation)
    count = len(special)
    assert read == sorted(set(read))
    assert len(read) == min(count, longest)
    assert read[:before] == list(range(before))
    assert read[len(read) - after :] == list(range(count - after, count))
    if count > longest:
        inner = read[before : len(read) - after]
        head = sum(position == before + i for i, position in enumerate(inner))
        assert head == {"head": len(inner), "tail": 0, "head_and_tail": len(inner) // 4}[truncation]
        assert inner[head:] == list(range(count - after - (len(inner) - head), count - after))


@given(st.lists(st.sampled_from([*GOOD, *THINGS, "[SEP]", "nothing", "é"]), max_size=60), st.integers(8, 40))
def test_the_head_is_what_the_tokenizer_itself_truncates_to(tokenizer, words, longest):
    text = " ".join(words)
    whole = tokenizer(text, return_special_tokens_mask=True)
    read = forward.read_positions(whole["special_tokens_mask"], longest, "head")
    assert [[whole["input_ids"][i] for i in read]] == forward.tokenise(tokenizer, [text], longest)
    tokenizer.truncation_side = "left"
    try:
        (tail,) = tokenizer([text], truncation=True, max_length=longest)["input_ids"]
    finally:
        tokenizer.truncation_side = "right"
    assert forward.tokenise(tokenizer, [text], longest, "tail") == [tail]


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone):
    return AutoTokenizer.from_pretrained(tiny_backbone)


@pytest.fixture(scope="module")
def late_file(tmp_path_factory):
    """Sentences whose label is in their last words, far beyond what the head has."""
    rows = []
    for number in range(240):
        name, words = (("bad", BAD), ("good", GOOD))[number % 2]
        start = " ".join(THINGS[number // 2 // 8**power % 8] for power in range(3))
        end = f"{words[number // 2 % 8]} {words[number // 16 % 8]}"
        rows.append((f"{start} {' '.join(['film is'] * 12)} {end}", name))
    path = tmp_path_factory.mktemp("late") / "late.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def runs(late_file, tiny_backbone, tmp_path_factory):
    """(store, one finished run for each part that may be read)."""
    store, runs = Store(tmp_path_factory.mktemp("long") / "store"), {}
    for truncation in PARTS:
        config = recipes.make(
            method="full", task=str(late_file), backbone=str(tiny_backbone), max_length=LONGEST, truncation=truncation,
            epochs=8, batch_size=16, learning_rate=1e-3, precision="fp32",
        )  # fmt: skip
        runs[truncation] = finished_run(store, config)
    return store, runs


def test_what_stands_at_the_end_is_learned_by_those_that_read_it(runs):
    _, by_part = runs
    accuracies = {name: run.result.test.accuracy for name, run in by_part.items()}
    assert accuracies["tail"] >= 0.95
    assert accuracies["head_and_tail"] >= 0.95
    assert accuracies["head"] <= 0.75, "the head says nothing of the label"


def test_predictions_attributions_and_files_read_the_part_that_training_read(runs, tmp_path):
    store, by_part = runs
    predictor = Predictor(store)
    text = f"{' '.join(['film is'] * 20)} dull clumsy"
    together = predictor.predict(text, list(by_part.values()))
    for prediction, (name, run) in zip(together, by_part.items(), strict=True):
        stored = store.predictions(run.id)
        row = stored[stored["split"] == "test"].iloc[0]
        again = predictor.predict_one(row["text"], run)
        assert list(again.probabilities.values()) == pytest.approx(list(row["probabilities"]), abs=1e-4)
        assert (prediction.truncation, prediction.tokens_read, prediction.tokens) == (name, LONGEST, 44)
        scores = [word.score for word in predictor.explain(text, run).words]
        head = {"head": LONGEST - 2, "tail": 0, "head_and_tail": (LONGEST - 2) // 4}[name]
        unread = [i for i, score in enumerate(scores) if score is None]
        assert unread == list(range(head, 42 - (LONGEST - 2 - head))), name
        shown = {"head": "the first 16 of its 44", "tail": "the last 16 of its 44", "head_and_tail": "16 of its 44"}
        assert shown[name] in cut_text(prediction)
        assert ("both ends" in cut_text(prediction)) == (name == "head_and_tail")
    assert [one.predicted for one in together[1:]] == ["bad", "bad"]
    table, names = pd.DataFrame({"text": [text, "film is warm"]}), {run.id: name for name, run in by_part.items()}
    for _ in files.predict(table, "text", list(by_part.values()), predictor, names=names):
        pass
    files.say_how(table, list(by_part.values()), names, calibrated=False)
    assert table["tail"][0] == table["head_and_tail"][0] == "bad"
    assert list(table["head:tokens_cut"]) == list(table["tail:tokens_cut"]) == [28, 0]
    for words in ("first 16 tokens read", "last 16 tokens read", "16 tokens read, of the head and the tail"):
        assert words in table["predicted_with"][0]


def test_the_card_of_a_pushed_run_reads_the_same_tokens(runs, tokenizer):
    """The lines of the card that make the inputs, run here with a text that is too long."""
    _, by_part = runs
    text = f"{' '.join(['film is'] * 20)} dull clumsy"
    for name, run in by_part.items():
        lines = push.usage(run, "you/run").splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith(("inputs =", "ids =")))
        end = next(i for i, line in enumerate(lines) if line.startswith("with torch"))
        code = "\n".join(lines[start:end]).replace("A warm, funny film.", text)
        assert ('truncation_side="left"' in "\n".join(lines[:start])) == (name == "tail")
        tokenizer.truncation_side = "left" if name == "tail" else "right"
        scope = {"tokenizer": tokenizer}
        try:
            exec(code, scope)
        finally:
            tokenizer.truncation_side = "right"
        assert scope["inputs"]["input_ids"].tolist() == forward.tokenise(tokenizer, [text], LONGEST, name), name


def test_another_word_for_the_part_is_refused():
    with pytest.raises(Problems, match="truncation: expected one of 'head', 'tail' or 'head_and_tail', got 'middle'"):
        recipes.make(method="lora", task="movies", backbone="minilm", truncation="middle")
