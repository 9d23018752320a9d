"""Options as the commands declare them: in panels, with what the help says of their defaults."""

from typing import Any

import typer

TEXT, MODEL, BUDGET = "Text", "Model", "How long"
LEARNING, REPORTS, MACHINE = "Optimization", "Validation, checkpoints, samples", "Machine"


def option(panel: str, text: str, *names: str, default: str | None = None) -> Any:
    """An option in a panel of the help; `default` is what the help says where the value is None."""
    shown: Any = True if default is None else default
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=shown)
