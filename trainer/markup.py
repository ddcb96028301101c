"""HTML from Jinja2 templates: every value is escaped, so that no label or sentence becomes markup."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from trainer.texts import tr, tr_count

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDERS = ("ui/templates", "publish/templates")
"""Where templates are, below this package; names are unique across them: `live/card.html`, `report.html`."""


def render(template: str, /, **values: Any) -> Markup:
    """The HTML of a template, with `tr` and `tr_count` at hand in it. Raises `UndefinedError` for a missing value.

    What is already HTML comes in as `markupsafe.Markup`, as `render` of another template gives it.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(**values))


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
    return environment
