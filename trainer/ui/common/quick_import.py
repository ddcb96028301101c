"""A quicker import of Gradio: without the type stubs that it writes into its own folder each time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_stubs() -> Iterator[None]:
    """A context for `import gradio`: its components find no source, and so write no .pyi file for editors.

    Each of its some 60 components parses its source twice to compare the file with that of the last import: 1.8 of the
    3.9 seconds that the import takes. Gradio passes by a class whose source `inspect.getfile` does not find.
    """
    plain = inspect.getfile

    def getfile(of: Any) -> str:
        if isinstance(of, type) and of.__module__.startswith("gradio."):
            raise OSError("no stub")
        return plain(of)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = plain
