"""What Compare draws: its controls' values, settled, and the runs that pass the filters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr
import pandas as pd

from trainer.analysis import published
from trainer.analysis.variants import some, variants
from trainer.runs.run import Run
from trainer.ui.common.lab import Lab
from trainer.ui.compare.filters import Selection, of_address, select, settle


@dataclass(frozen=True)
class Shown:
    """What is drawn: the controls' values as they came (`chosen`) and settled, all runs, and those that pass."""

    lab: Lab
    chosen: Selection
    selection: Selection
    every: list[Run]
    runs: list[Run]

    @classmethod
    def of(cls, lab: Lab, *values: Any, query: str = "") -> Shown:
        """`values`: the fields of `Selection`; missing ones have their defaults. `query`: see `filters.of_address`."""
        every, chosen = lab.runs(), Selection.of(*values)
        selection = settle(of_address(chosen, query), every)
        return cls(lab, chosen, selection, every, select(selection, every))

    @cached_property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == "finished"]

    @cached_property
    def multi_label(self) -> frozenset[bool]:
        """Whether the finished runs are multi-label: one value, or both; see `Metric.among`."""
        return frozenset(run.multi_label for run in self.finished)

    @cached_property
    def names(self) -> dict[str, str]:
        """Run id -> name of its configuration."""
        return self.variants(self.runs)

    def variants(self, runs: list[Run]) -> dict[str, str]:
        """Run id -> name of its configuration among these runs alone."""
        return variants(runs, machines=self.selection.machines)

    def some(self, limit: int) -> list[Run]:
        """At most this many of the finished runs: see `variants.some`."""
        return some(self.finished, limit, self.names)

    @property
    def reference(self) -> pd.DataFrame | None:
        return published.table() if self.selection.reference else None

    def offer(self, name: str, offered: list[Any]) -> Any:
        """The update of a control's choices, and of its value if that no longer exists.

        A value that still exists is not sent: a person may have chosen another one since.
        """
        value = getattr(self.selection, name)
        if value == getattr(self.chosen, name):
            return gr.update(choices=offered)
        return gr.update(choices=offered, value=list(value) if isinstance(value, tuple) else value)

    def settled(self, name: str, control: Any) -> dict[Any, Any]:
        """The update of a control whose choices never change, if its value is another one than came."""
        value = getattr(self.selection, name)
        if value == getattr(self.chosen, name):
            return {}
        return {control: gr.update(value=list(value) if isinstance(value, tuple) else value)}
