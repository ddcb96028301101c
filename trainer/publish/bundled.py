"""Runs that come with the program: train them, compare retrained ones, copy them into other stores."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import methods
from trainer.analysis.paired import mcnemar
from trainer.config import RunConfig
from trainer.errors import sentence
from trainer.machine import hosting
from trainer.runs import archive, recipes
from trainer.runs.presets import PRESETS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.texts import tr

if TYPE_CHECKING:
    import numpy as np

BUNDLED = Path(__file__).resolve().parents[2] / "adapters_store"
SUFFIX = "-bundled"
"""End of these runs' ids; .gitignore has an exception for such folders."""
PRESET = "best"
SEEDS = (0, 1, 2, 3, 4)
"""The first seed's runs have their weights, the others their figures and predictions."""
SETTINGS = {"adapter_fusion.half_file": True}
"""Differences from the preset. A fusion in 32 bits would take 10.6 MB of the 15 MB that all runs may take."""
P_VALUE = 0.01
"""Below this p-value of McNemar's exact test on the test sentences, two trainings of one recipe count as different."""
SIZE_TOLERANCE = 0.01
"""Share by which the saved bytes may differ: libraries write their versions into the files."""
MAX_STEPS = 50
"""Events of training steps that each bundled run keeps, evenly spaced: enough for a curve."""


def configs() -> list[RunConfig]:
    """Recipes of the bundled runs, except the adapters that are fused: their recipes follow from the fusion's."""
    preset = PRESETS[PRESET]
    return recipes.suite(
        methods_=preset.methods, seeds=SEEDS, task=preset.task, backbone=preset.backbone,
        **preset.settings | SETTINGS,
    )  # fmt: skip


def shipped() -> list[Run]:
    """Runs that came with the program, in the order in which they were trained."""
    return [run for run in Store(BUNDLED).list() if run.bundled]


def recipe(run: Run) -> RunConfig:
    """Recipe of the run for another store: without parents, so that they are trained as part of it."""
    return run.recipe.model_copy(update={"parents": ()})


def counterpart(run: Run, store: Store) -> Run | None:
    """Finished run of the same recipe in another store, or None."""
    fingerprint = recipe(run).fingerprint()
    return next((r for r in store.list() if r.state == "finished" and recipe(r).fingerprint() == fingerprint), None)


def missing(configs: Sequence[RunConfig], store: Store) -> list[RunConfig]:
    """The recipes that have no finished run in a store."""
    done = {recipe(run).fingerprint() for run in store.list() if run.state == "finished"}
    return [config for config in configs if config.fingerprint() not in done]


@dataclass(frozen=True)
class Check:
    """One figure of a bundled run and of a retrained run of the same recipe, as text."""

    run_id: str
    figure: str
    stored: str
    retrained: str
    agrees: bool


def compare(stored: Run, retrained: Run) -> Iterator[Check]:
    """Checks of a retrained run: counts must be equal, sizes nearly, accuracy not significantly different."""
    for figure, of in EXACT.items():
        yield Check(stored.id, figure, str(of(stored)), str(of(retrained)), of(stored) == of(retrained))
    before, now = (run.result.train_info.file_size for run in (stored, retrained))
    yield Check(stored.id, "bytes saved", f"{before:,}", f"{now:,}", abs(before - now) <= SIZE_TOLERANCE * before)
    one, other = _correct(stored), _correct(retrained)
    same_sentences = len(one) == len(other)
    p = mcnemar(int((one & ~other).sum()), int((~one & other).sum())) if same_sentences else 0.0
    accuracy = f"{100 * other.mean():.2f} (p = {p:.2f})"
    yield Check(stored.id, "test accuracy (%)", f"{100 * one.mean():.2f}", accuracy, p >= P_VALUE)


def _correct(run: Run) -> np.ndarray:
    """Whether each test sentence's label was predicted correctly: boolean (sentences,)."""
    rows = Store(run.folder.parent).predictions(run.id).query("split == 'test'").sort_values("row")
    return (rows["label"] == rows["predicted"]).to_numpy()


EXACT = {
    "trainable parameters": lambda run: run.result.train_info.num_trainable_params,
    "parameters": lambda run: run.result.train_info.num_total_params,
    "steps": lambda run: run.result.train_info.steps,
    "tokens": lambda run: run.result.train_info.real_tokens,
    "backbone's sha256": lambda run: run.result.meta_info.model_info.sha256[:12],
    "sentences": lambda run: run.split_fingerprint,
}


def replace(runs: Sequence[Run]) -> list[str]:
    """Replace all bundled runs by copies of finished runs, under ids that end in `SUFFIX`; the new ids.

    Weights are left out of every seed but the first, and of a method that saves the whole model.
    """
    renamed = {run.id: run.id.rsplit("-", 1)[0] + SUFFIX for run in runs}
    for run in runs:
        folder = BUNDLED / f".new-{renamed[run.id]}"
        shutil.rmtree(folder, ignore_errors=True)
        weights = run.recipe.seed == SEEDS[0] and not methods.get(run.recipe.method).saves_whole
        left_out = () if weights else ("model",)
        shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns(*left_out, "checkpoints", ".*", "*.lock"))
        content = run.as_json()
        content["lineage"] |= {"bundled": {"command": recipes.command_of(run.recipe), "weights": weights}}
        content["suite"] = "suite" + SUFFIX
        (folder / "run.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for path in (folder / "run.json", folder / "events.jsonl"):
            text = path.read_text(encoding="utf-8")
            for old, new in renamed.items():
                text = text.replace(old, new)
            path.write_text(_thinned(text) if path.suffix == ".jsonl" else text, encoding="utf-8")
        predictions = Store(run.folder.parent).predictions(run.id)
        predictions.to_parquet(folder / "predictions.parquet", index=False, compression="zstd", compression_level=19)
    for folder in BUNDLED.glob(f"[!.]*{SUFFIX}"):
        shutil.rmtree(folder)
    for name in renamed.values():
        (BUNDLED / f".new-{name}").rename(BUNDLED / name)
    return list(renamed.values())


def _thinned(events: str) -> str:
    """The lines of events.jsonl with at most `MAX_STEPS` steps, evenly spaced, the last one included."""
    lines = events.splitlines(keepends=True)
    steps = [index for index, line in enumerate(lines) if json.loads(line)["type"] == "step"]
    count = min(len(steps), MAX_STEPS)
    chosen = {steps[len(steps) - 1 - index * len(steps) // count] for index in range(count)}
    return "".join(line for index, line in enumerate(lines) if index not in steps or index in chosen)


RECORD = ".bundled"
"""File of a store with the ids of the bundled runs that were copied into it."""


def lacking(root: Path) -> bool:
    """Whether a store has no runs and bundled ones were never copied into it."""
    return not (root / RECORD).exists() and not any(root.glob("[!.]*/run.json"))


def bring_where_due(root: Path) -> int:
    """`bring` where the settings ask for it: a store without runs gets them, unless they are to be left out."""
    return bring(root) if hosting.copies_bundled_runs(empty=lacking(root)) else 0


def bring(root: Path, *, again: bool = False) -> int:
    """Copy the runs that come with the program into the store in another folder, each once; the number of new ones.

    A bundled run that a person deleted there is copied `again` only where that is asked for. A full or read-only disk
    is reported on standard error and raises nothing.
    """
    if root.resolve() == BUNDLED.resolve():
        return 0
    record, store, count = root / RECORD, Store(root), 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        known = set(record.read_text(encoding="utf-8").split()) if record.exists() else set()
        if again:
            known = {name for name in known if (root / name / "run.json").is_file()}
        for folder in sorted(path.parent for path in BUNDLED.glob("*/run.json") if path.parent.name not in known):
            count += len(archive.load_folder(store, folder, checked=False)[0])
            known.add(folder.name)
            record.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    except OSError as error:  # the next start tries the remaining runs again
        message = tr("The runs that come with the program are not all in {folder}:", folder=root)
        print(message, sentence(error), file=sys.stderr, flush=True)
    return count
