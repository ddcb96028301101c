"""The project's documents as pages and its source as a zip file, served by the app itself: they fit its version."""

from __future__ import annotations

import io
import re
import zipfile
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from trainer.machine import hosting
from trainer.markup import render

ROOT = Path(__file__).resolve().parents[3]
PATH = "documents"
README, TEACHING, SOURCE = "README.md", "docs/teaching.md", "source.zip"
SERVED = (
    "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "docs/*.md", "docs/*.png", "docs/*.json",
    "adapters_store/README.md", "benchmarks/README.md", "space_config/README.md",
)  # fmt: skip
"""Patterns of the files that are served, below the folder of the program."""
PROGRAM = ("app.py", "pyproject.toml", "requirements*.txt", "LICENSE", "README.md", "docs/*.md", "trainer/**/*")
SUFFIXES = {".py", ".html", ".css", ".js", ".json", ".svg", ".po", ".mo", ".md", ".toml", ".txt", ""}
"""Of the files of the program that are in the zip file."""


def routes() -> list[Route]:
    """Routes of the documents and the source."""
    return [Route(f"/{PATH}/{{name:path}}", document, methods=["GET"])]


def links() -> dict[str, str]:
    """Addresses, relative to the page, of the documentation, the teacher's notes and the source, as far as they exist.

    The source is where the app's host has it, else what this app itself serves.
    """
    own = {"documentation": README, "teaching": TEACHING}
    addresses = {what: f"{PATH}/{name}" for what, name in own.items() if name in served()}
    return addresses | {"source": hosting.source_address() or f"{PATH}/{SOURCE}"}


@cache
def served() -> dict[str, Path]:
    """Path below the program's folder -> file, of every document that is served."""
    files = (path for pattern in SERVED for path in ROOT.glob(pattern))
    return {path.relative_to(ROOT).as_posix(): path for path in files if path.is_file()}


def document(request: Request) -> Response:
    """A Markdown file as a page, another document as it is, the program as a zip file; status 404 for anything else."""
    name = request.path_params["name"]
    if name == SOURCE:
        headers = {"Content-Disposition": f"attachment; filename=peft-lab-{SOURCE}"}
        return Response(source(), media_type="application/zip", headers=headers)
    path = served().get(name)
    if path is None:
        raise HTTPException(404)
    if path.suffix != ".md":
        return FileResponse(path, media_type=None if path.suffix else "text/plain; charset=utf-8")
    return HTMLResponse(page(path.read_text(encoding="utf-8")))


def page(markdown: str) -> str:
    """A Markdown text as a whole HTML page; its headings have the anchors that a repository's pages give them."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    title = ""
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inside.content))
            title = title or inside.content
    body = Markup(parser.renderer.render(tokens, parser.options, {}))
    return render("common/document.html", title=title, body=body)


def anchor(heading: str) -> str:
    """The name by which links reach a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def source() -> bytes:
    """The program as a zip file: code, templates, translations and documents, nothing that a person stored."""
    content: Any = io.BytesIO()
    paths = sorted({path for pattern in PROGRAM for path in ROOT.glob(pattern)})
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            inside = path.relative_to(ROOT)
            if path.is_file() and path.suffix in SUFFIXES and not any(part[0] in "._" for part in inside.parts[:-1]):
                archive.write(path, f"peft-lab/{inside.as_posix()}")
    return content.getvalue()
