"""The shape of what an operation gives, from the shapes of its inputs and its attributes.

Each raises ValueError where the inputs do not fit.
"""

from typing import Any

from recurra.ir.dims import POSITIONS, Dim, Shape, has_positions, is_rows, shape_text


def broadcast(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """That of the vectors or matrices among them; scalars go with all.

    Over the positions of a memory, numbers [S], vectors [K] and rows [S, K] go with one another.
    """
    wide = [shape for shape in shapes if shape]
    if any(map(has_positions, wide)):
        return _over_positions(wide)
    for shape in wide:
        if shape != wide[0]:
            raise ValueError(f"sizes {shape_text(wide[0])} and {shape_text(shape)} differ")
    return wide[0] if wide else ()


def _over_positions(wide: list[Shape]) -> Shape:
    features = {shape[-1] for shape in wide if shape != (POSITIONS,)}
    for shape in wide:
        if len(features) > 1 or (len(shape) == 2 and not is_rows(shape)):
            raise ValueError(f"sizes {', '.join(map(shape_text, wide))} differ")
    return (POSITIONS, *features)


def matvec(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[N] or [N, M], of a matrix [N, K] times [K] or [K, M]."""
    matrix, operand = shapes
    if len(matrix) != 2 or not operand or matrix[1] != operand[0]:
        raise ValueError(f"{shape_text(matrix)} does not multiply {shape_text(operand)}")
    return (matrix[0], *operand[1:])


def features_gone(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """A number, or of rows [S, K] one for each position."""
    return (POSITIONS,) if is_rows(shapes[0]) else ()


def positions_gone(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """A number of [S], a vector [K] of rows [S, K]."""
    if not has_positions(shapes[0]):
        raise ValueError(f"{shape_text(shapes[0])} has no positions")
    return shapes[0][1:]


def scalar(_shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """None: a number."""
    return ()


def same(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """That of the first."""
    return shapes[0]


def concat(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """One behind the other along `axis`."""
    axis, total = attrs["axis"], Dim()
    for shape in shapes:
        total = total + shape[axis]
    return _with_axis(shapes[0], axis, total)


def _with_axis(shape: Shape, axis: int, dim: Dim) -> Shape:
    return (*shape[:axis], dim, *shape[axis + 1 :])


def slice_of(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """`size` along `axis`."""
    return _with_axis(shapes[0], attrs["axis"], attrs["size"])


def pad(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """Zeros before and after along `axis`."""
    axis = attrs["axis"]
    return _with_axis(shapes[0], axis, attrs["before"] + shapes[0][axis] + attrs["after"])


def outer(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[N, K], of vectors [N] and [K], or summed over the positions of rows [S, N] and [S, K]."""
    return (shapes[0][-1], shapes[1][-1])


def outer_time(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S, K], of numbers [S] and a vector [K]."""
    return (*shapes[0], *shapes[1])


def rows_product(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S, N], of a matrix [N, K] and rows [S, K]."""
    matrix, rows = shapes
    if len(matrix) != 2 or is_rows(matrix) or not is_rows(rows) or matrix[1] != rows[1]:
        raise ValueError(f"{shape_text(matrix)} does not multiply the rows {shape_text(rows)}")
    return (POSITIONS, matrix[0])


def rows_dot(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S], of rows [S, K] and a vector [K]."""
    rows, vector = shapes
    if not is_rows(rows) or vector != rows[1:]:
        raise ValueError(f"rows {shape_text(rows)} do not multiply {shape_text(vector)}")
    return (POSITIONS,)


def weighted_sum(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[K], of numbers [S] and rows [S, K]."""
    numbers, rows = shapes[:2]
    if numbers != (POSITIONS,) or not is_rows(rows):
        raise ValueError(f"{shape_text(numbers)} are no weights of rows {shape_text(rows)}")
    return rows[1:]


def windows(_shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """[S, width], of numbers [S]."""
    return (POSITIONS, Dim.of(attrs["width"]))


def blocks_product(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """[N], of blocks [N, K / heads] times [K]."""
    matrix, operand = shapes
    if len(matrix) != 2 or len(operand) != 1 or matrix[1] * attrs["heads"] != operand[0]:
        raise ValueError(f"{shape_text(matrix)} are no blocks for {shape_text(operand)}")
    return (matrix[0],)


def transpose(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[K, N], of [N, K]."""
    return (shapes[0][1], shapes[0][0])


def given(_shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """What the attribute `shape` says."""
    return attrs["shape"]
