"""What there is to say about each cell: the rows of `recurra cells`, and docs/cells.md."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from recurra import cells
from recurra.lang import Cell
from recurra.passes import is_linear

# in the order of the pages; each module's docstring says what its cells share
_FAMILIES = {
    "recurra.cells.simple": "Simple recurrent networks",
    "recurra.cells.gated": "Gated units",
    "recurra.cells.light": "Gated units, lighter",
    "recurra.cells.memory": "Long short-term memory and its kin",
    "recurra.cells.odyssey": "The LSTMs of the Search Space Odyssey",
    "recurra.cells.continuous": "Steps of differential equations",
    "recurra.cells.linear": "Linear in the state",
    "recurra.cells.attention": "Attention to a memory",
    "recurra.cells.matrices": "Matrix states",
    "recurra.cells.orthogonal": "Orthogonal recurrent matrices",
    "recurra.cells.bases": "Memories of polynomials",
    "recurra.cells.timed": "Uneven times and missing values",
    "recurra.cells.torch_notation": "torch.nn's own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One cell: `parameters` counts numbers, `linear` is about how it depends on its state."""

    name: str
    year: str
    states: tuple[str, ...]
    matrices: int
    parameters: int
    linear: bool
    source: str


def facts(cell: Cell, input_size: int, hidden_size: int) -> Facts:
    """The facts about a cell for I = `input_size` and H = `hidden_size`.

    Sizes of the cell's own (a projection) count as half of H.
    """
    sizes = {name: max(1, hidden_size // 2) for name in cell.size_names}
    sizes |= {"I": input_size, "H": hidden_size}
    source = _source(cell.doc)
    year = re.search(r"\b(?:19|20)\d\d\b(?=\))", source)
    return Facts(
        name=cell.name,
        year=year.group() if year else "",
        states=cell.states,
        matrices=sum(len(shape) == 2 for shape in cell.parameters.values()),
        parameters=cell.count_parameters(sizes),
        linear=is_linear(cell.equations),
        source=_short(source),
    )


def markdown(input_size: int, hidden_size: int) -> Iterator[str]:
    """The lines of docs/cells.md: a table of all cells, then each with its equations typeset."""
    every = [cells.get(name) for name in cells.names()]
    rows = [facts(cell, input_size, hidden_size) for cell in every]
    yield "# The cells"
    yield ""
    yield "This page is written by `recurra cells --markdown`; a test holds it to the registry."
    yield ""
    yield (
        f"{len(every)} cells. *Parameters* are those at I = {input_size}, H = {hidden_size}; "
        "*linear* marks cells whose steps are linear in the state, unit by unit: their matrices "
        "all leave the loop over time."
    )
    yield ""
    yield "| cell | year | states | matrices | parameters | linear | source |"
    yield "|---|---|---|---:|---:|---|---|"
    for row in rows:
        yield (
            f"| [{row.name}](#{row.name}) | {row.year} | {', '.join(row.states)} | {row.matrices} "
            f"| {row.parameters:,} | {'yes' if row.linear else ''} | {row.source} |"
        )
    for module, title in _FAMILIES.items():
        about = (importlib.import_module(module).__doc__ or "").strip()
        yield from ("", f"## {title}", "", about)
        for cell in every:
            if cell.function.__module__ == module:
                yield from _section(cell)


def _section(cell: Cell) -> Iterator[str]:
    equations = cell.latex().partition("\n")[2]  # after the comment with its name
    yield from ("", f"### {cell.name}", "", cell.doc, "", "```math", equations, "```")


def _source(doc: str) -> str:
    """What the docstring says after "Source:", on one line, up to the next paragraph's head."""
    match = re.search(r"Source:\s*(.*?)(?:\n\n|\nDifferences:|\Z)", doc, re.DOTALL)
    return " ".join(match.group(1).split()) if match else ""


def _short(source: str) -> str:
    """Who described the cell: up to the year, or the first comma; of many authors the first."""
    found = re.match(r"(?P<who>[^;()]*|doi:[^(]*)\((?:[^()]*, )?(?P<year>\d{4})\)", source)
    if found is None or source.startswith("torch.nn"):
        return re.split(r"[,;] |\.(?: |$)", source)[0]
    first, *others = found["who"].split(", ")
    return f"{first} et al. ({found['year']})" if len(others) > 2 else found.group()
