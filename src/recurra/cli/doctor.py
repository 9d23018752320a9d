"""`recurra doctor`: what this machine has, and what is missing."""

import typer


def show_machine() -> None:
    """Show what this machine has for recurra: compiler, vector width, threads, GPU."""
    from recurra.nn import doctor

    typer.echo(str(doctor()))
