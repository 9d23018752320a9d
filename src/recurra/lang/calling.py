"""A cell that is called with tensors: its function runs on them, one step of one sequence.

So a debugger can be in the equations, line by line; of a cell that is made of others, which has no
lines of its own, the graph is computed. For many sequences there is `torch.vmap`, for many steps a
layer.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.ir import Graph, Node, Shape, is_inside, shape_text
from recurra.lang.arrays import kind_of
from recurra.lang.on_tensors import ON_TENSORS
from recurra.lang.operands import RUNNING, made_of, of_shape, plain, running, tensors

if TYPE_CHECKING:
    from recurra.lang.cell import Cell


def called(cell: "Cell", given: Mapping[str, Any]) -> Any:
    """What the cell returns for tensors and numbers, by the names of its arguments.

    In the equations of another cell it becomes a part of those, as it does in their definition.

    Raises:
        TypeError: when an argument is missing, or no tensor.
        ValueError: when a tensor has another shape than its argument.
    """
    is_written = not hasattr(cell.function, "names_its_values")
    is_part = RUNNING.get() is not None
    if is_part and is_written:
        return cell.function(**given)
    operands, sizes, like = _operands(cell, given)
    with running(sizes, like):
        if not is_written:
            found: Any = _computed(cell.equations, operands)
            found = found[not cell.options.output :]
        else:
            found = cell.function(**_as_written(cell, operands))
    values = list(found) if isinstance(found, tuple | list) else [found]
    if not is_part:
        values = [plain(value) for value in tensors(*values)]
        states = zip(values[-len(cell.states) :], cell.states, strict=True)
        scalars = {leaf.name for leaf in cell.equations.inputs if not leaf.shape}
        values[-len(cell.states) :] = [v.reshape(()) if n in scalars else v for v, n in states]
    return tuple(values) if len(values) > 1 else values[0]


def _operands(
    cell: "Cell", given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, int], Tensor]:
    """What was given, in the forms of the arguments; a number for each size; one of the tensors."""
    leaves = [leaf for leaf in cell.equations.inputs if not is_inside(leaf)]
    shapes = {leaf.name: leaf.shape for leaf in leaves}
    needed = {n: s for n, s in shapes.items() if n not in cell.masks and n not in cell.arrays}
    missing = [name for name in needed if name not in given]
    if missing:
        raise TypeError(
            f"{cell.name}: expected {', '.join(needed)}, of one step of one sequence, got no "
            f"{', '.join(missing)}. Give tensors for them."
        )
    given = {**{name: mask.mean for name, mask in cell.masks.items()}, **given}
    checked = {n: s for n, s in shapes.items() if n in needed or isinstance(given.get(n), Tensor)}
    sizes = _solved_sizes(checked, given)
    _check_shapes(cell.name, checked, given, sizes)
    like = next(value for value in given.values() if isinstance(value, Tensor))
    arrays = {
        name: torch.tensor(array, dtype=like.dtype, device=like.device)
        for name, array in cell.arrays.items()
        if not isinstance(given.get(name), Tensor)
    }
    operands = {
        name: of_shape(value, shapes.get(name, ())) if isinstance(value, Tensor) else value
        for name, value in {**given, **arrays}.items()
    }
    return operands, sizes, like


def _as_written(cell: "Cell", operands: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the cell's function; of block-diagonal matrices the whole."""
    arguments = inspect.signature(cell.function).parameters
    found = {name: value for name, value in operands.items() if name in arguments}
    for name, heads in cell.heads.items():
        if name in cell.parameters:
            found[name] = _block_diagonal(found[name], heads)
    return found


def _block_diagonal(blocks: Tensor, heads: int) -> Tensor:
    return made_of((blocks,), torch.block_diag(*plain(blocks).chunk(heads)))


# ---- a graph -------------------------------------------------------------------------------------


def _computed(graph: Graph, operands: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of a cell's equations."""
    values: dict[Node, Any] = {
        leaf: None if is_inside(leaf) else operands[leaf.name] for leaf in graph.inputs
    }
    for node in graph.nodes():
        if node not in values:
            values[node] = _value(node, [values[child] for child in node.inputs])
    return tuple(values[node] for node in graph.output_nodes)


def _value(node: Node, values: list[Any]) -> Any:
    """One operation, by the function of the language that stands for it."""
    of_node = _OF_NODES.get(node.op)
    return ON_TENSORS[node.op](*values) if of_node is None else of_node(node, *values)


def _product(_: Node, left: Any, right: Any, *_inside: None) -> Any:
    return ON_TENSORS["product"](left, right)


def _blocks_product(node: Node, blocks: Any, vector: Any) -> Any:
    return ON_TENSORS["product"](_block_diagonal(blocks, node.attr("heads")), vector)


def _slice(node: Node, whole: Any) -> Any:
    part = slice(node.attr("start"), node.attr("start") + node.attr("size"))
    return whole[:, part] if node.attr("axis") == 1 else whole[part]


def _expand(node: Node, value: Any) -> Any:
    return ON_TENSORS["expand"](value, node.attr("shape"))


def _layer_norm(node: Node, v: Any, *affine: Any) -> Any:
    names = [name for name in ("gain", "bias") if node.attr(name)]
    options = dict(zip(names, affine, strict=True))
    return ON_TENSORS["layer_norm"](v, **options, eps=node.attr("eps"))


def _outer(node: Node, a: Any, b: Any = 1.0) -> Any:
    return ON_TENSORS["outer"](a, b, node.attr("blocks"))


def _with(name: str, *keys: str) -> Callable[..., Any]:
    """A function of the language, with attributes of the node behind its value."""
    return lambda node, value: ON_TENSORS[name](value, *map(node.attr, keys))


def _over_rows(name: str) -> Callable[..., Any]:
    return lambda node, value, *_inside: ON_TENSORS[name](value, dim=0)


_OF_NODES: dict[str, Callable[..., Any]] = {
    "const": lambda node: node.attr("value"),
    **dict.fromkeys(("vector", "matrix_rows"), lambda node, value: value),
    **dict.fromkeys(("matvec", "rows_product", "rows_dot", "read"), _product),
    **dict.fromkeys(("columns_read", "times_matrix"), _product),
    "blocks_product": _blocks_product,
    "transpose": lambda node, matrix: matrix.T,
    "slice": _slice,
    **dict.fromkeys(("expand", "repeat"), _expand),
    "layer_norm": _layer_norm,
    "leaky_relu": _with("leaky_relu", "slope"),
    "elu": _with("elu", "alpha"),
    "clamp": _with("clamp", "lo", "hi"),
    "neighbours": lambda node, value, _inside: ON_TENSORS["windows"](value, node.attr("width")),
    **dict.fromkeys(("column", "outer_vectors"), _outer),
    "rows": _with("rows", "parts"),
    "diagonal": _with("diag"),
    **{f"positions_{name}": _over_rows(name) for name in ("softmax", "sum", "max", "mean")},
    **{f"{name}_rows": _over_rows(name) for name in ("sum", "max", "mean")},
    **{f"matrix_{name}": _with(name, "dim") for name in ("sum", "mean")},
}


# ---- shapes --------------------------------------------------------------------------------------


def _solved_sizes(shapes: Mapping[str, Shape], given: Mapping[str, Any]) -> dict[str, int]:
    """A number for each name of a size, as far as they follow from the tensors."""
    sizes: dict[str, int] = {}
    pairs = [
        (dim, length)
        for name, shape in shapes.items()
        if isinstance(given.get(name), Tensor) and given[name].dim() == len(shape)
        for dim, length in zip(shape, given[name].shape, strict=False)
    ]
    for _ in pairs:  # each round knows one more size, or none is left
        for dim, length in pairs:
            left = [(name, c) for name, c in dim.terms if name not in sizes]
            if len(left) == 1:
                rest = dim.constant + sum(c * sizes[n] for n, c in dim.terms if n in sizes)
                sizes[left[0][0]] = int((length - rest) / left[0][1])
    return sizes


def _check_shapes(
    where: str, shapes: Mapping[str, Shape], given: Mapping[str, Any], sizes: Mapping[str, int]
) -> None:
    """Every tensor has the shape of its argument.

    Raises:
        ValueError: when one has not.
        TypeError: when it is no tensor, where a vector or a matrix must be.
    """
    for name, shape in shapes.items():
        value = given.get(name)
        if not isinstance(value, Tensor) and shape:
            raise TypeError(
                f"{where}: expected {name} as a tensor of shape {shape_text(shape)}, got "
                f"{kind_of(value)}. Make a tensor of it with torch.as_tensor."
            )
        if not isinstance(value, Tensor):
            continue
        found, wanted = tuple(value.shape), None
        if all(n in sizes for dim in shape for n in dim.names):
            wanted = tuple(dim.evaluate(sizes) for dim in shape)
        if len(found) != len(shape) or (wanted is not None and found != wanted):
            numbers = "" if wanted is None else f" = {wanted}"
            raise ValueError(
                f"{where}: expected {name} of shape {shape_text(shape)}{numbers}, of one step of "
                f"one sequence, got {found}. For many use a layer, Recurrent({where}, ...), or "
                f"torch.vmap."
            )
