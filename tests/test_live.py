"""Live: answers, why, guess first, links and files; its handlers without a browser, then the tab in one."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest
from conftest import ROOT, app_on, named_view, seen, sentences, serious, shoot

from trainer import methods
from trainer.errors import ArgumentError, UserError
from trainer.machine.access import Access, Rules, Visitor
from trainer.machine.device import detect
from trainer.methods import Setup
from trainer.runs.store import Store
from trainer.serving import attribution
from trainer.serving import files as questions
from trainer.serving import predictor as inference
from trainer.serving.prediction import Prediction
from trainer.serving.predictor import Predictor
from trainer.sources import backbones
from trainer.tasks.cells import missing
from trainer.tasks.own_file import FileTask
from trainer.ui.common import uploads
from trainer.ui.common.lab import Lab
from trainer.ui.live import board as live_board
from trainer.ui.live import examples as live_examples
from trainer.ui.live import explain as live_explain
from trainer.ui.live import file as live_file
from trainer.ui.live import groups as live_groups
from trainer.ui.live import guess as live_guess
from trainer.ui.live import link as live_link
from trainer.ui.live import predict as live_predict
from trainer.ui.live import selection as live_selection
from trainer.ui.live import tab as live_tab
from trainer.ui.live import view as live_view
from trainer.ui.live import why as live_why
from trainer.ui.live.session import Session

TEXT = "the film is warm and the cast is dull"
VIEW = named_view(live_view.View)
FILE_VIEW = named_view(live_file.View)


@pytest.fixture(scope="module")
def lab(suite) -> Lab:
    """The suite's store with its models, loaded once for this file."""
    return Lab.open(suite[0])


@pytest.fixture
def copied(suite, tmp_path) -> Lab:
    """A store of the test's own, to delete from."""
    root = tmp_path / "copy"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    return Lab.open(Store(root))


def predicted(lab: Lab, text: str = TEXT, *, chosen=None, untrained=False, guess=None, session: Session | None = None):
    """The last drawing of a prediction, by the component's name."""
    guessing = guess is not None
    inputs = (text, chosen, untrained, guessing, guess or None, session or Session())
    return list(live_predict.predict(lab, VIEW, *inputs))[-1]


def explained(lab: Lab, session: Session):
    """The last drawing of every explanation, by the component's name."""
    return list(live_explain.explain(lab, VIEW, session))[-1]


def of(lab: Lab, method: str):
    return next(run for run in inference.choose(lab.store) if run.recipe.method == method)


# Why


@pytest.mark.parametrize("method", methods.DEFAULT)
def test_attributions_are_complete_for_every_method(lab, method):
    """Sundararajan et al. 2017, section 3: they sum to what the words changed, and the prediction is explained."""
    run = of(lab, method)
    said = lab.predictor.explain(TEXT, run)
    answer = lab.predictor.predict_one(TEXT, run)
    assert said.label == answer.predicted
    assert said.complete, f"{said.gap} after {said.steps} steps"
    assert sum(word.score for word in said.words) == pytest.approx(said.total, abs=1e-4)
    assert [TEXT[word.start : word.end] for word in said.words] == TEXT.split()
    odds = answer.confidence / (1 - answer.confidence)
    assert 2.718281828**said.at_text == pytest.approx(odds, rel=1e-3)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "electra", "distilbert"])
def test_attributions_are_complete_for_the_other_families(family, tiny_backbone):
    """RoBERTa numbers positions by which ids are padding: the baseline must not move them."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    tokeniser = AutoTokenizer.from_pretrained(tiny_backbone)
    small = (
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        if family == "distilbert"
        else {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    )
    config = AutoConfig.for_model(
        family, vocab_size=len(tokeniser), max_position_embeddings=80, num_labels=3, pad_token_id=0,
        initializer_range=0.3, **small,
    )  # fmt: skip
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    text = "Warm, the film isn't dull"
    said = attribution.explain(
        model, tokeniser, text, label_names=("a", "b", "c"), max_length=64, device=detect()
    )  # fmt: skip
    assert said.complete
    assert abs(said.difference) > 10 * said.tolerance, "a difference of nothing would be complete at once"
    assert [text[word.start : word.end] for word in said.words] == ["Warm", ",", "the", "film", "isn't", "dull"]


def test_a_text_that_is_cut_says_which_words_were_not_read(lab):
    run = of(lab, "lora")
    loaded = lab.predictor._load(run)
    said = attribution.explain(
        loaded.model, loaded.tokeniser, TEXT, label_names=run.label_names, max_length=6, device=detect()
    )  # fmt: skip
    assert [word.score is None for word in said.words] == [False] * 4 + [True] * 5
    assert "5 words were not read" in live_why.strongest(TEXT, said)


def test_a_text_that_is_cut_says_so_wherever_it_is_predicted(lab, tmp_path):
    """By its tokens: at the run's maximum length a text is whole, one word later it is cut."""
    run = of(lab, "lora")
    loaded = lab.predictor._load(run)
    fits = " ".join(["film"] * (loaded.max_length - 2))  # each word is a token, beside [CLS] and [SEP]
    whole, short, cut = (lab.predictor.predict_one(text, run) for text in (fits, TEXT, f"{fits} dull film"))
    assert [one.cut for one in (whole, short, cut)] == [False, False, True]
    assert (whole.tokens_read, whole.tokens) == (loaded.max_length, loaded.max_length)
    assert short.tokens_read == short.tokens < loaded.max_length
    assert (cut.tokens_read, cut.tokens) == (loaded.max_length, loaded.max_length + 2)
    assert cut.probabilities == whole.probabilities, "what is cut off is not read"
    runs = live_selection.resolve(lab, None)[0]
    every = lab.predictor.predict(f"{fits} dull film", runs)
    assert [one.cut for one in every] == [True] * len(runs)
    assert lab.predictor.untrained(f"{fits} dull film", run).cut
    # The page
    said = f"the first {cut.tokens_read} of its {cut.tokens} tokens were read"
    html = predicted(lab, f"{fits} dull film", untrained=True)["predictions"]
    assert html.count(said) == html.count("<article") == len(runs) + 1
    assert "The text is cut" not in predicted(lab, fits)["predictions"]
    # Other programs
    (answer,) = live_tab.predict_api(lab, f"{fits} dull film", [run.id])
    assert (answer["cut"], answer["tokens_read"], answer["tokens"]) == (True, cut.tokens_read, cut.tokens)
    assert live_tab.predict_api(lab, TEXT, [run.id])[0]["cut"] is False
    # Files: a column only where something was cut
    path = tmp_path / "in.csv"
    pd.DataFrame({"text": [TEXT, f"{fits} dull film", "", fits]}).to_csv(path, index=False)
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, None, request())
    assert "1 of them is longer than a run reads and was cut: the column :tokens_cut says" in drawn["status"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)
    assert list(got.columns) == ["text", "mine", "mine:probability", "mine:tokens_cut", "predicted_with"]
    assert list(got["mine:tokens_cut"]) == ["0", "2", "", "0"]
    pd.DataFrame({"text": [TEXT, fits]}).to_csv(path, index=False)
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, None, request())
    assert "cut" not in drawn["status"]
    assert list(pd.read_csv(drawn["result"]["value"])) == ["text", "mine", "mine:probability", "predicted_with"]


def test_a_files_columns_have_the_runs_names_and_it_says_how_they_were_made(lab, tmp_path):
    """The task's runs alone, whatever else is in the store; a column of the file that has a run's name stays."""
    path = tmp_path / "in.csv"
    pd.DataFrame({"text": [TEXT, "a dull film"], "LoRA": ["a", "b"]}).to_csv(path, index=False)
    drawn = section(lab).predict_file(str(path), "text", None, True, None, request())
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)
    titles = ["Full fine-tuning", "LoRA (2)", "QLoRA (4-bit)", "Adapter", "AdapterFusion"]
    columns = [name for title in titles for name in (title, f"{title}:probability")]
    assert list(got.columns) == ["text", "LoRA", *columns, "predicted_with"]
    assert list(got["LoRA"]) == ["a", "b"]
    how, rest = got["predicted_with"]
    assert rest == ""
    assert [part.split(": ")[0] for part in how.split("; ")] == titles
    lora, second = of(lab, "lora"), next(r for r in inference.choose(lab.store) if r.task_name == "second.csv")
    assert f"LoRA (2): {lora.id}, probabilities scaled by T = " in how
    assert second.id not in how


def test_a_files_probabilities_are_scaled_where_the_box_says_so(lab, tmp_path):
    run, path = of(lab, "lora"), tmp_path / "in.csv"
    pd.DataFrame({"text": [TEXT]}).to_csv(path, index=False)
    whole = lab.predictor.predict_one(TEXT, run)
    for calibrated, one in ((False, whole), (True, whole.calibrated(run))):
        drawn = section(lab).predict_file(str(path), "text", [run.id], calibrated, None, request())
        assert ("Scaled by temperature: the probabilities of 1 of 1 runs." in drawn["status"]) == calibrated
        got = pd.read_csv(drawn["result"]["value"])["mine:probability"][0]
        assert got == pytest.approx(one.confidence, abs=inference.NEAR / 2)


def test_an_error_that_nobody_expects_is_on_its_runs_card_alone(copied, monkeypatch, caplog):
    runs, _ = live_selection.resolve(copied, None)
    bad = runs[1]
    load = Predictor._load
    monkeypatch.setattr(
        Predictor, "_load", lambda self, run, *rest: [][1] if run.id == bad.id else load(self, run, *rest)
    )
    drawn = predicted(copied)["predictions"]
    assert drawn.count("it could not be shown (IndexError: list index out of range)") == 1
    assert drawn.count('class="lab-label"') == len(runs) - 1
    assert [bad.id in record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [True]
    monkeypatch.setattr(live_board.Board, "_card", lambda self, run, group, agreement: [][1])
    drawn = predicted(copied)["predictions"]
    assert drawn.count("it could not be shown") == len(runs)


def test_words_of_any_script():
    text = "“Don’t stop” — 好片😀 e.g. नमस्ते!"
    assert [text[a:b] for a, b in attribution.words(text)] == [
        "“", "Don’t", "stop", "”", "—", "好", "片", "😀", "e.g", ".", "नमस्ते", "!",
    ]  # fmt: skip
    assert attribution.words("  ") == []


def test_parents_weights_sum_to_one_and_follow_the_sentence(lab):
    fusion = of(lab, "adapter_fusion")
    first, second = (lab.predictor.parent_weights(text, fusion) for text in (TEXT, "grim grim music"))
    assert first.parents == ("tiny", "second")
    assert len(first.layers) == 2
    for layer in first.weights:
        assert sum(layer) == pytest.approx(1, abs=1e-5)
    assert first.weights != second.weights
    assert lab.predictor.parent_weights(TEXT, of(lab, "adapter")) is None


def test_explaining_shows_words_without_colour_too_and_escapes_them(lab):
    session = predicted(lab, "the <i>film</i> is warm")["session"]
    html = explained(lab, session)["predictions"]
    assert "<i>" not in html
    assert html.count('class="lab-sentence"') == len(session.runs) == 5
    assert re.search(r"For (good|bad): .*[+]\d", html)
    assert html.count("within the tolerance") == html.count("The words sum to")
    assert "Weights of the parents" in html
    assert "predict first" in explained(lab, Session())["status"]


def test_why_opens_in_its_own_card_and_closes_again(lab):
    session = predicted(lab)["session"]
    lora, full = (of(lab, method).id for method in ("lora", "full"))

    def press(run_id: str) -> list[str]:
        """The boards that a press on a card's button brings."""
        return [step["predictions"] for step in live_explain.explain_one(lab, VIEW, session, run_id)]

    def opened(html: str) -> list[str]:
        cards = html.split("<article")[1:]
        return [
            re.search(r"<h3>(.*?)</h3>", card)[1].replace("<wbr>", "")
            for card in cards
            if 'class="lab-sentence"' in card
        ]

    first, last = press(lora)
    assert opened(first) == []
    assert "Being computed" in first
    assert opened(last) == ["LoRA"]
    assert last.count('aria-expanded="true"') == 1
    assert opened(press(full)[-1]) == ["Full fine-tuning", "LoRA"]
    assert opened(press(lora)[-1]) == ["Full fine-tuning"], "a second press closes it"
    (last,) = press(lora)
    assert opened(last) == ["Full fine-tuning", "LoRA"], "at once: it is computed once"
    assert "score, as a table" in last
    newer = predicted(lab, "the music is grim", session=session)["session"]
    assert list(live_explain.explain_one(lab, VIEW, session, lora)) == [SILENT]
    assert list(live_explain.explain_one(lab, VIEW, newer, "gone-1")) == [SILENT]


# Answers


def test_the_untrained_backbone_is_deterministic_and_apart(lab, suite):
    run = of(lab, "full")
    first = lab.predictor.untrained(TEXT, run)
    again = Predictor(suite[0]).untrained(TEXT, run)
    trained = lab.predictor.predict_one(TEXT, run)
    assert first.probabilities == again.probabilities
    assert first.probabilities != trained.probabilities
    html = predicted(lab, untrained=True)["predictions"]
    assert html.count("Not trained, does not count") == 1
    assert "Not trained" not in predicted(lab)["predictions"]


def test_cards_come_in_while_models_load_and_keep_their_order(suite):
    fresh = Lab.open(suite[0])
    boards = [
        step["predictions"] for step in live_predict.predict(fresh, VIEW, TEXT, None, False, False, None, Session())
    ]
    runs, _ = live_selection.resolve(fresh, None)
    assert all(("data-busy" in board) == (board is not boards[-1]) for board in boards)
    assert "Loading Full fine-tuning, 1 of" in boards[0]
    assert f"Loading LoRA, 2 of {len(runs)}" in boards[1]
    titles = [re.findall(r"<h3>(.*?)</h3>", board.replace("<wbr>", "")) for board in boards]
    assert all(title == titles[0] for title in titles)
    assert all(board.count('class="lab-bar"') == 2 * len(runs) for board in boards), "placeholders of the same size"
    assert f"{len(runs)} runs predicted" in boards[-1]


def answer(run, predicted: str) -> Prediction:
    names = run.label_names
    return Prediction(
        run.id, run.id, run.recipe.method, predicted, {n: 0.9 if n == predicted else 0.1 for n in names}, 0.01
    )


def test_tasks_are_judged_apart_and_the_split_is_said_in_words(lab):
    first, second = live_groups.groups(inference.choose(lab.store))
    assert [first.title, second.title] == ["tiny.csv: 5 runs", "second.csv: 1 run"]
    said = [answer(run, "bad" if run.recipe.method in ("lora", "qlora") else "good") for run in first.runs]
    split = live_groups.verdict(first, said)
    assert split.text == (
        "Disagreement: 3 of 5 say good (Full fine-tuning, Adapter, AdapterFusion); 2 say bad (LoRA, QLoRA (4-bit))."
    )
    assert split.minority == {"bad"}
    board = live_board.Board(TEXT, (first, second), predictions={a.run_id: a for a in said})
    assert board.html("").count("Differs: most say good") == 2
    alike = live_groups.verdict(first, [answer(run, "good") for run in first.runs])
    assert alike.text == "Agreement: all 5 runs say good."
    pair = replace(first, runs=first.runs[:2])
    tie = live_groups.verdict(pair, [answer(pair.runs[0], "good"), answer(pair.runs[1], "bad")])
    assert "no label leads" in tie.text
    assert tie.minority == {"good", "bad"}


def with_labels(run, names):
    meta = run.result.meta_info
    meta = meta.model_copy(update={"dataset_info": meta.dataset_info.model_copy(update={"label_names": tuple(names)})})
    return run.model_copy(update={"result": run.result.model_copy(update={"meta_info": meta})})


def test_any_label_set_has_bars_and_examples(lab):
    run = of(lab, "lora")
    six = with_labels(run, ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"))
    assert list(live_examples.fitting(lab, [six])) == ["Examples of questions"]
    assert list(live_examples.fitting(lab, [six, run])) == ["Examples", "Examples of questions"]
    # Of other labels sentences of the run's own test split, of each label in turn
    tickets = with_labels(run, ("bug", "billing"))
    (own,) = live_examples.fitting(lab, [tickets]).values()
    assert [one.name for one in own] == ["bug", "billing"] * 4
    texts = set(lab.store.predictions(run.id).query("split == 'test'")["text"])
    assert {one.text for one in own} <= texts
    assert live_examples.first(lab, [tickets]) == own[0]
    assert live_examples.first(lab, [run]).text.startswith("The plot is thin")
    assert live_examples.first(lab, []) is None
    group = live_groups.groups([six, run])
    assert len(group) == 2, "the same task name with other labels is another task"
    many = with_labels(run, [f"topic {i}" for i in range(200)])
    said = Prediction(many.id, "", "lora", "topic 7", dict.fromkeys(many.label_names, 1 / 200), 0.01)
    board = live_board.Board(TEXT, live_groups.groups([many]), predictions={many.id: said})
    assert board.html("").count('class="lab-bar"') == live_board.SHOWN_OF_MANY + 1
    assert "194 others" in board.html("")
    assert replace(board, predictions={}).html("").count('class="lab-bar"') == live_board.SHOWN_OF_MANY + 1


def test_a_run_deleted_after_it_was_chosen_is_one_sentence_and_the_rest_answer(copied):
    lora, full = of(copied, "lora"), of(copied, "full")
    predicted(copied, chosen=[lora.id])
    shutil.rmtree(lora.folder)
    with pytest.raises(UserError, match="deleted"):
        copied.predictor.predict_one(TEXT, lora)
    assert not copied.predictor.is_loaded(lora)
    html = predicted(copied, chosen=[lora.id, full.id])["predictions"]
    assert f"The run {lora.id} is no longer in the store; the others predict." in html
    assert html.count("<article") == 1
    assert "choose another" in predicted(copied, chosen=[lora.id])["predictions"]


def test_two_people_at_once_get_their_own_answers(lab):
    """Each page's board holds its own sentence and its own answers, whoever loads or explains meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"the {thing} is {word}" for thing in ("film", "cast") for word in ("warm", "dull", "grim", "bright")]
    runs, _ = live_selection.resolve(lab, None)
    alone = {text: lab.predictor.predict(text, runs) for text in texts}
    lab.predictor.forget(of(lab, "qlora").id)
    with ThreadPoolExecutor(8) as pool:
        boards = dict(zip(texts, pool.map(lambda text: predicted(lab, text), texts), strict=True))
        list(pool.map(lambda text: explained(lab, boards[text]["session"]), texts[:2]))
    for text, answers in alone.items():
        html = boards[text]["predictions"]
        assert f"Sentence: “{text}”" in html
        shown = re.findall(r'<div class="lab-label">(.*?)</div>', html)
        assert shown == [f"{a.predicted} {a.confidence:.0%}" for a in answers]


SILENT = gr.skip()
NONE = [{"offered": ""}]


@pytest.mark.parametrize("how", ["asked", "switched"])
def test_an_explanation_ends_when_the_page_wants_something_newer(lab, how):
    """Else the old sentence's words would be drawn under the new answers, or in a page that hides them."""
    session = predicted(lab)["session"]
    old = live_explain.explain(lab, VIEW, session)
    assert "Explaining" in next(old)["predictions"]
    if how == "asked":
        session = predicted(lab, "the music is grim", session=session)["session"]
    else:
        session = live_guess.toggle(lab, VIEW, True, None, session)["session"]
    assert list(old) == [gr.skip()]
    if how == "asked":
        assert "explained." in explained(lab, session)["predictions"]


@pytest.mark.parametrize("untrained", [False, True])
def test_the_newest_question_wins_and_the_older_ones_go_silent(lab, untrained):
    session = predicted(lab, "the story is fine")["session"]
    steps = [
        live_predict.predict(lab, VIEW, text, None, untrained, False, None, session)
        for text in ("the film is warm", TEXT)
    ]
    assert "Sentence: “the film is warm”" in next(steps[0])["predictions"]
    assert f"Sentence: “{TEXT}”" in next(steps[1])["predictions"]
    assert "still predicting" in explained(lab, session)["status"], "the predictions to explain are gone"
    assert list(steps[0]) == [SILENT]
    last = list(steps[1])[-1]
    session = last["session"]
    assert f"{len(session.runs)} runs predicted." in last["predictions"]
    assert session.text == TEXT
    assert "explained." in explained(lab, session)["predictions"]


def test_a_guess_is_not_given_away_by_answers_still_on_their_way(lab):
    session = Session()
    old = live_predict.predict(lab, VIEW, TEXT, None, False, False, None, session)
    next(old)
    session = live_guess.toggle(lab, VIEW, True, None, session)["session"]
    assert list(old) == [SILENT]
    assert "1 sentence guessed." in predicted(lab, guess="good", session=session)["tally"]


def test_nothing_typed_is_an_error_of_one_sentence_and_text_is_never_html(lab):
    assert "Expected a sentence, got nothing" in predicted(lab, " ")["predictions"]
    html = predicted(lab, "<img src=x onerror=alert(1)>")["predictions"]
    assert "<img" not in html
    assert "&lt;img" in html


def test_more_runs_than_cards_are_said(lab, monkeypatch):
    monkeypatch.setattr(live_selection, "MAX_CARDS", 3)
    html = predicted(lab)["predictions"]
    assert html.count("<article") == 3
    assert "3 of 5 runs predict; choose the runs" in html


def test_one_tasks_runs_predict_together_one_of_each_recipe(copied):
    """By default those of the newest own run's task; of several seeds of one recipe the first, an own one first."""
    store, found = copied.store, live_groups.groups(inference.choose(copied.store))
    first, second = found
    assert live_selection.task_choices(found) == [("tiny.csv", first.key), ("second.csv", second.key)]
    assert "/" not in first.key
    runs, notices = live_selection.resolve(copied, None)
    assert {run.task_name for run in runs} == {"tiny.csv"}
    assert notices == ()
    assert [run.task_name for run in live_selection.resolve(copied, None, second.key)[0]] == ["second.csv"]
    lora = of(copied, "lora")
    again = copy_run(store, lora, "lora-again", seed=1)
    example = copy_run(store, lora, "lora-example", seed=0, bundled=True)
    names = dict(live_selection.choices(live_groups.groups(inference.choose(store))[0]))
    assert {"LoRA, example run", "LoRA, seed 0", "LoRA, seed 1"} <= set(names)
    assert lora.id in {run.id for run in live_selection.resolve(copied, None)[0]}
    shown = {run.id for run in live_selection.resolve(copied, None)[0]}
    assert not shown & {again.id, example.id}
    # Runs of another task that an address names do not predict this sentence.
    runs, (notice,) = live_selection.resolve(copied, [lora.id, second.runs[0].id])
    assert [run.id for run in runs] == [lora.id]
    assert notice == "1 chosen run is of another task than tiny.csv and does not predict this sentence."
    # Without own runs the examples on films come first.
    for run in store.list():
        if not run.bundled:
            shutil.rmtree(run.folder)
    assert [run.id for run in live_selection.resolve(copied, None)[0]] == [example.id]


def copy_run(store: Store, run, name: str, *, seed: int, bundled: bool = False):
    """A copy of a run under another id, as one of another seed, or as one that came along."""
    shutil.copytree(run.folder, store.root / name)
    content = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    content["recipe"]["seed"], content["id"] = seed, name
    if bundled:
        content["lineage"]["bundled"] = {"command": "", "weights": True}
    (store.root / name / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return store.load(name)


def test_models_beyond_the_limit_are_dropped_and_come_back(suite):
    small = Predictor(suite[0], max_models=1)
    runs = inference.choose(suite[0])[:2]
    once = small.predict(TEXT, runs)
    assert [small.is_loaded(run) for run in runs] == [False, True]
    assert [a.probabilities for a in small.predict(TEXT, runs)] == [a.probabilities for a in once]
    small.forget(runs[1].id)
    assert not small.is_loaded(runs[1])


def test_a_model_that_goes_leaves_no_memory_behind(copied):
    """Evicted, forgotten, or of a run that was deleted by another program: a cycle of references keeps none of them."""
    store, runs = copied.store, inference.choose(copied.store)
    small, models = Predictor(store, max_models=2), {}
    gc.collect()
    gc.disable()  # as in a process with so many objects that Python seldom looks for cycles
    try:
        for run in runs[:3]:
            small.predict_one(TEXT, run)
            models[run.id] = weakref.ref(small._models[run.id].model)
        evicted, deleted, forgotten = (models[run.id] for run in runs[:3])
        assert (evicted(), deleted() is None, forgotten() is None) == (None, False, False)
        shutil.rmtree(runs[1].folder)
        small.predict_one(TEXT, runs[3])
        assert (deleted(), forgotten() is None) == (None, False)
        small.forget(runs[2].id)
        assert forgotten() is None
        untrained = Predictor(store, max_untrained=1)
        untrained.untrained(TEXT, runs[3])
        model = weakref.ref(next(iter(untrained._untrained.values())).model)
        shorter = runs[3].model_copy(update={"recipe": runs[3].recipe.model_copy(update={"max_length": 9})})
        untrained.untrained(TEXT, shorter)
        assert model() is None
    finally:
        gc.enable()


def test_a_run_that_is_deleted_while_it_is_opened_is_called_deleted(copied, monkeypatch):
    run = inference.choose(copied.store)[0]
    method = type(methods.get(run.recipe.method))
    check = method.check

    def delete_then_check(self, folder, setup):
        shutil.rmtree(run.folder)
        check(self, folder, setup)

    monkeypatch.setattr(method, "check", delete_then_check)
    with pytest.raises(UserError, match=f"Expected the run {run.id}, got one that was deleted"):
        Predictor(copied.store).predict(TEXT, [run])


AT_ONCE = """
import sys, threading, time
from pathlib import Path
from trainer.machine.device import detect
from trainer.serving.predictor import Predictor, choose
from trainer.runs.store import Store

store = Store(Path(sys.argv[1]))
detect()
threading.Thread(target=__import__, args=["transformers"]).start()
while "transformers" not in sys.modules:
    time.sleep(0.0005)
print(Predictor(store).predict("the film is warm", choose(store)[:1])[0].predicted)
"""


def test_a_question_in_the_first_seconds_waits_for_the_import_that_is_under_way(suite):
    """The app imports transformers in a thread of its own, while its page is already served."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE, suite[0].root], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() in ("good", "bad"), done.stderr


# Guess first


def test_the_class_guesses_and_is_held_against_every_run(lab):
    nothing = list(live_predict.predict(lab, VIEW, TEXT, None, False, True, None, Session()))[-1]
    assert "Guess first: choose what the class says (bad, good)." in nothing["predictions"]
    assert "lab-answer" not in nothing["predictions"]
    last = predicted(lab, guess="good")
    html, tally, session = last["predictions"], last["tally"], last["session"]
    runs, _ = live_selection.resolve(lab, None)
    labels = [lab.predictor.predict_one(TEXT, run).predicted for run in runs]
    assert html.count("✓ Agrees with the class") == labels.count("good")
    assert html.count("✗ Differs from the class") == labels.count("bad")
    assert last["guess"] is None, "the next sentence begins without a guess"
    assert session.tally == {
        run.id: (said == "good", 1) for run, said in zip(runs, labels, strict=True)
    }  # fmt: skip
    again = predicted(lab, TEXT.upper(), guess="bad", session=session)
    assert "guessed before" in again["predictions"]
    assert again["session"].tally == session.tally
    more = predicted(lab, "the music is grim", guess="bad", session=session)["session"]
    assert all(judged == 2 for _, judged in more.tally.values())
    assert "1 of 1" in tally or "0 of 1" in tally
    drawn = live_guess.reset(lab, VIEW, more)
    assert "No guesses yet" in drawn["tally"]
    assert drawn["session"].tally == {}


def test_switching_the_guesses_on_hides_what_gives_the_answers_away(lab):
    session = predicted(lab)["session"]
    drawn = live_guess.toggle(lab, VIEW, True, None, session)
    choices = drawn["guess"]["choices"]
    assert choices == [("bad", "bad"), ("good", "good")] or choices == ["bad", "good"]
    assert drawn["predict"]["value"] == "Commit and predict"
    assert "lab-answer" not in drawn["predictions"]
    assert "predict first" in explained(lab, drawn["session"])["status"]


# Links


@pytest.mark.parametrize("text", ["a fine film", "100% & more? #1 = +\nä 好 <b>", ""])
def test_a_link_brings_back_what_it_was_made_of(text):
    query = live_link.build(text, ["a", "b"])
    assert live_link.parse(query) == live_link.Link(text, ("a", "b"))
    scaled = live_link.build(text, ["a"], calibrated=True)
    assert live_link.parse(scaled) == live_link.Link(text, ("a",), calibrated=True)
    assert live_link.parse("?tab=train&text=x") is None
    assert live_link.parse(live_link.build(text, ["a"], task="t1")) == live_link.Link(text, ("a",), task="t1")
    assert live_link.parse("?text=x") == live_link.Link("x"), "the page opens on Live"
    assert live_link.parse("") is None
    assert [live_link.opens_live(query) for query in ("", "?tab=live", "?tab=train", "?run=a")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert len(live_link.parse("tab=live&text=" + "x" * 5000).text) == live_link.MAX_CHARACTERS


def visit(lab: Lab, query: str):
    """What the page gets that opens at an address."""
    return live_tab.arrive(lab, VIEW, Session(), SimpleNamespace(query_params=query))


def test_a_link_chooses_its_runs_and_says_which_are_gone(lab):
    run = of(lab, "lora")
    drawn = visit(lab, live_link.build(TEXT, [run.id, "gone-1"]))
    assert drawn["offered"] == TEXT
    assert drawn["runs"]["value"] == [run.id]
    assert drawn["calibrated"] is False
    assert visit(lab, live_link.build(TEXT, [run.id], calibrated=True))["calibrated"] is True
    inputs = (drawn["offered"], drawn["runs"]["value"], False, False, None, drawn["session"], "")
    html = list(live_tab.predict_waiting(lab, VIEW, *inputs))[-1]["predictions"]
    assert "The run gone-1 is no longer in the store; the others predict." in html
    assert html.count("<article") == 1
    assert "all runs of the task predict" in visit(lab, live_link.build(TEXT, ["gone-1"]))["session"].notice
    assert list(live_tab.predict_waiting(lab, VIEW, "", [], False, False, None, Session(), "")) == NONE
    box = live_tab.make_link('a "quoted" <b>', [run.id], False, None, "http://127.0.0.1:7860/?tab=live#x")
    assert f'value="http://127.0.0.1:7860/?tab=live&amp;text=a+%22quoted%22+%3Cb%3E&amp;run={run.id}"' in box


def test_a_page_opens_with_an_example_that_waits_to_be_predicted(lab, own_store):
    drawn = visit(lab, "")
    assert drawn["offered"].startswith("The plot is thin")
    assert (drawn["session"].waiting, drawn["session"].fresh) == (drawn["offered"], False)
    typed = ("typed meanwhile", [], False, False, None, drawn["session"], drawn["offered"])
    assert list(live_tab.predict_waiting(lab, VIEW, *typed)) == NONE
    inputs = (drawn["offered"], [], False, False, None, drawn["session"], False, drawn["task"]["value"], "")
    last = list(live_tab.predict_waiting(lab, VIEW, *inputs))[-1]
    assert last["predictions"].count("<article") == 5
    assert not last["session"].waiting
    # On another tab nothing is computed before Live is opened; then the example is, unless a sentence is in the box.
    drawn = visit(lab, "?tab=compare")
    assert "offered" not in drawn
    assert "session" not in drawn
    offered = [live_tab.offer(lab, VIEW, None, [], None, text, Session()) for text in ("", "typed by hand")]
    assert [("session" in one and bool(one["session"].waiting)) for one in offered] == [True, False]
    begun = Session()
    begun.turns.predict()  # while the offer was on its way
    assert not {"predictions", "session", "offered"} & set(live_tab.offer(lab, VIEW, None, [], None, "", begun))
    # Without runs: what to do, and the button that brings the example runs
    nothing = visit(Lab.open(own_store), "")
    assert "No trained runs yet." in nothing["predictions"]
    assert [seen(one["bring"]) for one in (nothing, drawn)] == [True, False]


def test_another_task_brings_its_own_runs_and_example(lab):
    _, second = live_groups.groups(inference.choose(lab.store))
    drawn = live_tab.change_task(lab, VIEW, second.key, predicted(lab)["session"])
    assert [run_id for _, run_id in drawn["runs"]["choices"]] == [run.id for run in second.runs]
    assert drawn["task"]["value"] == second.key
    assert seen(drawn["task"])
    inputs = (drawn["offered"], [], False, False, None, drawn["session"], False, second.key, "")
    assert list(live_tab.predict_waiting(lab, VIEW, *inputs))[-1]["predictions"].count("<article") == 1


# Files


def request(session: str = "here") -> gr.Request:
    return gr.Request(session_hash=session)


def opened(path: Path) -> dict:
    return live_file.opened(FILE_VIEW, str(path))


def section(lab: Lab) -> live_file.Section:
    return live_file.Section(lab, FILE_VIEW)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".txt"])
def test_every_kind_of_file_comes_back_with_predictions(lab, tmp_path, suffix):
    texts = ["the film is warm", "", "the cast is dull", "   "]
    table, path = pd.DataFrame({"note": [1, 2, 3, 4], "sentence": texts}), tmp_path / f"in{suffix}"
    if suffix == ".txt":
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    elif suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    drawn = opened(path)
    column = drawn["column"]["value"]
    assert column == ("text" if suffix == ".txt" else "sentence")
    assert "4 rows" in drawn["status"]
    assert "the film is warm" in drawn["preview"]
    run = of(lab, "lora")
    drawn = section(lab).predict_file(str(path), column, [run.id], False, None, request())
    assert "2 sentences through 1 run. 2 rows without a text kept" in drawn["status"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)
    assert len(got) == 4
    expected = [lab.predictor.predict_one(text, run) for text in (texts[0], texts[2])]
    assert got["mine"].to_list() == [expected[0].predicted, "", expected[1].predicted, ""]
    # A file is computed in the device's best precision, near ties again in float32: the labels are the same.
    assert float(got["mine:probability"][0]) == pytest.approx(expected[0].confidence, abs=0.02)
    assert got["mine:probability"][1] == ""


def test_a_parquet_file_with_lists_and_gaps_of_every_kind_is_shown_and_predicted(lab, tmp_path):
    """A list compared with itself has no one truth, and pd.NA has none at all."""
    path, run = tmp_path / "in.parquet", of(lab, "lora")
    table = pd.DataFrame(
        {
            "text": pd.array(["the film is warm", pd.NA, "the cast is dull"], dtype="string"),
            "tokens": [["the", "film"], [], None],
            "stars": pd.array([5, pd.NA, 1], dtype="Int64"),
        }
    )
    table.to_parquet(path)
    drawn = opened(path)
    assert drawn["column"]["value"] == "text"
    assert "3 rows" in drawn["status"]
    assert "film" in drawn["preview"]
    assert "NA" not in drawn["preview"]
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, None, request())
    assert "2 sentences through 1 run. 1 row without a text kept" in drawn["status"]
    assert "NA" not in drawn["preview"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)["mine"].to_list()
    assert got == [lab.predictor.predict_one("the film is warm", run).predicted, "",
                   lab.predictor.predict_one("the cast is dull", run).predicted]  # fmt: skip


def test_gaps_of_a_training_file_are_left_out(tmp_path):
    path = tmp_path / "in.parquet"
    rows = [
        (f"the film is warm {'abcdefghij'[i // 10]}{'klmnopqrst'[i % 10]}", "good" if i % 2 else "bad")
        for i in range(60)
    ]
    table = pd.DataFrame([*rows, (None, "good"), ("no label", None)], columns=["text", "label"], dtype="string")
    table.to_parquet(path)
    assert any("2 rows without a text or a label" in note for note in FileTask(str(path)).load(0).notes)
    assert [missing(value) for value in (pd.NA, None, float("nan"), pd.NaT, " ", "", [], ["a"], "NA", 0)] == [
        True, True, True, True, True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_file_is_stopped_between_two_chunks(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "AT_ONCE", 4)
    path, seen, files = tmp_path / "in.txt", [], section(lab)
    path.write_text("\n".join(f"the film is warm {i}" for i in range(40)))

    def watch(done, desc="", unit=""):
        seen.append(done)
        if len(seen) == 3:
            assert "Stopping" in files.stop(request())

    drawn = files.predict_file(str(path), "text", None, False, None, request(), watch)
    assert "Stopped at 12 of 40 sentences of run 1 of" in drawn["status"]
    assert drawn["result"]["value"] is None
    assert "Nothing is being predicted" in files.stop(request())


def test_a_file_is_sorted_once_whatever_it_is_asked(lab, monkeypatch):
    """By tokens, for all chunks, batches and threads of all runs that read the same tokens; rows keep their order."""
    monkeypatch.setattr(questions, "AT_ONCE", 80)
    texts = [text for text, _ in sentences(150, seed=8)] + ["warm", None, "warm"]
    runs, predictor = inference.choose(lab.store)[:2], Predictor(lab.store)
    for run in runs:
        predictor.predict_one("warm", run)  # loaded
    table, sorts = pd.DataFrame({"text": texts}), []

    def watch(frame, event, called) -> None:
        """Every call of `sorted` and `list.sort` in the modules between the file and the model."""
        if event == "c_call" and called.__name__ in ("sorted", "sort"):
            path = Path(frame.f_code.co_filename)
            if path.parent in (ROOT / "trainer" / "serving", ROOT / "trainer" / "engine"):
                sorts.append(f"{path.name}, line {frame.f_lineno}")

    threading.setprofile(watch)  # of the threads that start now: those of the batches
    sys.setprofile(watch)
    try:
        steps = [(step.run_number, step.done, step.of) for step in questions.predict(table, "text", runs, predictor)]
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert len(sorts) == 1, sorts
    assert steps[-1] == (2, 152, 152)
    assert [number for number, *_ in steps] == [1, 1, 1, 2, 2, 2]
    for run in runs:
        exact = predictor.predict_many([text for text in texts if text], run)
        got = table.dropna(subset="text")
        assert got[run.id].to_list() == [run.label_names[best] for best in exact.argmax(axis=1)]
        assert got[f"{run.id}:probability"].to_numpy() == pytest.approx(exact.max(axis=1), abs=inference.NEAR / 2)
    assert table.loc[texts.index(None), [run.id for run in runs]].isna().all()


def test_a_file_that_does_not_fit_is_one_sentence(lab, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,b\n1,2\n")
    drawn = opened(path)
    assert drawn["column"]["value"] is None
    assert "choose the column" in drawn["status"]
    assert (
        "Expected the column with the sentences"
        in section(lab).predict_file(str(path), None, None, False, None, request())["status"]
    )
    assert "got none; choose one" in section(lab).predict_file(None, None, None, False, None, request())["status"]
    (tmp_path / "in.txt").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in opened(tmp_path / "in.txt")["status"]
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ArgumentError, match="sentences in empty"):
        questions.read(tmp_path / "empty.txt")


def closed(lab: Lab) -> Lab:
    """The lab as strangers have it."""
    lab.access = Access(Rules(password="für die Klasse"))
    return lab


def stranger(session: str = "here") -> SimpleNamespace:
    inner = SimpleNamespace(scope={})
    return SimpleNamespace(session_hash=session, request=inner, client=SimpleNamespace(host="1"), headers={})


def test_a_stranger_has_few_rows_predicted(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "ROWS", 3)
    lab, path = closed(copied), tmp_path / "in.txt"
    path.write_text("\n".join(f"the film is warm {i}" for i in range(4)))
    run = of(lab, "lora").id
    status = section(lab).predict_file(str(path), "text", [run], False, None, stranger())["status"]
    assert "Expected at most 3 rows from somebody who may not change runs, got 4; predict fewer" in status
    lab.access.unlock(Visitor(session="teacher"), "für die Klasse")
    teacher = stranger("teacher")
    assert "4 sentences" in section(lab).predict_file(str(path), "text", [run], False, None, teacher)["status"]
    path.write_text("\n".join(f"the film is warm {i}" for i in range(3)))
    assert "3 sentences" in section(lab).predict_file(str(path), "text", [run], False, None, stranger())["status"]


def test_what_a_page_had_predicted_goes_with_the_next_and_with_the_page(lab, tmp_path):
    path, run, files = tmp_path / "in.txt", of(lab, "lora").id, section(lab)
    path.write_text("the film is warm")

    def written(session: str) -> Path:
        return Path(files.predict_file(str(path), "text", [run], False, None, request(session))["result"]["value"])

    first, other, second = written("here"), written("there"), written("here")
    assert not first.parent.exists()
    assert second.is_file()
    files.stop(request())
    assert second.is_file(), "stopping is not leaving"
    files.left(request())
    assert not second.parent.exists()
    assert other.is_file()
    files.left(request("there"))
    files.left(request("nobody"))


def test_an_error_names_no_folder_to_strangers(copied):
    """Whose backbone has other weights than the run was trained on: the sentence names where it lies."""
    lab, run = copied, of(copied, "lora")
    meta = run.result.meta_info
    meta = meta.model_copy(update={"model_info": meta.model_info.model_copy(update={"sha256": "0" * 64})})
    lab.store.update(run.id, result=run.result.model_copy(update={"meta_info": meta}))
    assert "other weights in /" in predicted(lab, chosen=[run.id])["predictions"]
    closed(lab)
    told = predicted(lab, chosen=[run.id])["predictions"]
    board = live_board.Board(TEXT, live_groups.groups([lab.store.load(run.id)]))
    board.predictions[run.id] = answer(run, "good")
    told += explained(lab, Session(text=TEXT, runs=(run.id,), board=board))["predictions"]
    with pytest.raises(gr.Error) as refused:
        live_tab.predict_api(lab, TEXT, [run.id])
    told += str(refused.value)
    assert told.count("other weights in tiny-bert") == 3
    assert "/tmp" not in told


def test_setup_of_an_untrained_backbone_fits_any_task(tiny_backbone):
    """load_classifier takes its labels from the task, whatever the backbone's own config says."""
    from trainer.methods.base import load_classifier

    setup = Setup(backbones.locate(str(tiny_backbone)), tuple("abcdef"), None, detect())
    assert load_classifier(setup).num_labels == 6


# In a browser


def live(page):
    page.get_by_role("tab", name="Live").click()
    page.locator(".lab-examples button").first.wait_for()


def options(page):
    page.get_by_role("button", name="Options: runs").click()


def whole_in_view(page, selector: str) -> None:
    """Wait until an element is in the window from its first to its last pixel: below the fold nobody sees it."""
    page.wait_for_function(
        """selector => {
          const box = document.querySelector(selector)?.getBoundingClientRect();
          return box && box.height && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0
            && box.right <= document.documentElement.clientWidth;
        }""",
        arg=selector,
        timeout=10_000,
    )


def test_the_page_opens_with_an_example_answered_and_every_press_shows_its_answer(trained_page):
    """At a projector's size and a phone's: without a press, after the button, after an example, and Why."""
    page = trained_page
    for width, height in ((1280, 720), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto(page.url.partition("?")[0])
        page.get_by_text("5 runs predicted.").wait_for()
        assert page.get_by_label("A sentence").input_value().startswith("The plot is thin")
        assert page.get_by_role("tab", name="Live").get_attribute("aria-selected") == "true"
        if width > 1000:
            whole_in_view(page, ".lab-answers")
            whole_in_view(page, ".lab-ways")
        page.get_by_label("A sentence").fill(TEXT)
        page.get_by_role("button", name="Predict with all runs").click()
        page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
        whole_in_view(page, ".lab-answers")
        page.get_by_role("button", name="Negation").click()
        page.get_by_text("Sentence: “It is not a bad film").wait_for()
        page.get_by_text("5 runs predicted.").wait_for()
        whole_in_view(page, ".lab-answers")
        page.get_by_role("button", name="Why, LoRA", exact=True).click()
        page.get_by_text("1 run explained.").wait_for()
        assert page.locator(".lab-answer.lab-open .lab-sentence").count() == 1
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert focused == "Why, LoRA", "the focus stays on the button that was pressed"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


def test_a_sentence_has_an_address_and_back_returns_to_it(trained_page):
    page = trained_page
    page.get_by_text("5 runs predicted.").wait_for()
    first = page.get_by_label("A sentence").input_value()
    page.get_by_label("A sentence").fill(TEXT)
    page.get_by_label("A sentence").press("Enter")
    page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
    page.wait_for_url(re.compile(r"\?tab=live&text=the\+film\+is"))
    page.get_by_role("button", name="Negation").click()
    page.get_by_text("Sentence: “It is not a bad film").wait_for()
    page.get_by_text("5 runs predicted.").wait_for()
    page.go_back()
    page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
    assert page.get_by_label("A sentence").input_value() == TEXT
    page.get_by_text("5 runs predicted.").wait_for()
    page.go_back()
    page.get_by_text(f"Sentence: “{first}”").wait_for()
    assert "text=" not in page.url, "the page's own example needs no address"
    page.get_by_label("A sentence").fill("what is typed and not predicted")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_url(re.compile("tab=compare"))
    page.go_back()
    page.get_by_role("tab", name="Live", selected=True).wait_for()
    assert page.get_by_label("A sentence").input_value() == "what is typed and not predicted"
    page.get_by_label("A sentence").fill(TEXT)
    page.get_by_label("A sentence").press("Enter")
    page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
    page.reload()
    page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
    page.get_by_text("5 runs predicted.").wait_for()


def test_a_sentence_is_predicted_explained_and_linked(trained_page, trained):
    page, (address, store) = trained_page, trained
    live(page)
    runs, _ = live_selection.resolve(Lab.open(store), None)
    page.get_by_text(f"{len(runs)} runs predicted.").wait_for()
    options(page)
    page.get_by_label("Include untrained model").check()
    page.get_by_label("A sentence").fill(TEXT)
    page.get_by_label("A sentence").press("Enter")
    page.get_by_text(f"Sentence: “{TEXT}”").wait_for()
    page.get_by_text(f"{len(runs)} runs predicted.").wait_for()
    assert page.locator(".lab-answer").count() == len(runs) + 1
    page.get_by_role("button", name="Explain", exact=True).click()
    page.get_by_text(f"{len(runs)} runs explained.").wait_for()
    assert page.locator(".lab-sentence").first.inner_text() == TEXT
    page.get_by_text("Every word's score").first.click()
    assert serious(page) == []
    shoot(page, "live-why")

    page.get_by_role("button", name="Copy link").click()
    key = live_groups.groups(runs)[0].key
    link = page.get_by_label("Link to this sentence").input_value()
    assert link == f"{address}/?tab=live&text={TEXT.replace(' ', '+')}&task={key}"
    page.goto(f"{link}&run={runs[1].id}&run=gone-1")
    page.get_by_text("1 run predicted.").wait_for()
    page.get_by_text("The run gone-1 is no longer in the store; the others predict.").wait_for()
    assert page.get_by_label("A sentence").input_value() == TEXT
    assert page.locator(".lab-answer h3").all_inner_texts() == ["mine"]


def test_examples_pressed_while_models_load_are_predicted_the_newest_last(open_page, suite, tmp_path):
    """Gradio ignores a press while an earlier one is answered, unless told otherwise."""
    shutil.copytree(suite[0].root, tmp_path / "fresh", ignore=shutil.ignore_patterns(".*"))
    with app_on(tmp_path / "fresh") as (address, _):
        for page in open_page(address):
            live(page)
            # The page's own example, or this one. On a busy machine the browser draws not every state.
            page.get_by_role("button", name="Plain praise").click()
            page.get_by_text(re.compile(r"Loading .+, \d of")).wait_for()
            expect_busy(page)
            page.get_by_role("button", name="Negation").click()
            page.get_by_text("Sentence: “It is not").wait_for()
            page.get_by_text("5 runs predicted.").wait_for()
            page.wait_for_timeout(1000)
            assert page.locator(".lab-line").first.inner_text().startswith("Sentence: “It is not")


def test_what_is_typed_while_an_example_is_on_its_way_stays(open_page, trained):
    """The first time that Live opens an example comes into its box, unless a sentence was typed meanwhile."""
    for page in open_page(f"{trained[0]}/?tab=compare"):
        page.get_by_text("test sentences").first.wait_for()
        # The request of what Live offers takes its time.
        page.evaluate(
            """() => {
              const send = window.fetch.bind(window);
              window.fetch = async (...of) => {
                const {data, event_data: by} = JSON.parse(of[1]?.body ?? "{}");
                if (by?.value === "Live" && data.length === 5) {
                  window.held = true;
                  await new Promise(on => setTimeout(on, 2000));
                }
                return send(...of);
              };
            }"""
        )
        page.get_by_role("tab", name="Live").click()
        text = page.get_by_label("A sentence", exact=True)
        page.wait_for_function("window.held")
        text.focus()
        page.wait_for_timeout(2500)  # the example has come, to who is about to type
        assert text.input_value() == ""
        text.press_sequentially("Typed meanwhile, and dull.")
        page.get_by_role("button", name="Predict with all runs").click()
        page.get_by_text("5 runs predicted.").wait_for()
        page.wait_for_timeout(1000)
        assert text.input_value() == "Typed meanwhile, and dull."
        assert page.locator(".lab-line").first.inner_text().startswith("Sentence: “Typed meanwhile")


def expect_busy(page) -> None:
    """The button shows that something is computed: a turning ring before its text."""
    page.wait_for_function(
        "getComputedStyle(document.getElementById('live-predict'), '::before').animationName === 'lab-turn'"
    )


def test_the_class_guesses_and_a_file_is_predicted(trained_page, tmp_path):
    page = trained_page
    live(page)
    page.get_by_text("5 runs predicted.").wait_for()
    options(page)
    page.get_by_label("Guess first").check()
    page.get_by_role("button", name="Commit and predict").wait_for()
    page.get_by_role("button", name="Negation").click()
    page.get_by_text("Guess first: choose what the class says").wait_for()
    page.get_by_label("good", exact=True).check()
    page.get_by_role("button", name="Commit and predict").click()
    page.get_by_text("1 sentence guessed.").wait_for()
    assert page.locator(".lab-tag").filter(has_text="the class").count() == page.locator(".lab-answer").count()

    path = tmp_path / "in.csv"
    path.write_text("text\n" + "".join(f"the film is warm {i}\n" for i in range(20)))
    page.get_by_role("button", name="A file of sentences").click()
    page.locator(".lab-fold", has_text="A file of sentences").locator("input[type=file]").set_input_files(path)
    page.get_by_text("20 rows; the sentences are in text.").wait_for()
    page.get_by_role("button", name="Predict the file").click()
    page.get_by_text("20 sentences through 5 runs").wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download the predictions").click()
    got = pd.read_csv(download.value.path())
    assert len(got) == 20
    assert list(got.columns)[1:3] == ["Full fine-tuning", "Full fine-tuning:probability"]
    assert serious(page) == []
    shoot(page, "live-guess")


FOCUS = """() => {
  const input = document.activeElement, found = [];
  for (const one of [input, input.closest("label")]) {
    if (!one) continue;
    const style = getComputedStyle(one);
    if (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) found.push(style.outlineColor);
  }
  return found;
}"""
"""Colours of the outlines of the control that has the focus, and of its label."""


def test_the_focus_is_seen_on_radios_boxes_and_buttons_in_both_schemes(trained_page):
    """WCAG 2.4.7 and 1.4.11: an outline of two pixels or more, in a colour that differs from what is around it."""
    page = trained_page
    page.get_by_text("5 runs predicted.").wait_for()
    options(page)
    page.get_by_label("Guess first").check()
    radio = page.get_by_label("good", exact=True)
    radio.wait_for()
    for dark in (False, True):
        page.evaluate(f"document.body.classList.toggle('dark', {str(dark).lower()})")
        for control in (radio, page.get_by_label("Include untrained model"), page.locator("#live-predict")):
            page.locator("#live-text textarea").focus()
            page.keyboard.press("Tab")  # the keyboard is in use: then browsers show the focus
            control.focus()
            wanted = "rgb(124, 196, 255)" if dark else "rgb(11, 92, 173)"
            for _ in range(25):  # colours change over a moment
                colours = page.evaluate(FOCUS)
                if colours and colours[0] == wanted:
                    break
                page.wait_for_timeout(200)
            assert colours, f"dark={dark}: {control}"
            assert colours[0] == wanted


def test_targets_are_large_enough_for_fingers_on_a_phone(trained_page):
    page = trained_page
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("5 runs predicted.").wait_for()
    options(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, summary, [role=tab], .lab-header a, label:has(> input)")]
          .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.closest("footer, .visually-hidden"))
          .filter(one => { const box = one.getBoundingClientRect(); return box.width && box.height < 43.5; })
          .map(one => `${one.tagName} ${one.innerText || one.getAttribute("aria-label")} ${one.offsetHeight}`)"""
    )
    assert not small, small
    links = page.locator(".lab-header nav a")
    assert all((box := link.bounding_box())["x"] + box["width"] <= 390 for link in links.all()), "none is cut off"


# Shared weights


def test_runs_of_one_backbone_share_its_weights_and_keep_their_answers(suite):
    """Sharing changes memory alone: the frozen weights lie in one place, every answer stays what it was."""
    from trainer.engine.sharing import unique_bytes

    store, _ = suite
    runs = inference.choose(store)
    text = "the film is warm and the cast is funny"
    alone = [inference.Predictor(store).predict(text, [run])[0].probabilities for run in runs]
    predictor = inference.Predictor(store)
    together = [answer.probabilities for answer in predictor.predict(text, runs)]
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    models = {run.recipe.method: predictor._models[run.id].model for run in runs}
    places = {
        method: {p.data_ptr() for name, p in model.named_parameters() if "word_embeddings" in name}
        for method, model in models.items()
    }
    assert places["lora"] == places["adapter"] == places["adapter_fusion"]
    assert not places["full"] & places["lora"]
    apart = sum(unique_bytes([kept.model]) for kept in predictor._models.values())
    assert predictor._bytes() < 0.6 * apart
    # What goes leaves the others whole.
    predictor.forget(next(run.id for run in runs if run.recipe.method == "lora"))
    adapter = next(run for run in runs if run.recipe.method == "adapter")
    assert predictor.predict(text, [adapter])[0].probabilities == pytest.approx(together[runs.index(adapter)], abs=1e-6)


def test_runs_asked_together_answer_as_when_asked_alone_and_an_error_is_its_own(copied):
    """Side by side on the cores, in the order asked, whichever is done first."""
    runs = inference.choose(copied.store)
    alone = [inference.Predictor(copied.store).predict_one(TEXT, run) for run in runs]
    shutil.rmtree(runs[1].folder)
    said = copied.predictor.predict_each(TEXT, [*runs, runs[0]])
    assert isinstance(said.pop(1), UserError)
    expected = [alone[0], *alone[2:], alone[0]]
    assert [answer.run_id for answer in said] == [answer.run_id for answer in expected]
    for answer, one in zip(said, expected, strict=True):
        assert answer.probabilities == pytest.approx(one.probabilities, abs=1e-5)
    # With room for one model nothing waits in memory for its turn.
    small = Predictor(copied.store, max_models=1)
    assert [a.predicted for a in small.predict(TEXT, runs[2:])] == [one.predicted for one in alone[2:]]
    assert len(small._models) == 1
    with pytest.raises(UserError, match="deleted"):
        small.predict(TEXT, runs)


def test_a_file_gets_the_labels_that_single_sentences_get(lab):
    """Whatever precision this machine computes a file in; equal sentences in it are one."""
    texts = [text for text, _ in sentences(60, seed=7)]
    for run in inference.choose(lab.store):
        exact, quick = (lab.predictor.predict_many([*texts, texts[0]], run, quick=quick) for quick in (False, True))
        assert (exact.argmax(axis=1) == quick.argmax(axis=1)).all()
        assert quick == pytest.approx(exact, abs=inference.NEAR / 2)
        assert (quick[-1] == quick[0]).all()
