"""Style sheets and scripts of the page, one file each."""

from pathlib import Path


def read(name: str) -> str:
    """The text of a file of this folder: `read("live.css")`."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
