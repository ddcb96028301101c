"""Pairs of sentences: two columns of a file, read as the tokenizer pairs them, in training and in predictions."""

from __future__ import annotations

import html
import random

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import BAD, GOOD, THINGS, finished_run
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertForSequenceClassification

from trainer import pairs, tasks
from trainer.engine import forward
from trainer.engine.batching import PackingCollator, PaddingCollator
from trainer.errors import ArgumentError
from trainer.publish import push
from trainer.runs import entry, lengths, recipes
from trainer.runs.store import Store
from trainer.serving import files
from trainer.serving import predictor as inference
from trainer.serving.predictor import Predictor
from trainer.tasks.columns import text_choices
from trainer.training import train
from trainer.training.request import Request
from trainer.ui.common.lab import Lab
from trainer.ui.live import predict as live_predict
from trainer.ui.live import selection
from trainer.ui.live import view as live_view
from trainer.ui.live.groups import groups
from trainer.ui.live.session import Session


def rows(count: int = 320) -> list[tuple[str, str, str]]:
    """Pairs whose label is the tone of the second sentence; the first one's is drawn by chance."""
    rng, found = random.Random(0), {}
    while len(found) < count:
        label = ("bad", "good")[len(found) % 2]
        first = f"the {rng.choice(THINGS)} is {rng.choice(GOOD + BAD)}"
        second = f"the {rng.choice(THINGS)} is {rng.choice(GOOD if label == 'good' else BAD)}"
        found.setdefault((first, second), label)
    return [(*both, label) for both, label in found.items()]


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    pd.DataFrame(rows(), columns=["sentence1", "sentence2", "label"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone):
    return AutoTokenizer.from_pretrained(tiny_backbone)


# Texts


@given(st.text(min_size=1).map(str.strip).filter(bool), st.text(min_size=1).map(str.strip).filter(bool))
def test_a_joined_pair_is_split_into_the_same_sentences(first, second):
    if pairs.MARK not in first + second:
        assert pairs.split(pairs.join(first, second)) == (first, second)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a || b", ("a", "b")), ("a||b", ("a", "b")), ("a\nb", None), ("a ‖ b", None),
        ("a || b || c", ("a", "b || c")), ("a", None), ("", None), ("a ||", None), ("|| b", None), ("a | b", None),
    ],
)  # fmt: skip
def test_what_a_person_types_between_two_sentences(typed, expected):
    assert pairs.split(typed) == expected


# Files


def write(path, frame):
    frame.to_csv(path, index=False)
    return str(path)


def test_two_columns_are_recognised_or_named_and_make_one_text(pair_file, tmp_path):
    data = tasks.get(str(pair_file)).load(0)
    assert data.pairs
    every = {(first, second): label for first, second, label in rows()}
    for split in tasks.SPLITS:
        for text, label in zip(getattr(data, split).texts, getattr(data, split).labels, strict=True):
            assert every[pairs.split(text)] == data.label_names[label]
    other = pd.DataFrame(rows(), columns=["claim", "evidence", "label"])
    named = {"text_column": "claim || evidence"}
    again = tasks.get(write(tmp_path / "named.csv", other), **named).load(0)
    assert again.pairs
    assert again.fingerprint == data.fingerprint, "the columns' names are not of the data"
    single = tasks.get(str(pair_file), text_column="sentence2").load(0)
    assert not single.pairs
    assert not any(pairs.MARK in text for text in single.train.texts)
    assert text_choices(["claim", "evidence", "label"])[3:] == ["claim || evidence", "evidence || label"]
    assert text_choices(["label", "x", "premise", "y", "hypothesis"])[5] == "premise || hypothesis"


def test_a_pair_without_one_of_its_sentences_is_left_out_and_said(tmp_path):
    frame = pd.DataFrame(rows(), columns=["premise", "hypothesis", "label"])
    frame.loc[[3, 7], "premise"], frame.loc[9, "hypothesis"] = "", " "
    data = tasks.get(write(tmp_path / "gaps.csv", frame)).load(0)
    assert "3 rows without a text or a label were left out" in data.notes


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("sentence1 || nothing", "no column 'sentence1 || nothing' for the text"),
        ("sentence1 || label", "two different columns, got 'label' for both"),
    ],
)
def test_columns_that_are_no_pair_are_refused(column, message, pair_file):
    with pytest.raises(ArgumentError, match=message.replace("|", r"\|")):
        tasks.get(str(pair_file), text_column=column).load(0)


def test_the_sign_within_a_sentence_of_a_pair_is_refused_with_its_row(tmp_path):
    frame = pd.DataFrame(rows(), columns=["sentence1", "sentence2", "label"])
    frame.loc[4, "sentence2"] = "the || of two lines"
    with pytest.raises(ArgumentError, match="got one with it in row 5"):
        tasks.get(write(tmp_path / "sign.csv", frame)).load(0)
    single = tasks.get(write(tmp_path / "sign.csv", frame), text_column="sentence2").load(0)
    assert any("||" in text for split in tasks.SPLITS for text in getattr(single, split).texts), "a sign like any other"


# Tokens


@pytest.mark.parametrize("longest", [8, 13, 64])
def test_tokens_and_types_are_the_tokenizers(tokenizer, longest):
    both = [(first, second) for first, second, _ in rows(40)] + [("film", ""), ("film " * 20, "cast " * 3)]
    ids = forward.tokenise(tokenizer, both, longest)
    first, second = map(list, zip(*both, strict=True))
    plain = tokenizer(
        first,
        second,
        truncation=True,
        max_length=longest,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    input_ids, mask = forward.pad(ids, tokenizer.pad_token_id)
    assert torch.equal(input_ids, plain["input_ids"])
    assert torch.equal(mask, plain["attention_mask"])
    assert torch.equal(forward.token_types(ids, input_ids.shape), plain["token_type_ids"])
    assert forward.token_types(forward.tokenise(tokenizer, first, longest), (2, 2)) is None
    items = [(one, 0) for one in ids]
    padded = PaddingCollator(tokenizer.pad_token_id)(items)
    assert torch.equal(padded["token_type_ids"], plain["token_type_ids"])
    packed = PackingCollator(tokenizer.pad_token_id, 64)(items)
    for index, one in enumerate(ids):
        start, count = int(packed["rows_start"][index]), len(one)
        types = packed["token_type_ids"].view(-1)[start : start + count]
        assert torch.equal(types, plain["token_type_ids"][index, :count])


def test_a_tokenizer_without_types_joins_pairs_alone(tokenizer):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    ids = forward.tokenise(tokenizer, [("the film", "the cast")], 64)
    assert forward.token_types(ids, (1, 7)) is None
    assert ids == tokenizer(["the film"], ["the cast"])["input_ids"]


# Runs


@pytest.fixture(scope="module")
def runs(pair_file, tiny_file, tiny_backbone, tmp_path_factory):
    """(store, {name: run}): full fine-tuning and LoRA on the pairs, and LoRA on single sentences."""
    store, finished = Store(tmp_path_factory.mktemp("pair-runs") / "store"), {}
    common = {"backbone": str(tiny_backbone), "batch_size": 16, "precision": "fp32"}
    for name, method, task, settings in (
        ("full", "full", pair_file, {"epochs": 12, "learning_rate": 2e-3}),
        ("lora", "lora", pair_file, {"epochs": 2}),
        ("single", "lora", tiny_file, {"epochs": 1}),
    ):
        config = recipes.make(method=method, task=str(task), **common, **settings)
        finished[name] = finished_run(store, config)
    return store, finished


def test_which_sentence_is_the_second_is_learned(runs):
    store, by_name = runs
    assert by_name["full"].has_pairs
    assert not by_name["single"].has_pairs
    assert by_name["full"].result.test.accuracy >= 0.9
    predict = Predictor(store).predict_one
    for good, bad in zip(GOOD, BAD, strict=True):
        one, other = f"the film is {good}", f"the cast is {bad}"
        assert predict(f"{one} || {other}", by_name["full"]).predicted == "bad"
        assert predict(f"{other} || {one}", by_name["full"]).predicted == "good"


def test_predictions_are_those_of_the_plain_library(runs, tokenizer):
    store, by_name = runs
    run, predictor = by_name["full"], Predictor(store)
    stored = store.predictions(run.id).query("split == 'test'")
    model = BertForSequenceClassification.from_pretrained(run.model_folder).eval()
    both = [pairs.split(text) for text in stored["text"]]
    batch = tokenizer(
        *map(list, zip(*both, strict=True)),
        padding=True,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    with torch.no_grad():
        plain = model(**batch).logits.softmax(-1).numpy()
        batch["token_type_ids"] = torch.zeros_like(batch["token_type_ids"])
        assert np.abs(model(**batch).logits.softmax(-1).numpy() - plain).max() > 1e-4, "the types matter"
    np.testing.assert_allclose(np.stack(stored["probabilities"]), plain, atol=1e-5)
    np.testing.assert_allclose(predictor.predict_many(list(stored["text"]), run), plain, atol=1e-5)
    one = predictor.predict_one(f"{both[0][0]} || {both[0][1]}", run)
    np.testing.assert_allclose(list(one.probabilities.values()), plain[0], atol=1e-5)
    loaded = predictor._load(run)
    texts, probabilities = entry.sample(run)
    assert len(texts) == len(probabilities)
    entry.require_agreement(run, loaded.model, inference.open_setup(run, predictor._device))


def test_a_single_sentence_is_refused_by_name_and_left_to_the_others(runs):
    store, by_name = runs
    predictor = Predictor(store)
    with pytest.raises(ArgumentError, match=r"two sentences with \|\| between them.*got one \('the film is warm'\)"):
        predictor.predict("the film is warm", [by_name["full"]])
    mixed = predictor.predict_each("the film is warm", [by_name["full"], by_name["single"]])
    assert isinstance(mixed[0], ArgumentError)
    assert mixed[1].predicted in ("bad", "good")
    assert {run.id for run in inference.choose(store, pair=False)} == {by_name["single"].id}
    assert {run.id for run in inference.choose(store, pair=True)} == {by_name["full"].id, by_name["lora"].id}


def test_attributions_cover_both_sentences_and_are_complete(runs):
    store, by_name = runs
    predictor, scores = Predictor(store), {}
    for text in ("the film is warm || the cast is dull", " the film is warm||the cast  is dull"):
        for name in ("full", "lora"):
            explained = predictor.explain(text, by_name[name])
            words = [text[word.start : word.end] for word in explained.words]
            assert words == ["the", "film", "is", "warm", "the", "cast", "is", "dull"], "the sign is no word"
            assert scores.setdefault(name, explained.words[-1].score) == pytest.approx(explained.words[-1].score)
            assert None not in [word.score for word in explained.words]
            assert explained.complete
            assert explained.label == predictor.predict_one(text, by_name[name]).predicted
    with pytest.raises(ArgumentError, match="two sentences"):
        predictor.explain("the film is warm", by_name["full"])


def test_a_file_of_pairs_is_predicted_by_its_two_columns(runs):
    store, by_name = runs
    run, predictor = by_name["full"], Predictor(store)
    stored = store.predictions(run.id).query("split == 'test'").head(20)
    both = [pairs.split(text) for text in stored["text"]]
    table = pd.DataFrame({"id": range(20), "sentence1": [a for a, _ in both], "sentence2": [b for _, b in both]})
    table.loc[3, "sentence2"] = None
    column = files.text_column(table, store.root / "in.csv")
    assert column == "sentence1 || sentence2"
    for _ in files.predict(table, column, [run], predictor, names={run.id: "full"}):
        pass
    with pytest.raises(ArgumentError, match=r"one text column for .*, which was trained on single sentences"):
        next(files.predict(table, column, [by_name["single"]], predictor))
    names = [run.label_names[i] for i in stored["predicted"]]
    assert table["full"].isna().tolist() == [row == 3 for row in range(20)]
    assert list(table["full"].dropna()) == [*names[:3], *names[4:]]


def test_the_card_of_a_pushed_run_gives_the_tokenizer_both_sentences(runs):
    _, by_name = runs
    assert 'tokenizer("One sentence.", "Another.", truncation=True' in push.usage(by_name["lora"], "you/run")
    assert 'tokenizer("A warm, funny film.", truncation=True' in push.usage(by_name["single"], "you/run")


def test_live_asks_for_two_sentences_and_shows_both(runs):
    """The box of the task of pairs, the card of a pair, and the message where one sentence is typed."""
    store, by_name = runs
    lab = Lab.open(store)
    assert live_view.box([by_name["single"]])["label"] == "A sentence"
    assert live_view.box([by_name["full"]])["placeholder"] == "First sentence || second sentence"
    view = live_view.View(**{name: name for name in live_view.View.__dataclass_fields__})
    key = next(group.key for group in groups(selection.able(lab)) if by_name["full"] in group.runs)
    for text, shown in (
        ("the film is warm || the cast is dull", "bad"),
        ("the film is warm", "Expected two sentences"),
    ):
        *_, last = live_predict.predict(lab, view, text, None, False, False, None, Session(), False, key)
        drawn = html.unescape(last["predictions"])
        assert f"Sentence: “{text}”" in drawn
        assert drawn.count(shown) >= 2, "a card for each run"


def test_lengths_and_the_part_that_is_read(runs, pair_file, tiny_backbone, tmp_path):
    make = {"method": "lora", "task": str(pair_file), "backbone": str(tiny_backbone)}
    known = lengths.of(recipes.make(**make))
    assert set(known.sample) == {11}, "[CLS] four words [SEP] four words [SEP]"
    assert lengths.fit(recipes.make(**make)).longest == 11
    config = recipes.make(**make, truncation="tail")
    with pytest.raises(ArgumentError, match="truncation head for pairs"):
        train.train(Request(config, tmp_path, lambda event: None))
