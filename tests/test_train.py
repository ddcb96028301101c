"""The Train tab's handlers without a browser, adapters from elsewhere, and the tab in a browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest
from conftest import no_worker, seen, serious, shoot, trainer

from trainer import methods
from trainer.analysis import baseline, intervals
from trainer.cli.options import parse_settings
from trainer.config import RunConfig
from trainer.errors import ArgumentError, UserError
from trainer.jobs import adoption
from trainer.jobs import queue as jobs
from trainer.machine.device import Device
from trainer.runs import archive, recipes
from trainer.runs.presets import PRESETS
from trainer.runs.sizes import requested_and_available
from trainer.runs.store import Store
from trainer.serving import predictor as inference
from trainer.ui.common.lab import SECONDS_BETWEEN_WORKERS, Lab
from trainer.ui.train import curves as train_curves
from trainer.ui.train import fields as train_fields
from trainer.ui.train import file as train_file
from trainer.ui.train import form as train_form
from trainer.ui.train import groups as train_groups
from trainer.ui.train import load as train_load
from trainer.ui.train import panel as train_panel
from trainer.ui.train import plan as train_plan
from trainer.ui.train import queue as train_queue
from trainer.ui.train import status as train_status
from trainer.ui.train import watch as train_watch

# The form


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_in_the_form_launches_what_the_command_line_does(preset):
    configs, _ = train_form.recipes_of(train_form.defaults(preset))
    found = PRESETS[preset]
    assert configs == recipes.suite(
        methods_=found.methods, seeds=found.seeds, task=found.task, backbone=found.backbone, **found.settings
    )


def test_every_option_of_every_method_stands_in_the_form_with_help():
    with gr.Blocks():
        fields = train_fields.build(Lab.open(Store("nowhere"))).fields
    listed = train_fields.render_more()
    for name, method in methods.METHODS.items():
        for option in method.options.model_fields:
            if name not in methods.DEFAULT:
                assert f"<code>{name}.{option}=" in listed
                continue
            assert fields[f"{name}.{option}"].info
            assert fields[f"{name}.{option}"].label
    assert list(fields) == list(train_form.defaults())
    shown = set(fields) | {"method", "seed", "options", "parents", "validation_file", "test_file"}
    assert set(RunConfig.model_fields) <= shown, "a field of the recipe that the form cannot set"


def test_the_forms_command_line_queues_the_same_suite():
    form = train_form.defaults("quick") | {
        "methods": ["lora", "adapter_fusion"], "seeds": "0 1", "label": "my runs", "epochs": 2,
        "lora.r": 8, "lora.target_modules": ["query"], "lora.learning_rate": "0.003",
        "adapter_fusion.reduction_factor": 4, "adapter.placement": "houlsby",
    }  # fmt: skip
    configs, label = train_form.recipes_of(form)
    assert label == "my runs"
    assert [(c.method, c.seed) for c in configs] == [
        ("lora", 0),
        ("lora", 1),
        ("adapter_fusion", 0),
        ("adapter_fusion", 1),
    ]
    assert configs[0].options["r"] == 8
    assert configs[0].learning_rate == 0.003
    assert "adapter.placement" not in recipes.command(**train_form.suite_of(form)), "a method that is not chosen"
    words = shlex.split(recipes.command(**train_form.suite_of(form)))[4:]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    given = {option: [value for name, value in pairs if name == option] for option, _ in pairs}
    assert given["--label"] == ["my runs"]
    again = recipes.suite(
        methods_=given["--method"], seeds=[int(seed) for seed in given["--seed"]], task=given["--task"][0],
        backbone=given["--backbone"][0], **parse_settings(given["--set"]),
    )  # fmt: skip
    assert again == configs


def test_the_shown_command_trains_on_the_chosen_columns(own_store, tmp_path, tiny_backbone, tiny_file):
    """The command itself, not only its settings: the columns of the form must reach the runs."""
    frame = pd.read_csv(tiny_file).rename(columns={"sentence": "words", "label": "mark"})
    frame = frame.assign(text="the same", label=frame["mark"].iloc[::-1].values, source=frame.index // 5)
    frame.to_csv(tmp_path / "two.csv", index=False)
    form = train_form.defaults() | {
        "methods": ["lora"], "task": str(tmp_path / "two.csv"), "text_column": "words", "label_column": "mark",
        "group_column": "source", "epochs": 1, "train_size": "", "validation_size": "",
    }  # fmt: skip
    words = shlex.split(recipes.command(**train_form.suite_of(form)).replace("minilm", str(tiny_backbone)))
    trainer(*words[3:], store=own_store)
    (run,) = own_store.list()
    assert (run.recipe.text_column, run.recipe.label_column, run.recipe.group_column) == ("words", "mark", "source")
    data, predictions = run.result.meta_info.dataset_info, own_store.predictions(run.id)
    assert list(predictions.columns[:4]) == ["split", "row", "group", "text"]
    assert list(predictions["group"]) == [str(row // 5) for row in predictions["row"]]
    assert (data.group, data.groups.validation + data.groups.test) == ("source", predictions["group"].nunique())
    assert data.groups.train + predictions["group"].nunique() == 48


@pytest.mark.parametrize("given", ["seed=3", "task=sst2", "lora.seed=1", "lora.task=sst2"])
def test_a_setting_with_an_argument_of_its_own_is_refused_in_a_sentence(given, own_store):
    done = trainer("suite", "--method", "lora", "--set", given, store=own_store, check=False)
    assert done.returncode == 2
    assert "an argument of its own" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_estimate_counts_a_shared_parent_once_and_heeds_the_length(suite, own_store):
    from trainer.runs import estimate

    quick = recipes.suite(methods_=["adapter", "adapter_fusion"], seeds=[0], task="movies", backbone="minilm")
    adapter, fusion = quick
    alone = estimate.estimate(fusion).parents_seconds
    beside = estimate.estimate(fusion, beside=quick).parents_seconds
    assert alone - beside == pytest.approx(estimate.estimate(adapter).seconds)
    longer = recipes.make(method="lora", task="movies", backbone="minilm", max_length=512)
    shorter = recipes.make(method="lora", task="movies", backbone="minilm", max_length=32)
    assert estimate.estimate(shorter).memory < estimate.estimate(longer).memory


def test_what_is_cleared_is_not_silently_the_default():
    form = train_form.defaults("quick") | {"methods": ["lora"], "lora.target_modules": []}
    with pytest.raises(UserError, match="target_modules"):
        train_form.recipes_of(form)


def test_one_learning_rate_for_all_overrules_the_methods_own():
    form = train_form.defaults("quick") | {
        "fairness": "same", "learning_rate": "0.0005", "methods": ["full", "lora"], "lora.learning_rate": "0.01",
    }  # fmt: skip
    assert {config.learning_rate for config in train_form.recipes_of(form)[0]} == {0.0005}


def test_the_estimate_counts_exactly_warns_and_says_what_is_wrong(own_store):
    lab = Lab.open(own_store)
    form = train_form.defaults("report") | {"methods": ["lora", "full"]}
    html, command, short = train_plan.plan(lab, form)
    assert "2 runs, about " in short
    assert "591,362" in html, "LoRA of rank 16 on query and value of bert-base, and the head"
    assert "--backbone bert-base" in command
    lab.device = Device("cpu", "a small machine", 1, ("fp32",))
    lab_free = train_plan.free_memory
    train_plan.free_memory = lambda device: 10**9
    try:
        html, *_ = train_plan.plan(lab, form | {"methods": ["full"]})
    finally:
        train_plan.free_memory = lab_free
    assert "Full fine-tuning needs about" in html
    html, command, short = train_plan.plan(lab, form | {"epochs": -1, "methods": ["lora"]})
    assert "epochs: expected a number above 0, got -1" in html
    assert command == ""
    assert "see Estimated cost" in short


def test_what_the_browser_kept_comes_back_without_what_is_gone(own_store):
    lab = Lab.open(own_store)
    saved = train_form.defaults("quick") | {
        "preset": "custom", "epochs": 7, "task": "/gone.csv", "methods": ["lora", "vanished"], "other": 1,
    }  # fmt: skip
    with gr.Blocks():
        made = train_fields.build(lab)
    changes = train_fields.restore(lab, made, saved)
    form = {name: changes[field] for name, field in made.fields.items()}
    assert changes[made.preset]["value"] == "custom"
    assert form["epochs"] == 7
    assert form["task"]["value"] == "movies"
    assert form["methods"] == ["lora"]
    fresh = train_fields.restore(lab, made, None)
    assert list(fresh) == [made.fields["task"], made.fields["adapter_fusion.parents"]]
    assert all("value" not in update for update in fresh.values()), "a fresh browser keeps the form"


def test_an_uploaded_file_is_kept_shown_and_trained_on(own_store, tmp_path, tiny_file):
    lab = Lab.open(own_store)
    path = tmp_path / "my <b>reviews.csv"
    frame = pd.read_csv(tiny_file).rename(columns={"sentence": "words", "label": "Label"})
    frame.loc[0, "words"] = "<script>alert(1)</script> the film is warm"
    frame.to_csv(path, index=False)
    said, task, _ = train_file.keep(lab, str(path))
    kept = task["value"]
    assert "is chosen as the task" in said
    path.unlink()
    assert any(value == kept for _, value in task["choices"])
    with gr.Blocks():
        parts = (gr.Group(), gr.Dropdown(), gr.Dropdown(), gr.Dropdown(), gr.HTML(), gr.Checkbox(), gr.Dropdown())
        view = train_file.View(*parts)
    changes = train_file.open_file(view, kept, None, None)
    assert seen(changes[view.columns])
    assert (changes[view.text]["value"], changes[view.label]["value"]) == (None, "Label")
    assert "expected a text and a label column" in changes[view.preview].lower()
    assert not seen(train_file.open_file(view, "movies", None, None)[view.columns])
    changes = train_file.open_file(view, str(tmp_path / "gone.csv"), None, None)
    assert "which does not exist" in changes[view.preview]
    assert view.text not in changes, "what was chosen stays"
    preview = train_file.preview_html(kept, "words", "Label")
    assert "240 rows, 2 labels" in preview
    assert "<script>" not in preview
    form = train_form.defaults("quick") | {"task": kept, "text_column": "words", "label_column": "Label"}
    configs, _ = train_form.recipes_of(form)
    assert {config.text_column for config in configs} == {"words"}
    html, *_ = train_plan.plan(lab, form | {"train_size": "", "validation_size": ""})
    assert "one after another" in html
    assert "192 sentences to train on, 24 to validate, 24 to test." in html
    html, *_ = train_plan.plan(lab, form | {"train_size": "1000", "validation_size": ""})
    assert "1,000 training sentences requested, 192 unique ones available." in html
    said, _, _ = train_file.keep(lab, str(tmp_path / "gone.csv"))
    assert "which does not exist" in said


def test_seeds_are_numbers_and_few():
    assert train_form.parse_seeds("0, 1 2,1") == [0, 1, 2]
    assert len(train_form.parse_seeds(" ".join(map(str, range(20))))) == 20
    for typed, said in (("a", "whole numbers as seeds"), (" ".join(map(str, range(21))), "at most 20 seeds at a time")):
        with pytest.raises(ArgumentError, match=said):
            train_form.parse_seeds(typed)


def test_what_a_page_sends_as_the_pressed_run_is_text():
    assert train_panel.picked(SimpleNamespace(value={"a": 1})) == "{'a': 1}"
    assert train_panel.picked(SimpleNamespace(value=None)) == ""


def watched() -> train_watch.View:
    """The components that follow the store."""
    with gr.Blocks():
        return train_watch.View(gr.State({}), gr.HTML(), gr.HTML(), gr.HTML(), train_panel.build())


def test_only_what_changed_is_sent_to_the_page(own_store, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    lab, view = Lab.open(own_store), watched()
    run, old = make(own_store), make(own_store, seed=1)
    own_store.update(old.id, state="failed", error="It went wrong.")
    lists = {view.seen, view.pulse, view.active, view.ended}
    first = train_watch.refresh(lab, view, {}, None)
    assert set(first) == {*lists, *view.panel.curves.outputs}
    assert f'data-seconds="{train_watch.BUSY}"' in first[view.pulse]
    assert run.id in first[view.active]
    assert old.id in first[view.ended]
    assert train_watch.refresh(lab, view, first[view.seen], None) == gr.skip()
    # What waits or trains changes often: the ended runs are not sent with it.
    own_store.update(run.id, label="mine")
    second = train_watch.refresh(lab, view, first[view.seen], run.id)
    assert {view.active, view.panel.title, view.panel.log} <= set(second)
    assert view.ended not in second
    assert view.panel.buttons.cancel in second
    assert "value" not in second[view.panel.label], "a name that is being typed stays"
    own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    own_store.update(old.id, label="another name")
    third = train_watch.refresh(lab, view, second[view.seen], None)
    assert f'data-seconds="{train_watch.IDLE}"' in third[view.pulse]
    assert third[view.active] == ""
    assert "another name" in third[view.ended]


def test_open_pages_start_one_worker_in_a_while(own_store, monkeypatch):
    """Each page looks every 1.5 seconds while a run waits, and a worker takes longer to hold its lock."""
    started, now = [], [1000.0]
    monkeypatch.setattr(jobs, "ensure_worker", started.append)
    monkeypatch.setattr("trainer.ui.common.lab.time", SimpleNamespace(monotonic=lambda: now[0]))
    lab = Lab.open(own_store)
    make(own_store)
    view = watched()
    with ThreadPoolExecutor(8) as pages:
        list(pages.map(lambda _: train_watch.refresh(lab, view, {}, None), range(40)))
    assert len(started) == 1
    now[0] += SECONDS_BETWEEN_WORKERS
    train_watch.refresh(lab, view, {}, None)
    assert len(started) == 2


def test_a_kept_file_is_deleted_unless_a_run_waits_for_it(own_store, tmp_path, tiny_file, tiny_backbone):
    lab = Lab.open(own_store)
    kept = train_file.keep(lab, str(tiny_file))[1]["value"]
    recipe = recipes.make(method="lora", task=kept, backbone=str(tiny_backbone))
    run = own_store.create(recipe)
    said, task, _ = train_file.remove(lab, kept)
    assert f"got one that {run.id} needs; cancel that first" in said
    assert "value" not in task
    own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    again = shutil.copyfile(tiny_file, tmp_path / "again.csv")
    same = train_file.keep(lab, str(again))[1]["value"]
    said, task, _ = train_file.remove(lab, kept)
    assert "tiny.csv is deleted" in said
    assert [str(path) for path in own_store.files()] == [same]
    train_file.remove(lab, same)
    assert task["value"] == "movies"
    assert kept not in [value for _, value in task["choices"]]
    assert list((own_store.root / ".files").iterdir()) == []
    for other in (kept, str(tiny_file), str(own_store.root / run.id / "run.json"), "movies", None):
        assert "Expected a file that the store keeps" in train_file.remove(lab, other)[0]
    assert tiny_file.is_file()


# The queue


def make(store: Store, **settings):
    return store.create(recipes.make(method="lora", task="movies", backbone="minilm", **settings))


def test_the_list_shows_who_trains_who_comes_next_and_own_suites_before_the_examples(own_store):
    runs = [make(own_store, seed=seed) for seed in range(20)]
    for run in runs[:15]:
        own_store.update(run.id, state="failed", error="It went wrong.")
    lab = Lab.open(own_store)
    assert [run.id for run in train_queue.recent(own_store.list())] == [run.id for run in runs[15:] + runs[14::-1]]
    html = train_queue.queue_html(lab)
    assert html.count("data-stop") == 5
    assert html.count("comes next") == 1
    assert "4 before it in the queue" in html
    assert "It went wrong." in html
    assert "Earlier runs (3)" in html, "all but the newest twelve are folded"
    assert all(html.count(f'data-pick="{run.id}"') == 1 for run in runs), "every run can be chosen"


def test_runs_are_grouped_by_suite_and_named_by_what_differs(own_store):
    shared = {"task": "movies", "backbone": "minilm"}
    for chosen, label in ((["lora", "full"], "first"), (["lora"], "")):
        configs = recipes.suite(methods_=chosen, seeds=[0, 1], **shared)
        with no_worker(own_store):
            jobs.launch(own_store, configs, label=label)
    for run in own_store.list():
        own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    example = make(own_store)
    lineage = {"parents": [], "bundled": {"command": "x", "weights": True}}
    own_store.update(example.id, state="failed", error="-", lineage=lineage)
    found = train_groups.ended(own_store.list())
    titles = [group.title.partition(",")[0] for group in found]
    assert titles == ["movies", "first", "Example runs that come with the program (1)"]
    assert [len(group.runs) for group in found] == [2, 4, 1]
    names = train_groups.names(own_store.list())
    assert [names[run.id] for run in found[0].runs] == ["LoRA, seed 1", "LoRA, seed 0"]
    html = train_queue.ended_html(Lab.open(own_store), own_store.list())
    assert html.count("<details") == 3
    assert html.count(" open>") == 1, "the newest suite alone is unfolded"


@pytest.mark.parametrize("count", [40, 300])
def test_a_long_list_is_light_and_drawn_at_once(count, own_store):
    runs = [make(own_store, seed=seed) for seed in range(count)]
    for run in runs:
        own_store.update(run.id, state="failed", error="It went wrong.")
    lab, listed = Lab.open(own_store), own_store.list()
    html = train_queue.ended_html(lab, listed)
    assert html.count("data-pick") == count
    assert len(html) < 700 * count
    assert train_queue.active_html(lab, listed) == ""


def test_a_finished_run_says_what_its_accuracy_stands_on(suite, own_store):
    """In the list and in the panel: sentences, interval, majority class; what was asked for and what was there."""
    run, lab = _of(suite[0], "lora"), Lab.open(suite[0])
    test, about = run.result.test, run.result.meta_info.dataset_info
    low, high = intervals.wilson(test.accuracy, about.sizes.test)
    shown = train_status.describe(lab, run)[0]
    assert f"({'interval ' + train_status.percent(low)} to {train_status.percent(high)}, 24 sentences)" in shown
    assert re.search(r"trained in (\d+|<1) s$", shown)
    details = train_panel.details_html(lab, run)
    assert f"interval at 95%: {train_status.percent(low)} to {train_status.percent(high)}; 24 test sentences" in details
    support = max(scores.support for scores in test.per_class.values())
    assert f"{train_status.percent(support / 24)}%: always" in details
    assert "192 sentences to train on, 24 to validate, 24 to test." in details
    assert "one label only" not in details + shown
    # The same run, had it said the same of every sentence
    bad, good = (test.per_class[name].support for name in ("bad", "good"))
    matrix = ((bad, 0), (good, 0))
    spoilt = run.result.model_copy(update={"test": test.model_copy(update={"confusion_matrix": matrix})})
    asked = run.recipe.model_copy(update={"train_size": 1000})
    spoilt = run.model_copy(update={"result": spoilt, "recipe": asked})
    assert "predicts one label only, bad: test accuracy" in train_status.describe(lab, spoilt)[0]
    details = train_panel.details_html(lab, spoilt)
    assert "bad, whatever the sentence" in details
    assert "1,000 training sentences requested, 192 unique ones available." in details


@pytest.mark.parametrize(
    ("matrix", "label"),
    [
        (((5, 0), (3, 0)), "bad"),
        (((0, 5), (0, 3)), "good"),
        (((5, 1), (3, 0)), None),
        (((5, 0), (0, 0)), None),  # one label in the test split alone: nothing else could be right
    ],
)
def test_a_model_that_predicts_one_label_only_is_called_that(matrix, label):
    test = SimpleNamespace(confusion_matrix=matrix)
    run = SimpleNamespace(result=SimpleNamespace(test=test), label_names=("bad", "good"))
    assert baseline.only_label(run) == label


@pytest.mark.parametrize(
    ("labels", "text"),
    [(2, "0.69 is a coin flip between two labels."), (3, "1.10 is guessing among 3 labels."), (6, "1.79 is guessing")],
)
def test_the_loss_of_guessing_follows_the_number_of_labels(labels, text):
    assert text in baseline.chance_loss(labels)


@pytest.mark.parametrize(
    ("fields", "sizes", "notes", "text"),
    [
        ({}, (192, 24, 24), (), "192 sentences to train on, 24 to validate, 24 to test."),
        ({"train_size": 100}, (100, 24, 24), (), "100 sentences to train on, 24 to validate, 24 to test."),
        (
            {"train_size": 1000, "test_size": 50}, (405, 51, 50), ("195 repeated or empty sentences were left out",),
            "405 sentences to train on, 51 to validate, 50 to test. 1,000 training sentences requested, 405 unique "
            "ones available. 195 repeated or empty sentences were left out.",
        ),
    ],
)  # fmt: skip
def test_sentences_requested_and_available(fields, sizes, notes, text):
    recipe = recipes.make(method="lora", task="movies", backbone="minilm", **fields)
    by_split = dict(zip(("train", "validation", "test"), sizes, strict=True))
    assert requested_and_available(recipe, by_split, notes) == text


def test_the_estimate_marks_what_is_measured_and_what_is_estimated(suite, tiny_backbone, tiny_file):
    """A column is of one kind, so that no method seems to need more only because it was measured."""
    lab = Lab.open(suite[0])
    lab.device = Device("cpu", _of(suite[0], "lora").device_name, 1, ("fp32",))
    form = train_form.defaults() | {
        "methods": ["lora", "full"], "task": str(tiny_file), "backbone": str(tiny_backbone), "epochs": 3,
        "batch_size": 16, "train_size": "", "validation_size": "",
    }  # fmt: skip
    html = train_plan.plan(lab, form).cost
    cells = [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", html, re.DOTALL)]
    assert len(cells) == 4
    assert not any(cell.startswith("≈") for cell in cells)
    assert "Memory is as measured in 1 earlier run" in html
    assert "Time is at the speed measured in 1 earlier run" in html
    # Another batch size: nothing measured, so nothing is mixed in
    html = train_plan.plan(lab, form | {"batch_size": 8}).cost
    memory = re.findall(r"≈ [\d,]+ MB", html)
    assert len(memory) == 2
    assert "Memory is estimated (≈) from" in html


def test_a_run_is_renamed_cancelled_resumed_and_deleted_in_words(own_store, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)  # nothing is to train here
    lab, run = Lab.open(own_store), make(own_store)
    assert "is called mine &amp; yours (LoRA, seed 0) now" in train_queue.rename(lab, run.id, " mine  & yours ")
    assert own_store.load(run.id).label == "mine & yours"
    assert "is cancelled." in train_queue.cancel(lab, run.id), "at once: it had not begun"
    assert "which is cancelled" in train_queue.cancel(lab, run.id)
    with gr.Blocks():
        panel = train_panel.build()
    able = panel.buttons
    changes = train_panel.open_run(lab, panel, run.id)
    assert set(changes) == set(panel.shown)
    assert seen(changes[panel.head])
    assert f'data-run="{run.id}"' in changes[panel.title]
    assert "mine &amp; yours" in changes[panel.title]
    assert "learning_rate" in changes[panel.details]
    assert "cancelled" in changes[panel.log]
    states = [changes[button]["interactive"] for button in (able.cancel, able.resume, able.again, able.delete)]
    assert states == [False, True, True, True]
    nobody = train_panel.open_run(lab, panel, None)
    assert set(nobody) == set(panel.shown)
    assert not seen(nobody[panel.head])
    assert not any(nobody[button]["interactive"] for button in panel.shown if isinstance(button, gr.Button))
    gone = train_panel.open_chosen(panel, partial(train_panel.open_run, lab, panel), "lora-gone")
    assert "no longer in the store" in gone[panel.message]
    assert "is queued" in train_queue.resume(lab, run.id)
    asked, question = train_panel.ask_to_delete(lab, run.id)
    assert seen(asked)
    assert "cannot be undone" in question
    assert own_store.list(), "asking deletes nothing"
    assert train_panel.close_gone(lab, panel, run.id) == gr.skip()
    assert "is deleted" in train_queue.delete(lab, run.id)
    assert own_store.list() == []
    closed = train_panel.close_gone(lab, panel, run.id)
    assert closed[panel.run] == ""
    assert not seen(closed[panel.head])
    assert panel.message not in closed, "what was done stays in words"
    assert "Choose a run first" in train_queue.delete(lab, run.id)


def test_live_charts_show_the_chosen_runs_suite(suite):
    store, _ = suite
    with gr.Blocks():
        curves = train_curves.build()
    drawn = train_curves.draw(Lab.open(store), curves, store.list(), None)
    assert set(drawn) == set(curves.outputs)
    assert all(seen(drawn[plot]) for plot in curves.plots.values())
    data = drawn[curves.plots["step loss"]]["value"].to_dict()["datasets"]
    rows = [row for rows in data.values() for row in rows if "run" in row]
    assert {row["run"] for row in rows} == {run.id for run in store.list()}
    assert {row["name"] for row in rows} == set(train_groups.names(store.list()).values())
    assert "0.69 is a coin flip between two labels" in drawn[curves.about]


def test_of_a_large_suite_the_curves_of_one_seed_and_task_are_drawn(own_store):
    runs = [make(own_store, seed=seed) for seed in range(train_curves.MOST)]
    shared = {"method": "full", "task": "movies", "backbone": "minilm"}
    other = [own_store.create(recipes.make(**shared, seed=seed)) for seed in (0, 1)]
    listed = [run.model_copy(update={"suite": "s"}) for run in [*runs, *other]]
    assert [run.id for run in train_curves.drawn(listed, runs[1].id)] == [runs[1].id, other[1].id]
    assert len(train_curves.drawn(listed[:10], runs[1].id)) == train_curves.MOST


# Loading


def test_a_folder_of_runs_loads_once_and_says_what_is_left_out(suite, own_store, tmp_path):
    store, _ = suite
    (tmp_path / "runs").mkdir()
    for run in store.list()[:2]:
        shutil.copytree(run.folder, tmp_path / "runs" / run.id)
    (tmp_path / "runs" / run.id / "model" / "evil.pkl").write_bytes(b"x")
    lab = Lab.open(own_store)
    assert "2 runs loaded." in train_load.load_folder(lab, str(tmp_path / "runs"))
    assert len(own_store.list()) == 2
    assert not list(own_store.root.rglob("evil.pkl"))
    assert train_load.load_folder(lab, str(tmp_path / "runs")).count("delete the one here first") == 2
    assert "which is none" in train_load.load_folder(lab, str(tmp_path / "nowhere"))
    zipped = archive.export(store, store.list()[2].id, tmp_path / "run.zip")
    assert "is in the store" in train_load.load_zips(lab, [str(zipped)])
    assert len(own_store.list()) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(result=None),
        lambda content: content.update(lineage=[]),
        lambda content: content["result"]["test"].update(accuracy="<b>"),
        lambda content: content["result"]["meta_info"]["dataset_info"].pop("fingerprint"),
    ],
)
def test_a_run_that_would_spoil_the_pages_is_refused(spoil, suite, own_store, tmp_path):
    run = suite[0].list()[0]
    place = tmp_path / "runs" / run.id
    shutil.copytree(run.folder, place)
    content = json.loads((place / "run.json").read_text())
    spoil(content)
    (place / "run.json").write_text(json.dumps(content))
    assert "whose run.json is whole" in train_load.load_folder(Lab.open(own_store), str(tmp_path / "runs"))
    assert own_store.list() == []


def test_an_adapter_from_elsewhere_is_fused_only_when_it_is_named(
    suite, own_store, tiny_backbone, tiny_file, second_file
):
    adapter = _of(suite[0], "adapter")
    shared = {"task": str(tiny_file), "backbone": str(tiny_backbone)}
    theirs = adoption.adopt(own_store, str(adapter.model_folder), **shared)
    settled(own_store)
    given = {"epochs": 1, "batch_size": 16, "precision": "fp32"}
    other = recipes.make(method="adapter", task=str(second_file), backbone=str(tiny_backbone), **given)
    (mine,) = jobs.launch(own_store, [other])
    fusion = recipes.make(method="adapter_fusion", **shared, **given, parents=(theirs.id, mine.id))
    (fused,) = jobs.launch(own_store, [fusion])
    settled(own_store)
    fused = own_store.load(fused.id)
    assert fused.state == "finished", fused.error
    assert fused.result.parents.train_time is None
    assert fused.result.parents.num_trainable_params > 0
    again = own_store.load(theirs.id).recipe
    assert jobs._parent(own_store, again, "suite", None).id != theirs.id


def settled(store: Store, seconds: float = 120) -> None:
    """Wait until nothing waits or trains."""
    end = time.monotonic() + seconds
    while any(run.state in ("queued", "running") for run in store.list()):
        assert time.monotonic() < end
        time.sleep(0.2)


def _of(store: Store, method: str):
    return next(run for run in store.list() if run.recipe.method == method and run.label)


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_plain_adapter_is_evaluated_as_it_was_where_it_was_trained(
    method, suite, own_store, tiny_backbone, tiny_file, tmp_path
):
    run = _of(suite[0], method)
    source = tmp_path / "plain"
    shutil.copytree(run.model_folder, source)
    done = trainer(
        "adopt", str(source), "--task", str(tiny_file), "--backbone", str(tiny_backbone), "--label", "theirs",
        store=own_store,
    )  # fmt: skip
    assert "test accuracy" in done.stdout
    (adopted,) = own_store.list()
    assert adopted.recipe.options == run.recipe.options
    assert adopted.result.test.confusion_matrix == run.result.test.confusion_matrix
    info = adopted.result.train_info
    assert info.train_time is None
    assert info.num_trainable_params == run.result.train_info.num_trainable_params
    assert not (adopted.folder / "source").exists()
    assert {file.suffix for file in adopted.model_folder.iterdir()} <= {".json", ".safetensors", ".md"}
    text = "the film is warm and the cast is funny"
    answers = [
        inference.Predictor(store).predict(text, [found])[0] for store, found in ((suite[0], run), (own_store, adopted))
    ]
    assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-5)
    assert "trained elsewhere" in train_queue.queue_html(Lab.open(own_store))


def test_an_adapters_own_label_order_is_heeded(suite, own_store, tiny_backbone, tiny_file, tmp_path):
    """AdapterHub keeps label names: a head saved in another order still means the same; PEFT's order can be said."""
    from safetensors.torch import load_file, save_file

    adapter, lora = _of(suite[0], "adapter"), _of(suite[0], "lora")
    turned = tmp_path / "turned"
    shutil.copytree(adapter.model_folder, turned)
    head = load_file(turned / "model_head.safetensors")
    save_file({name: tensor.flip(0).contiguous() for name, tensor in head.items()}, turned / "model_head.safetensors")
    config = json.loads((turned / "head_config.json").read_text())
    config["config"]["label2id"] = {"bad": 1, "good": 0}
    (turned / "head_config.json").write_text(json.dumps(config))
    shared = {"task": str(tiny_file), "backbone": str(tiny_backbone)}
    first = adoption.adopt(own_store, str(turned), **shared)
    second = adoption.adopt(own_store, str(lora.model_folder), label_order=["good", "bad"], **shared)
    third = adoption.adopt(own_store, str(lora.model_folder), label_order=["good", "worse"], **shared)
    settled(own_store)
    assert own_store.load(first.id).result.test.accuracy == adapter.result.test.accuracy
    accuracy = own_store.load(second.id).result.test.accuracy
    assert accuracy == pytest.approx(1 - lora.result.test.accuracy)
    assert "the labels bad, good in the adapter's order, got good, worse" in own_store.load(third.id).error


def test_what_is_no_fitting_adapter_is_refused_in_a_sentence(suite, own_store, tiny_backbone, tiny_file, tmp_path):
    shared = {"task": str(tiny_file), "backbone": str(tiny_backbone)}
    with pytest.raises(ArgumentError, match="without one"):
        adoption.adopt(own_store, str(_of(suite[0], "full").model_folder), **shared)
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text(json.dumps({"peft_type": "ADALORA"}))
    with pytest.raises(ArgumentError, match="got ADALORA"):
        adoption.adopt(own_store, str(other), **shared)
    (other / "adapter_config.json").write_text("{")
    with pytest.raises(ArgumentError, match="damaged"):
        adoption.adopt(own_store, str(other), **shared)
    (other / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "google-bert/bert-base-uncased"})
    )
    with pytest.raises(ArgumentError, match="choose the backbone bert-base"):
        adoption.adopt(own_store, str(other), **shared)
    with pytest.raises(UserError, match="from the Hugging Face Hub"):
        adoption.adopt(own_store, "nobody/nothing", **shared)
    assert own_store.list() == []


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    import pickle

    import torch

    from trainer.methods import peft_method

    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"weight": torch.ones(2)}, tmp_path / "adapter_model.bin")
    assert peft_method._read_weights(tmp_path)["weight"].tolist() == [1, 1]
    for write in (lambda path: torch.save(Hostile(), path), lambda path: path.write_bytes(pickle.dumps(Hostile()))):
        write(tmp_path / "adapter_model.bin")
        with pytest.raises(UserError, match="with tensors alone"):
            peft_method._read_weights(tmp_path)
    assert not (tmp_path / "ran").exists()


# In a browser


def test_the_form_is_filled_kept_and_explains_itself(trained_page, trained, tiny_file):
    from playwright.sync_api import expect

    page, (address, store) = trained_page, trained
    page.goto(f"{address}/?tab=train")
    page.locator("#lab-command").wait_for()
    page.get_by_label("Report", exact=True).check()
    expect(page.locator("#lab-command")).to_contain_text("--backbone bert-base")
    expect(page.get_by_text("591,362").first).to_be_visible()
    page.get_by_label("Quick", exact=True).check()
    expect(page.locator("#lab-command")).to_contain_text("--backbone minilm")
    page.get_by_role("button", name="Options of the chosen methods").click()
    page.get_by_label("Rank (r)").filter(visible=True).first.fill("4")
    expect(page.get_by_label("Custom", exact=True)).to_be_checked()
    expect(page.locator("#lab-command")).to_contain_text("lora.r=4")
    page.get_by_text("Your own sentences").click()
    page.locator(".lab-fold", has_text="Your own sentences").locator("input[type=file]").set_input_files(str(tiny_file))
    page.get_by_text("240 rows, 2 labels").wait_for()
    expect(page.locator("#lab-command")).to_contain_text("text_column=sentence")
    assert serious(page) == []
    shoot(page, "train-form")
    page.reload()
    expect(page.locator("#lab-command")).to_contain_text("lora.r=4")
    expect(page.locator("#lab-command")).to_contain_text("text_column=sentence")
    page.get_by_text("240 rows, 2 labels").wait_for()
    page.get_by_label("Group column").click()
    page.get_by_role("option", name="sentence").click()
    expect(page.get_by_text("neither the text nor the label column").first).to_be_visible()
    page.get_by_label("Group column").click()
    page.get_by_role("option", name="(no groups)").click()
    page.get_by_text("240 rows, 2 labels").wait_for()
    expect(page.locator("#lab-command")).not_to_contain_text("group_column")
    expect(page.get_by_label("Custom", exact=True)).to_be_checked()
    for path in store.files():
        store.delete_file(path)


def test_a_run_is_handled_in_the_page(trained_page, trained):
    """A newer copy of a run: the others stay for the tests that read them."""
    from playwright.sync_api import expect

    page, (address, store) = trained_page, trained
    newest = store.list()[-1]
    shutil.copytree(newest.folder, store.root / f"{newest.id}0")
    store.update(f"{newest.id}0", queue_order=newest.queue_order + 1)
    page.goto(f"{address}/?tab=train")
    page.locator(".lab-run-name").first.click()
    expect(page.get_by_role("button", name="Export", exact=True)).to_be_enabled()
    name = page.get_by_label("Name", exact=True).last
    expect(name).to_be_editable()
    name.fill("A <i>new</i> name")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_text("The run is called A <i>new</i> name").wait_for()
    expect(page.locator(".lab-run-name").first).to_contain_text("A <i>new</i> name")
    expect(page.locator("#lab-run-title")).to_contain_text("A <i>new</i> name")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export", exact=True).click()
        page.get_by_role("button", name="Download the zip").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.wait_for_function("document.querySelectorAll('.vega-embed').length >= 4")
    assert serious(page) == []
    shoot(page, "train-runs")
    before = len(store.list())
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep it").click()
    assert len(store.list()) == before
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete it").click()
    page.get_by_text(re.compile("is deleted")).wait_for()
    assert len(store.list()) == before - 1
    expect(page.locator("#lab-run-title")).to_be_hidden()


SIZES = ((1440, 900), (1280, 720), (390, 844))
"""A desktop, a projector, a phone."""


def test_a_press_on_a_name_opens_a_panel_in_view_which_has_the_focus_and_an_address(trained_page, trained):
    from playwright.sync_api import expect

    page, (address, _) = trained_page, trained
    title = page.locator("#lab-run-title")
    page.goto(f"{address}/?tab=train")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        name = page.locator(".lab-run-name").last
        name.scroll_into_view_if_needed()
        run = name.get_attribute("data-pick")
        name.click()
        expect(title).to_be_focused()
        expect(title).to_be_in_viewport(ratio=1)
        expect(page.locator(".lab-curves")).to_contain_text(f"Curves of {title.inner_text()}", timeout=10_000)
        for button in ("Close", "Retrain", "Export"):
            expect(page.get_by_role("button", name=button, exact=True)).to_be_in_viewport(ratio=1)
        expect(page).to_have_url(re.compile(f"[?&]run={run}"))
        page.get_by_role("button", name="Close", exact=True).click()
        expect(title).to_be_hidden()
        expect(page.locator(f'[data-pick="{run}"]')).to_be_focused()
        expect(page).not_to_have_url(re.compile("run="))
    page.go_back()
    expect(title).to_have_attribute("data-run", run)
    page.reload()
    expect(title).to_have_attribute("data-run", run)
    expect(title).to_be_in_viewport(ratio=1)


def test_the_train_button_and_what_it_costs_stay_in_view(trained_page, trained):
    """On a projector and on a phone, at the top of the form and within it; and so does the answer to a press."""
    from playwright.sync_api import expect

    page, (address, _) = trained_page, trained
    button = page.get_by_role("button", name="Train", exact=True)
    for width, height in SIZES[1:]:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{address}/?tab=train")
        expect(page.locator("#lab-train-bar")).to_contain_text(re.compile(r"5 runs, about \d"))
        expect(button).to_be_in_viewport(ratio=1)
        cut = page.evaluate("(t => t.scrollWidth > t.clientWidth)(document.querySelector('.lab-estimate .lab-table'))")
        assert not cut, "every column of the estimate is there without scrolling"
        page.mouse.wheel(0, 300)
        page.get_by_role("textbox", name=re.compile("^Seeds")).fill("a")
        expect(button).to_be_in_viewport(ratio=1)
        button.click()
        expect(page.locator("#lab-train-bar").get_by_text("whole numbers as seeds")).to_be_in_viewport()
        page.get_by_role("textbox", name=re.compile("^Seeds")).fill("0")
        expect(page.locator("#lab-train-bar")).to_contain_text(re.compile(r"5 runs, about \d"))


def test_only_options_of_chosen_methods_are_in_the_form(trained_page, trained):
    from playwright.sync_api import expect

    page, (address, _) = trained_page, trained
    page.goto(f"{address}/?tab=train")
    page.locator("#lab-command").wait_for()
    page.get_by_role("button", name="Options of the chosen methods").click()
    rank = page.get_by_label("Rank (r)").filter(visible=True)
    expect(rank).to_have_count(2)
    page.get_by_label("QLoRA (4-bit)", exact=True).uncheck()
    expect(rank).to_have_count(1)
    page.get_by_label("LoRA", exact=True).uncheck()
    expect(rank).to_have_count(0)
    expect(page.locator("#lab-command")).not_to_contain_text("--method lora")
    page.wait_for_timeout(1000)  # the browser stores the form after it shows the command
    page.reload()
    expect(page.get_by_label("LoRA", exact=True)).not_to_be_checked()
    page.get_by_role("button", name="Options of the chosen methods").click()
    expect(page.get_by_label("Reduction factor").filter(visible=True).first).to_be_visible()
    expect(rank).to_have_count(0)


def test_a_page_asks_often_while_a_run_waits_seldom_otherwise_and_never_unseen(trained_page, trained):
    """By the requests that it sends."""
    from playwright.sync_api import expect

    page, (address, store) = trained_page, trained
    sent: list[int] = []

    def count(seconds: float) -> list[int]:
        sent.clear()
        page.wait_for_timeout(1000 * seconds)
        return list(sent)

    def is_sent(event: int) -> bool:
        sent.clear()
        for _ in range(100):
            page.wait_for_timeout(100)
            if event in sent:
                return True
        return False

    page.on("request", lambda r: sent.append(r.post_data_json["fn_index"]) if "queue/join" in r.url else None)
    page.goto(f"{address}/?tab=train")
    page.locator(".lab-run-name").first.wait_for()
    expect(page.locator("#lab-train-bar")).to_contain_text("5 runs")
    for method in ("Full fine-tuning", "QLoRA (4-bit)", "Adapter", "AdapterFusion"):
        page.get_by_label(method, exact=True).uncheck()
    expect(page.locator("#lab-train-bar")).to_contain_text("1 run,")
    page.wait_for_timeout(2000)
    assert len(count(4)) <= 1, "nothing trains"
    with no_worker(store):
        page.get_by_role("button", name="Train", exact=True).click()
        expect(page.locator("#lab-train-bar").get_by_text("1 run queued")).to_be_in_viewport()
        page.locator("[data-stop]").wait_for()
        asked = count(5)
        assert 2 <= len(asked) <= 4
        (tick,) = set(asked)
        page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
        assert tick not in count(4)
        page.evaluate("delete document.hidden")
        assert is_sent(tick)
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_timeout(500)
        assert tick not in count(4)
        page.get_by_role("tab", name="Train").click()
        assert is_sent(tick)
        page.locator("[data-stop]").click()
        page.get_by_text("is cancelled.").wait_for()
        expect(page.locator("[data-stop]")).to_have_count(0)
    run = store.list()[-1]
    assert run.state == "cancelled"
    store.delete(run.id)
