"""The page's own scripts, of `trainer/ui/static`, with the page's language and texts."""

from __future__ import annotations

from markupsafe import Markup

from trainer import texts
from trainer.machine.access import HOURS
from trainer.markup import render
from trainer.texts import mark, tr
from trainer.ui import static
from trainer.ui.common.access import COOKIE

NAMES = (
    mark("Click to upload or drop files"),
    mark("File upload"),
    mark("Uploaded files"),
    mark("Remove this file"),
    mark("Clear"),
    mark("Dismiss"),
    mark("Empty value"),
    mark("Gradio footer navigation"),
)
"""Gradio's names of its parts for a screen reader, which are English in every language."""


SCRIPTS = ("page.js", "address.js", "live.js", "compare.js")
"""In the order in which they use each other."""


def head() -> Markup:
    """The script and its texts as HTML, for `launch(head=...)`."""
    values = {
        "language": texts.language(),
        "copied": tr("Copied"),
        "names": {name: tr(name) for name in NAMES if tr(name) != name},
        "grant": {"cookie": COOKIE, "seconds": HOURS * 3600},
    }
    return render("common/head.html", texts=values, script=Markup("\n".join(map(static.read, SCRIPTS))))
