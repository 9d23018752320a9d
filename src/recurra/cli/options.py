"""Options as the commands declare them: in panels, with what the help says of their defaults."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from recurra.errors import RunError
from recurra.terminal import typed

TEXT, MODEL, BUDGET = "Text", "Model", "How long"
LEARNING, REPORTS, MACHINE = "Optimization", "Validation, checkpoints, samples", "Machine"
DEVICES = ("auto", "cpu", "cuda")
RUN = typer.Argument(help="Folder of the run.", metavar="RUN")

# An argument of Python where a message says what is wrong with it, "lr: expected", or what to give
# it: "a smaller clip_norm=", "bptt=50", "resume=True".
_ARGUMENT = re.compile(r"(?<![\w.:'\"`-])([a-z]\w*)(: expected |=True\b|=)(?=([\w/-]|\.[\w/])?)")


def option(
    panel: str | None,
    text: str,
    *names: str,
    default: str | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """An option in a panel of the help.

    Args:
        default: what the help says of the default where the value is None.
        choices: what may be given, for the help; what is given is checked by what takes it.
    """
    shown: Any = True if default is None else default
    return typer.Option(
        *names,
        help=text,
        rich_help_panel=panel,
        show_default=shown,
        metavar="|".join(choices) or None,
    )


def typed_prime(text: str) -> str:
    r"""The text to go on from, as it was typed; what may be meant as a line end is pointed at."""
    prime = typed(text)
    if found := re.search(r"\\[nrt]", prime):
        typer.echo(
            f"prime: {found[0]} is a backslash and a letter here; in most shells $'a\\nb' has a "
            "line end in it",
            err=True,
        )
    return prime


def checked_run(folder: Path) -> Path:
    """The folder of a run that was named on the command line.

    Raises:
        RunError: when it is a file; a run's files are read by the name of their folder.
    """
    if folder.is_file():
        raise RunError(
            f"{folder}: expected the folder of a run, got a file. Name its folder: {folder.parent}."
        )
    return folder


def in_flags(message: str, command: Any) -> str:
    """The message with arguments as the command takes them: `max_steps=9` is --max-steps 9.

    Messages name an argument as Python does, because that is where they come from.
    """
    flags = {
        parameter.name: name
        for parameter in command.params
        for name in reversed(parameter.opts)
        if name.startswith("--")
    }

    def spelled(found: re.Match[str]) -> str:
        name, rest, value = found.groups()
        if name not in flags:
            return found[0]
        return flags[name] + {"=": " " if value else "", "=True": ""}.get(rest, rest)

    return _ARGUMENT.sub(spelled, message)


def invoked(group: Any, words: Sequence[str]) -> Any:
    """The command that the words of a command line call."""
    command = group
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command
