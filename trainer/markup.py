"""HTML from Jinja2 templates. Every value is escaped: a label or sentence cannot add markup to a page."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from trainer.texts import tr, tr_count

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDERS = ("ui/templates", "publish/templates")
"""Folders of templates in this package. A template's name (`live/card.html`, `report.html`) is unique among them."""


def render(template: str, /, **values: Any) -> Markup:
    """HTML of a template filled with `values`; the template can call `tr` and `tr_count`.

    Pass values that are already HTML as `markupsafe.Markup`, the type that `render` returns: they are not escaped
    again. Raises `UndefinedError` for a missing value.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(**values))


def breakable(name: str) -> Markup:
    """A name that a narrow box may break between its words: before a capital letter, after an underscore or "="."""
    from markupsafe import Markup

    parts = re.split(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[_=])(?=\w)", name)
    return Markup("<wbr>").join(parts)


@functools.cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader("trainer", folder) for folder in FOLDERS]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"tr": tr, "tr_count": tr_count}
    environment.filters["breakable"] = breakable
    return environment
