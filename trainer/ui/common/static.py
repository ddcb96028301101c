"""The page's style sheets and script: files of their own in `trainer/ui/static`."""

from __future__ import annotations

from pathlib import Path

from trainer import texts
from trainer.machine.access import HOURS
from trainer.markup import render
from trainer.texts import mark, tr
from trainer.ui.common.access import COOKIE

FOLDER = Path(__file__).resolve().parents[1] / "static"
STYLES = ("page.css", "access.css", "compare.css", "live.css", "lesson.css")
"""In the order in which they overrule each other."""
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
"""What Gradio's parts are called to a screen reader, in English whatever the page's language."""


def styles() -> list[Path]:
    """The style sheets, for `launch(css_paths=...)`."""
    return [path for path in map(FOLDER.joinpath, STYLES) if path.is_file()]


def head() -> str:
    """The script with the page's texts, for `launch(head=...)`."""
    from markupsafe import Markup

    values = {
        "language": texts.language(),
        "copied": tr("Copied"),
        "names": {name: tr(name) for name in NAMES if tr(name) != name},
        "grant": {"cookie": COOKIE, "seconds": HOURS * 3600},
    }
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return render("common/head.html", texts=values, script=Markup(script))
