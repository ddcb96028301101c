"""A run as one zip file, out of a store and into another."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from trainer.errors import ArgumentError
from trainer.runs.result import RUN_ID
from trainer.runs.store import ENDED, Run, Store
from trainer.texts import tr

LEFT_OUT = ("checkpoints", "wandb")
SUFFIXES = (".json", ".jsonl", ".parquet", ".txt", ".md", ".safetensors")
"""What a run is made of. Weights are safetensors only: a pickle can run code when it is opened."""
MAX_BYTES = 8 << 30


def export(store: Store, name: str, path: Path) -> Path:
    """Write an ended run to a zip file. Raises `ArgumentError` for a run at work, or a path that is taken."""
    run = store.load(name)
    if run.state not in ENDED:
        raise ArgumentError(
            expected=tr("a run that has ended"),
            got=tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("wait or cancel it"),
        )
    if path.exists():
        raise ArgumentError(
            expected=tr("a new file"), got=tr("{path}, which exists", path=path), fix=tr("choose another name")
        )
    temporary = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            for found in sorted(run.folder.rglob("*")):
                inside = found.relative_to(run.folder)
                if found.is_file() and _belongs(inside):
                    file.write(found, f"{run.id}/{inside.as_posix()}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(store: Store, path: Path) -> Run:
    """Take a run from a zip file that `export` wrote into the store; it keeps its id.

    Raises `ArgumentError` for a file that is no such zip, that holds anything else, or whose run is here already.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            run_id = _check(members, path)
            if (store.root / run_id).exists():
                raise ArgumentError(
                    expected=tr("a run that is not in the store"), got=run_id, fix=tr("delete the one here first")
                )
            hidden = store.root / f".loading-{run_id}"
            shutil.rmtree(hidden, ignore_errors=True)
            try:
                for member in members:
                    target = hidden / Path(*PurePosixPath(member.filename).parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(member) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out)
                return store.adopt(hidden, run_id)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except (zipfile.BadZipFile, FileNotFoundError, IsADirectoryError) as error:
        raise ArgumentError(
            expected=tr("a zip file that `export` wrote"), got=f"{path} ({error})", fix=tr("choose another file")
        ) from None


def load_folder(store: Store, folder: Path) -> tuple[list[Run], list[str]]:
    """Take every ended run in a folder of runs (or the one run that the folder is) into the store, copied.

    Returns the runs, and a sentence for each that was left out. Raises `ArgumentError` where there is no run at all.
    """
    if not folder.is_dir():
        raise ArgumentError(
            expected=tr("a folder"), got=tr("{path}, which is none", path=folder), fix=tr("check the path")
        )
    places = [folder] if (folder / "run.json").is_file() else sorted(path.parent for path in folder.glob("*/run.json"))
    if not places:
        raise ArgumentError(
            expected=tr("a folder of runs, each with a run.json"), got=f"{folder}", fix=tr("check the path")
        )
    loaded, left_out = [], []
    for place in places:
        try:
            loaded.append(_copy_in(store, place))
        except ArgumentError as error:
            left_out.append(f"{place.name}: {error}")
    return loaded, left_out


def _copy_in(store: Store, place: Path) -> Run:
    name = place.resolve().name
    _check_name(name, place)
    if (store.root / name).exists():
        raise ArgumentError(
            expected=tr("a run that is not in the store"), got=name, fix=tr("delete the one here first")
        )
    hidden = store.root / f".loading-{name}"
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        for found in sorted(place.rglob("*")):
            inside = found.relative_to(place)
            if found.is_file() and not found.is_symlink() and _belongs(inside):
                (hidden / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, hidden / inside)
        return store.adopt(hidden, name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _belongs(inside: Path) -> bool:
    """Whether a file, named from the run's folder, is part of what a run is made of."""
    return inside.suffix in SUFFIXES and inside.parts[0] not in LEFT_OUT


def _check_name(name: str, path: Path) -> None:
    if not RUN_ID.fullmatch(name):
        raise ArgumentError(expected=tr("a folder named by a run's id"), got=path.name, fix=tr("give it its id again"))


def _check(members: list[zipfile.ZipInfo], path: Path) -> str:
    """The id of the one run in the zip; refuses whatever could land outside its folder or is no part of a run."""
    parts = [PurePosixPath(member.filename).parts for member in members]
    tops = {names[0] for names in parts if names}
    wrong = [
        member.filename
        for member, names in zip(members, parts, strict=True)
        if len(names) < 2
        or ".." in names
        or set("\\:") & set(member.filename)
        or PurePosixPath(member.filename).suffix not in SUFFIXES
    ]
    top = next(iter(tops), "")
    if wrong or len(tops) != 1 or not RUN_ID.fullmatch(top):
        found = wrong[0] if wrong else ", ".join(sorted(tops)[:3]) or tr("nothing")
        raise ArgumentError(
            expected=tr("a zip file with one run that `export` wrote"),
            got=tr("{file} with {content}", file=path.name, content=found),
            fix=tr("choose another file"),
        )
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise ArgumentError(
            expected=tr("at most {size} GiB", size=MAX_BYTES >> 30),
            got=tr("more in {file}", file=path.name),
            fix=tr("choose another file"),
        )
    return top
