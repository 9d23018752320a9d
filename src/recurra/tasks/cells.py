"""The cell that settings name, looked up and held against the sizes and rules beside it."""

from dataclasses import replace

from recurra.compose.spelling import resolved
from recurra.errors import argument
from recurra.training.settings import RunSettings


def with_cell(settings: RunSettings) -> RunSettings:
    """The settings with the cells themselves in place of their spellings.

    Raises:
        ValueError: when there is no such cell, or it has no such sizes or parameters.
    """
    model = settings.model
    cell = resolved(argument("cell"), model.cell)
    own = set(cell.size_names) - {"I", "H"}
    for name in getattr(model, "sizes", None) or {}:
        if name not in own:
            raise ValueError(
                f"sizes: expected {', '.join(sorted(own)) or 'none'} of cell {cell.name}, got "
                f"{name}. See recurra cells {cell.name}."
            )
    for name in getattr(model, "init", None) or {}:
        if name not in cell.parameters:
            raise ValueError(
                f"init: expected parameters of cell {cell.name}, {', '.join(cell.parameters)}, "
                f"got {name}. See recurra cells {cell.name}."
            )
    others = {}
    if getattr(model, "decoder", None) is not None:
        others["decoder"] = resolved(argument("decoder"), model.decoder)
    return replace(settings, model=replace(model, cell=cell, **others))
