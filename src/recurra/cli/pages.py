"""Pages of docs/ that are written from what is declared: `python -m recurra.cli.pages`."""

from collections.abc import Iterator
from typing import Any

from recurra.settings import declared, kind_of, option_of
from recurra.tasks.options import OPTIONS

_KINDS = {int: "whole number", float: "number", str: "text", bool: "yes or no", Any: "a cell"}


def settings_page() -> Iterator[str]:
    """The lines of docs/settings.md: every setting of every task."""
    yield "# Settings"
    yield ""
    yield "This page is written by `python -m recurra.cli.pages`; a test holds it to the code."
    yield ""
    yield "A setting is a keyword of `recurra.train` and an option of `recurra train`:"
    yield "`batch_size=32` is `--batch-size 32`."
    for options in OPTIONS.values():
        yield from ("", f"## {options.task}", "", *options.about.split("\n"))
        panels: dict[str, list[str]] = {}
        for kind in (options.data, options.model, options.training):
            for each in declared(kind):
                option, (hint, _) = option_of(each), kind_of(kind, each.name)
                default = option.unset if option.unset is not None else f"`{each.default!r}`"
                values = ", ".join(option.choices) or _KINDS.get(hint, "by name")
                if option.several:
                    values = f"{'a path' if option.is_path else 'text'}, or several"
                panels.setdefault(option.panel, []).append(
                    f"| `{each.name}` | {values} | {default} | {option.help} |"
                )
        for panel, rows in panels.items():
            yield from (
                "",
                f"### {panel}",
                "",
                "| setting | values | default | |",
                "|---|---|---|---|",
            )
            yield from rows


def flags(task: str) -> list[str]:
    """The options of a task's command, as the command line spells them."""
    import typer.main

    from recurra.cli.main import app

    group = typer.main.get_command(app)
    command = group.commands["train"].commands[task]  # type: ignore[attr-defined]
    return sorted(name for each in command.params for name in [*each.opts, *each.secondary_opts])


if __name__ == "__main__":
    print("\n".join(settings_page()))
