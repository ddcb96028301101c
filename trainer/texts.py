"""The language of what people read: English in the code, other languages in `trainer/locale` (docs/translating.md).

`tr` gives a text in the process's language, `mark` leaves one for `tr` to come, so that importing a module decides
nothing. The language is that of the variable PEFT_LAB_LANGUAGE, or English.
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
    """The text in the process's language, its named places filled: `tr("{count} runs", count=3)`."""
    found = _catalogue(language()).gettext(text) if text else ""
    return found.format(**values) if values else found


def tr_count(one: str, many: str, count: int, /, **values: Any) -> str:
    """`one` or `many` after the language's own rule of numbers; `count` fills the place of that name."""
    return _catalogue(language()).ngettext(one, many, count).format(count=f"{count:,}", **values)


def mark(text: str) -> str:
    """The text itself, found by those who collect texts; whoever shows it calls `tr`."""
    return text


def language() -> str:
    """The code of the process's language, one of `languages`; English where that is asked which nobody wrote."""
    asked = os.environ.get(VARIABLE, ENGLISH)
    return asked if asked in languages() else ENGLISH


@functools.cache
def languages() -> tuple[str, ...]:
    """English, and what is in `trainer/locale`."""
    return ENGLISH, *sorted(path.parent.parent.name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)
