"""Entry of a run from elsewhere: its configurations are written again, its weights are checked, and a sample of its
stored predictions is computed again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from trainer import methods
from trainer.engine import forward
from trainer.errors import UserError
from trainer.machine.device import Device, detect, quiet_libraries
from trainer.methods import Setup
from trainer.runs.store import Run
from trainer.sources import backbones, configs, tokenizers, weights
from trainer.texts import tr

SAMPLE = 8
"""Sentences of the test split that are predicted again."""
TOLERANCE = 0.1
"""Greatest difference of a probability: above that of 16 bits on another device, and labels that differ within it are
near ties."""
UNCHECKED = ".unchecked"
"""File in the folder of a run whose backbone was not on this machine when it was loaded."""
MOST_ROWS = 5_000_000
_PARTS = ("README.md", "LICENSE", *tokenizers.FILES)
"""Files in model/ beside configurations and weights that stay: nothing here opens them."""


def admit(run: Run) -> None:
    """Check the run in a folder that was unpacked or copied from elsewhere, and write its configurations again.

    What depends on a backbone that is not on this machine is checked when the run is first opened: `UNCHECKED` marks
    the run.
    Raises `UserError` for weights or configurations that are not those of the run's recipe.
    """
    (run.folder / UNCHECKED).unlink(missing_ok=True)
    if run.state != "finished" or not run.model_folder.is_dir():
        return
    try:
        backbone = backbones.locate(run.recipe.backbone, download=False)
        here = backbone.sha256() == run.result.meta_info.model_info.sha256
    except (UserError, OSError):
        here = False
    if here:
        quiet_libraries()
        finish(run, setup(run, backbone, detect()))
        return
    known = backbones.BACKBONES.get(run.recipe.backbone)
    if known:
        located = backbones.Located(known.name, run.folder, known.shape, known.hub_id, known.revision)
        _rewrite(run, setup(run, located, Device("cpu", "", 0, ("fp32",))))
    for path in run.model_folder.rglob("*.json"):
        configs.read_json(path, most=tokenizers.MOST_BYTES if path.name in tokenizers.FILES else configs.MOST_BYTES)
    for path in run.model_folder.rglob("*.safetensors"):
        weights.finite(path, weights.header(path))
    (run.folder / UNCHECKED).touch()


def finish(run: Run, setup: Setup) -> None:
    """Check all that depends on the backbone: configurations, weights, a sample of the predictions."""
    _rewrite(run, setup)
    model = methods.get(run.recipe.method).open(run.model_folder, setup)
    require_agreement(run, model, setup)
    (run.folder / UNCHECKED).unlink(missing_ok=True)


def setup(run: Run, backbone: backbones.Located, device: Device) -> Setup:
    """The setup to open a finished run."""
    options = methods.get(run.recipe.method).options(**run.recipe.options)
    return Setup(backbone, run.label_names, options, device, "fp32")


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


# The sample


def require_agreement(run: Run, model: Any, setup: Setup) -> None:
    """Raise `UserError` unless the model's predictions for a sample of the test split are those that the run stored."""
    from transformers import AutoTokenizer

    texts, stored = sample(run)
    if not texts:
        return
    tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder, local_files_only=True, trust_remote_code=False)
    longest = min(run.recipe.max_length, setup.backbone.shape.longest)
    logits = forward.predict_logits(
        model,
        forward.tokenise(tokeniser, texts, longest),
        pad_id=tokeniser.pad_token_id,
        batch_size=SAMPLE,
        device=setup.device,
        precision="fp32",
    )
    require_equal(run, probabilities(logits), stored)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the labels; (sentences, labels)."""
    from scipy.special import softmax

    return softmax(logits.astype(np.float64), axis=1)


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
    """(sentences, their stored probabilities), evenly spread over the test split; none without predictions.

    Raises `UserError` for a table that cannot be read or is not of the run's labels.
    """
    path = run.folder / "predictions.parquet"
    if not path.is_file():
        return [], np.empty((0, len(run.label_names)))
    try:
        texts, rows = _read(path)
        stored = np.array([list(map(float, row)) for row in rows], dtype=np.float64)
        sound = stored.shape == (len(texts), len(run.label_names)) and all(isinstance(text, str) for text in texts)
    except Exception:  # of pyarrow, of any kind: the file is from elsewhere
        texts, sound = [], False
    if not sound or not texts:
        raise UserError(
            expected=tr("a readable {file}", file=path.name),
            got=tr("a damaged one"),
            fix=tr("export it again"),
        )
    return texts, stored


def _read(path: Path) -> tuple[list[str], list[Any]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > MOST_ROWS:
            raise ValueError("too many rows")
        table = file.read(columns=["split", "text", "probabilities"])
    table = table.filter(pc.equal(table["split"], "test"))
    count = min(SAMPLE, len(table))
    table = table.take([index * len(table) // count for index in range(count)])
    return table["text"].to_pylist(), table["probabilities"].to_pylist()
