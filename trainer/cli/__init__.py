"""The command line, `python -m trainer`: everything that the app does, without a browser.

Each module has a group of commands as plain functions; they are registered here, in the order of the help.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand

from trainer import __version__
from trainer.cli import compare, completion, estimate, hub, predict, remake, runs, train, worker
from trainer.errors import Cancelled, UserError, sentence

COMMANDS = {
    "suite": train.suite,
    "run": train.run,
    "list": runs.list_,
    "show": runs.show,
    "compare": compare.compare,
    "report": compare.report,
    "predict": predict.predict,
    "estimate": estimate.estimate,
    "cancel": runs.cancel,
    "resume": runs.resume,
    "again": runs.again,
    "delete": runs.delete,
    "export": runs.export,
    "push": hub.push,
    "load": runs.load,
    "adopt": hub.adopt,
    "fetch": hub.fetch,
    "remake": remake.remake,
    "completion": completion.completion,
}


class Command(TyperCommand):
    """A command whose help names an argument by what it is, without the type that Python gives it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):
                parameter.display_type_rich = lambda ctx: ""


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)
app.command("worker", hidden=True)(worker.worker)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"PEFT Lab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Train, compare and question fine-tuning methods for text classification."""


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit status."""
    from trainer.machine.device import share_cores

    share_cores()
    completion.prepare()
    try:
        app(standalone_mode=True, complete_var=completion.VARIABLE)
    except UserError as error:
        typer.echo(error.on_command_line, err=True)
        sys.exit(error.exit_status)
    except (Cancelled, KeyboardInterrupt) as error:
        typer.echo(sentence(error), err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(sentence(error), err=True)
        sys.exit(1)
