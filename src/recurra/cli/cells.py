"""`recurra cells`: the cells that can be named, and the equations of each."""

from pathlib import Path
from typing import Annotated

import typer


def show_cells(
    name: Annotated[str | None, typer.Argument(help="Show the equations of this cell.")] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Equations as LaTeX alone, for an align environment.")
    ] = False,
    graph: Annotated[
        Path | None, typer.Option(help="Write the cell's graph to this file, .svg or .dot.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All cells with their equations, as docs/cells.md.")
    ] = False,
    input_size: Annotated[int, typer.Option(help="I, for which the table counts parameters.")] = 64,
    hidden_size: Annotated[
        int, typer.Option(help="H, for which the table counts parameters.")
    ] = 256,
) -> None:
    """List the cells, or show the equations of one.

    Examples: recurra cells; recurra cells gru; recurra cells gru --latex; recurra cells gru --graph
    gru.svg
    """
    from recurra import cells
    from recurra.cli import catalogue

    if name is not None:
        cell = cells.get(name)
        typer.echo(cell.latex() if latex else f"{cell}\n\n{cell.doc}\n\n{cell.latex()}")
        if graph is not None:
            cell.graph().save(graph)
            typer.echo(f"the graph is in {graph}", err=True)
    elif graph is not None:
        raise ValueError("recurra cells: expected a NAME with --graph, got none. Name one cell.")
    elif latex:
        for each in cells.names():
            typer.echo(f"% {each}\n{cells.get(each).latex()}\n")
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
