"""What a layer demands of its sizes, and of the numbers that its cell's equations hold.

Letters: I input, H hidden. Every message reads `<where>: expected <what>, got <value>. <what to
do>.`
"""

import math
from collections.abc import Mapping, Sequence

import torch

from recurra.ir import POSITIONS, Dim
from recurra.lang import Cell
from recurra.nn.checks import check_sizes


def check_size_names(where: str, cell: Cell, given: Mapping[str, int]) -> None:
    """`given` names sizes of `cell` besides I and H, and all that have no default."""
    own = sorted(set(cell.size_names) - {"I", "H"})
    missing = [name for name in own if name not in {**cell.default_sizes, **given}]
    unknown = [name for name in given if name not in own]
    if missing or unknown:
        named = own if unknown else [n for n in own if n in given or n in missing]
        example = ", ".join(f"{name!r}: {given.get(name, '...')}" for name in named)
        raise ValueError(
            f"{where}: expected sizes for {', '.join(named) or 'nothing'} besides I and H, got "
            f"{', '.join(map(repr, unknown or given)) or 'none'}. "
            + (f"Pass sizes={{{example}}}." if own else "Leave sizes out for this cell.")
        )
    check_sizes(where, **given)


def numbers_of_sizes(
    where: str, given: Mapping[str, int | str], input_size: int, hidden_size: int
) -> dict[str, int]:
    """Sizes as numbers: one may be written as sizes are printed, "H/4", in I and H.

    Raises:
        ValueError: when a size is no such sum, or no whole number.
    """
    known, found = {"I": input_size, "H": hidden_size}, {}
    for name, size in given.items():
        if not isinstance(size, str):
            found[name] = size
            continue
        try:
            dim = Dim.parse(size)
            if set(dim.names) - set(known):
                raise ValueError(f"expected a size in I and H, got {dim}. Write it so: 'H/2'.")
            found[name] = dim.evaluate(known)
        except ValueError as error:
            said = str(error).removeprefix("sizes: ")
            raise ValueError(f"{where}: sizes: {name!r} got {size!r}: {said}") from None
    return found


def check_state_is_hidden(where: str, cell: Cell, sizes: Mapping[str, int]) -> None:
    """Of a cell that uses H nowhere, the first state is of the size that is asked for.

    Args:
        sizes: I and H, and those of the cell's own that the layer was given.
    """
    used = {n for leaf in cell.equations.inputs for dim in leaf.shape for n in dim.names}
    used |= {n for name in used - set(sizes) for n in cell.default_sizes.get(name, Dim()).names}
    size, hidden_size = cell.state_sizes[0], sizes["H"]
    known = {**cell.own_sizes(sizes["I"], hidden_size), **sizes}
    if "H" in used or not set(size.names) <= set(known):
        return
    number = size.evaluate(known)
    if number != hidden_size:
        said = f"{size} = {number}" if size.names else str(number)
        own = [name for name in size.names if name != "I"]
        hint = f"or leave {cell.states[0]} out of sizes= of the cell"
        hint = f"or change sizes={{{own[0]!r}: ...}}" if own else hint
        raise ValueError(
            f"{where}: expected hidden_size={number}, because the cell gives its state "
            f"{cell.states[0]} the size {said} and uses H nowhere, got {hidden_size}. "
            f"Pass hidden_size={number}, {hint}."
        )


def check_slices(where: str, cell: Cell, sizes: Mapping[str, int]) -> None:
    """What the equations cut out of a vector or a matrix is there."""
    for node in cell.equations.nodes():
        if node.op != "slice":
            continue
        whole = node.inputs[0].shape[node.attr("axis")]
        start, size = node.attr("start"), node.attr("size")
        try:
            parts = [_number(dim, sizes) for dim in (start, size, whole - start - size)]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if min(parts) < 0:
            given = {name: sizes[name] for dim in (whole, start, size) for name in dim.names}
            numbers = ", ".join(f"{name} = {value}" for name, value in given.items())
            raise ValueError(
                f"{where}: expected {start} to {start + size} to lie within {whole}, where the "
                f"equations cut a part out, got {numbers}. Choose larger sizes."
            )


def _number(dim: Dim, sizes: Mapping[str, int]) -> int:
    """A whole number, which may be below 0."""
    value = dim.constant + sum(c * sizes[name] for name, c in dim.terms)
    return int(value) if value < 0 else dim.evaluate(sizes)


def check_numbers(where: str, cell: Cell, dtype: torch.dtype) -> None:
    """Constants of the equations that are finite are so in the layer's dtype."""
    largest = torch.finfo(dtype).max
    numbers_of = [n.attr("value") for n in cell.equations.nodes() if n.op == "const"]
    found = [(value, "the constant") for value in numbers_of if math.isfinite(value)]
    found += [(float(abs(a).max()), f"in {name}") for name, a in cell.arrays.items()]
    for value, what in found:
        if abs(value) > largest and dtype is not torch.float16:
            raise ValueError(
                f"{where}: expected numbers within {str(dtype).removeprefix('torch.')}, got "
                f"{what} {value:g}, which would be infinite. Use a smaller one, or "
                f"dtype=torch.float64."
            )


def check_heads(where: str, cell: Cell, sizes: Mapping[str, int]) -> None:
    """Block-diagonal matrices have a whole number of columns in each of their blocks."""
    for name, blocks in cell.heads.items():
        of_states = dict(zip(cell.states, cell.state_shapes, strict=True))
        size = {**of_states, **cell.parameters}[name][1] * blocks
        if any(other not in sizes for other in size.names):
            continue  # said where all sizes are
        number = size.evaluate(sizes)
        if number % blocks:
            fewer = max(count for count in range(1, blocks) if number % count == 0)
            constant = cell.options.heads[name]
            hint = f", or fewer blocks: {constant}={fewer}" if isinstance(constant, str) else ""
            raise ValueError(
                f"{where}: expected {size} to divide into the {blocks} blocks of {name}, got "
                f"{size} = {number}. Choose another size{hint}."
            )


def check_states(
    where: str, cell: Cell, layer_sizes: Sequence[Mapping[str, int]], *, learned_state: bool
) -> None:
    """States are of one size in all layers, and what has a number for each position of a memory is
    nothing that a layer would have to know the size of."""
    sizes = [size for shape in cell.state_shapes for size in shape if size != POSITIONS]
    each = [tuple(size.evaluate(s) for size in sizes) for s in layer_sizes]
    if POSITIONS in cell.state_sizes and learned_state:
        raise ValueError(
            f"{where}: expected learned_state=False for a cell with a state for each "
            f"position of a memory, got True. Its size is the call's: give a state instead."
        )
    if cell.output_size == POSITIONS and len(layer_sizes) > 1:
        raise ValueError(
            f"{where}: expected num_layers=1 for a cell whose output is a number for each "
            f"position of a memory, got {len(layer_sizes)}. No layer can read that."
        )
    if len(set(each)) > 1:
        raise ValueError(
            f"{where}: expected states of one size in all layers, got {each}. "
            f"The states of this cell depend on its input size: choose sizes that agree."
        )


def check_further(where: str, cell: Cell, sizes: Sequence[Mapping[str, tuple[int, ...]]]) -> None:
    """What a cell reads besides x is of one size in all layers; `sizes` of each layer, by name."""
    for name in cell.further:
        if len({each[name] for each in sizes}) > 1:
            raise ValueError(
                f"{where}: expected input {name} of one size in all layers, which are given "
                f"the same, got {[each[name] for each in sizes]}. Choose sizes that agree."
            )
