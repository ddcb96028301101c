"""Translation of texts that people read: English in the code, other languages in `trainer/locale`.

`tr` translates a text into the process's language; `mark` marks a text that `tr` translates later, so that a module
can be imported before the language is set. The variable PEFT_LAB_LANGUAGE sets the language; the default is English.
docs/translating.md describes how to add one.
"""

from __future__ import annotations

import functools
import gettext
import os
from pathlib import Path
from typing import Any

VARIABLE = "PEFT_LAB_LANGUAGE"
LOCALE = Path(__file__).with_name("locale")
DOMAIN = "peft_lab"
ENGLISH = "en"


def tr(text: str, /, **values: Any) -> str:
    """The text in the process's language, with its named fields filled: `tr("{count} runs", count=3)`."""
    translated = _catalogue(language()).gettext(text) if text else ""
    return translated.format(**values) if values else translated


def tr_count(one: str, many: str, count: int, /, **values: Any) -> str:
    """The singular or plural form of a text, by the plural rule of the process's language; fills the field `count`."""
    return _catalogue(language()).ngettext(one, many, count).format(count=f"{count:,}", **values)


def mark(text: str) -> str:
    """The text, unchanged: marks it for extraction into the catalogue. Code that displays it calls `tr`."""
    return text


def language() -> str:
    """Code of the process's language, one of `languages()`; English if the one set has no catalogue."""
    code = os.environ.get(VARIABLE, ENGLISH)
    return code if code in languages() else ENGLISH


@functools.cache
def languages() -> tuple[str, ...]:
    """Codes of the languages: English, and those with a catalogue in `trainer/locale`."""
    return ENGLISH, *sorted(path.parent.parent.name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)
