"""Export of a run to a zip file, and import of runs from zip files and folders."""

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
"""Types of the files that a run may have. Weights are safetensors only: opening a pickle can run code."""
MAX_BYTES = 8 << 30


def export(store: Store, name: str, path: Path) -> Path:
    """Write an ended run to a zip file; its path. Raises `ArgumentError` for an unended run or an existing path."""
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
            for source in sorted(run.folder.rglob("*")):
                relative = source.relative_to(run.folder)
                if source.is_file() and _is_part_of_run(relative):
                    file.write(source, f"{run.id}/{relative.as_posix()}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(store: Store, path: Path) -> Run:
    """Add a run from a zip file that `export` wrote to the store, under the same id.

    Raises `ArgumentError` for another file, for a zip with anything else in it, and for a run that is in the store.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            run_id = _checked_id(members, path)
            if (store.root / run_id).exists():
                raise ArgumentError(
                    expected=tr("a run that is not in the store"), got=run_id, fix=tr("delete the one here first")
                )
            temporary = store.root / f".loading-{run_id}"
            shutil.rmtree(temporary, ignore_errors=True)
            try:
                for member in members:
                    target = temporary / Path(*PurePosixPath(member.filename).parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(member) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out)
                return store.adopt(temporary, run_id)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (zipfile.BadZipFile, FileNotFoundError, IsADirectoryError) as error:
        raise ArgumentError(
            expected=tr("a zip file that `export` wrote"), got=f"{path} ({error})", fix=tr("choose another file")
        ) from None


def load_folder(store: Store, folder: Path) -> tuple[list[Run], list[str]]:
    """Copy every ended run of a folder into the store. The folder holds run folders, or is one itself.

    Returns the runs, and a sentence for each that was left out. Raises `ArgumentError` if the folder has no runs.
    """
    if not folder.is_dir():
        raise ArgumentError(
            expected=tr("a folder"), got=tr("{path}, which is none", path=folder), fix=tr("check the path")
        )
    sources = [folder] if (folder / "run.json").is_file() else sorted(path.parent for path in folder.glob("*/run.json"))
    if not sources:
        raise ArgumentError(
            expected=tr("a folder of runs, each with a run.json"), got=f"{folder}", fix=tr("check the path")
        )
    loaded, left_out = [], []
    for source in sources:
        try:
            loaded.append(_copy(store, source))
        except ArgumentError as error:
            left_out.append(f"{source.name}: {error}")
    return loaded, left_out


def _copy(store: Store, folder: Path) -> Run:
    """Copy a run's folder into the store, under the id that the folder is named by."""
    name = folder.resolve().name
    _check_name(name, folder)
    if (store.root / name).exists():
        raise ArgumentError(
            expected=tr("a run that is not in the store"), got=name, fix=tr("delete the one here first")
        )
    temporary = store.root / f".loading-{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for source in sorted(folder.rglob("*")):
            relative = source.relative_to(folder)
            if source.is_file() and not source.is_symlink() and _is_part_of_run(relative):
                (temporary / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, temporary / relative)
        return store.adopt(temporary, name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_part_of_run(relative: Path) -> bool:
    """Whether a file belongs in an exported run, by its path relative to the run's folder."""
    return relative.suffix in SUFFIXES and relative.parts[0] not in LEFT_OUT


def _check_name(name: str, path: Path) -> None:
    if not RUN_ID.fullmatch(name):
        raise ArgumentError(expected=tr("a folder named by a run's id"), got=path.name, fix=tr("give it its id again"))


def _checked_id(members: list[zipfile.ZipInfo], path: Path) -> str:
    """Id of the one run in a zip file.

    Raises `ArgumentError` for a member that could be written outside the run's folder or is no part of a run, for a
    file that does not hold exactly one run, and for one of more than `MAX_BYTES`.
    """
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
        unexpected = wrong[0] if wrong else ", ".join(sorted(tops)[:3]) or tr("nothing")
        raise ArgumentError(
            expected=tr("a zip file with one run that `export` wrote"),
            got=tr("{file} with {content}", file=path.name, content=unexpected),
            fix=tr("choose another file"),
        )
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise ArgumentError(
            expected=tr("at most {size} GiB", size=MAX_BYTES >> 30),
            got=tr("more in {file}", file=path.name),
            fix=tr("choose another file"),
        )
    return top
