"""The `recurra` command: its groups, and how a user's mistake becomes one line and exit code 2.

Commands import what they run inside their functions: torch's companions take seconds to load, and
`--help` should not wait for them.
"""

import os
import sys
from typing import Any

import typer
import typer.core

from recurra.cli import cells, compare, doctor, evaluate, sample, train
from recurra.errors import RecurraError

USER_ERROR = 2
TRACEBACK_VARIABLE = "RECURRA_TRACEBACK"


class Commands(typer.core.TyperGroup):
    """A group whose errors are one line each."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Run a command; leave with its exit code, or with 2 and a line on stderr."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **kwargs)
        try:
            code = super().main(*args, standalone_mode=False, **kwargs)
        except (RecurraError, ValueError, TypeError, OSError) as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            sys.exit(_report(f"recurra: {error}"))
        except Exception as error:
            # Errors of usage: their base class moved between releases of typer, their methods
            # did not.
            if not hasattr(error, "format_message"):
                raise
            sys.exit(_report_usage(error))
        sys.exit(code if isinstance(code, int) else 0)


def _report(line: str) -> int:
    typer.echo(line, err=True)
    return USER_ERROR


def _report_usage(error: Any) -> int:
    """One line for a wrong option or argument, with where to look it up."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "recurra"
    message = error.format_message().strip()
    if not message:  # a group called bare, whose help has been shown
        return USER_ERROR
    return _report(f"{command}: {message.rstrip('.')}. See {command} --help.")


app = typer.Typer(
    name="recurra",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Recurrent networks, written as equations: train them, evaluate them, sample from them.",
    epilog="Start with: recurra train lm --max-minutes 1",
)
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.command("sample")(sample.sample)
app.command("cells")(cells.show_cells)
app.command("compare")(compare.compare_cells)
app.command("doctor")(doctor.show_machine)


def main() -> None:
    """The entry point of the `recurra` command."""
    app()
