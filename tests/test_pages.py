"""How the page is written: HTML in templates, styles and scripts in files, state in the lab or in the browser."""

from __future__ import annotations

import ast
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest
from conftest import named_view

from trainer import methods
from trainer.analysis import lesson
from trainer.markup import FOLDERS, render
from trainer.methods import ParentWeights
from trainer.publish import bundled, report
from trainer.runs import recipes
from trainer.runs.store import Store
from trainer.serving import predictor as inference
from trainer.serving.attribution import Attribution, Word
from trainer.serving.prediction import Prediction
from trainer.ui import static
from trainer.ui.common import script, tables
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.lesson import choose as lesson_choose
from trainer.ui.lesson import cost as lesson_cost
from trainer.ui.lesson import curves as lesson_curves
from trainer.ui.lesson import drawing as lesson_drawing
from trainer.ui.lesson import frame as lesson_frame
from trainer.ui.lesson import real as lesson_real
from trainer.ui.lesson import split as lesson_split
from trainer.ui.lesson import train as lesson_train
from trainer.ui.lesson.steps import STEPS
from trainer.ui.live import board as live_board
from trainer.ui.live import examples as live_examples
from trainer.ui.live import groups as live_groups
from trainer.ui.live import guess as live_guess
from trainer.ui.live import missing as live_missing
from trainer.ui.live import selection as live_selection
from trainer.ui.live import tab as live_tab
from trainer.ui.live import why as live_why
from trainer.ui.live.session import Session
from trainer.ui.live.why import Explanation
from trainer.ui.train import panel as train_panel
from trainer.ui.train import plan as train_plan
from trainer.ui.train import queue as train_queue
from trainer.ui.train.form import defaults

ROOT = Path(__file__).resolve().parent.parent
TRAINER = ROOT / "trainer"
FILES = [ROOT / "app.py", *sorted(TRAINER.rglob("*.py"))]
TEMPLATES = {
    str(path.relative_to(TRAINER / folder)): path
    for folder in FOLDERS
    for path in sorted((TRAINER / folder).rglob("*"))
    if path.suffix in (".html", ".css")
}
TAG = re.compile(
    r"</?(a|article|b|body|br|button|code|dd|details|div|dl|dt|em|figure|form|g|h[1-6]|head|html|i|img|input|label|li|line"
    r"|link|main|mark|meta|nav|ol|p|path|pre|progress|rect|script|section|select|small|span|strong|style|sub|summary|sup"
    r"|svg|table|tbody|td|text|th|thead|title|tr|ul)(\s[^<>]*=|\s*/?>|\s*$)",
    re.IGNORECASE,
)
STYLE = re.compile(r"[.#\w\]]\s*\{\s*[a-z-]+:[^{}]*;")
SCRIPT = re.compile(r"=>\s*\{|\bfunction\s*\(|addEventListener")
SCORES = (0.5, -0.3, 0.001, None)
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
STATE = {"count", "deque", "defaultdict", "Counter", "OrderedDict", "Lock", "RLock", "Queue", "local"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def literals(module: ast.Module) -> list[tuple[int, str]]:
    """(line, text) of the string literals of a module, parts of f-strings among them, but no docstrings."""
    alone = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_python_builds_html_styles_or_scripts(path):
    for kind in (TAG, STYLE, SCRIPT):
        assert not [line for line, text in literals(tree(path)) if kind.search(text)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TAG, '<div class="lab-note">'),
        (TAG, "<p>"),
        (TAG, "</h4>"),
        (TAG, '<span style="width:'),
        (TAG, "<br/>"),
        (TAG, "<li"),
        (STYLE, ".lab-note { font-size: 16px; }"),
        (STYLE, "#lab{color:red;}"),
        (SCRIPT, "() => { return 1; }"),
        (SCRIPT, 'element.addEventListener("click", act)'),
    ],
)
def test_what_looks_for_html_styles_and_scripts_sees_them(kind, text):
    for code in (
        f"x = {text!r}",
        f"x = 'a' + {text!r}",
        f"x = f{text + '{y}'!r}" if "{" not in text else f"x = {text!r}",
    ):
        assert any(kind.search(part) for _, part in literals(ast.parse(code))), code
    assert not literals(ast.parse(f"{text!r}")), "a docstring"


@pytest.mark.parametrize("path", [f for f in FILES if f.name == "app.py" or "ui" in f.parts], ids=name)
def test_no_module_of_the_page_has_state(path):
    module = tree(path)
    assert not [node.lineno for node in ast.walk(module) if isinstance(node, ast.Global)]
    for node in module.body:
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = value is not None and ast.unparse(value) in ("[]", "{}", "set()", "list()", "dict()")
        called = value.func if isinstance(value, ast.Call) else None
        made = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        assert not empty, f"line {node.lineno} is to be filled later"
        assert made not in STATE, f"line {node.lineno} changes while the app runs"


def test_every_template_is_there_and_used():
    used = set()
    for path in TRAINER.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "render":
                used.add(node.args[0].value)
    for path in TEMPLATES.values():
        used |= set(re.findall(r'{% (?:from|include|import|extends) "([^"]+)"', path.read_text(encoding="utf-8")))
    assert used == set(TEMPLATES)


def test_every_style_sheet_is_listed():
    assert {path.name for path in static.FOLDER.glob("*.css")} == set(static.STYLES)
    assert static.styles()[0].name == "page.css"


def test_the_script_has_the_pages_texts(monkeypatch):
    monkeypatch.setenv("PEFT_LAB_LANGUAGE", "hi")
    head = script.head()
    assert all(static.read(name) in head for name in script.SCRIPTS)
    assert head.startswith("<script>const labTexts = {")
    assert head.endswith("</script>")
    assert '"language": "hi"' in head
    assert head.count("<script") == head.count("</script") == 1


# What is written is whole


class Tags(HTMLParser):
    """Elements that are not closed, or closed where another is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = [key for key, _ in attrs]
        if len(names) != len(set(names)):
            self.wrong.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def faults(html: str) -> list[str]:
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser.wrong + [f"<{tag}> is not closed" for tag in parser.open]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Store:
    """The runs that come with the program, and some that have not finished, with a label that is no markup."""
    store = Store(tmp_path_factory.mktemp("shipped"))
    shutil.copytree(bundled.BUNDLED, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "model"))
    for state in ("failed", "cancelled", "queued"):
        made = store.create(recipes.make(method="lora", task="movies", backbone="minilm"), label='<i>"&mine')
        store.update(made.id, state=state, error="It <b>went</b> wrong." if state == "failed" else None)
    return store


def test_what_looks_for_faults_finds_them():
    assert faults("<p><b>x</p></b>") == ["</p>", "</b>"]
    assert faults("<div>") == ["<div> is not closed"]
    assert faults('<a href="1" href="2">x</a>')
    assert faults('<p>a<br>b <img src="x"></p>') == []


def test_trains_html_is_whole(shipped):
    lab = Lab.open(shipped)
    runs = shipped.list()
    pages = [train_queue.queue_html(lab), train_queue.queue_html(lab, [])]
    pages += [train_panel.details_html(lab, run) for run in runs]
    pages += train_plan.plan(lab, defaults("report") | {"seeds": "0 1"})
    for html in pages:
        assert faults(html) == []
        assert "<i>" not in html
        assert "<b>" not in html
    assert "&lt;i&gt;&#34;&amp;mine" in pages[0]


def test_compares_html_is_whole(shipped):
    lab = Lab.open(shipped)
    with gr.Blocks():
        view = compare_view.build()
    pages = []
    for unit in ("run", "mean"):
        for kind in ("split", "wrong", "flipped"):
            choice = [None, [], [], [], [], [], True, unit, "train_minutes", "test_accuracy", "epoch", kind]
            for page in compare_view.PAGES:
                pages += compare_draw.draw(lab, view, page, *choice).values()
    pages += compare_draw.conclude(lab, view, "overview").values()
    texts = [html for html in pages if isinstance(html, str)]
    assert len(texts) > 30
    for html in texts:
        assert faults(html) == []
        assert "<i>" not in html
    ids = re.findall(r'<table id="([^"]+)"', "".join(texts))
    assert len(ids) == len(set(ids))


def test_lives_html_is_whole():
    lab = Lab.open(Store(bundled.BUNDLED))
    runs = inference.choose(lab.store)
    text = 'a <i>film</i> & "more"'
    board = live_board.Board(text, live_groups.groups(runs), True, "<i>", ("<i>note</i>",))
    pages = [board.html("")]
    for place, run in enumerate(runs):
        label = run.label_names[place % 2]
        board.predictions[run.id] = Prediction(run.id, run.id, run.recipe.method, label, {label: 1.0}, 0.01)
    board.predictions[runs[0].id] = "It <i>failed</i>."
    pages += [board.html("<i>"), live_selection.empty(lab), live_missing.missing_html(lab)]
    pages.append(live_examples.html(live_examples.fitting(lab, runs)))
    words = [Word(match.start(), match.end(), score) for match, score in zip(re.finditer(r"\w+", text), SCORES)]
    weights = ParentWeights(("1", "2"), ("<i>", "b"), ((0.2, 0.8), (0.5, 0.5)))
    explanation = Explanation(Attribution("<i>", tuple(words), 0.4, 0.1, 0.5, 50), weights)
    board.explainable, board.explained = True, {run.id for run in runs}
    pages.append(board.html("<i>", busy=True))
    board.explanations = {run.id: explanation for run in runs} | {runs[-1].id: "<i>"}
    pages.append(board.html("<i>"))
    assert pages[-1].count('class="lab-sentence"') == len(runs) - 2, "the first has no prediction, the last no reason"
    tally = {run.id: (1, 2) for run in runs}
    pages += [live_guess.tally_html(lab, Session()), live_guess.tally_html(lab, Session(tally=tally))]
    pages += [live_tab.make_link(text, ["<i>"], True, "<i>", "http://127.0.0.1/")]
    pages.append(live_tab.make_link("", None, False, None, ""))
    for html in pages:
        assert html
        assert faults(html) == []
        assert "<i>" not in html


def test_the_sentence_keeps_its_spaces_in_an_explanation():
    """It is drawn as typed (pre-wrap): a template's own line ends would be seen."""
    run, text = inference.choose(Store(bundled.BUNDLED))[0], "two  spaces\nand a line"
    words = tuple(Word(match.start(), match.end(), 0.5) for match in re.finditer(r"\w+", text))
    html = live_why.html(text, "LoRA", Explanation(Attribution("good", words, 0.4, 0.1, 0.5, 50)))
    drawn = re.search(r'<p class="lab-sentence">(.*?)</p>', html, re.DOTALL)[1]
    assert re.sub(r"<[^>]*>", "", drawn) == text
    asked = live_board.Board(text, live_groups.groups([run])).html("")
    assert f'<p class="lab-line">Sentence: “{text}”</p>' in asked


def test_the_lessons_html_is_whole(shipped):
    lab = Lab.open(shipped)
    room = [{"text": "<i>", "who": "<i>", "labels": {"<i>": ["lora"], "good": ["full"]}}]
    pages = [part(place) for place in range(len(STEPS)) for part in (lesson_frame.heading, lesson_frame.steps_list)]
    pages += [
        lesson_cost.show(lab, "under1", None, "more", "under1"),
        lesson_split.score_html(room),
        *lesson_choose.draw(lab, named_view(lesson_choose.View)).values(),
        *(lesson_train.status_html(lab, run) for run in shipped.list()),
    ]
    for method in methods.METHODS:
        pages.append(lesson_drawing.drawing(lesson.anatomy(method, "minilm", {})))
    for module, arguments in (
        (lesson_cost, []),
        (lesson_train, [lab]),
        (lesson_curves, [lab]),
        (lesson_split, [lab]),
        (lesson_real, [lab]),
    ):
        rest = [None] * (3 if module is lesson_real else 1)
        drawn = module.draw(*arguments, named_view(module.View), *rest)
        pages += [html for html in drawn.values() if isinstance(html, str)]
    assert len(pages) > 30
    for html in pages:
        assert faults(html) == []
        assert "<i>" not in html


def test_the_report_is_whole_and_says_what_it_said(shipped):
    runs = [run for run in shipped.list() if run.state == "finished"]
    html = report.html(shipped, runs)
    assert html.startswith("<!doctype html>\n<html lang=")
    assert faults(html) == []
    assert html.count("<h2>") == 2 + len({run.split_fingerprint for run in runs})
    assert "means over runs that differ in their seed alone" in html
    assert html.count("<li><b>") == len(runs)
    assert "{%" not in html
    assert "{{" not in html


# Escaping


def test_every_value_is_escaped():
    bad = '<script>"&'
    html = note(bad, "warning")
    assert html == '<div class="lab-warning" role="status">&lt;script&gt;&#34;&amp;</div>'
    assert note("") == ""
    cells = [
        [Cell(bad), Cell(bad, bad), Cell("x", 0.1, best=True), Cell("–", float("nan")), Cell("y", markup=note("z"))]
    ]
    columns = [Column(bad, bad, csv=bad), *(Column(str(i)) for i in range(4))]
    html = tables.table(columns, cells, name=bad, title=bad)
    assert "<script" not in html
    assert faults(html) == []
    assert 'data-value="0.1">x <span title="best in column">★</span></td>' in html
    assert '<td class="" data-value="">–</td>' in html
    assert '<div class="lab-note" role="status">z</div></td>' in html
    assert "<script" not in tables.pick(bad, bad)


def test_a_missing_value_is_an_error():
    with pytest.raises(Exception, match="is undefined"):
        render("common/note.html", text="x")
