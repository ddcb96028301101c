"""The page in Hindi: every text that a person meets is translated, and nothing that a program reads."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from conftest import ROOT, app_on

import app
from trainer import methods, texts
from trainer.analysis import published
from trainer.config import Encoding
from trainer.errors import ArgumentError
from trainer.runs.store import Store
from trainer.ui.common.lab import Lab

DEVANAGARI = re.compile(r"[\u0900-\u097f]")
WORD = re.compile(r"[A-Za-z]{2,}")
SENTENCE = re.compile(r"[A-Za-z][A-Za-z'’-]*(?:\s+[A-Za-z][A-Za-z'’-]*){2,}")
"""Three Latin words in a row."""
TABS = ("train", "compare", "live", "lesson")
NAMES = {
    "PEFT Lab",
    # Methods, their options' values, formats of numbers
    "LoRA", "QLoRA (4-bit)", "AdapterFusion", "F1 (%)", "pfeiffer", "houlsby", "fp32", "bf16", "fp16",
    "query", "key", "value", "attention_output", "intermediate", "output",
    # Data sets and models that have no Hindi name
    "SST-2", "TREC-6",
    "LN tuning", "Prompt tuning", "Prefix tuning",
}  # fmt: skip
"""Shown as they are in any language."""
NAMES |= {method.title for method in methods.METHODS.values() if " " not in method.title}
NAMES_OF_MODELS = re.compile(r"(BERT|DistilBERT|RoBERTa|DeBERTa|ALBERT|ELECTRA|MiniLM)\b.*")
CITED = (
    "Reimers and Gurevych", "Loshchilov and Hutter", "Goyal et al", "Guo et al", "Pascanu et al", "Liu et al",
    "Szegedy et al", "Sun et al", "Zhang et al", "Hayou et al",
    "van Rijsbergen",
    "Weights & Biases", "Hugging Face Hub", "JSON Lines", "NVIDIA Tesla", "python -m trainer push",
)  # fmt: skip


def config_in(language: str, root: Path) -> dict[str, Any]:
    """Gradio's description of the page in a language, as the browser gets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(texts.VARIABLE, language)
        config = app.build_app(Lab.open(Store(root))).get_config_file()
        return json.loads(json.dumps({name: config[name] for name in ("components", "layout")}, default=str))


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """The page of an empty store in both languages."""
    return {language: config_in(language, tmp_path_factory.mktemp(language)) for language in ("en", "hi")}


def components(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(its tab, the component) of the frame and of `TABS`, in the order of the page."""
    by_id, found = {one["id"]: one for one in config["components"]}, []

    def walk(node: dict[str, Any], tab: str) -> None:
        one = by_id.get(node["id"])
        if one and one["type"] == "tabitem":
            tab = one["props"]["id"]
            found.append(("frame", one))
            if tab not in TABS:
                return
        elif one and one["type"] != "api":  # of an endpoint, not on the page
            found.append((tab, one))
        for child in node.get("children") or ():
            walk(child, tab)

    walk(config["layout"], "frame")
    return found


def said(one: dict[str, Any]) -> dict[str, str]:
    """What a component shows a person, by where it stands."""
    props, found = one["props"], {}
    for name in ("label", "info", "placeholder"):
        if isinstance(props.get(name), str):
            found[name] = props[name]
    if one["type"] in ("button", "downloadbutton", "markdown", "html") and isinstance(props.get("value"), str):
        found["value"] = html.unescape(re.sub(r"(?s)<style>.*?</style>|<[^>]*>", " ", props["value"]))
    for place, choice in enumerate(props.get("choices") or ()):
        found[f"choice {place}"] = choice[0] if isinstance(choice, (list, tuple)) else str(choice)
    return found


def name_alone(text: str) -> bool:
    return text in NAMES or text in get_args(Encoding) or bool(NAMES_OF_MODELS.fullmatch(text)) or not WORD.search(text)


def test_every_text_of_the_page_is_translated(pages):
    english, hindi = (components(pages[language]) for language in ("en", "hi"))
    assert [(tab, one["type"]) for tab, one in english] == [(tab, one["type"]) for tab, one in hindi]
    left, seen = [], 0
    for (tab, before), (_, after) in zip(english, hindi, strict=True):
        was, now = said(before), said(after)
        assert was.keys() == now.keys()
        for place, text in now.items():
            seen += 1
            if not (DEVANAGARI.search(text) or name_alone(text.strip())):
                left.append(f"{tab}, {after['type']}, {place}: {text}")
    assert not left, left
    assert seen > 150


def test_what_a_choice_stands_for_stays(pages):
    english, hindi = (components(pages[language]) for language in ("en", "hi"))
    for (_, before), (_, after) in zip(english, hindi, strict=True):
        if "choices" not in before["props"]:
            continue
        values = [[choice[1] for choice in one["props"]["choices"] or ()] for one in (before, after)]
        assert values[0] == values[1]
        assert before["props"].get("value") == after["props"].get("value")


def test_a_language_is_chosen_on_the_command_line(monkeypatch):
    monkeypatch.delenv(texts.VARIABLE, raising=False)
    app.choose_language([])
    assert texts.VARIABLE not in os.environ
    monkeypatch.setenv(texts.VARIABLE, "en")  # so that it is as before when the test has ended
    app.choose_language(["--language", "hi"])
    assert os.environ[texts.VARIABLE] == "hi"
    assert texts.tr("Train") != "Train"
    with pytest.raises(ArgumentError, match="'xx'"):
        app.choose_language(["--language", "xx"])
    assert os.environ[texts.VARIABLE] == "hi"


def test_an_unknown_language_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "app.py", "--language", "xx"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "Expected a language (en, hi), got 'xx'; choose one of these.\n"


# In the browser

VISIBLE = """() => {
  const kept = document.querySelectorAll(".lab-command, .lab-pick, .lab-line, code, pre");
  const before = [...kept].map(one => one.style.display);
  kept.forEach(one => { one.style.display = "none"; });
  const seen = one => one.checkVisibility({visibilityProperty: true});
  const lines = document.body.innerText.split("\\n");
  for (const one of document.querySelectorAll("svg text")) if (seen(one)) lines.push(one.textContent);
  for (const name of ["aria-label", "title", "placeholder"])
    for (const one of document.querySelectorAll(`[${name}]`))
      if (seen(one) && !one.closest("svg")) lines.push(one.getAttribute(name));
  kept.forEach((one, place) => { one.style.display = before[place]; });
  return lines;
}"""
"""Every line that is shown, but for commands, code, and sentences of the data."""


@pytest.fixture(scope="module")
def hindi(suite, tmp_path_factory):
    """The app in Hindi on a copy of the suite's store: (address, store)."""
    root = tmp_path_factory.mktemp("hindi") / "store"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    with app_on(root, **{texts.VARIABLE: "hi"}) as found:
        yield found


@pytest.fixture
def hindi_page(open_page, hindi):
    yield from open_page(hindi[0])


def english_in(page) -> list[str]:
    """Runs of three and more Latin words that the page shows."""
    cited = [*CITED, *(method.paper for method in methods.METHODS.values()), published.load()["source"]]
    found = []
    for line in page.evaluate(VISIBLE):
        for text in sorted(cited, key=len, reverse=True):
            line = line.replace(text, "·")
        found += [match.group() for match in SENTENCE.finditer(line)]
    return found


def test_train_and_compare_read_in_hindi(hindi_page):
    page = hindi_page
    page.locator(".lab-answer").nth(4).wait_for()
    assert english_in(page) == []
    _fits(page)
    page.get_by_role("tab", name=_in_hindi("Train"), exact=True).click()
    page.locator("#lab-command").wait_for()
    assert page.evaluate("document.documentElement.lang") == "hi"
    options = "Options of the chosen methods"
    for accordion in ("Your own sentences", "Hyperparameters", options, "Load instead of training"):
        page.get_by_role("button", name=_in_hindi(accordion)).click()
    page.locator(".lab-run-name").first.click()
    page.locator(".lab-details").first.wait_for()
    page.locator(".lab-details + details summary").click()
    page.wait_for_timeout(500)
    assert english_in(page) == []
    _fits(page)

    page.get_by_role("tab", name=_in_hindi("Compare")).click()
    page.locator(".lab-chart svg.marks").wait_for()
    for name in ("Significance", "Errors", "Curves", "Costs"):
        page.get_by_role("tab", name=_in_hindi(name)).click()
        page.wait_for_timeout(1500)
        assert english_in(page) == []
    page.get_by_role("tab", name=_in_hindi("Table")).click()
    page.wait_for_function("document.querySelectorAll('.lab-results tbody tr').length == 7")
    page.locator("#lab-filters button").first.click()
    page.get_by_label(_in_hindi("Show the published report's figures")).check()
    page.get_by_text(re.compile(_in_hindi("Where its table, its logs and its description disagree:"))).wait_for()
    page.locator(".lab-meanings summary").click()
    assert english_in(page) == []
    _fits(page)
    page.get_by_role("radio", name=_in_hindi("Mean over seeds")).check()
    page.get_by_text(re.compile("±")).filter(visible=True).first.wait_for()
    assert english_in(page) == []


def _in_hindi(text: str) -> str:
    """The text as the page has it; this process is an English one."""
    found = texts._catalogue("hi").gettext(text)
    assert DEVANAGARI.search(found), f"{text} is not translated"
    return found


def _fits(page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), "the page scrolls sideways"
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.wait_for_timeout(500)
