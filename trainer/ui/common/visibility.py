"""The visibility of components that come and go."""

from __future__ import annotations

from typing import Any


def seen_if(there: object, *classes: str) -> dict[str, Any]:
    """The arguments of a component, or of its update, that make it seen if `there` is true; it has the CSS `classes`.

    By a class of its own (page.css), not by `visible`: Gradio never shows a component that was twice set to False
    before it was first seen, and shows a column that is "hidden".
    """
    return {"elem_classes": [*classes, *([] if there else ["lab-off"])]}
