"""The runs that come with the program: how they are made, whether they come out the same, and where they go."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import methods
from trainer.analysis.paired import mcnemar
from trainer.config import RunConfig
from trainer.errors import sentence
from trainer.runs import archive, recipes
from trainer.runs.presets import PRESETS
from trainer.runs.store import Run, Store
from trainer.texts import tr

BUNDLED = Path(__file__).resolve().parents[2] / "adapters_store"
SUFFIX = "-bundled"
"""How the ids of these runs end; .gitignore lets such folders in."""
PRESET = "quick"
SETTINGS = {"adapter_fusion.half_file": True}
"""What differs from the preset: a fusion in 32 bits would take 10.6 MB of what may be 15 in all."""
DOUBT = 0.01
"""Below this chance (McNemar's exact test on the test sentences) two trainings of one recipe are taken to differ."""
SIZE = 0.01
"""A saved file may differ by this share: the libraries write their versions into it."""


def configs() -> list[RunConfig]:
    """The recipes of the bundled runs, the adapters that are fused apart: they follow from the fusion's."""
    preset = PRESETS[PRESET]
    return recipes.suite(
        methods_=preset.methods, seeds=preset.seeds, task=preset.task, backbone=preset.backbone,
        **preset.settings | SETTINGS,
    )  # fmt: skip


def shipped() -> list[Run]:
    """The runs that came with the program, in the order in which they were trained."""
    return [run for run in Store(BUNDLED).list() if run.bundled]


def recipe(run: Run) -> RunConfig:
    """The run's recipe for another store, where its parents are trained as part of it."""
    return run.recipe.model_copy(update={"parents": ()})


def counterpart(run: Run, there: Store) -> Run | None:
    """The finished run of the same recipe in another store."""
    asked = recipe(run).fingerprint()
    return next((r for r in there.list() if r.state == "finished" and recipe(r).fingerprint() == asked), None)


@dataclass(frozen=True)
class Check:
    """One figure of a bundled run beside that of the same recipe trained again."""

    run_id: str
    figure: str
    kept: str
    again: str
    agrees: bool


def compare(kept: Run, again: Run) -> Iterator[Check]:
    """The figures that must agree: counts to the digit, sizes nearly, accuracy up to chance."""
    for figure, of in EXACT.items():
        yield Check(kept.id, figure, str(of(kept)), str(of(again)), of(kept) == of(again))
    before, now = (run.result.train_info.file_size for run in (kept, again))
    yield Check(kept.id, "bytes saved", f"{before:,}", f"{now:,}", abs(before - now) <= SIZE * before)
    one, other = _right(kept), _right(again)
    same_sentences = len(one) == len(other)
    chance = mcnemar(int((one & ~other).sum()), int((~one & other).sum())) if same_sentences else 0.0
    told = f"{100 * other.mean():.2f} (p = {chance:.2f})"
    yield Check(kept.id, "test accuracy (%)", f"{100 * one.mean():.2f}", told, chance >= DOUBT)


def _right(run: Run):
    """Whether each test sentence was labelled right, as a boolean array."""
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


def keep(runs: Sequence[Run]) -> list[str]:
    """Put finished runs into the program's own folder under lasting ids, in the place of those that are there.

    A method that trains the whole backbone leaves its weights out. Returns the new ids.
    """
    renamed = {run.id: run.id.rsplit("-", 1)[0] + SUFFIX for run in runs}
    for run in runs:
        folder = BUNDLED / f".new-{renamed[run.id]}"
        shutil.rmtree(folder, ignore_errors=True)
        weights = not methods.get(run.recipe.method).trains_backbone
        left_out = () if weights else ("model",)
        shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns(*left_out, "checkpoints", ".*", "*.lock"))
        told = run.as_json()
        told["lineage"] |= {"bundled": {"command": recipes.command_of(run.recipe), "weights": weights}}
        told["suite"] = "suite" + SUFFIX
        (folder / "run.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        for path in (folder / "run.json", folder / "events.jsonl"):
            text = path.read_text(encoding="utf-8")
            for old, new in renamed.items():
                text = text.replace(old, new)
            path.write_text(text, encoding="utf-8")
    for folder in BUNDLED.glob(f"[!.]*{SUFFIX}"):
        shutil.rmtree(folder)
    for name in renamed.values():
        (BUNDLED / f".new-{name}").rename(BUNDLED / name)
    return list(renamed.values())


def bring(root: Path) -> int:
    """Copy the runs that come with the program into a store elsewhere, each once; how many were new.

    A bundled run that a person deleted stays away. Without room or rights there, that is said on standard error.
    """
    if root.resolve() == BUNDLED.resolve():
        return 0
    record, store, count = root / ".bundled", Store(root), 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        known = set(record.read_text(encoding="utf-8").split()) if record.exists() else set()
        for folder in sorted(path.parent for path in BUNDLED.glob("*/run.json") if path.parent.name not in known):
            count += len(archive.load_folder(store, folder)[0])
            known.add(folder.name)
            record.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    except OSError as error:  # what is missing is tried again at the next start
        said = tr("The runs that come with the program are not all in {folder}:", folder=root)
        print(said, sentence(error), file=sys.stderr, flush=True)
    return count
