"""`recurra cells`: the cells that can be named, and the equations of each."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.cli.options import check_replaceable, option, path


def show_cells(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show the equations of this cell: a name, a composed one such as "
            "'zoneout(lstm, 0.1)', or one of your own, FILE.py:NAME or MODULE:NAME.",
            metavar="NAME",
        ),
    ] = None,
    latex: Annotated[
        bool, option(None, "Equations as LaTeX alone, for an align environment.", "--latex")
    ] = False,
    graph: Annotated[
        Path | None, option(None, "Write the cell's graph to this file, .svg or .dot.", parser=path)
    ] = None,
    markdown: Annotated[
        bool, option(None, "All cells with their equations, as docs/cells.md.", "--markdown")
    ] = False,
    input_size: Annotated[int, option(None, "I, for which parameters are counted.")] = 64,
    hidden_size: Annotated[int, option(None, "H, for which parameters are counted.")] = 256,
) -> None:
    """List the cells, or show the equations of one.

    Examples: recurra cells; recurra cells gru; recurra cells 'layer_norm(gru)' --latex; recurra
    cells my_file.py:my_cell --graph my_cell.svg
    """
    for size, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if value < 1:
            raise ValueError(f"{size}: expected at least 1, got {value}. Give a positive number.")
        if value > 2**24:
            raise ValueError(
                f"{size}: expected at most {2**24:,}, got {value}. Give a smaller one."
            )
    if markdown and (latex or name is not None):
        other = "--latex" if latex else "a NAME"
        raise ValueError(
            f"markdown: expected all cells in one form, got {other} too. Leave one of them out."
        )
    if graph is not None and (name is None or latex):
        got = "none" if name is None else "--latex beside it"
        raise ValueError(f"graph: expected a NAME and nothing else, got {got}. Name one cell.")

    from recurra import cells
    from recurra.cli import catalogue
    from recurra.compose.spelling import cell_of_spelling

    if name is not None:
        try:
            cell = cell_of_spelling(name)
        except ValueError as error:
            raise ValueError(f"NAME: {str(error).removeprefix('cell: ')}") from None
        if graph is not None:
            check_replaceable("graph", graph)
            cell.graph().save(graph)
            typer.echo(f"the graph is in {graph}", err=True)
        elif latex:
            typer.echo(cell.latex())
        else:
            typer.echo(f"{cell}\n\n{cell.doc}\n\n{cell.latex()}\n")
            parameters = catalogue.facts(cell, input_size, hidden_size).parameters
            typer.echo(f"{parameters:,} parameters at I = {input_size}, H = {hidden_size}")
    elif latex:
        for each in cells.names():
            typer.echo(f"{cells.get(each).latex()}\n")
    elif markdown:
        typer.echo("\n".join(catalogue.markdown(input_size, hidden_size)))
    else:
        _print_table(input_size, hidden_size)


def _print_table(input_size: int, hidden_size: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from recurra import cells
    from recurra.cli import catalogue

    table = Table(box=None, pad_edge=False)
    for heading in ("cell", "year", "states", "matrices", "parameters", "linear"):
        is_number = heading in ("matrices", "parameters")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    table.add_column("source")
    for name in cells.names():
        row = catalogue.facts(cells.get(name), input_size, hidden_size)
        table.add_row(
            row.name,
            row.year,
            ", ".join(row.states),
            str(row.matrices),
            f"{row.parameters:,}",
            "yes" if row.linear else "",
            row.source,
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"parameters at I = {input_size}, H = {hidden_size}; linear: in the state, unit by unit; "
        f"recurra cells NAME for more"
    )
