"""Predictions for files of sentences, for the command line and the Live tab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ArgumentError, unreadable
from trainer.runs import lengths
from trainer.runs.run import Run
from trainer.serving.prediction import predicted_labels, temperature
from trainer.tasks import label_sets, tables
from trainer.tasks.columns import choose_text, text_cells
from trainer.tasks.tables import READERS
from trainer.texts import mark, tr
from trainer.training import calibration

if TYPE_CHECKING:
    import pandas as pd

    from trainer.serving.predictor import Predictor

AT_ONCE = 512
"""Sentences between two reports, when other callers' predictions are computed and a stop takes effect."""
SUFFIXES = (*READERS, ".txt")
CUT = ":tokens_cut"
"""End of the name of the column with the numbers of tokens that a run did not read."""
HOW = "predicted_with"
"""The column whose first row says how the predictions were made."""


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


def read(path: Path, separator: str | None = None, encoding: str | None = None) -> pd.DataFrame:
    """A file as a table by tables.read_table; a .txt file has one sentence a line.

    Raises `ArgumentError` for a file that cannot be read.
    """
    import pandas as pd

    if path.suffix.lower() != ".txt":
        return tables.read_table(path, separator, encoding)
    try:
        text, _ = tables.decode(path.read_bytes(), name=path.name, encoding=encoding)
    except OSError as error:
        raise unreadable(path.name, error) from None
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise ArgumentError(
            expected=tr("sentences in {file}", file=path.name), got=tr("none"), fix=tr("check the file's content")
        )
    return pd.DataFrame({"text": lines})


def text_column(table: pd.DataFrame, path: Path, named: str | None = None) -> str:
    """The column with the sentences: as named, by its usual names, or the only one. Raises `ArgumentError`."""
    return choose_text(list(table.columns), named, path)


def predict(
    table: pd.DataFrame,
    column: str,
    runs: Sequence[Run],
    predictor: Predictor,
    *,
    calibrated: bool = False,
    names: Mapping[str, str] | None = None,
) -> Iterator[Done]:
    """Add two columns a run to `table`, `<name>` and `<name>:probability`, and yield the progress.

    A multi-label run adds `<name>` with its labels as a|b, and `<name>:probability:<label>` for each label.

    `names` are those of the runs by id; without them a run's id is its name. A third column, `<name>:tokens_cut`, has
    the number of tokens at a sentence's end that the run did not read; it is added only where a sentence was cut, so
    that the files of all others are as they always were.

    Predictions of a row without a text are None. `calibrated` scales the probabilities of the runs that have a
    temperature. A caller that stops iterating stops the computation.
    """
    import pandas as pd

    texts, are_pairs = text_cells(table, column, as_written=True)
    for run in runs:
        if are_pairs and not run.has_pairs:
            raise ArgumentError(
                expected=tr("one text column for {run}, which was trained on single sentences", run=run.id),
                got=repr(column),
                fix=tr("choose one column, or runs of pairs"),
            )
    rows: dict[str, list[int]] = {}  # of each different text
    for row, text in enumerate(texts):
        if text is not None:
            rows.setdefault(text, []).append(row)
    of, known = sum(map(len, rows.values())), {}
    for run_number, run in enumerate(runs, start=1):
        scale = temperature(run) if calibrated else None
        labels, cut = ([None] * len(texts) for _ in range(2))
        shares = {label: [None] * len(texts) for label in (run.label_names if run.multi_label else ("",))}
        done = count = 0
        yield Done(run, run_number, done, of)
        # Runs with the same ones read the same tokens.
        tokens = run.recipe.backbone, lengths.limit(run.recipe), run.recipe.truncation, run.has_pairs
        if tokens not in known:
            known[tokens] = _longest_first(list(rows), run, predictor)
        for start in range(0, len(rows), AT_ONCE):
            chunk = known[tokens][start : start + AT_ONCE]
            probabilities = predictor.predict_sorted([ids for _, ids, _ in chunk], run, quick=True)
            if scale is not None:
                probabilities = calibration.scaled(probabilities, scale)
            for (text, _, left), values in zip(chunk, probabilities, strict=True):
                label = label_sets.joined(predicted_labels(values, run.label_names, run.thresholds))
                own = values if run.multi_label else (values.max(),)
                for row in rows[text]:
                    labels[row], cut[row] = label, left
                    for column, value in zip(shares.values(), own, strict=True):
                        column[row] = float(value)
                done += len(rows[text])
                count += len(rows[text]) * (left > 0)
            yield Done(run, run_number, done, of, count)
        name = (names or {}).get(run.id, run.id)
        table[name] = labels
        for label, column in shares.items():
            table[f"{name}:probability" + (f":{label}" if run.multi_label else "")] = column
        if count:
            # Whole numbers beside rows without a text, which have none.
            table[f"{name}{CUT}"] = pd.array(cut, dtype="Int64")


READ = {
    "head": mark("first {count} tokens read"),
    "tail": mark("last {count} tokens read"),
    "head_and_tail": mark("{count} tokens read, of the head and the tail"),
}
"""What a run reads of a longer text, by its recipe's `truncation`."""


def say_how(table: pd.DataFrame, runs: Sequence[Run], names: Mapping[str, str], *, calibrated: bool) -> None:
    """Add the column `HOW` to `table`: in its first row each run's name, id, temperature and maximum length."""
    parts = []
    for run in runs:
        scale = temperature(run) if calibrated else None
        scaled = (
            tr("probabilities as the model gives them")
            if scale is None
            else tr("probabilities scaled by T = {scale}", scale=f"{scale:.3f}")
        )
        read = tr(READ[run.recipe.truncation], count=lengths.limit(run.recipe))
        parts.append(f"{names[run.id]}: {run.id}, {scaled}, {read}")
    table[HOW] = ["; ".join(parts), *[""] * (len(table) - 1)][: len(table)]


def cut_sentences(table: pd.DataFrame, runs: Sequence[Run], names: Mapping[str, str] | None = None) -> int:
    """Number of rows whose sentence at least one of the runs did not read to its end; `table` is from `predict`."""
    columns = [name for run in runs if (name := f"{(names or {}).get(run.id, run.id)}{CUT}") in table]
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


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that a spreadsheet computes (OWASP, CSV Injection)."""


def write(table: pd.DataFrame, path: Path, *, spreadsheet: bool = False) -> None:
    """Write the table as CSV, or tab-separated for a name with .tsv; `tables.read` reads the same from it.

    `spreadsheet`: with a mark by which Excel sees UTF-8, and an apostrophe before texts that it would compute.
    """
    import csv

    strings = [name for name in table.columns if any(isinstance(value, str) for value in table[name])]
    if spreadsheet:
        table = table.assign(**{name: [_defused(value) for value in table[name]] for name in strings})
        table.columns = [_defused(name) for name in table.columns]
    # The csv module of Python 3.11 leaves a lone carriage return without the marks that its reader needs.
    returns = any(isinstance(value, str) and "\r" in value for name in strings for value in table[name])
    table.to_csv(
        path,
        index=False,
        sep="\t" if READERS.get(tables.suffix(path)) == "TSV" else ",",
        encoding="utf-8-sig" if spreadsheet else "utf-8",
        quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL,
    )


def _defused(value: object) -> object:
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value
