"""Calibration of stored runs as tables: reliability bins for charts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.runs.result import Calibration
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.training import calibration

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("run", "method", "task", "seed", "low", "high", "count", "sentences", "confidence", "accuracy")


def of(store: Store, run: Run) -> Calibration | None:
    """A finished run's calibration on its test split, from its predictions if run.json has none.

    None where there are no predictions either, and of multi-label runs, whose labels would need one each.
    """
    import numpy as np

    if run.result.test.calibration is not None:
        return run.result.test.calibration
    frame = None if run.multi_label else store.predictions(run.id)
    if frame is None or not len(test := frame[frame["split"] == "test"]):
        return None
    fields = calibration.calibration(np.stack(test["probabilities"].to_numpy()), test["label"].to_numpy())
    return None if fields is None else Calibration.model_validate(fields)


def bins(store: Store, runs: Sequence[Run]) -> pd.DataFrame:
    """The bins of finished runs that have test sentences in them, a row each, with `COLUMNS`.

    `confidence` and `accuracy` (0 to 1) are means over the `count` sentences of the interval from `low` to `high`;
    `sentences` is the number of all test sentences of the run.
    """
    import pandas as pd

    rows = []
    for run in runs:
        calibration = of(store, run)
        filled = [one for one in calibration.bins if one.count] if calibration else []
        about = {"run": run.id, "method": run.recipe.method, "task": run.task_name, "seed": run.recipe.seed}
        about["sentences"] = sum(one.count for one in filled)
        rows += [about | one.model_dump() for one in filled]
    return pd.DataFrame(rows, columns=list(COLUMNS))
