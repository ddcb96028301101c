"""The command that prints a script for a shell: the short command `trainer`, whose words the Tab key completes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from trainer.errors import one_of

VARIABLE = "_TRAINER_COMPLETE"
"""The environment variable by which the script calls the command line for completions (Typer's protocol)."""
SCRIPTS = {
    "bash": """\
trainer() { PYTHONPATH={root}${PYTHONPATH:+:$PYTHONPATH} {python} -m trainer "$@"; }
_trainer() {
  local IFS=$'\\n'
  COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD {variable}=complete_bash trainer))
}
complete -o default -F _trainer trainer
""",
    "zsh": """\
trainer() { PYTHONPATH={root}${PYTHONPATH:+:$PYTHONPATH} {python} -m trainer "$@" }
_trainer() { eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" {variable}=complete_zsh trainer)" }
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _trainer trainer
""",
    "fish": """\
function trainer; PYTHONPATH={root} {python} -m trainer $argv; end
function _trainer
  _TYPER_COMPLETE_FISH_ACTION=$argv _TYPER_COMPLETE_ARGS=(commandline -cp) {variable}=complete_fish trainer
end
complete --command trainer --condition "_trainer is-args" --no-files --arguments "(_trainer get-args)"
""",
}
"""A shell -> its script, with markers for this program's folder, its Python and `VARIABLE`."""


def prepare() -> None:
    """Register Typer's shells where a script asks for completions: without its own options Typer leaves them out."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init

        completion_init()


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish")],
) -> None:
    """Print a script with the short command `trainer` for a shell, whose Tab key completes its commands and options."""
    if shell not in SCRIPTS:
        raise one_of("a shell", shell, tuple(SCRIPTS))
    script = SCRIPTS[shell]
    root = Path(__file__).resolve().parents[2]
    for marker, value in (("{root}", str(root)), ("{python}", sys.executable), ("{variable}", VARIABLE)):
        script = script.replace(marker, value if marker == "{variable}" else shlex.quote(value))
    typer.echo(script, nl=False)
