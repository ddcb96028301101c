"""A run: the typed content of its run.json, and reading it from a folder. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import Field, ValidationError

from trainer import methods
from trainer.config import RunConfig
from trainer.errors import UserError
from trainer.runs.damage import RUN, Damage, Damaged, problem
from trainer.runs.result import Adopted, Bundled, Content
from trainer.runs.upgrade import upgrade
from trainer.texts import mark, tr

STATES = (mark("queued"), mark("running"), mark("finished"), mark("failed"), mark("cancelled"))
ENDED = ("finished", "failed", "cancelled")
MAX_BYTES = 64 << 20
"""Most bytes of run.json; usual ones have 10,000, and one of a thousand labels eight million."""
INTERRUPTED = mark(
    "Expected the run to end by itself, got a process that was gone; the machine may have restarted or run out of "
    "memory: resume it or launch it again."
)


class DamagedRun(UserError):
    """A run whose run.json cannot be read."""

    def __init__(self, damage: Damage) -> None:
        self.damage = damage
        super().__init__(
            expected=tr("a readable {folder}/run.json", folder=damage.folder),
            got=tr("a damaged one: {problem}", problem=damage.reason),
            fix=tr("delete the run, or load it again from a whole copy"),
        )


class Run(Content):
    """A run: the content of run.json, and its folder, which is not written. `queue_order` sorts the queue."""

    id: str
    folder: Path = Field(exclude=True)

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def can_predict(self) -> bool:
        """Whether the run can predict: it has finished and its weights are on this machine."""
        return self.state == "finished" and self.model_folder.is_dir()

    @property
    def adopted(self) -> Adopted | None:
        """Source and label order of an adapter that was trained elsewhere; None for a run that was trained here."""
        return self.lineage.adopted

    @property
    def bundled(self) -> Bundled | None:
        """For a run that comes with the program, the command that trains it and whether it has weights; else None."""
        return self.lineage.bundled

    @property
    def task_name(self) -> str:
        """Name of the task, or of the file that a path names."""
        return self.recipe.task.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Label names of the task; empty before the run has finished."""
        return self.result.meta_info.dataset_info.label_names if self.result else ()

    @property
    def has_pairs(self) -> bool:
        """Whether it was trained on pairs of sentences; false before it has finished."""
        return self.result.meta_info.dataset_info.pairs if self.result else False

    @property
    def multi_label(self) -> bool:
        """Whether a sentence of its task may have several labels, or none."""
        return self.recipe.multi_label

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of a finished multi-label run, the probability from which each label is predicted, in their order."""
        known = self.result.thresholds if self.result else None
        return None if known is None else tuple(known[name] for name in self.label_names)

    @property
    def split_fingerprint(self) -> str | None:
        """Hash over the sentences and labels of the splits; equal for equal data. None before the run has finished."""
        return self.result.meta_info.dataset_info.fingerprint if self.result else None

    @property
    def device_name(self) -> str | None:
        """Name of the CPU or GPU that trained the run, or evaluated it if adopted. None before it has finished."""
        return self.result.meta_info.system_info.device if self.result else None

    def as_json(self) -> dict[str, Any]:
        """Content of run.json, as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)


def read_run(folder: Path) -> Run:
    """The run in a folder, from its run.json. Raises `ValueError` for a damaged file, `OSError` if unreadable."""
    path = folder / RUN
    size = path.stat().st_size
    if not path.is_file():
        raise Damaged("no file")
    if size > MAX_BYTES:
        raise Damaged("large", size=f"{size:,}", most=f"{MAX_BYTES:,}")
    try:
        content = pydantic_core.from_json(path.read_bytes(), cache_strings="keys")
    except ValueError as error:
        raise Damaged("json", problem=problem(error)) from None
    content = upgrade(content)
    recipe = content.get("recipe")
    if isinstance(recipe, dict):  # otherwise the model reports the error
        content["recipe"] = recipe | {"options": _with_defaults(recipe)}
    run = Run.model_validate(content | {"id": folder.name, "folder": folder})
    _check_options(run.recipe)
    return run


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    """Options of a recipe with defaults for those that were added later; a default keeps the earlier behaviour."""
    name, options = recipe.get("method"), recipe.get("options", {})
    if not (isinstance(name, str) and name in methods.METHODS and isinstance(options, dict)):
        return options
    return methods.METHODS[name].options().model_dump(mode="json") | options


def _check_options(recipe: RunConfig) -> None:
    """Raise `Damaged` for options that a known method does not have, or with values that they cannot have."""
    if recipe.method not in methods.METHODS:
        return
    try:
        methods.METHODS[recipe.method].options.model_validate(recipe.options)
    except ValidationError as error:
        raise Damaged("content", problem=f"recipe.options.{problem(error)}") from None
