"""Export of a run to a zip file, and import of runs from zip files and folders."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from trainer.errors import ArgumentError, UserError, sentence
from trainer.runs import entry
from trainer.runs import run as run_file
from trainer.runs.result import RUN_ID
from trainer.runs.run import ENDED, Run
from trainer.runs.store import Store
from trainer.sources import configs
from trainer.texts import tr

LEFT_OUT = ("checkpoints", "wandb")
SUFFIXES = (".json", ".jsonl", ".parquet", ".txt", ".md", ".safetensors")
"""Types of the files that a run may have. Weights are safetensors only: opening a pickle can run code."""
MAX_BYTES, MAX_ENTRIES = 512 << 20, 5000
"""Bounds on what a zip file unpacks to."""
MAX_DEPTH = 20
"""Most parts of a path in a zip file; a run has five."""
COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What `export` writes. Of the other kinds zipfile unpacks a block whole, however much it holds."""
_DIRECTORY = 4 << 20
"""Bytes of a zip file's directory: an entry of an exported run takes about a hundred."""


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

    Raises `ArgumentError` for another file, for a zip with anything else in it or more than `MAX_BYTES` unpacked, and
    for a run that is in the store; `UserError` for a run whose model is not its recipe's (`entry.admit`).
    """
    try:
        _require_small_directory(path)
        with zipfile.ZipFile(path) as file:
            if len(file.infolist()) > MAX_ENTRIES:
                raise _too_large(path.name)
            members = [member for member in file.infolist() if not member.is_dir()]
            run_id = _checked_id(members, path)
            _require_new(store, run_id)
            with _new_folder(store, run_id) as folder:
                _unpack(file, members, folder, name=path.name)
                return _admit(store, folder, run_id)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged or encrypted file
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ArgumentError(
            expected=tr("a zip file that `export` wrote"),
            got=f"{path} ({str(error)[:200]})",
            fix=tr("choose another file"),
        ) from None


@contextmanager
def _new_folder(store: Store, run_id: str) -> Iterator[Path]:
    """A folder of its own inside the store, named by the run's id, where the list of runs does not see it."""
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".loading-{run_id}-", dir=store.root, ignore_cleanup_errors=True) as outer:
        folder = Path(outer) / run_id
        folder.mkdir()
        yield folder


def _unpack(file: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, *, name: str) -> None:
    """Write the members of a zip file to a folder. Bytes are counted as they come: a header may say less."""
    left = MAX_BYTES
    for member in members:
        if _is_hidden(member.filename):
            continue
        target = folder / Path(*PurePosixPath(member.filename).parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(member) as source, target.open("xb") as out:
            while block := source.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise _too_large(name)
                out.write(block)


def _require_small_directory(path: Path) -> None:
    """Raise `ArgumentError` for a zip file whose directory alone would take long to read.

    zipfile reads as much as the end of the file says, or the 64-bit record before it, which no exported run needs.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - (1 << 16) - 64, 0))
        end = file.read()
    # As zipfile looks for it: at the end of the file, or else, where a comment follows it, the last one.
    at = len(end) - 22 if end[-22:-18] == b"PK\5\6" and end[-2:] == b"\0\0" else end.rfind(b"PK\5\6")
    directory = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if directory > _DIRECTORY or b"PK\6\7" in end[max(at - 20, 0) : max(at, 0)] or size > 2 * MAX_BYTES:
        raise _too_large(path.name)


def _too_large(name: str) -> ArgumentError:
    return ArgumentError(
        expected=tr("at most {size} MB and {count} files", size=MAX_BYTES >> 20, count=MAX_ENTRIES),
        got=tr("more in {file}", file=name),
        fix=tr("choose another file"),
    )


def _require_new(store: Store, run_id: str) -> None:
    if (store.root / run_id).exists():
        raise ArgumentError(
            expected=tr("a run that is not in the store"), got=run_id, fix=tr("delete the one here first")
        )


def _admit(store: Store, folder: Path, run_id: str) -> Run:
    """Check the run in a folder inside the store and add it. Raises `UserError` for one that may not enter."""
    if (folder / "run.json").is_file():
        # A loss may be NaN or infinite: of an epoch that diverged.
        configs.read_object(folder / "run.json", most=run_file.MAX_BYTES, constants=True)
    if run := store.prepared(folder):
        try:
            entry.admit(run)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # of a library that opens the model
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the machine's; libraries raise OSError without a number for a file's content
            raise UserError(
                expected=tr("a run with its weights"), got=sentence(error).rstrip("."), fix=tr("export it again")
            ) from None
    return _adopt(store, folder, run_id)


def _adopt(store: Store, folder: Path, run_id: str) -> Run:
    try:
        return store.adopt(folder, run_id)
    except OSError:
        _require_new(store, run_id)  # another load of the same run was first
        raise


def load_folder(store: Store, folder: Path, *, checked: bool = True) -> tuple[list[Run], list[str]]:
    """Copy every ended run of a folder into the store. The folder holds run folders, or is one itself.

    `checked`: whether each is checked like one from a zip file; not for the runs that come with the program.
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
            loaded.append(_copy(store, source, checked=checked))
        except (UserError, OSError) as error:
            left_out.append(f"{source.name}: {sentence(error)}")
    return loaded, left_out


def _copy(store: Store, folder: Path, *, checked: bool) -> Run:
    """Copy a run's folder into the store, under the id that the folder is named by."""
    name = folder.resolve().name
    _check_name(name, folder)
    _require_new(store, name)
    with _new_folder(store, name) as copy:
        for source in sorted(folder.rglob("*")):
            relative = source.relative_to(folder)
            if source.is_file() and not source.is_symlink() and _is_part_of_run(relative):
                (copy / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy / relative)
        return _admit(store, copy, name) if checked else _adopt(store, copy, name)


def _is_part_of_run(relative: Path) -> bool:
    """Whether a file belongs in an exported run, by its path relative to the run's folder."""
    hidden = _is_hidden(relative.as_posix())
    return relative.suffix in SUFFIXES and relative.parts[0] not in LEFT_OUT and not hidden


def _is_hidden(path: str) -> bool:
    """Whether a file is the program's own, such as a lock: its name or that of a folder begins with a dot."""
    return any(name.startswith(".") for name in PurePosixPath(path).parts)


def _check_name(name: str, path: Path) -> None:
    if not RUN_ID.fullmatch(name):
        raise ArgumentError(expected=tr("a folder named by a run's id"), got=path.name, fix=tr("give it its id again"))


def _checked_id(members: list[zipfile.ZipInfo], path: Path) -> str:
    """Id of the one run in a zip file.

    Raises `ArgumentError` for a member that could be written outside the run's folder or is no part of a run, for a
    file that does not hold exactly one run, and for two files of one name.
    """
    parts = [PurePosixPath(member.filename).parts for member in members]
    tops = {names[0] for names in parts if names}
    wrong = [
        member.filename
        for member, names in zip(members, parts, strict=True)
        if not 2 <= len(names) <= MAX_DEPTH
        or ".." in names
        or set("\\:\0") & set(member.filename)
        or any(len(name.encode(errors="replace")) > 200 for name in names)
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
    if other := next((member for member in members if member.compress_type not in COMPRESSION), None):
        kind = zipfile.compressor_names.get(other.compress_type, other.compress_type)
        raise ArgumentError(
            expected=tr("a zip file with one run that `export` wrote"),
            got=tr("{file} with {content}", file=path.name, content=f"{other.filename[:200]} ({kind})"),
            fix=tr("choose another file"),
        )
    names = Counter(str(PurePosixPath(member.filename)).casefold() for member in members)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise ArgumentError(
            expected=tr("a zip file with one run that `export` wrote"),
            got=tr("{file} with {content}", file=path.name, content=f"2 x {twice[:200]}"),
            fix=tr("choose another file"),
        )
    return top
