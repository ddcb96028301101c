"""The lesson: its counts against real models, its statistics, its steps on real runs, its page in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pandas as pd
import pytest
from conftest import app_on, named_view, no_worker, seen, serious, shoot

from trainer import methods
from trainer.analysis import lesson, paired
from trainer.jobs import queue as jobs
from trainer.machine import device
from trainer.methods import Parent, Setup
from trainer.publish import bundled
from trainer.runs.metrics import METRICS
from trainer.runs.store import Store
from trainer.sources import backbones
from trainer.sources.backbones import FAMILIES
from trainer.ui.common.lab import Lab, run_name
from trainer.ui.lesson import choose as lesson_choose
from trainer.ui.lesson import cost as lesson_cost
from trainer.ui.lesson import curves as lesson_curves
from trainer.ui.lesson import drawing as lesson_drawing
from trainer.ui.lesson import frame as lesson_frame
from trainer.ui.lesson import frozen as lesson_frozen
from trainer.ui.lesson import papers
from trainer.ui.lesson import parts as lesson_parts
from trainer.ui.lesson import real as lesson_real
from trainer.ui.lesson import split as lesson_split
from trainer.ui.lesson import tab as lesson_tab
from trainer.ui.lesson import train as lesson_train
from trainer.ui.lesson.steps import STEPS
from trainer.ui.live import selection as live_selection

TEXT = "the film is warm and the story is dull"
OPTIONS = [
    ("full", {}),
    ("lora", {"r": 4}),
    ("lora", {"r": 8, "target_modules": ("query", "intermediate", "output")}),
    ("qlora", {"r": 4, "target_modules": ("key", "attention_output")}),
    ("adapter", {"reduction_factor": 8}),
    ("adapter", {"placement": "houlsby"}),
    ("adapter_fusion", {"reduction_factor": 8, "parent_tasks": ("one", "two")}),
    ("adapter_fusion", {"placement": "houlsby", "parent_tasks": ("one", "two")}),
]

FROZEN, COST, TRAIN, CURVES, SPLIT, REAL, CHOOSE = (
    named_view(module.View)
    for module in (lesson_frozen, lesson_cost, lesson_train, lesson_curves, lesson_split, lesson_real, lesson_choose)
)

# Counts


@pytest.mark.parametrize("name", list(methods.DEFAULT))
@pytest.mark.parametrize("backbone", list(backbones.BACKBONES))
def test_parts_are_the_encoders_the_head_and_what_stands_beside_the_encoders(name, backbone):
    shape = backbones.shape_of(backbone)
    for options in [{}, *(values for other, values in OPTIONS if other == name)]:
        found = lesson.anatomy(name, backbone, options, labels=6)
        own = [part for part in found.parts if not part.beside and part.name != "head"]
        assert sum(part.total for part in own) == shape.encoder_parameters
        assert {part.beside for part in found.parts} <= {part.name for part in own} | {""}
        assert {part.trains for part in own} == {name == "full"}
        assert found.parts[-1].name == "head"
        assert found.parts[-1].trains


@pytest.mark.parametrize(("name", "values"), OPTIONS)
def test_parts_are_those_of_the_model_that_trains(name, values, tiny_backbone, tmp_path):
    method, backbone = methods.get(name), backbones.locate(str(tiny_backbone))
    setup = Setup(backbone, ("bad", "good"), method.options(**values), device.detect())
    if method.parent_method:
        setup = replace(setup, parents=parents(setup, values, tmp_path))
    model = method.build(setup)
    found = lesson.anatomy(name, str(tiny_backbone), values)
    every = {name: parameter for name, parameter in model.named_parameters() if "original_module" not in name}
    assert sum(p.numel() for p in every.values() if p.requires_grad) == found.trained
    held = {part.name for part in found.parts if part.bits == 4}
    if held:  # a byte has two weights, so that they cannot be counted
        packed = [parameter for parameter in every.values() if type(parameter).__name__ == "Params4bit"]
        assert len(packed) == backbone.shape.layers * len(held)
        return
    assert sum(p.numel() for p in every.values()) == found.total
    own = {part.name: part.total for part in found.parts if not part.beside}
    for part, path in FAMILIES["bert"].linears.items():
        inside = re.compile(rf"layer\.\d+\.{re.escape(path)}\.(base_layer\.)?(weight|bias)$")
        assert sum(p.numel() for name, p in every.items() if inside.search(name)) == own[part], part
    assert sum(p.numel() for name, p in every.items() if ".embeddings." in name) == own["embeddings"]


def parents(setup, values, folder):
    """Two adapters to fuse, untrained."""
    adapter = methods.get("adapter")
    own = {name: value for name, value in values.items() if name != "parent_tasks"}
    single = replace(setup, options=adapter.options(**own))
    found = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        adapter.save(adapter.build(single), folder / name, single)
        found.append(Parent(name, name, folder / name))
    return tuple(found)


class Words(HTMLParser):
    """The texts of an SVG, and the last cell but one of each row of a table."""

    def __init__(self):
        super().__init__()
        self.texts, self.rows, self.inside = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        self.inside = tag if tag in ("text", "td", "th") else self.inside

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        if self.inside == "text":
            self.texts.append(data)
        elif self.inside:
            self.rows[-1].append(data)


@pytest.mark.parametrize("name", list(methods.METHODS))
@pytest.mark.parametrize("backbone", ["minilm", "roberta-base", "distilbert", "electra-small"])
def test_drawing_and_table_say_the_same_and_sum_to_the_totals(name, backbone):
    if backbones.shape_of(backbone).family not in methods.get(name).families:
        return
    found = lesson.anatomy(name, backbone, {"target_modules": tuple(lesson_frozen.CHOICES["target_modules"])})
    words = Words()
    words.feed(lesson_drawing.drawing(found))
    drawn = [text for text in words.texts if re.fullmatch(r"(\d+ × )?[\d,]+", text)]
    assert sorted(drawn) == sorted(lesson_parts.count(part) for part in found.parts)

    def value(text):
        copies, _, one = text.rpartition(" × ")
        return int(one.replace(",", "")) * int(copies or 1)

    each = next(text for text in words.texts if text.endswith("parameters in each"))
    outside = sum(part.count for part in found.parts if not part.layers)
    assert value(each.split()[0]) * found.layers + outside == found.total
    assert sum(map(value, drawn)) == value(each.split()[0]) + outside
    cells = [[int(cell.replace(",", "")) for cell in row if re.fullmatch(r"[\d,]+", cell)] for row in words.rows]
    totals = [row[-1] for row in cells if row]
    assert totals[-2:] == [found.trained, found.total]
    assert sum(totals[:-2]) == found.total
    assert words.texts.count("trains") == sum(part.trains for part in found.parts)
    assert words.texts.count("frozen, 4-bit") == sum(part.bits == 4 for part in found.parts)


@pytest.mark.parametrize("name", ["lora", "qlora"])
@pytest.mark.parametrize(
    "targets", [("query", "value"), ("intermediate",), tuple(lesson_frozen.CHOICES["target_modules"])]
)
def test_lora_is_drawn_beside_its_linear_layer(name, targets):
    """At the same height and on its right, with a sum between them: it gets the same input."""
    sheet = lesson_drawing.layout(lesson.anatomy(name, "minilm", {"target_modules": targets}))
    boxes = {}
    for box in (shape for shape in sheet.shapes if shape.shape == "box"):
        boxes.setdefault(box.texts[0].text, []).append(box)
    sums = [shape for shape in sheet.shapes if shape.shape == "plus"]
    beside = boxes["LoRA A, B"]
    assert len(beside) == len(sums) == len(targets)
    linears = [box for title in ("query", "key", "value", "attention output", "up-projection", "down-projection")
               for box in boxes[title]]  # fmt: skip
    for lora, plus in zip(beside, sums, strict=True):
        corner = lora.points[0]
        (linear,) = [one for one in linears if one.points[0][1] == corner[1]]
        assert linear.points[1][0] < plus.x < corner[0]
    # No two boxes overlap, and all are inside the drawing.
    every = [box for group in boxes.values() for box in group]
    for i, one in enumerate(every):
        left, top, right, bottom = one.points[0][0], one.points[0][1], one.points[1][0], one.points[3][1]
        assert 0 <= left < right <= lesson_drawing.WIDTH
        for other in every[:i]:
            apart = other.points[0][0] >= right or other.points[1][0] <= left
            assert apart or other.points[0][1] >= bottom or other.points[3][1] <= top
    assert "+: both get the same input" in lesson_drawing.drawing(lesson.anatomy(name, "minilm"))
    assert "+: both" not in lesson_drawing.drawing(lesson.anatomy("adapter", "minilm"))


# Statistics and readings


def rights(both, only_a, only_b, neither):
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


def test_mcnemar_is_a_coin_flip_over_the_sentences_that_differ():
    found = paired.compare(*rights(70, 10, 2, 18))
    # 2 × (1 + 12 + 66) / 2^12: at most 2 heads or at least 10 of 12 throws.
    assert found.p == pytest.approx(2 * 79 / 4096)
    assert found.difference == pytest.approx(0.08)
    assert (found.both, found.only_a, found.only_b, found.neither) == (70, 10, 2, 18)
    assert paired.compare(*rights(0, 10, 2, 0)).p == found.p, "what both get right or wrong tells nothing"
    same = paired.compare(*rights(50, 0, 0, 50))
    assert (same.p, same.differs) == (1.0, False)
    assert same.low < 0 < same.high, "a hundred sentences without a difference leave room for one"
    with pytest.raises(ValueError, match="no sentences"):
        paired.compare(np.array([]), np.array([]))


def test_the_interval_is_near_that_of_whole_sentences_drawn_again():
    a, b = rights(700, 60, 30, 210)
    found = paired.compare(a, b)
    rng = np.random.default_rng(1)
    gains = a.astype(int) - b.astype(int)
    drawn = [gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.003)
    # Four times as many sentences halve it.
    more = paired.compare(np.tile(a, 4), np.tile(b, 4))
    assert (more.high - more.low) / (found.high - found.low) == pytest.approx(0.5, abs=0.05)
    assert paired.compare(b, a).difference == -found.difference
    assert paired.compare(a, b) == found, "the same whenever it is drawn"


def points(training, validation):
    rows = [
        {"run": "a", "name": "A", "method": "lora", "curve": curve, "epoch": float(epoch), "value": value}
        for curve, values in (("training loss", training), ("validation loss", validation))
        for epoch, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ([0.69, 0.58, 0.46], [0.67, 0.59, 0.46], "falls"),
        ([0.68, 0.53, 0.35], [0.64, 0.442, 0.426], "gap"),
        ([0.65, 0.36, 0.20, 0.11], [0.32, 0.18, 0.20, 0.21], "rises"),
        ([0.24, 0.24, 0.24], [0.256, 0.256, 0.256], "still"),
        ([0.60, 0.44, 0.42], [0.50, 0.486, 0.47], "flat"),
        ([0.6], [0.5], "short"),
    ],
)
def test_curves_are_read(training, validation, expected):
    table = points(training, validation)
    assert lesson.reading(table) == expected
    assert lesson_curves.read(table).startswith("A: ")
    assert lesson_curves.losses_chart(table).to_dict()["title"]["text"] == "Loss: A"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((770, 38, 14, 182), "real"), ((772, 12, 8, 212), "open"), ((768, 14, 27, 195), "open")],
)
def test_the_verdict_is_that_of_the_interval_and_of_the_test(counts, expected):
    found = paired.compare(*rights(*counts))
    assert lesson_real.significance(found, 0.01) == expected
    assert found.differs == (found.p < paired.BOUND)


def test_a_pair_chosen_of_many_is_no_finding_that_counting_them_takes_away():
    """The widest of ten differences may be luck, though it looks real when it stands alone."""
    found = paired.compare(*rights(772, 47, 25, 160))
    assert found.differs
    assert found.p < paired.BOUND
    assert lesson_real.significance(found, found.p) == "real"
    assert lesson_real.significance(found, 10 * found.p) == "searched"


# Steps on real runs


def finished(method, *, queue_order):
    """A finished run of the lesson's own recipe, as far as choosing goes."""
    return SimpleNamespace(
        state="finished", result=True, split_fingerprint="the lesson's own", adopted=None, queue_order=queue_order,
        recipe=lesson.recipe(method), multi_label=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def silent(suite, tmp_path_factory):
    """The suite as the app brings it: full fine-tuning without its weights."""
    root = tmp_path_factory.mktemp("silent") / "store"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    store = Store(root)
    full = next(run for run in store.list() if run.recipe.method == "full")
    shutil.rmtree(full.model_folder)
    return Lab.open(store)


def test_the_lesson_shows_one_run_a_method_on_the_same_sentences(silent):
    runs = lesson.members(silent.store.list())
    assert list(runs) == list(methods.DEFAULT)
    assert len({run.split_fingerprint for run in runs.values()}) == 1
    first, second = lesson.pair(runs)
    accuracy = METRICS["test_accuracy"]
    assert accuracy.of(first) == max(map(accuracy.of, runs.values()))
    assert accuracy.of(second) == min(map(accuracy.of, runs.values()))
    assert lesson.members([]) == {}
    # Two methods of the lesson's own task go before five of another.
    own = [finished("full", queue_order=9), finished("lora", queue_order=8), finished("lora", queue_order=7)]
    found = lesson.members([*silent.store.list(), *own])
    assert [(name, run.queue_order) for name, run in found.items()] == [("full", 9), ("lora", 7)]
    assert list(lesson.members([*silent.store.list(), own[0]])) == list(methods.DEFAULT), "one alone compares nothing"
    # What is trained in the lesson stands beside, and changes nothing.
    again = [*silent.store.list(), runs["lora"].model_copy(update={"id": "other", "queue_order": 2**63})]
    assert lesson.members(again)["lora"].id == runs["lora"].id


def test_every_step_works_with_full_fine_tuning_without_its_weights(silent):
    drawn = [
        lesson_frozen.draw(FROZEN, "adapter_fusion", "", "minilm", 16, ["query"], 8, "houlsby"),
        lesson_cost.show(silent, "under1", None, "more", "under1"),
        lesson_train.draw(silent, TRAIN, None),
        lesson_curves.draw(silent, CURVES, None),
        lesson_split.draw(silent, SPLIT, []),
        lesson_real.draw(silent, REAL, None, None, None),
        lesson_choose.draw(silent, CHOOSE),
    ]
    for step in drawn:
        assert "lab-warning" not in str(step)
    assert "Measured in the run full-" in drawn[1]
    assert "≈" not in drawn[1]
    assert "Without its weights a run cannot predict: Full fine-tuning." in drawn[4]["predictions"]
    drawings = list(lesson_split.predict(silent, SPLIT, TEXT, " Asha <b> ", []))
    score, room = drawings[-1]["score"], drawings[-1]["room"]
    assert drawings[-1]["predictions"].count("<h3>") == 4
    assert room[0]["who"] == "Asha <b>"
    assert "<b>" not in score
    assert "&lt;b&gt;" in score
    *_, again = lesson_split.predict(silent, SPLIT, TEXT.replace("the film is ", "The film is  "), "", room)
    assert again["room"] == room, "a sentence counts once"
    (empty,) = lesson_split.predict(silent, SPLIT, "  ", "", room)
    assert "type one" in empty["predictions"]


@pytest.mark.parametrize(
    ("room", "texts"),
    [
        (None, []), ("x", []), ({"text": "a"}, []), ([None, 1, {}, {"text": 1, "labels": {}}], []),
        ([{"text": "a", "who": "", "labels": {"good": "lora"}}], []),
        ([{"text": "a" * 2001, "who": "", "labels": {}}], []),
        ([{"text": "a", "who": "b", "labels": {"good": ["lora"]}}, {"text": "c", "labels": []}], ["a"]),
        ([{"text": "older", "who": "", "said": {"good": ["gone"], "bad": ["full"]}}], ["older"]),
        ([{"text": str(number), "labels": {}} for number in range(300)], [str(number) for number in range(100, 300)]),
    ],
)  # fmt: skip
def test_the_rooms_sentences_are_read_as_far_as_they_are_sentences(room, texts):
    assert [entry.text for entry in lesson_split.stored(room)] == texts
    assert all(text in lesson_split.score_html(room) for text in texts)


@pytest.fixture(scope="module")
def own(silent, tmp_path_factory):
    """A lab in which a class has trained LoRA with its own number: (lab, the run's id)."""
    root = tmp_path_factory.mktemp("own") / "store"
    shutil.copytree(silent.store.root, root)
    lora = next(run for run in silent.store.list() if run.recipe.method == "lora")
    shutil.copytree(lora.folder, root / "lora-own")
    changed = {"id": "lora-own", "label": "", "queue_order": lora.queue_order + 10**15}
    again = lora.model_copy(update=changed | {"recipe": lora.recipe.model_copy(update={"seed": 7})})
    (root / "lora-own" / "run.json").write_text(json.dumps(again.as_json(), default=str), encoding="utf-8")
    return Lab.open(Store(root)), "lora-own"


def test_the_classs_own_run_is_in_the_steps_after_it(own, silent):
    lab, run_id = own
    count = lab.find(run_id).result.meta_info.dataset_info.sizes.train
    name = f"LoRA, the class's run (seed 7, {count} sentences)"
    names = [title for title, _ in lesson_curves.draw(lab, CURVES, None, run_id)["run"]["choices"]]
    assert {name, "LoRA"} <= set(names)
    reading = lesson_curves.pick(lab, CURVES, run_id, run_id)["reading"]
    assert name in html.unescape(str(reading))
    drawn = lesson_real.draw(lab, REAL, run_id, None, None, run_id)
    assert (name, run_id) in drawn["first"]["choices"]
    assert drawn["first"]["value"] == run_id
    assert "15 pairs" in drawn["question"], "of six runs"
    assert name in html.unescape(str(drawn["comparison"]))
    *_, last = lesson_split.predict(lab, SPLIT, TEXT, "", [], run_id)
    assert last["predictions"].count("<h3>") == 5
    assert "own" in [key for keys in last["room"][0]["labels"].values() for key in keys]
    assert "the class's run" in html.unescape(str(last["score"]))
    # Without one, or with one that is gone or on other sentences, the steps are as they were.
    assert len(lesson_frame.members_with_own(lab, None)) == len(lesson_frame.members_with_own(lab, "gone")) == 5
    assert list(lesson_frame.members_with_own(lab, run_id)) == [*methods.DEFAULT, lesson_frame.OWN]
    # Step 3 gives the class fewer training sentences than the example runs had.
    other = lab.find(run_id)
    fewer = other.result.meta_info.dataset_info.model_copy(update={"fingerprint": "fewer"})
    meta = other.result.meta_info.model_copy(update={"dataset_info": fewer})
    fewer = other.model_copy(update={"result": other.result.model_copy(update={"meta_info": meta})})
    elsewhere = fewer.model_copy(update={"recipe": fewer.recipe.model_copy(update={"split_seed": 5})})
    for run, there in ((fewer, True), (elsewhere, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lab, "find", lambda _, run=run: run)
            assert (lesson_frame.OWN in lesson_frame.members_with_own(lab, run_id)) == there
    member = next(iter(lesson_frame.members(lab).values()))
    assert lesson_frame.OWN not in lesson_frame.members_with_own(lab, member.id)


def test_a_run_that_waits_says_for_what(own_store, monkeypatch):
    lab = Lab.open(own_store)
    with no_worker(own_store):
        first, second, third = (own_store.create(lesson.recipe("lora", seed=seed), suite="s") for seed in (1, 2, 3))
        assert "waits for its process" in lesson_train.status_html(lab, first)
        assert "1 more run comes before it" in lesson_train.status_html(lab, second)
        running = own_store.update(first.id, state="running")
        with own_store.at_work(first.id):
            text = lesson_train.status_html(lab, own_store.load(third.id))
        assert f"waits for {run_name(running)}, which trains now: loading" in text
        assert "1 more run comes before it" in text


def test_papers_are_links():
    """Every paper that the lesson names, in its tables, answers and notes; what is around a citation is escaped."""
    lab = Lab.open(Store(bundled.BUNDLED))
    rules = lesson_choose.draw(lab, CHOOSE)["rules"]
    drawn = [rules, *(lesson_drawing.drawing(lesson.anatomy(name, "minilm")) for name in methods.DEFAULT)]
    for name in methods.DEFAULT:
        for address in re.findall(r"https://\S+[^\s;,.]", methods.get(name).paper):
            assert f'<a href="{address}"' in rules
    real = lesson_real.draw(lab, REAL, None, None, None)
    curves = lesson_curves.draw(lab, CURVES, None)
    drawn += [real["comparison"], real["question"], curves["reading"], lesson_cost.draw(COST, None)["question"]]
    for part in drawn:
        assert "<a href=" in part
        bare = re.sub(r'<a .*?</a>|data-value=".*?"', "", part, flags=re.DOTALL)
        assert not re.findall(r"https?://|[A-Z]\w+ (?:et al\. |and \w+ )?(?:19|20)\d\d", bare), "a paper without a link"
    assert papers.linked("<b> Holm 1979, https://x.org/1.") == (
        '&lt;b&gt; <a href="https://www.jstor.org/stable/4615733" target="_blank" rel="noopener">Holm 1979</a>.'
    )


def test_every_step_says_what_is_missing_in_an_empty_store(own_store):
    lab = Lab.open(own_store)
    estimated = lesson_cost.show(lab, None, None, None, None)
    assert estimated.count("≈ marks an estimate") == 2
    assert "The room made no guess." in estimated
    assert "Nothing trains yet" in str(lesson_train.draw(lab, TRAIN, "gone"))
    curves = lesson_curves.draw(lab, CURVES, "gone")
    assert "published elsewhere" in str(curves["run"])
    assert "needs two finished runs" in curves["question"]
    assert "needs two finished runs" in lesson_split.draw(lab, SPLIT, None)["predictions"]
    assert "needs two finished runs" in next(lesson_split.predict(lab, SPLIT, "x", "", None))["predictions"]
    assert "needs two finished runs" in lesson_real.draw(lab, REAL, None, None, None)["comparison"]
    assert "A dash means" in lesson_choose.draw(lab, CHOOSE)["rules"]


def test_a_guess_is_right_only_in_its_range():
    assert lesson_cost.verdict(0.0065, "under1").endswith("right.")
    assert lesson_cost.verdict(0.0065, "under10") == "✗ The room said 1 to 10%."
    assert lesson_cost.verdict(0.72, "under90").endswith("right.")
    assert lesson_cost.verdict(1.02, "same").endswith("right.")
    assert lesson_cost.verdict(3.0, "more").endswith("right.")


def test_fewer_sentences_widen_the_interval():
    """On the runs that come with the program, as a class sees it."""
    lab = Lab.open(Store(bundled.BUNDLED))
    first, second = lesson.pair(lesson.members(lab.store.list()))

    def width(size):
        shown = lesson_real.redraw(lab, REAL, first.id, second.id, size)["comparison"]
        low, high = re.search(r"between ([+-][\d.]+) and ([+-][\d.]+) points", shown).groups()
        return float(high) - float(low)

    widths = [width(size) for size in (*lesson_real.SIZES, lesson_real.ALL)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 2
    same = lesson_real.redraw(lab, REAL, first.id, first.id, lesson_real.ALL)["comparison"]
    assert same.count("two different runs") == 1


def test_every_step_works_with_the_runs_that_come_with_the_program():
    lab = Lab.open(Store(bundled.BUNDLED))
    assert set(lesson.members(lab.store.list())) == set(methods.DEFAULT)
    costs = lesson_cost.show(lab, "under1", None, None, None)
    assert "≈" not in costs, "everything was measured"
    assert "The room said under 1%: right." in costs
    assert "which was trained earlier" in str(lesson_train.draw(lab, TRAIN, None))
    assert "needs" not in lesson_curves.draw(lab, CURVES, None)["question"]
    split = lesson_split.draw(lab, SPLIT, None)
    assert "Full fine-tuning" in split["predictions"]
    assert split["hints"].count("data-pick") == lesson_split.HINTS
    assert re.search(r"all 4 runs are right on \d+ and split on \d+", split["question"])
    assert "10 pairs" in lesson_real.draw(lab, REAL, None, None, None)["question"]
    assert "A dash means" not in lesson_choose.draw(lab, CHOOSE)["rules"]


def test_guesses_stay_in_the_browser():
    kept = lesson_cost.keep_guesses("under1", None, "more", "under10")
    drawn = lesson_cost.draw(COST, kept)
    assert [drawn[key] for key in lesson.COSTS] == ["under1", None, "more", "under10"]
    for spoilt in (None, [], ["gone"], ["under1"] * 9):
        drawn = lesson_cost.draw(COST, spoilt)
        assert len(drawn) == 5
        assert {drawn[key] for key in lesson.COSTS} <= {None, "under1"}


def test_drawing_says_what_is_wrong_with_a_choice():
    assert "target_modules" in lesson_frozen.draw(FROZEN, "lora", "", "minilm", 16, [], 16, "pfeiffer")["drawing"]
    drawn = lesson_frozen.draw(FROZEN, "adapter", "", "minilm", 16, [], 16, "houlsby")
    assert [seen(drawn[name]) for name in lesson_frozen.CHOICES] == [False, False, True, True]


def test_the_class_trains_lora_and_can_cancel_it(own_store):
    """The real quick run, through the step's own handlers, with another run's figures left alone."""
    lab = Lab.open(own_store)
    launched = lesson_train.launch(lab, TRAIN, 7)
    assert launched["launched"] == ""
    run_id = launched["stored"]
    run = own_store.load(run_id)
    assert (run.recipe.method, run.recipe.seed, run.recipe.train_size) == ("lora", 7, 1000)
    end = time.monotonic() + 300
    while "The run trains: epoch" not in (status := lesson_train.status_html(lab, own_store.load(run_id))):
        assert time.monotonic() < end, status
        time.sleep(0.5)
    drawn = lesson_train.look_at(lab, TRAIN, run_id, {})
    assert "<progress" in drawn["status"]
    assert seen(drawn["chart"])
    assert (drawn["go"]["interactive"], drawn["stop"]["interactive"]) == (False, True)
    assert drawn["timer"].active
    again = lesson_train.look_at(lab, TRAIN, run_id, drawn["seen"])
    assert "chart" not in again, "each drawing is a new picture: one every few seconds"
    jobs.cancel(own_store, run_id)
    while own_store.load(run_id).state != "cancelled":
        assert time.monotonic() < end
        time.sleep(0.5)
    assert not lesson_train.look_at(lab, TRAIN, run_id, {})["timer"].active
    assert "type one" in lesson_train.launch(lab, TRAIN, None)["launched"]


# Words


def test_the_lesson_has_fifty_minutes_and_whole_sentences():
    assert sum(step.minutes for step in STEPS.values()) == 50
    for index, step in enumerate(STEPS.values()):
        for text in (step.goal, step.task):
            assert re.search(r"[.?:]$", text), text
        assert lesson_frame.heading(index).count("<h2") == 1
        assert lesson_frame.heading(index).count("A lesson of 50 minutes.") == (index == 0)


def test_every_step_asks_a_question_and_hides_its_answer(silent):
    """In whole sentences: the texts stand in each step's own file."""
    drawn = [
        lesson_frozen.draw(FROZEN, "lora", "", "minilm", 16, ["query"], 8, "houlsby"),
        lesson_cost.draw(COST, None),
        lesson_train.draw(silent, TRAIN, None),
        lesson_curves.draw(silent, CURVES, None),
        lesson_split.draw(silent, SPLIT, []),
        lesson_real.draw(silent, REAL, None, None, None),
        lesson_choose.draw(silent, CHOOSE),
    ]
    for step in drawn:
        pattern = r"<h3>Question for the room</h3>\s*<p>(.*?)</p>\s*<details.*?</summary>\s*<p>(.*?)</p>"
        for text in re.search(pattern, step["question"], re.DOTALL).groups():
            assert re.search(r"[.?:]$", text), text
            assert "{" not in text


def test_a_step_on_the_page_fills_its_own_components_alone():
    """`draw_step` gives Gradio what one step draws, by the values of all steps' inputs."""
    steps = [
        lesson_frame.Step(name, [f"in-{name}"], [f"out-{name}"], lambda value, name=name: {f"out-{name}": value})
        for name in STEPS
    ]
    values = {"index": 2} | {f"in-{name}": name.upper() for name in STEPS}
    assert lesson_tab.draw_step(steps, "index", values) == {"out-train": "TRAIN"}
    assert lesson_tab.draw_step(steps, "index", values | {"index": "spoilt"}) == {"out-frozen": "FROZEN"}


# In a browser


@pytest.fixture(scope="module")
def served(silent):
    with app_on(silent.store.root) as found:
        yield found


def test_the_page_waits_until_a_step_is_opened(page):
    """Nothing of the lesson is drawn at the start."""
    page.get_by_role("tab", name="Compare").wait_for()
    page.wait_for_timeout(1000)
    assert page.locator(".lab-lesson-title, .lab-drawing").count() == 0


def test_seven_steps_by_keyboard_and_the_place_survives_a_reload(page):
    from playwright.sync_api import expect

    page.get_by_role("tab", name="Lesson").click()
    page.locator(".lab-drawing svg[role=img]").wait_for()
    for place, name in enumerate(STEPS, start=1):
        expect(page.locator(".lab-lesson-title")).to_have_text(f"{place}. {STEPS[name].title}")
        expect(page.locator(".lab-lesson-steps [aria-current=step]")).to_have_text(re.compile(f"^{place}[.]"))
        expect(page.locator(".lab-question:visible")).to_have_count(1)
        if name == "frozen":
            page.get_by_role("radio", name="Adapter", exact=True).check()
            page.get_by_label("houlsby").check()
            expect(page.locator(".lab-drawing .lab-trains")).to_have_count(3)
            page.get_by_label("Another method").fill("Prefix")
            page.get_by_role("option", name="Prefix tuning").click()
            # Beside key and value, and the head.
            expect(page.locator(".lab-drawing .lab-trains")).to_have_count(3)
            expect(page.get_by_label("houlsby")).to_be_hidden()
            expect(page.locator(".lab-summary")).to_contain_text("Prefix tuning")
        if name == "cost":
            page.get_by_role("button", name="Reveal", exact=True).click()
            page.locator(".lab-cost").nth(3).wait_for()
        if name == "curves":
            page.locator(".lab-chart svg.marks:visible").nth(1).wait_for()
        if name == "split":
            page.get_by_label("A sentence about a film").fill("the film is warm and the story is dull")
            page.get_by_label("A sentence about a film").press("Enter")
            page.get_by_text(re.compile("Sentences that split the runs: . of 1")).wait_for()
        for shut in page.locator(".lab-shut:visible > summary").all():
            shut.press("Enter")
        page.wait_for_timeout(300)
        assert serious(page) == [], name
        shoot(page, f"lesson-{name}")
        if place < len(STEPS):
            page.get_by_role("button", name="Next step").press("Enter")
    page.reload()
    page.get_by_role("tab", name="Lesson").click()
    expect(page.locator(".lab-lesson-title")).to_have_text(re.compile("^7"))
    page.locator(".lab-lesson-steps").get_by_role("button", name=re.compile("Find a sentence")).press("Enter")
    page.get_by_text(re.compile("Sentences that split the runs: . of 1")).wait_for()
    page.wait_for_function("document.activeElement.className == 'lab-lesson-title'")


RESULTS = {
    "frozen": ".lab-summary, .lab-drawing svg",
    "cost": ".lab-cost",
    "train": ".lab-run, .lab-chart svg.marks",
    "curves": ".lab-chart svg.marks",
    "split": ".lab-answer h3",
    "real": ".lab-lesson-results .lab-statement p",
    "choose": ".lab-choose thead",
}
"""What each step brings: all of it begins above the fold, at the size of a projector."""
BELOW = """selector => [...document.querySelectorAll(selector)].filter(one => one.offsetParent || one.tagName === 'svg')
  .filter(one => { const box = one.getBoundingClientRect();
    return box.height && (box.top < -1 || Math.min(box.top + Math.min(box.height, 120)) > innerHeight - 56); })
  .map(one => `${one.getBoundingClientRect().top} ${one.textContent.trim().slice(0, 60)}`)"""
SMALL = """() => Math.min(...[...document.querySelectorAll('.lab-lesson p, .lab-lesson label, .lab-lesson button, ' +
  '.lab-lesson summary, .lab-lesson th, .lab-lesson td')].filter(one => one.offsetParent && one.textContent.trim())
  .map(one => parseFloat(getComputedStyle(one).fontSize)))"""


@pytest.mark.parametrize("present", [False, True])
def test_results_stand_above_the_fold_of_a_projector(open_page, served, present):
    from playwright.sync_api import expect

    page = next(opened := open_page(f"{served[0]}/?tab=lesson&step=1{'&present=1' * present}"))
    page.set_viewport_size({"width": 1280, "height": 720})
    for place, name in enumerate(STEPS, start=1):
        expect(page.locator(".lab-lesson-title")).to_have_text(re.compile(f"^{place}[.]"))
        if name == "cost":
            page.get_by_role("button", name="Reveal", exact=True).click()
        if name == "split":
            page.get_by_label("A sentence about a film").fill("the film is warm and the cast is dull")
            page.get_by_role("button", name="Predict with all runs").click()
            page.get_by_text(re.compile("Sentences that split the runs")).wait_for()
        page.locator(RESULTS[name]).locator("visible=true").last.wait_for()
        page.wait_for_timeout(500)
        assert page.evaluate(BELOW, RESULTS[name]) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), name
        if present:
            assert page.evaluate(SMALL) >= 17, name
            expect(page.get_by_role("tab", name="Compare")).to_be_hidden()
            expect(page.get_by_role("heading", level=1)).to_be_hidden()
        if place < len(STEPS):
            page.get_by_role("button", name="Next step").click()
    button = page.get_by_role("button", name="Presentation mode")
    if present:
        page.keyboard.press("Escape")
        expect(page.get_by_role("tab", name="Compare")).to_be_visible()
        expect(button).to_have_attribute("aria-pressed", "false")
    else:
        button.click()
        expect(page.get_by_role("tab", name="Compare")).to_be_hidden()
        expect(button).to_have_attribute("aria-pressed", "true")
    next(opened, None)


def test_an_address_opens_a_step_and_a_sentence_goes_to_live(open_page, served):
    from playwright.sync_api import expect

    page = next(opened := open_page(f"{served[0]}/?tab=lesson&step=5"))
    expect(page.locator(".lab-lesson-title")).to_have_text(re.compile("^5"))
    page.get_by_label("A sentence about a film").fill("the cast is clever")
    page.get_by_role("button", name="Look closer in Live").click()
    page.get_by_text("Sentence: “the cast is clever”").wait_for()
    expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
    page.get_by_text(f"{len(live_selection.resolve(Lab.open(served[1]), None)[0])} runs predicted.").wait_for()
    next(opened, None)


def test_an_address_opens_the_tab_and_its_step_or_the_one_that_the_browser_stored(browser, served):
    from playwright.sync_api import expect

    def of(query):
        return SimpleNamespace(query_params=query)

    for query in ({"tab": "lesson"}, {"present": "1"}):
        assert lesson_tab.arrive("tabs", of(query))["tabs"].selected == "lesson"
    for query in ({"tab": "live"}, {"tab": "live", "present": "1"}, {}):
        assert lesson_tab.arrive("tabs", of(query)) == gr.skip(), "another tab's address changes nothing"
    context = browser.new_context()
    page = context.new_page()
    shown = page.locator(".lab-lesson-title")
    for query, step in (("step=6", 6), ("step=2", 2), ("", 2), ("step=x", 2), ("step=99", 1), ("step=0", 1)):
        page.goto(f"{served[0]}/?tab=lesson&{query}")
        expect(shown).to_have_text(re.compile(f"^{step}[.]"))
        page.locator(f'.lab-lesson-steps [data-pick="{step - 1}"][aria-current]').wait_for()
        if step > 1:  # so that the browser stores it
            page.locator(f'.lab-lesson-steps [data-pick="{step - 2}"]').click()
            expect(shown).to_have_text(re.compile(f"^{step - 1}[.]"))
            page.get_by_role("button", name="Next step").click()
            expect(shown).to_have_text(re.compile(f"^{step}[.]"))
    context.close()


@pytest.mark.parametrize(
    ("asked", "place"), [("3", 3), (2.0, 2), (None, 0), ("x", 0), (99, 0), (-1, 0), ({"a": 1}, 0), ("6", 6)]
)
def test_a_kept_step_that_is_none_is_the_first(asked, place):
    assert lesson_tab.at(asked) == place
