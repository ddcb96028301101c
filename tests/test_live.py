"""Live: answers, why, guess first, links and files; its handlers without a browser, then the tab in one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest
from conftest import ROOT, app_on, named_view, sentences, serious, shoot

from trainer import methods
from trainer.errors import ArgumentError, UserError
from trainer.machine.access import Access, Rules, Visitor
from trainer.machine.device import detect
from trainer.methods import Setup
from trainer.runs.store import Store
from trainer.serving import attribution
from trainer.serving import files as questions
from trainer.serving import predictor as inference
from trainer.serving.predictor import Prediction, Predictor
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


def of(lab: Lab, method: str):
    return next(run for run in inference.choose(lab.store) if run.recipe.method == method)


# Why


@pytest.mark.parametrize("method", methods.METHODS)
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


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
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
    assert "5 words were not read" in live_explain.strongest(TEXT, said)


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
    runs = inference.choose(lab.store)
    every = lab.predictor.predict(f"{fits} dull film", runs)
    assert [one.cut for one in every] == [True] * len(runs)
    assert lab.predictor.untrained(f"{fits} dull film", run).cut
    # The page
    said = f"the first {cut.tokens_read} of its {cut.tokens} tokens were read"
    html = predicted(lab, f"{fits} dull film", untrained=True)["predictions"]
    assert html.count(said) == html.count("<article") == len(runs) + len({run.recipe.task for run in runs})
    assert "The text is cut" not in predicted(lab, fits)["predictions"]
    # Other programs
    (answer,) = live_tab.predict_api(lab, f"{fits} dull film", [run.id])
    assert (answer["cut"], answer["tokens_read"], answer["tokens"]) == (True, cut.tokens_read, cut.tokens)
    assert live_tab.predict_api(lab, TEXT, [run.id])[0]["cut"] is False
    # Files: a column only where something was cut
    path = tmp_path / "in.csv"
    pd.DataFrame({"text": [TEXT, f"{fits} dull film", "", fits]}).to_csv(path, index=False)
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, request())
    assert "1 of them is longer than a run reads and was cut: the column :tokens_cut says" in drawn["status"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)
    assert list(got.columns) == ["text", run.id, f"{run.id}:probability", f"{run.id}:tokens_cut"]
    assert list(got[f"{run.id}:tokens_cut"]) == ["0", "2", "", "0"]
    pd.DataFrame({"text": [TEXT, fits]}).to_csv(path, index=False)
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, request())
    assert "cut" not in drawn["status"]
    assert list(pd.read_csv(drawn["result"]["value"])) == ["text", run.id, f"{run.id}:probability"]


def test_a_files_probabilities_are_scaled_where_the_box_says_so(lab, tmp_path):
    run, path = of(lab, "lora"), tmp_path / "in.csv"
    pd.DataFrame({"text": [TEXT]}).to_csv(path, index=False)
    whole = lab.predictor.predict_one(TEXT, run)
    for calibrated, one in ((False, whole), (True, whole.calibrated(run))):
        drawn = section(lab).predict_file(str(path), "text", [run.id], calibrated, request())
        assert ("Scaled by temperature: the probabilities of 1 of 1 runs." in drawn["status"]) == calibrated
        got = pd.read_csv(drawn["result"]["value"])[f"{run.id}:probability"][0]
        assert got == pytest.approx(one.confidence, abs=inference.NEAR / 2)


def test_an_error_that_nobody_expects_is_on_its_runs_card_alone(copied, monkeypatch, caplog):
    runs = inference.choose(copied.store)
    bad = runs[1]
    load = Predictor._load
    monkeypatch.setattr(
        Predictor, "_load", lambda self, run, *rest: [][1] if run.id == bad.id else load(self, run, *rest)
    )
    drawn = predicted(copied)["predictions"]
    assert drawn.count("it could not be shown (IndexError: list index out of range)") == 1
    assert drawn.count('class="lab-label"') == len(runs) - 1
    assert [bad.id in record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [True]
    monkeypatch.setattr(live_board.Board, "_card", lambda self, run, agreement: [][1])
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
    html = list(live_explain.explain(lab, session))[-1]
    assert "<i>" not in html
    assert html.count('class="lab-sentence"') == len(inference.choose(lab.store))
    assert re.search(r"For (good|bad): .*[+]\d", html)
    assert html.count("within the tolerance") == html.count("The words sum to")
    assert "What each parent lent" in html
    assert "ask first" in list(live_explain.explain(lab, Session()))[-1]


# Answers


def test_the_untrained_backbone_is_deterministic_and_apart(lab, suite):
    run = of(lab, "full")
    first = lab.predictor.untrained(TEXT, run)
    again = Predictor(suite[0]).untrained(TEXT, run)
    trained = lab.predictor.predict_one(TEXT, run)
    assert first.probabilities == again.probabilities
    assert first.probabilities != trained.probabilities
    html = predicted(lab, untrained=True)["predictions"]
    assert html.count("Not trained, does not count") == 2, "one for each task: two files"
    assert "Not trained" not in predicted(lab)["predictions"]


def test_cards_come_in_while_models_load_and_keep_their_order(suite):
    fresh = Lab.open(suite[0])
    boards = [
        step["predictions"] for step in live_predict.predict(fresh, VIEW, TEXT, None, False, False, None, Session())
    ]
    runs = inference.choose(fresh.store)
    assert "Loading Full fine-tuning, 1 of" in boards[0]
    assert f"Loading LoRA, 2 of {len(runs)}" in boards[1]
    titles = [re.findall(r"<h3>(.*?)</h3>", board) for board in boards]
    assert all(title == titles[0] for title in titles)
    assert all(board.count('class="lab-bar"') == 2 * len(runs) for board in boards), "placeholders of the same size"
    assert f"{len(runs)} runs answered" in boards[-1]


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
    assert list(live_examples.fitting([six])) == ["Examples of questions"]
    assert list(live_examples.fitting([six, run])) == ["Examples", "Examples of questions"]
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
    assert f"The run {lora.id} is no longer in the store; the others are asked." in html
    assert html.count("<article") == 1
    assert "choose another" in predicted(copied, chosen=[lora.id])["predictions"]


def test_two_people_at_once_get_their_own_answers(lab):
    """Each page's board holds its own sentence and its own answers, whoever loads or explains meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"the {thing} is {word}" for thing in ("film", "cast") for word in ("warm", "dull", "grim", "bright")]
    runs = [run for group in live_groups.groups(inference.choose(lab.store)) for run in group.runs]
    alone = {text: lab.predictor.predict(text, runs) for text in texts}
    lab.predictor.forget(of(lab, "qlora").id)
    with ThreadPoolExecutor(8) as pool:
        boards = dict(zip(texts, pool.map(lambda text: predicted(lab, text), texts), strict=True))
        list(pool.map(lambda text: list(live_explain.explain(lab, boards[text]["session"])), texts[:2]))
    for text, answers in alone.items():
        html = boards[text]["predictions"]
        assert f"Asked: “{text}”" in html
        shown = re.findall(r'<div class="lab-label">(.*?)</div>', html)
        assert shown == [f"{a.predicted} {a.confidence:.0%}" for a in answers]


SILENT = gr.skip()


@pytest.mark.parametrize("how", ["asked", "switched", "explained"])
def test_an_explanation_ends_when_the_page_wants_something_newer(lab, how):
    """Else the old sentence's words would be drawn under the new answers, or in a page that hides them."""
    session = predicted(lab)["session"]
    old = live_explain.explain(lab, session)
    assert "Explaining" in next(old)
    if how == "asked":
        session = predicted(lab, "the music is grim", session=session)["session"]
    elif how == "switched":
        session = live_guess.toggle(lab, VIEW, True, None, session)["session"]
    else:
        assert "explained." in list(live_explain.explain(lab, session))[-1]
    assert list(old) == [gr.skip()]
    assert "explained." in list(live_explain.explain(lab, session))[-1] or how == "switched"


@pytest.mark.parametrize("untrained", [False, True])
def test_the_newest_question_wins_and_the_older_ones_go_silent(lab, untrained):
    session = predicted(lab, "the story is fine")["session"]
    steps = [
        live_predict.predict(lab, VIEW, text, None, untrained, False, None, session)
        for text in ("the film is warm", TEXT)
    ]
    assert "Asked: “the film is warm”" in next(steps[0])["predictions"]
    assert f"Asked: “{TEXT}”" in next(steps[1])["predictions"]
    assert "still being asked" in list(live_explain.explain(lab, session))[-1], "the answers to explain are gone"
    assert list(steps[0]) == [SILENT]
    last = list(steps[1])[-1]
    session = last["session"]
    assert f"{len(session.runs)} runs answered." in last["predictions"]
    assert session.text == TEXT
    assert "explained." in list(live_explain.explain(lab, session))[-1]


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
    assert f"3 of {len(inference.choose(lab.store))} runs are asked" in html


def test_models_beyond_the_limit_are_dropped_and_come_back(suite):
    small = Predictor(suite[0], max_models=1)
    runs = inference.choose(suite[0])[:2]
    once = small.predict(TEXT, runs)
    assert [small.is_loaded(run) for run in runs] == [False, True]
    assert [a.probabilities for a in small.predict(TEXT, runs)] == [a.probabilities for a in once]
    small.forget(runs[1].id)
    assert not small.is_loaded(runs[1])


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
    runs = inference.choose(lab.store)
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
    assert drawn["predict"]["value"] == "Commit and ask"
    assert "lab-answer" not in drawn["predictions"]
    assert drawn["explanations"] == ""
    assert "ask first" in list(live_explain.explain(lab, drawn["session"]))[-1]


# Links


@pytest.mark.parametrize("text", ["a fine film", "100% & more? #1 = +\nä 好 <b>", ""])
def test_a_link_brings_back_what_it_was_made_of(text):
    query = live_link.build(text, ["a", "b"])
    assert live_link.parse(query) == live_link.Link(text, ("a", "b"))
    scaled = live_link.build(text, ["a"], calibrated=True)
    assert live_link.parse(scaled) == live_link.Link(text, ("a",), calibrated=True)
    assert live_link.parse("?tab=train&text=x") is None
    assert live_link.parse("") is None
    assert len(live_link.parse("tab=live&text=" + "x" * 5000).text) == live_link.MAX_CHARACTERS


def visit(lab: Lab, query: str):
    """What the page gets that opens at an address."""
    return live_tab.arrive(lab, VIEW, Session(), SimpleNamespace(query_params=query))


def test_a_link_chooses_its_runs_and_says_which_are_gone(lab):
    run = of(lab, "lora")
    drawn = visit(lab, live_link.build(TEXT, [run.id, "gone-1"]))
    assert drawn["text"] == TEXT
    assert drawn["runs"]["value"] == [run.id]
    assert drawn["calibrated"] is False
    assert visit(lab, live_link.build(TEXT, [run.id], calibrated=True))["calibrated"] is True
    inputs = (drawn["text"], drawn["runs"]["value"], False, False, None, drawn["session"])
    html = list(live_tab.predict_linked(lab, VIEW, *inputs))[-1]["predictions"]
    assert "The run gone-1 is no longer in the store; the others are asked." in html
    assert html.count("<article") == 1
    assert "every finished run is asked" in visit(lab, live_link.build(TEXT, ["gone-1"]))["session"].notice
    assert list(live_tab.predict_linked(lab, VIEW, "", [], False, False, None, Session())) == [SILENT]
    box = live_tab.make_link('a "quoted" <b>', [run.id], False, "http://127.0.0.1:7860/?tab=live#x")
    assert f'value="http://127.0.0.1:7860/?tab=live&amp;text=a+%22quoted%22+%3Cb%3E&amp;run={run.id}"' in box


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
    drawn = section(lab).predict_file(str(path), column, [run.id], False, request())
    assert "2 sentences through 1 run. 2 rows without a text kept" in drawn["status"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)
    assert len(got) == 4
    expected = [lab.predictor.predict_one(text, run) for text in (texts[0], texts[2])]
    assert got[run.id].to_list() == [expected[0].predicted, "", expected[1].predicted, ""]
    # A file is computed in the device's best precision, near ties again in float32: the labels are the same.
    assert float(got[f"{run.id}:probability"][0]) == pytest.approx(expected[0].confidence, abs=0.02)
    assert got[f"{run.id}:probability"][1] == ""


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
    drawn = section(lab).predict_file(str(path), "text", [run.id], False, request())
    assert "2 sentences through 1 run. 1 row without a text kept" in drawn["status"]
    assert "NA" not in drawn["preview"]
    got = pd.read_csv(drawn["result"]["value"], keep_default_na=False)[run.id].to_list()
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

    drawn = files.predict_file(str(path), "text", None, False, request(), watch)
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
        in section(lab).predict_file(str(path), None, None, False, request())["status"]
    )
    assert "got none; choose one" in section(lab).predict_file(None, None, None, False, request())["status"]
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
    status = section(lab).predict_file(str(path), "text", [run], False, stranger())["status"]
    assert "Expected at most 3 rows from somebody who may not change runs, got 4; predict fewer" in status
    lab.access.unlock(Visitor(session="teacher"), "für die Klasse")
    assert "4 sentences" in section(lab).predict_file(str(path), "text", [run], False, stranger("teacher"))["status"]
    path.write_text("\n".join(f"the film is warm {i}" for i in range(3)))
    assert "3 sentences" in section(lab).predict_file(str(path), "text", [run], False, stranger())["status"]


def test_what_a_page_had_predicted_goes_with_the_next_and_with_the_page(lab, tmp_path):
    path, run, files = tmp_path / "in.txt", of(lab, "lora").id, section(lab)
    path.write_text("the film is warm")

    def written(session: str) -> Path:
        return Path(files.predict_file(str(path), "text", [run], False, request(session))["result"]["value"])

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
    told += list(live_explain.explain(lab, Session(text=TEXT, runs=(run.id,))))[-1]
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


def test_a_sentence_is_asked_explained_and_linked(trained_page, trained):
    page, (address, store) = trained_page, trained
    live(page)
    runs = inference.choose(store)
    page.get_by_label("The untrained backbone too").check()
    page.get_by_label("A sentence").fill(TEXT)
    page.get_by_label("A sentence").press("Enter")
    page.get_by_text(f"{len(runs)} runs answered.").wait_for()
    assert page.locator(".lab-answer").count() == len(runs) + 2
    page.get_by_role("button", name="Explain the answers").click()
    page.get_by_text(f"{len(runs)} runs explained.").wait_for()
    assert page.locator(".lab-sentence").first.inner_text() == TEXT
    page.get_by_text("Every word's score").first.click()
    assert serious(page) == []
    shoot(page, "live-why")

    page.get_by_role("button", name="Copy link").click()
    link = page.get_by_label("Link to this sentence").input_value()
    assert link == f"{address}/?tab=live&text={TEXT.replace(' ', '+')}"
    page.goto(f"{link}&run={runs[1].id}&run=gone-1")
    page.get_by_text("1 run answered.").wait_for()
    page.get_by_text("The run gone-1 is no longer in the store; the others are asked.").wait_for()
    assert page.get_by_label("A sentence").input_value() == TEXT
    assert page.locator(".lab-answer h3").all_inner_texts() == ["LoRA"]


def test_examples_pressed_while_models_load_are_asked_the_newest_last(open_page, suite, tmp_path):
    """Gradio ignores a press while an earlier one is answered, unless told otherwise."""
    shutil.copytree(suite[0].root, tmp_path / "fresh", ignore=shutil.ignore_patterns(".*"))
    with app_on(tmp_path / "fresh") as (address, store):
        for page in open_page(address):
            live(page)
            page.get_by_role("button", name="Plain praise").click()
            # Whichever run is being loaded: on a busy machine the browser draws not every one.
            page.get_by_text(re.compile(r"Loading .+, \d of")).wait_for()
            page.get_by_role("button", name="Negation").click()
            page.get_by_text("Asked: “It is not").wait_for()
            page.get_by_text(f"{len(inference.choose(store))} runs answered.").wait_for()
            page.wait_for_timeout(1000)
            assert page.locator(".lab-asked").first.inner_text().startswith("Asked: “It is not")


def test_the_class_guesses_and_a_file_is_predicted(trained_page, tmp_path):
    page = trained_page
    live(page)
    page.get_by_label("Guess first").check()
    page.get_by_role("button", name="Commit and ask").wait_for()
    page.get_by_role("button", name="Negation").click()
    page.get_by_text("Guess first: choose what the class says").wait_for()
    page.get_by_label("good", exact=True).check()
    page.get_by_role("button", name="Commit and ask").click()
    page.get_by_text("1 sentence guessed.").wait_for()
    assert page.locator(".lab-tag").filter(has_text="the class").count() == page.locator(".lab-answer").count()

    path = tmp_path / "in.csv"
    path.write_text("text\n" + "".join(f"the film is warm {i}\n" for i in range(20)))
    page.get_by_role("button", name="A file of sentences").click()
    page.locator("input[type=file]").last.set_input_files(path)
    page.get_by_text("20 rows; the sentences are in text.").wait_for()
    page.get_by_role("button", name="Predict the file").click()
    page.get_by_text("20 sentences through").wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download the predictions").click()
    assert len(pd.read_csv(download.value.path())) == 20
    assert serious(page) == []
    shoot(page, "live-guess")


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
