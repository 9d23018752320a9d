"""The `recurra` command: its groups, and how a user's mistake becomes one line and exit code 2.

Commands import what they run inside their functions: torch and its companions take seconds to load,
and `--help` should not wait for them.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from recurra.cli import (
    align,
    caption,
    cells,
    compare,
    doctor,
    evaluate,
    forecast,
    insight,
    predict,
    sample,
    train,
    translate,
)
from recurra.cli.options import SettingsCommand, invoked, named_first, spelling_of
from recurra.errors import RecurraError, arguments_spelled
from recurra.tasks.options import OPTIONS
from recurra.terminal import prepare_streams, printable, release, speaks

OWN_ERROR, USER_ERROR, INTERRUPTED = 1, 2, 130
TRACEBACK_VARIABLE = "RECURRA_TRACEBACK"

# How errors of arguments read; a ValueError or TypeError that reads otherwise is a bug of ours.
_REFUSAL = re.compile(r": expected .*, got", re.DOTALL)


_ORDER = ("train", "evaluate", "sample", "predict", *OPTIONS, "compare", "cells", "doctor")


class Commands(typer.core.TyperGroup):
    """A group whose errors are one line each."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order in which they are used."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(names))

    def _spelling_of(self, command: Any) -> Callable[[str], str]:
        """How a command takes arguments of Python."""
        train = self.commands["train"]
        return spelling_of(command, getattr(train, "commands", {}).values())

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Run a command; leave with its exit code, or with 2 and a line on stderr."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **kwargs)
        words = kwargs.get("args") or (args[0] if args else None) or sys.argv[1:]
        command = invoked(self, words)
        try:
            with arguments_spelled(self._spelling_of(command)):
                code = super().main(*args, standalone_mode=False, **kwargs)
            sys.stdout.flush()  # what a full disk refuses is known now, not behind our back
        except Exception as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            code = _report(error, self._spelling_of(command))
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception, spelled: Callable[[str], str]) -> int:
    """Say what is wrong, if it is the user's to mend, and the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read has read enough
        release(sys.stdout)
        return OWN_ERROR
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if hasattr(error, "format_message"):  # wrong usage, in every release of typer
        return _report_usage(error)
    if isinstance(error, OSError):
        release(sys.stdout)  # which may be what could not be written
        return _say(f"recurra: {_named(error)}")
    if isinstance(error, RecurraError):
        return _say(f"recurra: {error}")
    if isinstance(error, ValueError | TypeError) and _REFUSAL.search(str(error)):
        return _say(f"recurra: {named_first(str(error), spelled)}")
    error.add_note("This is a fault of recurra, not a mistake of yours: please report it.")
    raise error


def _named(error: OSError) -> str:
    """What the system says, with the file it says it of."""
    where = "standard output" if error.filename is None else os.fsdecode(error.filename)
    return (
        f"{where}: expected a file or folder that can be read or written, got: "
        f"{error.strerror or error}. Check its name, its permissions and the room on the disk."
    )


def _report_usage(error: Any) -> int:
    """One line for a wrong option or argument, with where to look it up."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "recurra"
    message = error.format_message().strip()
    if not message:  # a group called bare, whose help has been shown
        return USER_ERROR
    if found := re.search(r"valid (integer|number|float)", message):
        option = error.param.opts[0]
        kind, example = ("whole number", 10) if found[1] == "integer" else ("number", 0.5)
        message = f"Invalid value for '{option}': expected a {kind}, as in {option} {example}"
        message += _got(error)
    end = "" if message.endswith("?") else "."
    return _say(f"{command}: {message.rstrip('.')}{end} See {command} --help.")


def _got(error: Any) -> str:
    """What stood in a number's place, where the release of typer says so: by itself or in words."""
    problems = getattr(error.__cause__, "errors", list)()
    quoted = re.match(r"('.*') is not a valid", str(error.message), re.DOTALL)
    value = repr(problems[0]["input"]) if problems else quoted and quoted[1]
    return f", got {value}" if value else ""


def _say(line: str) -> int:
    if speaks():
        typer.echo(printable(line), err=True)
    return USER_ERROR


app = typer.Typer(
    name="recurra",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Start with: recurra train lm --max-minutes 1",
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"recurra {version('recurra')}")
        raise typer.Exit
    return wanted


@app.callback()
def recurra(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Recurrent networks, written as equations: train them, evaluate them, use them.

    A run is a folder: train makes it; evaluate, sample and predict read it. Each command has a
    --help.
    """


app.add_typer(train.app, name="train")
app.command("evaluate", cls=SettingsCommand)(evaluate.evaluate)
app.command("sample")(sample.sample)
app.command("predict")(predict.command())
for _options in OPTIONS.values():
    if _options.predicts is not None:
        app.command(_options.task)(predict.command(_options))
app.command("forecast", cls=SettingsCommand)(forecast.forecast)
app.command("caption", cls=SettingsCommand)(caption.caption)
app.command("align", cls=SettingsCommand)(align.align)
app.command("translate", cls=SettingsCommand)(translate.translate)
app.command("insight", cls=SettingsCommand)(insight.insight)
app.command("cells")(cells.show_cells)
app.add_typer(compare.app, name="compare")
app.command("doctor")(doctor.show_machine)


def main() -> None:
    """The entry point of the `recurra` command."""
    prepare_streams()
    app()
