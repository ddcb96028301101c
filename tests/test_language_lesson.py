"""The lesson and Live in Hindi: no text is left in English, in the page as it is built and in what its steps return."""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import redirect_stdout
from html.parser import HTMLParser

import pandas as pd
import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from conftest import ROOT

from trainer import methods, texts
from trainer.tasks.columns import TEXT_NAMES
from trainer.ui.lesson import papers
from trainer.ui.lesson.steps import STEPS
from trainer.ui.live import examples as live_examples

DEVANAGARI = re.compile("[\u0900-\u097f]")
PLACE = re.compile(r"\{\w+\}")
ENGLISH = re.compile(r"[A-Za-z][\w'’-]*(?:,? [A-Za-z][\w'’-]*){2,}")
"""Three words of Latin letters that follow one another."""
TEXT = "the film is warm and the cast is dull"

SAID = """
import dataclasses, json, sys
from pathlib import Path
import gradio as gr
from trainer.runs.store import Store
from trainer.ui.lesson import (
    choose as lesson_choose, cost as lesson_cost, curves as lesson_curves, frame as lesson_frame,
    frozen as lesson_frozen, real as lesson_real, split as lesson_split, tab as lesson_tab, train as lesson_train,
)
from trainer.ui.live import (
    examples as live_examples, explain as live_explain, file as live_file, guess as live_guess,
    predict as live_predict, selection as live_selection, tab as live_tab, view as live_view,
)
from trainer.ui.common.lab import Lab
from trainer.ui.lesson.steps import STEPS
from trainer.ui.live.session import Session

STATES = ("session", "seen", "room", "stored")
root, empty, text, file = sys.argv[1:]
request = gr.Request(session_hash="here")
said = {}


def view(module, **more):
    names = {field.name: field.name for field in dataclasses.fields(module.View)}
    return module.View(**names | more)


def words(value):
    "Every text for a person in what a handler returns, charts' titles and legends included."
    if isinstance(value, str):
        return [value]
    if hasattr(value, "to_dict") and hasattr(value, "mark_line") or type(value).__name__.endswith("Chart"):
        return titles(value.to_dict())
    if isinstance(value, dict) and "__type__" not in value and "value" not in value:
        # What a handler returns, by component: a state holds no text for a person.
        return [word for key, part in value.items() if key not in STATES for word in words(part)]
    if isinstance(value, dict):
        parts = [value[key] for key in ("value", "label", "info", "placeholder") if value.get(key) is not None]
        return [word for part in parts for word in words(part)] + [str(c[0]) for c in value.get("choices") or ()]
    return [word for part in value for word in words(part)] if isinstance(value, (list, tuple)) else []


def titles(spec):
    if isinstance(spec, list):
        return [word for part in spec for word in titles(part)]
    if not isinstance(spec, dict):
        return []
    found = [word for key in ("title", "text", "domain") if key in spec for word in words(spec[key])]
    return found + [word for key, part in spec.items() if key != "usermeta" for word in titles(part)]


def component(block):
    shown = {key: getattr(block, key, None) for key in ("value", "label", "info", "placeholder", "choices")}
    return words(shown | {"value": shown["value"] if isinstance(shown["value"], str) else None})


ROOM = [{"text": text, "who": "", "labels": {"good": ["full", "lora"], "bad": ["adapter"]}}]
FRAME = view(lesson_tab, columns=["column"] * len(STEPS), headings=[f"heading {name}" for name in STEPS])
FROZEN, COST, TRAIN, CURVES, SPLIT, REAL, CHOOSE = map(view, (
    lesson_frozen, lesson_cost, lesson_train, lesson_curves, lesson_split, lesson_real, lesson_choose
))
lab, none = Lab.open(Store(Path(root))), Lab.open(Store(Path(empty)))
with gr.Blocks() as page:
    kept = lesson_tab.states()
    with gr.Tabs() as tabs:
        with gr.Tab("", id="live") as first:
            live = live_tab.build(lab, first, page, tabs)
        with gr.Tab("", id="lesson") as second:
            lesson_tab.build(lab, tab=second, page=page, tabs=tabs, stored=kept, live=live)
hidden = ("state", "browserstate", "timer", "tabitem", "tabs", "dropdown")
shown = [block for block in page.blocks.values() if block.get_block_name() not in hidden]
said["page"] = [word for block in shown for word in component(block)]
said["page"] += [block.label for block in page.blocks.values() if block.get_block_name() == "dropdown"]
said["page"] += [word for place in range(len(STEPS)) for word in words(lesson_tab.show_step(FRAME, place))]

steps = {
    "frozen": lambda lab: [
        lesson_frozen.draw(FROZEN, method, "", backbone, 16, ["query", "value", "output"], 8, "houlsby")
        for method in ("full", "lora", "qlora", "adapter", "adapter_fusion") for backbone in ("minilm", "bert-base")
    ] + [lesson_frozen.draw(FROZEN, "lora", "", "minilm", 16, [], 8, "houlsby"),
        lesson_frozen.draw(FROZEN, "lora", "bitfit", "minilm", 16, ["query"], 8, "houlsby")],
    "cost": lambda lab: [
        lesson_cost.draw(COST, None)["question"], lesson_cost.show(lab, "under1", None, "more", "under10"),
    ],
    "train": lambda lab: [lesson_train.draw(lab, TRAIN, None), lesson_train.launch(lab, TRAIN, None), ran(lab)],
    "curves": lambda lab: [lesson_curves.draw(lab, CURVES, None), lesson_curves.pick(lab, CURVES, "published-full")],
    "split": lambda lab: [
        lesson_split.draw(lab, SPLIT, ROOM),
        list(lesson_split.predict(lab, SPLIT, text, "", [])), list(lesson_split.predict(lab, SPLIT, " ", "", [])),
        lesson_split.clear(SPLIT),
    ],
    "real": lambda lab: [lesson_real.draw(lab, REAL, None, None, None), same(lab)],
    "choose": lambda lab: lesson_choose.draw(lab, CHOOSE),
}


def ran(lab):
    return [lesson_train.status_html(lab, run) for run in lab.store.list() if run.recipe.method == "lora"]


def same(lab):
    runs = list(lesson_frame.members(lab).values())
    return lesson_real.redraw(lab, REAL, runs[0].id, runs[0].id, 0) if runs else ""


for name, draw in steps.items():
    said[name] = words([draw(lab), draw(none)])
VIEW, FILE = view(live_view), view(live_file)


def predict(text, chosen, untrained, guessing, guess, session=None):
    return list(live_predict.predict(lab, VIEW, text, chosen, untrained, guessing, guess, session or Session()))


def predict_file(lab, file, column):
    section = live_file.Section(lab, FILE)
    return section.predict_file(file, column, None, True, None, request, lambda *a, **named: None)


predicted = predict(text, None, True, True, "good")
session = predicted[-1]["session"]
said["explain"] = words([list(live_explain.explain(lab, VIEW, one)) for one in (session, Session())])
said["live"] = words([
    predicted, predict(text, None, False, True, "bad", session), predict(" ", None, False, False, None),
    predict(text, list("1234"), False, False, None), predict(text, None, False, True, None),
    live_guess.reset(lab, VIEW, session), live_guess.toggle(lab, VIEW, True, None, session),
    live_selection.empty(lab), live_selection.empty(none),
    live_examples.html(live_examples.fitting(lab, list(lesson_frame.members(lab).values()))),
    live_tab.make_link(text, None, False, None, ""), live_tab.make_link("", None, False, None, ""),
])
said["file"] = words([
    live_file.opened(FILE, file), predict_file(lab, file, "sentence"), predict_file(lab, None, None),
    predict_file(lab, file, None), predict_file(none, file, "sentence"),
    live_file.Section(lab, FILE).stop(request),
])
said["data"] = [word for run in lab.store.list() for word in (run.id, run.recipe.task, run.recipe.backbone)]
print(json.dumps(said))
"""

CITED = [method.paper for method in methods.METHODS.values()] + [
    *papers.PAPERS,
    *papers.of_methods(),
    "Guo et al. 2017, https://arxiv.org/abs/1706.04599",
    "Deep Learning, section 5.2",
    "section 2.1",
    "Early Stopping",
    "Integrated gradients, Sundararajan, Taly and Yan 2017",
    "Pfeiffer et al. 2021",
    "Sundararajan et al. 2017",
]
"""Papers, as they are cited in every language."""
DATA = [example.text for example in (*live_examples.OPINIONS, *live_examples.QUESTIONS)]
NAMES = ["LoRA A, B", "LoRA, QLoRA", "CSV, TSV, JSON Lines, Parquet", ", ".join(TEXT_NAMES[:3])]


class Visible(HTMLParser):
    """The texts of a page as a person meets them, by eye or by ear."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.texts += [value for name, value in attributes if name in ("title", "aria-label", "placeholder") and value]

    def handle_data(self, data):
        self.texts.append(data)


def english(text: str, allowed: list[str]) -> list[str]:
    """What is left in English of a text or of HTML."""
    found = []
    for part in Visible(text).texts:
        for phrase in allowed:
            part = part.replace(phrase, "·")
        found += ENGLISH.findall(part)
    return found


@pytest.fixture(scope="module")
def said(suite, tiny_file, tmp_path_factory) -> dict:
    """What it says in Hindi, by step."""
    folder = tmp_path_factory.mktemp("hindi")
    (folder / "in.csv").write_text(f"sentence\n{TEXT}\n\n{TEXT}\n", encoding="utf-8")
    arguments = [suite[0].root, folder / "none", TEXT, folder / "in.csv"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv(texts.VARIABLE, "hi")
        patch.setattr(sys, "argv", ["-c", *map(str, arguments)])
        exec(SAID, {"__name__": "said"})
    found = json.loads(out.getvalue().splitlines()[-1])
    return found | {"data": found["data"] + pd.read_csv(tiny_file)["sentence"].to_list()}


def test_every_text_of_both_tabs_is_translated():
    """Into Devanagari, but for names: an English text copied as its own translation would pass elsewhere."""
    with (texts.LOCALE / "hi" / "LC_MESSAGES" / f"{texts.DOMAIN}.po").open("rb") as file:
        catalogue = read_po(file, locale="hi")
    keywords = {"tr": None, "tr_count": (1, 2), "mark": None}
    here = [
        found[1]
        for tab in ("lesson", "live")
        for kind, folder in (("python", "trainer/ui"), ("jinja2", "trainer/ui/templates"))
        for path in sorted((ROOT / folder / tab).iterdir())
        if path.suffix == (".py" if kind == "python" else ".html")
        for found in extract_from_file(kind, str(path), keywords)
    ]
    assert len(here) > 200
    left = []
    for text in here:
        translated = catalogue[text].string
        for one in translated if isinstance(translated, tuple) else (translated,):
            if not DEVANAGARI.search(one) and re.search("[A-Za-z]", PLACE.sub("", one).replace(NAMES[0], "")):
                left.append(one)
    assert not left


@pytest.mark.parametrize("place", ["page", *STEPS, "live", "explain", "file"])
def test_nothing_is_left_in_english(said, place):
    """But names, papers and the sentences of the data, which are English for English models."""
    allowed = sorted([*CITED, *DATA, *NAMES, *said["data"], TEXT], key=len, reverse=True)
    found = [(phrase, text[:200]) for text in said[place] for phrase in english(text, allowed)]
    assert not found
    assert sum(bool(DEVANAGARI.search(text)) for text in said[place]) > 2
