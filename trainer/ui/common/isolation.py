"""Isolation of runs on the page: one run that cannot be drawn is shown as damaged, and the rest is drawn."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from trainer.errors import UserError
from trainer.markup import render
from trainer.runs.damage import Damage, culprits
from trainer.runs.run import Run
from trainer.ui.common.lab import Lab

SHOWN = 20
"""The most damaged runs in a list; beyond them only their number is shown."""


def isolated(lab: Lab, handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that does not fail for single runs among those of `lab.runs()`, from which it draws.

    When it raises, the runs that make it raise are found and become damaged ones of `lab`, and it is called once more
    without them. Its error is raised where no run alone is the cause. A handler may so be called several times.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return handler(*arguments, **named)
        except UserError:
            raise
        except Exception:
            pass

        def draw(runs: Sequence[Run]) -> None:
            with lab.only(runs):
                handler(*arguments, **named)

        for run, error in culprits(lab.runs(), draw):
            lab.set_aside(run, error)
        return handler(*arguments, **named)

    functools.update_wrapper(call, handler)
    del call.__wrapped__
    call.__signature__ = inspect.signature(handler)
    # Gradio reads the hints, for the request; a `partial` has none.
    call.__annotations__ = dict(getattr(handler, "__annotations__", {}))
    call.isolates = handler
    return call


def damaged_html(lab: Lab) -> str:
    """The damaged runs as HTML, each with its reason; empty if there are none."""
    damaged = lab.damaged()
    return render("common/damaged.html", texts=texts(lab, damaged), count=len(damaged))


def texts(lab: Lab, damaged: Sequence[Damage]) -> list[str]:
    """A sentence for each of the first damaged runs, as this page may show it."""
    return [lab.shown(str(damage)) for damage in damaged[:SHOWN]]
