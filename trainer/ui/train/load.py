"""Load instead of train: exported runs, a folder of runs, an adapter from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.errors import UserError, sentence
from trainer.jobs import adoption
from trainer.runs import archive
from trainer.texts import tr, tr_count
from trainer.ui.common.lab import Lab, note, run_name
from trainer.ui.train import form as train_form


def load_zips(lab: Lab, paths: list[str] | None) -> str:
    """Take exported runs into the store; a sentence for each file."""
    said = []
    for path in paths or []:
        try:
            said.append(note(tr("{run} is in the store.", run=run_name(archive.load(lab.store, Path(path))))))
        except (UserError, OSError) as error:
            said.append(note(sentence(error), "warning"))
    return "".join(said) or note(tr("Choose one or more zip files."))


def load_folder(lab: Lab, path: str) -> str:
    """Take the runs in a folder of this machine into the store."""
    if not (path or "").strip():
        return note(tr("Type the path of a folder on the machine that runs this app."), "warning")
    try:
        loaded, left_out = archive.load_folder(lab.store, Path(path.strip()).expanduser())
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    count = tr_count("{count} run loaded.", "{count} runs loaded.", len(loaded))
    return note(count) + "".join(note(text, "warning") for text in left_out)


def adopt(lab: Lab, form: dict[str, Any], source: str, labels: str) -> str:
    """Queue the evaluation of an adapter from elsewhere on the form's task and backbone."""
    if not (source or "").strip():
        text = tr("Type the path of a folder with an adapter, or its name on the Hub as owner/name.")
        return note(text, "warning")
    order = [name.strip() for name in (labels or "").split(",") if name.strip()]
    try:
        suite = train_form.suite_of({**form, "methods": []})
        kept = ("train_size", "validation_size", "test_size", "split_seed", "max_length", "batch_size", "precision")
        settings = {name: suite[name] for name in (*kept, *train_form.COLUMNS) if name in suite}
        run = adoption.adopt(
            lab.store, source, task=suite["task"], backbone=suite["backbone"], label=suite["label"],
            label_order=order, **settings,
        )  # fmt: skip
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(tr("{run} is queued to be evaluated.", run=run_name(run)))
