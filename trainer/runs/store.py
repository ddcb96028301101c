"""Store of run folders: create, list, read, update and delete runs. Imports no torch."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainer.config import RunConfig
from trainer.errors import ArgumentError, UserError
from trainer.events import Event
from trainer.machine import hosting
from trainer.runs import event_lines
from trainer.runs.damage import EVENTS, FILES, PREDICTIONS, RUN, Damage, Damaged, damage_of
from trainer.runs.damage_register import DamageRegister, Signature, signature
from trainer.runs.result import SCHEMA_VERSION
from trainer.runs.run import ENDED, INTERRUPTED, STATES, DamagedRun, Run, read_run
from trainer.tasks import tables
from trainer.texts import tr

LONGEST_LABEL = 200
"""Most characters of a run's name that is given here; one from elsewhere may have 1,000."""
LONGEST = 200
"""Most bytes in a run's id. A file name may have 255, and hidden files add a prefix and a suffix to the id."""


def _may_be_id(name: str) -> bool:
    """Whether a run's folder may have this name; the file system raises `OSError` for one that is too long."""
    return name[:1] not in ("", ".") and len(name.encode(errors="replace")) <= LONGEST


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector while many runs are parsed.

    Otherwise it scans their models again and again, a third of the time of the first reading of a store, and frees
    none of them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def default_root() -> Path:
    """Folder of the store: $ADAPTERS_STORE, else a Space's volume, else adapters_store/ beside the program."""
    if folder := os.environ.get("ADAPTERS_STORE"):
        return Path(folder).expanduser()
    return hosting.store_root() or Path(__file__).resolve().parents[2] / "adapters_store"


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's: it has one of a run's files."""
    return any((folder / name).exists() for name in (*FILES, "model"))


def _check_label(label: str) -> None:
    if len(label) > LONGEST_LABEL:
        raise ArgumentError(
            expected=tr("a name of at most {count} characters", count=LONGEST_LABEL),
            got=f"{len(label):,}",
            fix=tr("choose a shorter one"),
        )


def _printable(name: str) -> str:
    """A file's name as text that can be written as UTF-8."""
    return name.encode("utf-8", "replace").decode()


class Store:
    """A folder of run folders. Safe for several processes: run.json is updated under a lock and replaced atomically."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self._parsed: dict[Path, tuple[Signature, Run]] = {}
        self._broken: dict[Path, tuple[Signature | None, Damage]] = {}
        """Folder -> what is wrong with its run.json."""
        self._register = DamageRegister(self.root)

    # Reading

    def list(self) -> list[Run]:
        """All readable runs, in the order of the queue. Folders with a damaged run.json are left out: see `damaged`."""
        return self.scan()[0]

    def damaged(self) -> list[Damage]:
        """The damaged runs, one entry each, by id.

        They are those whose run.json cannot be read, which `list` leaves out, and those with another file that a reader
        of this store has found damaged, in any process: this reads no other files (`check` does).
        """
        return self.scan()[1]

    def scan(self) -> tuple[list[Run], list[Damage]]:
        """(`list`, `damaged`) of one reading of the store."""
        runs, broken, folders = [], [], set(self._folders())
        self._register.refresh()
        for gone in {*list(self._parsed), *list(self._broken)} - folders:  # deleted by another process
            self._forget(gone)
        with _no_collection():
            for folder in folders:
                if (run := self._read(folder)) is not None:
                    runs.append(run)
                    broken += self._register.of(folder)[:1]
                elif damage := self._damage(folder):
                    broken.append(damage)
        runs.sort(key=lambda run: (run.queue_order, run.created_at, run.id))
        return runs, sorted(broken, key=lambda damage: damage.run_id)

    def check(self, run_id: str) -> Damage | None:
        """The damage of a run, all of whose files are read; None for a sound one. Raises as `load` does."""
        run = self.load(run_id)
        for name, read in ((EVENTS, self._read_events), (PREDICTIONS, self._read_predictions)):
            self._checked(run, name, read)
        self._register.refresh()
        return next(iter(self._register.of(run.folder)), None)

    def load(self, name: str) -> Run:
        """The run with this id; else the one run with this label, or whose id begins with it.

        Raises `ArgumentError` for no run or several, `DamagedRun` for a damaged run.json.
        """
        folder = self.root / name
        if _may_be_id(name) and folder.parent == self.root and folder.is_dir():
            if run := self._read(folder):
                return run
            if damage := self._damage(folder):
                raise DamagedRun(damage)
        runs = self.list()
        matches = [run for run in runs if run.label == name] or [
            run for run in runs if name and run.id.startswith(name)
        ]
        if len(matches) == 1:
            return matches[0]
        broken = [damage for _, damage in list(self._broken.values()) if name and damage.run_id.startswith(name)]
        if not matches and len(broken) == 1:
            raise DamagedRun(broken[0])
        shown = repr(name[:LONGEST])
        raise ArgumentError(
            expected=tr("a run's id, or a beginning of it or a label that only one run has"),
            got=tr("{name}, which {count} runs share", name=shown, count=len(matches)) if matches else shown,
            fix=tr("look it up in the list of runs"),
            option_fix=tr("`python -m trainer list` shows the ids"),
        )

    def events(self, run_id: str, *, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """(events from byte `after` on, next byte to read). A partial last line is left for the next call.

        Lines that are no events are left out, and the run is then among the `damaged`.
        """
        folder = self._folder(run_id)
        run = self._read(folder, check_process=False)
        return self._checked(run or folder, EVENTS, lambda of: self._read_events(of, after=after)) or ([], after)

    def predictions(self, run_id: str):
        """Content of predictions.parquet as a DataFrame; None if there is no such file.

        None for a damaged file too: the run is then among the `damaged`.
        """
        folder = self._folder(run_id)
        return self._checked(self._read(folder, check_process=False) or folder, PREDICTIONS, self._read_predictions)

    # Writing

    def create(
        self,
        recipe: RunConfig,
        *,
        suite: str = "",
        label: str = "",
        owner: str | None = None,
        lineage: dict[str, Any] | None = None,
        fill: Callable[[Path], None] | None = None,
    ) -> Run:
        """Add a run to the end of the queue. `fill(folder)` may write files before other processes can see the run.

        Raises `ArgumentError` for a label of more than `LONGEST_LABEL` characters.
        """
        _check_label(label)
        task = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(recipe.task).stem.lower())[:24]
        backbone = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(recipe.backbone).name.lower())[:24]
        run_id = f"{recipe.method}-{task or 'task'}-{backbone or 'backbone'}-s{recipe.seed}-{secrets.token_hex(4)}"
        run = Run(
            schema_version=SCHEMA_VERSION,
            id=run_id,
            folder=self.root / run_id,
            label=label,
            state="queued",
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            queue_order=time.time_ns(),
            suite=suite,
            recipe=recipe,
            lineage={"parents": recipe.parents, **(lineage or {})},
            owner=owner,
            result=None,
            error=None,
        )
        temporary = self.root / f".new-{run_id}"
        try:
            temporary.mkdir(parents=True)
            if fill is not None:
                fill(temporary)
            self._write(run.model_copy(update={"folder": temporary}))
            os.replace(temporary, run.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return run

    def store_file(self, path: Path) -> Path:
        """Copy a person's data file into the store; the copy's path. A run can then resume without the original.

        Files with equal content and name are stored once.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        end = tables.suffix(path)
        name = path.name[: len(path.name) - len(end)]
        stem = "".join(c if c.isalnum() else "-" for c in name)[:60].strip("-") or "file"
        stored = self.root / ".files" / digest / f"{stem}{end}"
        if not stored.is_file():
            stored.parent.mkdir(parents=True, exist_ok=True)
            temporary = stored.with_name(f".{stored.name}.{os.getpid()}")
            shutil.copyfile(path, temporary)
            os.replace(temporary, stored)
        return stored

    def prepared(self, folder: Path) -> Run | None:
        """The run in a folder inside the store that is no run yet; None if `adopt` would refuse its run.json."""
        try:
            return self._read(folder, check_process=False)
        finally:
            self._forget(folder)

    def adopt(self, folder: Path, run_id: str) -> Run:
        """Rename a prepared folder inside the store to the folder of the run `run_id`, at the end of the queue.

        Raises `ArgumentError` for a run.json that is missing, for a file that is damaged or of a newer version, and for
        an unended run. Every file of a run is read whole before it enters.
        """
        run, damage = self._read(folder, check_process=False), self._damage(folder)
        self._forget(folder)
        if run is not None:
            for name, read in ((EVENTS, self._read_events), (PREDICTIONS, self._read_predictions)):
                damage = damage or self._checked(run, name, read, register=False)
        if damage is not None and (folder / RUN).exists():
            raise ArgumentError(
                expected=tr("a run whose {file} is whole", file=damage.file),
                got=tr("a damaged one: {problem}", problem=damage.reason),
                fix=tr("export it again"),
            )
        state = run.state if run else None
        if state not in ENDED:
            raise ArgumentError(
                expected=tr("a run that has ended, with a readable run.json"),
                got=tr("one that is {state}", state=tr(state)) if state else tr("none"),
                fix=tr("export it again where it was trained"),
            )
        os.replace(folder, self._folder(run_id))
        self.update(run_id, queue_order=time.time_ns())
        return self.load(run_id)

    def update(self, run_id: str, **changes: Any) -> Run:
        """Change fields of run.json and keep the others as they are on the disk. Raises `UserError` if damaged."""
        _check_label(changes.get("label", ""))
        folder = self._folder(run_id)
        with FileLock(self.root / f".{run_id}.lock"):
            current = self._read(folder, check_process=False)
            if current is None:
                if damage := self._damage(folder):
                    raise DamagedRun(damage)
                raise UserError(
                    expected=f"{folder}/run.json", got=tr("none that can be read"), fix=tr("delete the run's folder")
                )
            run = Run.model_validate(dict(current) | changes)
            self._write(run)
        return run

    def append(self, run_id: str, event: Event) -> None:
        """Append one line to events.jsonl, with a single write.

        A line before it that a crash cut short is marked as such (`event_lines.CANCELLED`), and stays.
        """
        line = (json.dumps({"time": round(time.time(), 3), **event.as_dict()}, allow_nan=True) + "\n").encode()
        handle = os.open(self._folder(run_id) / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.lseek(handle, 0, os.SEEK_END):
                os.lseek(handle, -1, os.SEEK_CUR)
                if os.read(handle, 1) != b"\n":
                    # Where another process was writing at this moment, the mark is a line of its own.
                    line = event_lines.CANCELLED + b"\n" + line
            os.write(handle, line)
        finally:
            os.close(handle)

    def delete(self, run_id: str) -> None:
        """Delete a run's folder. Raises `UserError` for a running run, and for a parent of a queued or running one."""
        try:
            run = self.load(run_id)
        except DamagedRun as error:
            if self.is_at_work(error.damage.folder):
                raise UserError(
                    expected=tr("a run that is not running"), got=error.damage.run_id, fix=tr("cancel it first")
                ) from None
            self._remove(error.damage.folder)
            return
        if run.state == "running":
            raise UserError(expected=tr("a run that is not running"), got=run.id, fix=tr("cancel it first"))
        waiting = [other.id for other in self.list() if run.id in other.recipe.parents and other.state in STATES[:2]]
        if waiting:
            raise UserError(
                expected=tr("a run that no waiting run fuses"),
                got=tr("one that {run} needs", run=waiting[0]),
                fix=tr("cancel that first"),
            )
        self._remove(run.folder)

    def files(self) -> list[Path]:
        """Data files that `store_file` stored, sorted by name."""
        return sorted(
            (path for path in self.root.glob(".files/*/*") if path.name[0] != "."), key=lambda path: path.name
        )

    def delete_file(self, path: Path) -> None:
        """Delete a file that `store_file` stored. Raises `UserError` for another file, or if an unended run uses it."""
        if path not in self.files():
            raise ArgumentError(
                expected=tr("a file that the store keeps"), got=path.name, fix=tr("choose another file")
            )
        path_in_recipe = json.dumps(str(path.resolve()))
        waiting = [
            run.id
            for run in self.list()
            if run.state not in ENDED and path_in_recipe in json.dumps(run.recipe.model_dump(mode="json"))
        ]
        if waiting:
            raise UserError(
                expected=tr("a file that no waiting run needs"),
                got=tr("one that {run} needs", run=waiting[0]),
                fix=tr("cancel that first"),
            )
        path.unlink()
        with suppress(OSError):  # the same content may be stored under another name
            path.parent.rmdir()

    # Which process trains a run

    @contextmanager
    def at_work(self, run_id: str) -> Iterator[None]:
        """Lock held by the process that trains a run. The system releases it when the process ends, even by a crash."""
        with FileLock(self._folder(run_id) / ".working"):
            yield

    def is_at_work(self, folder: Path) -> bool:
        """Whether a process holds the lock `at_work` of the run in this folder."""
        lock = FileLock(folder / ".working")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False

    # Internal

    def _folders(self) -> Iterator[Path]:
        """Folders of runs; hidden ones are not runs."""
        if not self.root.is_dir():
            return
        for entry in os.scandir(self.root):
            if entry.is_dir() and not entry.name.startswith("."):
                yield Path(entry.path)

    def _folder(self, run_id: str) -> Path:
        """Folder of the run with this id, existing or not. Raises `ArgumentError` for a name that is no id."""
        folder = self.root / run_id
        if not _may_be_id(run_id) or folder.parent != self.root:
            raise ArgumentError(
                expected=tr("a run's id"),
                got=repr(run_id[:LONGEST]),
                fix=tr("look it up in the list of runs"),
                option_fix=tr("`python -m trainer list` shows the ids"),
            )
        return folder

    def _remove(self, folder: Path) -> None:
        # Renamed first, so that a crash here leaves no half-deleted run in the list.
        hidden = self.root / f".deleted-{folder.name}"
        os.replace(folder, hidden)
        self._forget(folder)
        shutil.rmtree(hidden, ignore_errors=True)
        (self.root / f".{folder.name}.lock").unlink(missing_ok=True)

    def _damage(self, folder: Path) -> Damage | None:
        """What is wrong with a folder's run.json, as it was last read; another thread may forget it at any time."""
        return self._broken.get(folder, (None, None))[1]

    def _forget(self, folder: Path) -> None:
        self._parsed.pop(folder, None)
        self._broken.pop(folder, None)

    def _read(self, folder: Path, *, check_process: bool = True) -> Run | None:
        """The run in a folder; None if run.json is missing or damaged, which `_broken` then tells.

        With `check_process`, a run whose state is running although no process trains it is returned as failed.
        """
        then, _ = self._broken.get(folder, (None, None))
        if then is not None and then == signature(folder / RUN):
            return None
        self._broken.pop(folder, None)
        try:
            return self._state_now(self._parse(folder), check_process=check_process)
        except MemoryError:
            raise  # the machine's, not the file's
        except Exception:  # of any kind: what is in the file decides what its readers raise; `_parse` keeps it
            return None

    def _state_now(self, run: Run, *, check_process: bool) -> Run:
        """The run, as failed if its state is running although no process trains it and that is checked."""
        if not (check_process and run.state == "running") or self.is_at_work(run.folder):
            return run
        run = self._parse(run.folder)  # it may have finished since it was parsed
        if run.state == "running":
            return run.model_copy(update={"state": "failed", "error": tr(INTERRUPTED)})
        return run

    def _parse(self, folder: Path) -> Run:
        """The run in a folder, from the cache unless run.json was replaced: a page lists the whole store every second.

        Raises `ValueError` (which pydantic's error is) for a damaged file or a newer version, `OSError` if unreadable;
        `_broken` then has the damage.
        """
        version = signature(folder / RUN)
        cached = self._parsed.get(folder)
        if cached is not None and cached[0] == version:
            return cached[1]
        try:
            run = read_run(folder)
        except MemoryError:
            raise
        except Exception as error:
            if _is_run(folder):
                damage = damage_of(error, run_id=_printable(folder.name), folder=folder, file=RUN)
                self._broken[folder] = version, damage
            raise
        if version is not None:
            self._parsed[folder] = version, run
        return run

    def _checked(self, of: Run | Path, name: str, read: Callable[[Any], Any], *, register: bool = True) -> Any:
        """What `read` makes of a file of a run (or of a folder with a damaged run.json); None if there is no such file.

        None for a damaged one, which is registered. Without `register`, its damage or None instead of the content.
        """
        folder = of if isinstance(of, Path) else of.folder
        version = signature(folder / name)
        content, error = None, None
        try:
            content, error = read(of)
        except FileNotFoundError:
            pass
        except MemoryError:
            raise
        except Exception as raised:  # of any kind, as in `_read`
            error = raised
        damage = error and damage_of(error, run_id=_printable(folder.name), folder=folder, file=name)
        if not register:
            return damage
        if damage is not None:
            self._register.add(damage, version)
        return content

    def _read_events(
        self, of: Run | Path, *, after: int = 0
    ) -> tuple[tuple[list[dict[str, Any]], int], Damaged | None]:
        """((events, next byte), what is wrong with a line)."""
        folder, finished = (of, False) if isinstance(of, Path) else (of.folder, of.state == "finished")
        lines = event_lines.read(folder / EVENTS, after=after, whole=finished)
        return (lines.events, lines.end), lines.damage

    def _read_predictions(self, of: Run | Path) -> tuple[Any, None]:
        """(the table, None)."""
        from trainer.runs import predictions

        folder, result = (of, None) if isinstance(of, Path) else (of.folder, of.result)
        return predictions.read(folder / PREDICTIONS, result.meta_info.dataset_info if result else None), None

    def _write(self, run: Run) -> None:
        """Replace run.json atomically."""
        temporary = run.folder / f".run.json.{os.getpid()}"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(run.as_json(), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, run.folder / "run.json")
        finally:
            temporary.unlink(missing_ok=True)
