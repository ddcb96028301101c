"""Entry of a run from elsewhere: its configurations are written again, its weights are checked, and a sample of its
stored predictions is computed again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer import methods, pairs, tasks
from trainer.engine import forward
from trainer.engine.building import BUILDING
from trainer.errors import ArgumentError, UserError
from trainer.machine.device import Device, detect, quiet_libraries
from trainer.methods import Setup
from trainer.runs import predictions
from trainer.runs.damage import LONGEST, PREDICTIONS, Damaged, damage_of
from trainer.runs.result import DatasetInfo
from trainer.runs.run import Run
from trainer.sources import backbones, configs, tokenizers, weights
from trainer.tasks import label_sets
from trainer.texts import tr

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 8
"""Sentences of the test split that are predicted again."""
TOLERANCE = 0.1
"""Greatest difference of a probability: above that of 16 bits on another device, and labels that differ within it are
near ties."""
ROUNDED = 1e-4
"""Greatest difference of a stored accuracy from that of the predictions."""
UNCHECKED = ".unchecked"
"""File in the folder of a run whose model could not be opened on this machine when it was loaded."""
_PARTS = ("README.md", "LICENSE", *tokenizers.FILES)
"""Files in model/ beside configurations and weights that stay: nothing here opens them."""


def admit(run: Run) -> None:
    """Check the run in a folder that was unpacked or copied from elsewhere, and write its configurations again.

    What depends on a backbone that is not on this machine, or on another device, is checked when the run is first
    opened: `UNCHECKED` marks the run.
    Raises `UserError` for weights or configurations that are not those of the run's recipe, for weights without
    predictions, and for figures that are not those of its predictions.
    """
    (run.folder / UNCHECKED).unlink(missing_ok=True)
    if run.state != "finished":
        return
    if (run.folder / PREDICTIONS).is_file():
        require_own_figures(run)
    if not run.model_folder.is_dir():
        return
    if not (run.folder / PREDICTIONS).is_file():  # without them nothing says that the weights are the run's
        raise UserError(expected=tr("a readable {file}", file=PREDICTIONS), got=tr("none"), fix=tr("export it again"))
    method = methods.get(run.recipe.method)
    try:
        backbone = backbones.locate(run.recipe.backbone, download=False)
        here = backbone.sha256() == run.result.meta_info.model_info.sha256
    except (UserError, OSError):
        here = False
    if here:
        quiet_libraries()
        device = detect()
        if method.runs_on(device):
            with BUILDING:
                finish(run, setup(run, backbone, device))
            return
    known = backbones.BACKBONES.get(run.recipe.backbone)
    if here:
        _rewrite(run, setup(run, backbone, device))
    elif known:
        located = backbones.Located(known.name, run.folder, known.shape, known.hub_id, known.revision)
        _rewrite(run, setup(run, located, Device("cpu", "", 0, ("fp32",))))
    for path in run.model_folder.rglob("*.json"):
        configs.read_json(path, most=tokenizers.MOST_BYTES if path.name in tokenizers.FILES else configs.MOST_BYTES)
    for path in run.model_folder.rglob("*.safetensors"):
        weights.finite(path, weights.header(path))
    (run.folder / UNCHECKED).touch()


def finish(run: Run, setup: Setup) -> None:
    """Check all that depends on the backbone: configurations, weights, a sample of the predictions.

    Builds a model: the caller holds `BUILDING`.
    """
    _rewrite(run, setup)
    model = methods.get(run.recipe.method).open(run.model_folder, setup)
    require_agreement(run, model, setup)
    (run.folder / UNCHECKED).unlink(missing_ok=True)


def setup(run: Run, backbone: backbones.Located, device: Device) -> Setup:
    """The setup to open a finished run."""
    options = methods.get(run.recipe.method).options(**run.recipe.options)
    return Setup(backbone, run.label_names, options, device, "fp32", multi_label=run.recipe.multi_label)


def _rewrite(run: Run, setup: Setup) -> None:
    """Check a run's model folder, write its configurations again, and delete the files that are no part of it."""
    method, folder = methods.get(run.recipe.method), run.model_folder
    method.check(folder, setup)
    rebuilt = method.rebuild(folder, setup)
    parts = {*rebuilt, *method.tensors(folder, setup)}
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in parts and name not in _PARTS:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name, content in rebuilt.items():
        configs.write(content, folder / name)
    if any((folder / name).is_file() for name in tokenizers.FILES):
        copies = run.folder / ".tokenizer"
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir()
        try:
            tokenizers.copy(folder, copies, vocabulary=setup.backbone.shape.vocabulary)
            for path in copies.iterdir():
                shutil.move(path, folder / path.name)
        finally:
            shutil.rmtree(copies, ignore_errors=True)


def require_own_figures(run: Run) -> None:
    """Raise `UserError` unless a run's label names, sizes and test figures are those of its task and predictions."""
    about, test = run.result.meta_info.dataset_info, run.result.test
    known = getattr(tasks.TASKS.get(run.recipe.task), "label_names", None)
    if known is not None and about.label_names != known:
        raise _unlike("label_names", ", ".join(known), ", ".join(about.label_names))
    table = _table(run)
    for split in ("validation", "test"):
        rows, size = int((table["split"] == split).sum()), getattr(about.sizes, split)
        if rows != size and (rows or split == "test"):
            raise _unlike(f"sizes.{split}", f"{rows:,}", f"{size:,}")
    rows = table[table["split"] == "test"]
    name = "label_confusion" if about.multi_label else "confusion_matrix"
    stored, computed = _plain(getattr(test, name)), (_by_label if about.multi_label else _matrix)(rows, about)
    if stored != computed:
        raise _unlike(name, str(computed)[:LONGEST], str(stored)[:LONGEST])
    accuracy = float((rows["label"] == rows["predicted"]).mean())
    if abs(accuracy - test.accuracy) > ROUNDED:
        raise _unlike("test.accuracy", f"{accuracy:.4f}", f"{test.accuracy:.4f}")


def _plain(value: Any) -> Any:
    """Counts as lists."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _matrix(rows: pd.DataFrame, about: DatasetInfo) -> list[list[int]]:
    """The confusion matrix of predictions."""
    matrix = np.zeros((len(about.label_names),) * 2, dtype=int)
    np.add.at(matrix, (rows["label"], rows["predicted"]), 1)
    return matrix.tolist()


def _by_label(rows: pd.DataFrame, about: DatasetInfo) -> dict[str, list[list[int]]]:
    """The counts of each label of multi-label predictions: without it and with it, by whether it is predicted."""
    names = about.label_names
    truth, predicted = (label_sets.matrix(list(rows[column]), len(names)) for column in ("label", "predicted"))
    return {
        name: [[int(((has == a) & (given == b)).sum()) for b in (False, True)] for a in (False, True)]
        for name, has, given in zip(names, truth.T, predicted.T, strict=True)
    }


def _unlike(what: str, expected: str, got: str) -> UserError:
    return UserError(
        expected=tr("{name} as the run's task and predictions have it, {value}", name=what, value=expected),
        got=got,
        fix=tr("export it again"),
    )


# The sample


def require_agreement(run: Run, model: Any, setup: Setup) -> None:
    """Raise `UserError` unless the model's predictions for a sample of the test split are those that the run stored."""
    from transformers import AutoTokenizer

    texts, stored = sample(run)
    tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True, trust_remote_code=False)
    longest = min(run.recipe.max_length, setup.backbone.shape.longest)
    logits = forward.predict_logits(
        model,
        forward.tokenise(tokeniser, pairs.inputs(texts, run.has_pairs), longest, run.recipe.truncation),
        pad_id=setup.backbone.pad_id,
        batch_size=SAMPLE,
        device=setup.device,
        precision="fp32",
    )
    require_equal(run, probabilities(logits, multi_label=run.multi_label), stored)


def probabilities(logits: np.ndarray, *, multi_label: bool = False) -> np.ndarray:
    """Softmax over the labels, or each label's own probability; (sentences, labels)."""
    from scipy.special import expit, softmax

    return expit(logits.astype(np.float64)) if multi_label else softmax(logits.astype(np.float64), axis=1)


def require_equal(run: Run, computed: np.ndarray, stored: np.ndarray) -> None:
    """Raise `UserError` unless two arrays (sentences, labels) of probabilities agree within `TOLERANCE`."""
    unlike = ~(np.abs(computed - stored).max(axis=1) <= TOLERANCE)  # NaN is unlike anything
    if unlike.any():
        row = int(unlike.argmax())
        names = run.label_names
        raise UserError(
            expected=tr(
                "a model that predicts what {run} stored ({label}, {share})",
                run=run.id,
                label=names[int(stored[row].argmax())],
                share=f"{stored[row].max():.2f}",
            ),
            got=f"{names[int(computed[row].argmax())]}, {computed[row].max():.2f} ({unlike.sum()} / {len(unlike)})",
            fix=tr("export it again"),
        )


def sample(run: Run) -> tuple[list[str], np.ndarray]:
    """(sentences, their stored probabilities), evenly spread over the test split.

    Raises `UserError` for a table that is missing, cannot be read, is not of the run's data or has no test split.
    """
    table = _table(run)
    rows = table[table["split"] == "test"]
    if not len(rows):
        raise UserError(
            expected=tr("a readable {file}", file=PREDICTIONS),
            got=tr("a damaged one"),
            fix=tr("export it again"),
        )
    count = min(SAMPLE, len(rows))
    rows = rows.iloc[[index * len(rows) // count for index in range(count)]]
    return list(rows["text"]), np.stack([np.asarray(row, dtype=np.float64) for row in rows["probabilities"]])


def _table(run: Run) -> pd.DataFrame:
    """The run's predictions. Raises `ArgumentError` for a table that is missing, unreadable or not of its data."""
    try:
        return predictions.read(run.folder / PREDICTIONS, run.result.meta_info.dataset_info)
    except (Damaged, OSError) as error:
        damage = damage_of(error, run_id=run.id, folder=run.folder, file=PREDICTIONS)
        raise ArgumentError(
            expected=tr("a run whose {file} is whole", file=damage.file),
            got=tr("a damaged one: {problem}", problem=damage.reason),
            fix=tr("export it again"),
        ) from None
