"""Predictions for files of sentences, for the command line and the Live tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError
from trainer.runs.store import Run
from trainer.tasks.own_file import READERS, choose_text, missing, not_utf8, read_table
from trainer.texts import tr
from trainer.training import calibration

if TYPE_CHECKING:
    import pandas as pd

    from trainer.serving.predictor import Predictor

AT_ONCE = 512
"""Sentences between two reports, when other callers' predictions are computed and a stop takes effect."""
SUFFIXES = (*READERS, ".txt")


@dataclass(frozen=True)
class Done:
    """Progress: `run` has predicted `done` of `of` sentences; `run_number` counts the runs from 1."""

    run: Run
    run_number: int
    done: int
    of: int


def read(path: Path) -> pd.DataFrame:
    """A file as a table: CSV, TSV, JSON Lines or Parquet by own_file.read_table; a .txt file has one sentence a line.

    Raises `ArgumentError` for a file that cannot be read.
    """
    import pandas as pd

    if path.suffix.lower() != ".txt":
        return read_table(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except OSError as error:
        raise ArgumentError(
            expected=tr("a readable file {file}", file=path.name),
            got=error.strerror or tr("none"),
            fix=tr("check the path"),
        ) from None
    if not any(line.strip() for line in lines):
        raise ArgumentError(
            expected=tr("sentences in {file}", file=path.name), got=tr("none"), fix=tr("check the file's content")
        )
    return pd.DataFrame({"text": lines})


def text_column(table: pd.DataFrame, path: Path, named: str | None = None) -> str:
    """The column with the sentences: as named, by its usual names, or the only one. Raises `ArgumentError`."""
    return choose_text(list(table.columns), named, path)


def predict(
    table: pd.DataFrame, column: str, runs: Sequence[Run], predictor: Predictor, *, calibrated: bool = False
) -> Iterator[Done]:
    """Add two columns a run to `table`, `<run id>` and `<run id>:probability`, and yield the progress.

    Predictions of a row without a text are None. `calibrated` scales the probabilities of the runs that have a
    temperature. A caller that stops iterating stops the computation.
    """
    from trainer.serving.predictor import temperature

    texts = [None if missing(value) else str(value) for value in table[column]]
    rows: dict[str, list[int]] = {}  # of each different text
    for row, text in enumerate(texts):
        if text is not None:
            rows.setdefault(text, []).append(row)
    of, known = sum(map(len, rows.values())), {}
    for run_number, run in enumerate(runs, start=1):
        scale = temperature(run) if calibrated else None
        labels, shares = [None] * len(texts), [None] * len(texts)
        done = 0
        yield Done(run, run_number, done, of)
        tokens = run.recipe.backbone, run.recipe.max_length  # runs with the same ones read the same tokens
        if tokens not in known:
            known[tokens] = _longest_first(list(rows), run, predictor)
        for start in range(0, len(rows), AT_ONCE):
            chunk = known[tokens][start : start + AT_ONCE]
            probabilities = predictor.predict_sorted([ids for _, ids in chunk], run, quick=True)
            if scale is not None:
                probabilities = calibration.scaled(probabilities, scale)
            for (text, _), values in zip(chunk, probabilities, strict=True):
                for row in rows[text]:
                    labels[row], shares[row] = run.label_names[int(values.argmax())], float(values.max())
                done += len(rows[text])
            yield Done(run, run_number, done, of)
        table[run.id], table[f"{run.id}:probability"] = labels, shares


def _longest_first(texts: Sequence[str], run: Run, predictor: Predictor) -> list[tuple[str, list[int]]]:
    """Each text with its tokens, by descending number of tokens: the only sort on the way to the batches.

    A chunk at a time, so that other callers' predictions are computed in between.
    """
    from trainer.engine import forward

    ids: list[list[int]] = []
    for start in range(0, len(texts), AT_ONCE):
        ids += predictor.tokenise(texts[start : start + AT_ONCE], run)
    return [(texts[i], ids[i]) for i in forward.longest_first(ids)]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, or tab-separated for a name with .tsv."""
    table.to_csv(path, index=False, sep="\t" if READERS.get(path.suffix.lower()) == "TSV" else ",")
