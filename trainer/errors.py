"""Errors that a person can see. Each is one sentence: what was expected, what came instead, what to do."""

from __future__ import annotations

from trainer.texts import tr


class UserError(Exception):
    """An error that a person can fix. `str(error)` is the sentence they see, in the process's language.

    Pass the parts already translated: noun phrases for `expected` and `got`, an instruction for `fix`. `fix` names no
    option of the command line, since the page and the endpoints show it too; where the command line has an option for
    it, `option_fix` is the instruction there.
    """

    exit_status = 1

    def __init__(self, *, expected: str, got: str, fix: str, option_fix: str = "") -> None:
        super().__init__(_whole(expected, got, fix))
        self.on_command_line = _whole(expected, got, option_fix or fix)
        """The sentence as the command line prints it."""


def _whole(expected: str, got: str, fix: str) -> str:
    return tr("Expected {expected}, got {got}; {fix}.", expected=expected, got=got, fix=fix)


class ArgumentError(UserError):
    """A wrong argument: an unknown name, a value out of range, a file that does not fit."""

    exit_status = 2


class Problems(ArgumentError):
    """Several wrong arguments, reported together so that a person can fix all of them at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        text = " ".join(problems)
        if len(problems) > 1:
            text = tr("{count} problems: {problems}", count=len(problems), problems=text)
        Exception.__init__(self, text)
        self.on_command_line = text


class Unreachable(UserError):
    """A source (the Hub, the package index) that did not respond or does not have the file."""


class TrainingStopped(UserError):
    """Training that cannot go on, such as a loss that is no longer a number."""


class Cancelled(Exception):
    """The run was cancelled by a person."""


def one_of(kind: str, got: object, names: list[str] | tuple[str, ...]) -> ArgumentError:
    """The error for an unknown name: lists the known names and suggests the nearest. `kind` is a marked text."""
    import difflib

    near = difflib.get_close_matches(str(got), names, n=1)
    fix = tr("perhaps you meant {name}", name=near[0]) if near else tr("choose one of these")
    return ArgumentError(expected=f"{tr(kind)} ({', '.join(names)})", got=repr(str(got)), fix=fix)


_OF_A_GPU = ("cuda out of memory", "cuda error: out of memory", "cublas_status_alloc_failed")
_OF_MEMORY = ("out of memory", "defaultcpuallocator", "cannot allocate memory", "can't allocate memory", "bad_alloc")
"""Parts of libraries' messages, in lower case, for an allocation that failed; torch's on a CPU is a RuntimeError."""


def unreadable(name: str, error: OSError) -> ArgumentError:
    """The error for a file that the system does not read."""
    return ArgumentError(
        expected=tr("a readable file {file}", file=name),
        got=error.strerror or tr("none"),
        fix=tr("check the path"),
    )


def sentence(error: BaseException) -> str:
    """One sentence that describes any error, without a traceback and on a single line."""
    import errno

    if isinstance(error, (UserError, Cancelled)):
        return str(error) or tr("Cancelled.")
    if isinstance(error, KeyboardInterrupt):
        return tr("Stopped from the keyboard.")
    text = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, getattr(errno, "EDQUOT", None)) or "no space left on device" in text:
        return tr("Expected room on the disk, got a full disk; free some space and resume or launch the run again.")
    if any(sign in text for sign in _OF_A_GPU):
        return tr(
            "Expected the run to fit in the GPU's memory, got an out-of-memory error; "
            "choose a smaller batch_size, max_length or backbone."
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(sign in text for sign in _OF_MEMORY):
        return tr(
            "Expected the run to fit in memory, got an out-of-memory error; "
            "choose a smaller batch_size, max_length or backbone."
        )
    first_line = (str(error).strip().splitlines() or [""])[0]
    return tr(
        "Something unexpected went wrong ({kind}: {message}); the log has the details.",
        kind=type(error).__name__,
        message=first_line[:300],
    )
