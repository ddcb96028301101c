"""Near repeats: sentences that differ in punctuation, digits, user names, links or case alone."""

from __future__ import annotations

import re
import unicodedata

_NAMES_AND_LINKS = re.compile(r"https?://\S+|www\.\S+|(?<!\w)@\w+")


class _Letters(dict[int, str]):
    """A table for `str.translate` that removes every character but letters, marks, pictures and white space.

    Categories of the Unicode Standard: marks (M) are vowels in the scripts of India and South-East Asia, pictures (So)
    are emoji. Removed are punctuation (P), numbers (N), other symbols (S) and invisible characters (C).
    """

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        kept = category[0] in "LM" or category == "So" or chr(code).isspace()
        self[code] = chr(code) if kept else ""
        return self[code]


_LETTERS = _Letters()


def repeat_words(text: str) -> tuple[str, ...]:
    """The words of a text that tell it from others: without case, punctuation, digits, user names and links.

    A text of nothing else is one word, unchanged but for case and white space: "10/10" and "9/10" differ.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _NAMES_AND_LINKS.sub(" ", plain).translate(_LETTERS).split()
    return tuple(words) or (" ".join(plain.split()),)


def repeat_key(text: str) -> str:
    """The text's letters in order: texts with equal keys are near repeats. Empty for a text without characters.

    White space is left out too, so that "well-made" equals "well made" and "do n't" equals "don't".
    """
    return "".join(repeat_words(text))
