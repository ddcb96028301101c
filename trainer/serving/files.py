"""Predictions for files of sentences, for the command line and the Live tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError, unreadable
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
CUT = ":tokens_cut"
"""End of the name of the column with the numbers of tokens that a run did not read."""


@dataclass(frozen=True)
class Done:
    """Progress: `run` has predicted `done` of `of` sentences, `cut` of which it did not read to their end.

    `run_number` counts the runs from 1.
    """

    run: Run
    run_number: int
    done: int
    of: int
    cut: int = 0


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
        raise unreadable(path.name, error) from None
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

    A third, `<run id>:tokens_cut`, has the number of tokens at a sentence's end that the run did not read; it is added
    only where a sentence was cut, so that the files of all others are as they always were.

    Predictions of a row without a text are None. `calibrated` scales the probabilities of the runs that have a
    temperature. A caller that stops iterating stops the computation.
    """
    import pandas as pd

    from trainer.serving.predictor import temperature

    texts = [None if missing(value) else str(value) for value in table[column]]
    rows: dict[str, list[int]] = {}  # of each different text
    for row, text in enumerate(texts):
        if text is not None:
            rows.setdefault(text, []).append(row)
    of, known = sum(map(len, rows.values())), {}
    for run_number, run in enumerate(runs, start=1):
        scale = temperature(run) if calibrated else None
        labels, shares, cut = ([None] * len(texts) for _ in range(3))
        done = count = 0
        yield Done(run, run_number, done, of)
        tokens = run.recipe.backbone, run.recipe.max_length  # runs with the same ones read the same tokens
        if tokens not in known:
            known[tokens] = _longest_first(list(rows), run, predictor)
        for start in range(0, len(rows), AT_ONCE):
            chunk = known[tokens][start : start + AT_ONCE]
            probabilities = predictor.predict_sorted([ids for _, ids, _ in chunk], run, quick=True)
            if scale is not None:
                probabilities = calibration.scaled(probabilities, scale)
            for (text, _, left), values in zip(chunk, probabilities, strict=True):
                for row in rows[text]:
                    labels[row], shares[row] = run.label_names[int(values.argmax())], float(values.max())
                    cut[row] = left
                done += len(rows[text])
                count += len(rows[text]) * (left > 0)
            yield Done(run, run_number, done, of, count)
        table[run.id], table[f"{run.id}:probability"] = labels, shares
        if count:
            # Whole numbers beside rows without a text, which have none.
            table[f"{run.id}{CUT}"] = pd.array(cut, dtype="Int64")


def cut_sentences(table: pd.DataFrame, runs: Sequence[Run]) -> int:
    """Number of rows whose sentence at least one of the runs did not read to its end; `table` is from `predict`."""
    columns = [name for run in runs if (name := f"{run.id}{CUT}") in table]
    return int((table[columns].fillna(0) > 0).any(axis=1).sum()) if columns else 0


def _longest_first(texts: Sequence[str], run: Run, predictor: Predictor) -> list[tuple[str, list[int], int]]:
    """Each text with its tokens and the number that is cut off, by descending tokens: the only sort before the batches.

    A chunk at a time, so that other callers' predictions are computed in between.
    """
    from trainer.engine import forward

    ids: list[list[int]] = []
    left: list[int] = []
    for start in range(0, len(texts), AT_ONCE):
        tokens = predictor.tokenise(texts[start : start + AT_ONCE], run)
        ids += tokens.ids
        left += [length - read for length, read in zip(tokens.lengths, tokens.read, strict=True)]
    return [(texts[i], ids[i], left[i]) for i in forward.longest_first(ids)]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, or tab-separated for a name with .tsv."""
    table.to_csv(path, index=False, sep="\t" if READERS.get(path.suffix.lower()) == "TSV" else ",")
