"""Options as the commands declare them: in panels, with what the help says of their defaults."""

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from recurra.errors import RunError
from recurra.settings import Settings, kind_of, option_of
from recurra.terminal import typed

DEVICES = ("auto", "cpu", "cuda")
# tasks whose runs have a command of the same name
_READ = ("classify", "tag", "frames", "translate", "forecast", "caption", "align")


def path(text: str | Path) -> Path:
    """A path of the command line; none is empty, which would name the present folder."""
    return Path(named(str(text)))


def named(text: str) -> str:
    """A name of the command line, as long as it is one; an empty one is an unset variable's."""
    if not text:
        raise ValueError("expected a name, got an empty one. Name something, or leave it out")
    return text


RUN = typer.Argument(help="Folder of the run.", metavar="RUN", parser=path)


def option(
    panel: str | None,
    text: str,
    *names: str,
    default: str | None = None,
    choices: tuple[str, ...] = (),
    parser: Callable[[str], Any] | None = None,
) -> Any:
    """An option in a panel of the help.

    Args:
        default: what the help says of the default where the value is None.
        choices: what may be given, for the help; what is given is checked by what takes it.
        parser: reads what is given; its ValueError is said with the option's name.
    """
    shown: Any = True if default is None else default
    metavar = f"<{'|'.join(choices)}>" if choices else {path: "PATH", named: "TEXT"}.get(parser)

    def completed(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return typer.Option(
        *names,
        help=text,
        rich_help_panel=panel,
        show_default=shown,
        metavar=metavar,
        parser=parser,
        autocompletion=completed if choices else None,
    )


def of_setting(kind: type[Settings], each: Field[Any]) -> tuple[Any, Any, Any]:
    """The type, the declaration and the default of an option that is a setting."""
    described, (hint, optional) = option_of(each), kind_of(kind, each.name)
    default, unset = each.default, described.unset
    if hint not in (int, float, bool, str):
        hint = str  # a cell or a mapping, spelled
    if unset is not None:
        optional, default = True, None  # what is not given is left to the settings
    if described.several:
        hint = list[str]
    names = [described.flags] if described.flags else []
    declaration = option(
        described.panel,
        described.help,
        *names,
        default=unset,
        choices=described.choices,
        parser=named if described.is_path else None,
    )
    return (hint | None if optional else hint), declaration, default


def with_parameters(
    function: Callable[..., None], options: Mapping[str, tuple[Any, Any, Any]]
) -> None:
    """Give a function that takes its context and anything the parameters that typer looks for.

    Args:
        function: of a command.
        options: by name, the type, the declaration and the default of each.
    """
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("context", kind, annotation=typer.Context)]
    parameters += [
        inspect.Parameter(name, kind, annotation=Annotated[hint, declaration], default=default)
        for name, (hint, declaration, default) in options.items()
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}


class SettingsCommand(typer.core.TyperCommand):
    """A command whose options may have several words behind them, as of `--data texts/*.txt`.

    Those that may be given more than once may. Where the command takes arguments that are not
    there otherwise, the last of these words are the arguments.
    """

    context_class = typer.Context

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of the command line, `--data A B` spelled as `--data A --data B`."""
        several, flags = (
            {name for each in self.params if getattr(each, kind, False) for name in each.opts}
            for kind in ("multiple", "is_flag")
        )
        num_missing = sum(each.param_type_name == "argument" and each.required
                          for each in self.params)  # fmt: skip
        words: list[str] = []
        more: list[tuple[int, str]] = []  # further words behind an option: where, and the option
        option, has_value = "", True
        for word in args:
            is_value = word == "-" or not word.startswith("-")
            if not is_value:
                option, _, value = word.partition("=")
                has_value = bool(value) or option in flags
            elif not has_value:
                has_value = True
            elif option in several:
                more.append((len(words), option))
            else:
                num_missing -= 1
            words.append(word)
        for place, option in reversed(more[: len(more) - max(0, num_missing)]):
            words.insert(place, option)
        return super().parse_args(ctx, words)


def given(context: typer.Context) -> dict[str, Any]:
    """The options that stand on the command line; the others have their defaults."""
    return {
        name: value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


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
            f"{folder}: expected the folder of a run, got a file. Name its folder: "
            f"{folder.absolute().parent}."
        )
    return folder


def opened(folder: Path, task: str | None) -> Any:
    """The run in a folder, for the command of a task; None: of any task.

    Raises:
        RunError: when it is a run of another task, naming the command that reads it.
    """
    from recurra.tasks import Run

    run = Run.open(checked_run(folder))
    name = run.task_class.name
    if task is not None and name != task:
        known = {"lm": "sample", **{each: each for each in _READ}}
        raise RunError(
            f"{folder}: expected the run of a task ({task!r}), got {name!r}. Use recurra "
            f"{known.get(name, 'evaluate')}."
        )
    return run


def spelling_of(command: Any, trained: Iterable[Any] = ()) -> Callable[[str], str]:
    """How the command takes an argument of Python: `max_steps=9` is --max-steps 9.

    What is no option of the command, but one of training, is written as there, and whose it is;
    what is neither stays as it is.

    Args:
        trained: the commands that train, each for a task.
    """
    # of a group, those of its commands: train --resume RUN names none
    options = _options_of((*getattr(command, "commands", {}).values(), command))
    others = _options_of(trained)

    def spelled(text: str) -> str:
        name, _, value = text.partition("=")
        own = options.get(name) or options.get(f"{name}s")  # some take several: --cells
        found = own or others.get(name)
        if found is None:
            return text
        (option, is_flag), whose = found, "" if own else " of recurra train"
        is_said = not value or (is_flag and value == "True")
        return f"{option if is_said else f'{option} {value}'}{whose}"

    return spelled


def _options_of(commands: Iterable[Any]) -> dict[str, tuple[str, bool]]:
    """By argument, the option that takes it, and whether that is a flag."""
    return {
        parameter.name: (name, getattr(parameter, "is_flag", False))
        for each in commands
        for parameter in each.params
        for name in reversed(parameter.opts)
        if name.startswith("--")
    }


def named_first(message: str, spelled: Callable[[str], str]) -> str:
    """A refusal of an argument, which begins with the argument's name, as the command has it.

    For ValueError and TypeError alone: other errors begin with a place, which may be a file of that
    name.
    """
    name, colon, rest = message.partition(": expected ")
    return f"{spelled(name)}{colon}{rest}" if name.isidentifier() else message


def invoked(group: Any, words: Sequence[str]) -> Any:
    """The command that the words of a command line call."""
    command = group
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command


_PICTURES = {
    ".svg": rb"<svg[\s>]",
    ".dot": rb"^\s*(strict\s+)?(di)?graph\b",
    ".png": rb"(?s)^\x89PNG.*(Matplotlib|recurra)",  # who drew it; a photograph was not drawn
    ".pdf": rb"^%PDF",
    ".gif": rb"^GIF8",
}
DRAWN = (".svg", ".png", ".pdf")


def check_picture(name: str, path: Path, suffixes: Sequence[str] = DRAWN) -> None:
    """Raise ValueError where no picture could be drawn into a file, or it would take the
    place of something else."""
    if path.suffix.lower() not in suffixes:
        ends = " or ".join(", ".join(suffixes).rsplit(", ", 1))
        raise ValueError(
            f"{name}: expected a file that ends in {ends}, got {str(path)!r}. Name such a file."
        )
    check_replaceable(name, path)


def check_replaceable(name: str, path: Path) -> None:
    """Raise ValueError where writing a picture would destroy something that is none of its kind."""
    suffix = path.suffix.lower()
    if suffix not in _PICTURES or not os.path.lexists(path):  # whoever writes knows suffixes
        return
    got = "a symbolic link" if path.is_symlink() else None if path.is_file() else "no file"
    if got is None:
        with path.open("rb") as file:
            head = file.read(4096)
        if not head or re.search(_PICTURES[suffix], head):
            return
        got = "a file that is none"
    raise ValueError(
        f"{name}: expected a new file, or an older {suffix} picture to replace, got "
        f"{str(path)!r}, {got}. Choose another name."
    )


def check_installed(where: str, extra: str, *modules: str) -> None:
    """What is needed at the end is known to be there before anything is computed."""
    for module in modules:
        if find_spec(module) is None:
            raise ValueError(
                f"{where}: expected the package {module}, got none. "
                f"Install it: pip install -e '.[{extra}]' in the clone of recurra."
            )
