"""`recurra cells`: the cells that can be named, and the equations of each."""

import re
from typing import Annotated, Any

import typer


def show_cells(
    name: Annotated[str | None, typer.Argument(help="Show the equations of this cell.")] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Equations as LaTeX, for an align environment.")
    ] = False,
    input_size: Annotated[int, typer.Option(help="I, for which the table counts parameters.")] = 64,
    hidden_size: Annotated[
        int, typer.Option(help="H, for which the table counts parameters.")
    ] = 256,
) -> None:
    """List the cells, or show the equations of one.

    Examples: recurra cells; recurra cells gru; recurra cells gru --latex
    """
    from recurra import cells

    if name is not None:
        cell = cells.get(name)
        typer.echo(cell.latex() if latex else f"{cell}\n\n{cell.doc}")
    elif latex:
        for each in cells.names():
            typer.echo(f"% {each}\n{cells.get(each).latex()}\n")
    else:
        _print_table(input_size, hidden_size)


def _print_table(input_size: int, hidden_size: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from recurra import cells

    table = Table(box=None, pad_edge=False)
    table.add_column("cell", no_wrap=True)
    table.add_column("states", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("source")
    for name in cells.names():
        cell = cells.get(name)
        count = _count_parameters(cell, input_size, hidden_size)
        table.add_row(name, ", ".join(cell.states), count, _source(cell.doc))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"parameters at I = {input_size}, H = {hidden_size}; recurra cells NAME for more")


def _count_parameters(cell: Any, input_size: int, hidden_size: int) -> str:
    """The number of parameters; sizes of the cell's own (a projection) count as half of H."""
    sizes = {name: max(1, hidden_size // 2) for name in cell.size_names}
    sizes |= {"I": input_size, "H": hidden_size}
    total = 0
    for shape in cell.parameters.values():
        entries = 1
        for size in shape:
            entries *= size.evaluate(sizes)
        total += entries
    return f"{total:,}"


def _source(doc: str) -> str:
    """Who described the cell, as its docstring says: up to the year, or the first comma."""
    match = re.search(r"Source:\s*(.*)", doc, re.DOTALL)
    source = " ".join(match.group(1).split()) if match else ""
    dated = re.match(r"[^.;]*?\(\d{4}\)", source)
    return dated.group() if dated else re.split(r"[,;] |\.(?: |$)", source)[0]
