"""Texts and their translations: none missing, none left over, none at import time; the language asked for is heeded."""

import ast
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from trainer import tasks, texts
from trainer.tasks.base import NOTES, note

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "app.py", *sorted((ROOT / "trainer").rglob("*.py"))]
TEMPLATES = sorted((ROOT / "trainer").rglob("templates/**/*.html"))
KEYWORDS = {"tr": None, "tr_count": (1, 2), "mark": None}
LANGUAGES = [language for language in texts.languages() if language != texts.ENGLISH]


def po(language):
    path = texts.LOCALE / language / "LC_MESSAGES" / f"{texts.DOMAIN}.po"
    with path.open("rb") as file:
        return read_po(file)


def in_code():
    """Every text in the code: a string, or (one, many)."""
    sources = [("python", path) for path in FILES] + [("jinja2", path) for path in TEMPLATES]
    return {found[1] for kind, path in sources for found in extract_from_file(kind, str(path), KEYWORDS)}


def messages(catalogue):
    """Message -> its translations, without the header."""
    return {
        tuple(message.id) if message.pluralizable else message.id: (
            tuple(message.string) if message.pluralizable else (message.string,)
        )
        for message in catalogue
        if message.id
    }


def places(text):
    """The named places of a text, with their formats. Raises `ValueError` for a brace that stands alone."""
    return {part[1:] for part in string.Formatter().parse(text) if part[1] is not None}


# The catalogues


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_and_nothing_else_is(language):
    catalogue = po(language)
    known, wanted = messages(catalogue), in_code()
    assert len(wanted) > 100
    assert not wanted - set(known), "run pybabel as docs/translating.md says, and translate what is new"
    assert not set(known) - wanted, "run pybabel as docs/translating.md says"
    assert not catalogue.obsolete
    assert not [message.id for message in catalogue if message.id and message.fuzzy]
    assert not [text for text, found in known.items() if not all(found)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_places_are_the_same_in_both_languages(language):
    for text, found in messages(po(language)).items():
        english = text if isinstance(text, tuple) else (text,)
        for one in found:
            assert places(one) == places(english[-1]), text
            one.format(**dict.fromkeys((name for name, *_ in places(one)), "1"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_read_is_what_was_translated(language):
    with (texts.LOCALE / language / "LC_MESSAGES" / f"{texts.DOMAIN}.mo").open("rb") as file:
        compiled = read_mo(file)
    assert messages(compiled) == messages(po(language)), "run pybabel compile as docs/translating.md says"
    assert compiled.plural_expr == po(language).plural_expr


# The code


def called(node):
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def calls(node):
    """tr, tr_count and mark below a node."""
    found = (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))
    return [call for call in found if called(call) in KEYWORDS]


def at_import(node):
    """Nodes that run when a module is imported: all but the bodies of functions."""
    yield node
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from at_import(child)


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_is_glued_and_none_translated_at_import(path):
    early = [
        node for node in at_import(tree(path)) if isinstance(node, ast.Call) and called(node) in ("tr", "tr_count")
    ]
    assert not [node.lineno for node in early], "use mark there, and tr where it is shown"
    for call in calls(tree(path)):
        for given in call.args[: 2 if called(call) == "tr_count" else 1]:
            assert not isinstance(given, (ast.JoinedStr, ast.BinOp)), f"line {call.lineno} glues its text"
            if called(call) != "tr":
                assert isinstance(given, ast.Constant), f"line {call.lineno} names no text to collect"


def test_the_parts_of_errors_are_translated():
    for path in FILES:
        if path.parent.name == "cli":
            continue
        for node in ast.walk(tree(path)):
            for given in node.keywords if isinstance(node, ast.Call) else ():
                if given.arg in ("expected", "got", "fix", "option_fix"):
                    bare = given.value.values if isinstance(given.value, ast.JoinedStr) else [given.value]
                    words = " ".join(part.value for part in bare if isinstance(getattr(part, "value", None), str))
                    assert not re.search(r"[a-z] +[a-z]", words), f"{path.name}, line {node.lineno}: {words}"


# The language


REFUSED = """
from trainer.runs import recipes
from trainer.errors import Problems
try:
    recipes.make(method="lorra", task="movies", backbone="minilm", epochs=0, precision="fp8")
except Problems as error:
    print("\\n".join(error.problems))
"""


def refused(language):
    environment = {**os.environ, texts.VARIABLE: language, "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, encoding="utf-8", cwd=ROOT, env=environment
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_errors_speak_the_language_of_the_process():
    found = refused("hi")
    assert len(found) == 3
    for sentence in found:
        assert sentence.endswith("।")
        assert "अपेक्षित" in sentence
        # What is left in Latin letters are names: of options, methods and values.
        names = re.findall(r"[A-Za-z]\w+", sentence)
        assert not {"Expected", "expected", "got", "or", "of", "one", "number"} & set(names), names


@pytest.mark.parametrize("language", ["xx", "", "en"])
def test_an_unknown_language_is_english(language):
    assert refused(language)[0].startswith("Expected a method (full, lora")


def test_numbers_choose_the_form_of_the_words(monkeypatch):
    monkeypatch.setenv(texts.VARIABLE, "en")
    forms = ("{count} earlier run", "{count} earlier runs")
    assert [texts.tr_count(*forms, count) for count in (0, 1, 2, 1000)] == [
        "0 earlier runs",
        "1 earlier run",
        "2 earlier runs",
        "1,000 earlier runs",
    ]
    monkeypatch.setenv(texts.VARIABLE, "hi")
    assert texts.tr_count(*forms, 1) != texts.tr_count(*forms, 2).replace("2", "1")


def test_records_stay_english_and_are_shown_in_the_language(monkeypatch):
    monkeypatch.setenv(texts.VARIABLE, "hi")
    for kind in NOTES:
        recorded = note(kind, 12)
        assert recorded.startswith("12 ")
        shown = tasks.note_shown(recorded)
        assert shown != recorded
        assert "12" in shown
    assert tasks.note_shown("somebody's own note") == "somebody's own note"
    monkeypatch.setenv(texts.VARIABLE, "en")
    assert tasks.note_shown(note("in_test", 3)) == "3 training questions that the test asks too were left out"


def test_templates_escape_every_value_and_miss_none(tmp_path, monkeypatch):
    """Of the mechanism: a value is text unless it is markup already, and a misspelt one is an error, not a gap."""
    import jinja2

    from trainer import markup

    (tmp_path / "one.html").write_text('<p title="{{ text }}">{{ text }}{{ inner }}</p>{{ tr("Cancelled.") }}')
    monkeypatch.setattr(markup._environment(), "loader", jinja2.FileSystemLoader(tmp_path))
    inner = markup.render("one.html", text="a", inner="")
    html = markup.render("one.html", text='<b onclick="x">', inner=inner)
    assert html.startswith('<p title="&lt;b onclick=&#34;x&#34;&gt;">&lt;b onclick=')
    assert '<p title="a">a</p>Cancelled.</p>Cancelled.' in html
    with pytest.raises(jinja2.UndefinedError):
        markup.render("one.html", text="a")
