"""Style sheets and scripts of the page, one file each."""

from pathlib import Path

FOLDER = Path(__file__).parent
STYLES = ("page.css", "access.css", "train.css", "compare.css", "live.css", "lesson.css")
"""In the order in which they overrule each other."""


def read(name: str) -> str:
    """The text of a file of this folder: `read("page.js")`."""
    return (FOLDER / name).read_text(encoding="utf-8")


def styles() -> list[Path]:
    """The style sheets, for `launch(css_paths=...)`."""
    return [FOLDER / name for name in STYLES]
