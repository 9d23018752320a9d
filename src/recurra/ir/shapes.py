"""The shape of what an operation gives, from the shapes of its inputs and its attributes.

Each raises ValueError where the inputs do not fit.
"""

from typing import Any

from recurra.ir.dims import POSITIONS, Dim, Shape, blocks_of, has_rows, is_rows, shape_text


def broadcast(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """That of the vectors or matrices among them; scalars go with all.

    Over rows, numbers [S], vectors [K] and rows [S, K] go with one another. Where rows lie in
    several blocks, a vector has a part for each of them.
    """
    wide = [shape for shape in shapes if shape]
    if any(map(has_rows, wide)):
        return _over_rows(wide)
    largest = max(wide, key=len, default=())
    for shape in wide:
        if shape != largest and shape != largest[1:]:  # a vector goes with each row of a matrix
            raise ValueError(f"sizes {shape_text(largest)} and {shape_text(shape)} differ")
    return largest


def _over_rows(wide: list[Shape]) -> Shape:
    rows = next(shape for shape in wide if has_rows(shape))
    features: set[Dim] = set()
    for shape in wide:
        beside = len(shape) == 1 and not has_rows(shape)
        features.update((shape[0] / blocks_of(rows),) if beside else shape[1:])
        if len(features) > 1 or not (beside or shape[0] == rows[0]):
            raise ValueError(f"sizes {', '.join(map(shape_text, wide))} differ")
    return (rows[0], *features)


def matvec(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[N] or [N, M], of a matrix [N, K] times [K] or [K, M]."""
    matrix, operand = shapes
    if len(matrix) != 2 or not operand or matrix[1] != operand[0]:
        raise ValueError(f"{shape_text(matrix)} does not multiply {shape_text(operand)}")
    return (matrix[0], *operand[1:])


def features_gone(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """A number, or of rows [S, K] one for each of them."""
    return shapes[0][:1] if is_rows(shapes[0]) else ()


def positions_gone(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """A number of [S], a vector [K] of rows [S, K], which has a part for each block."""
    if not has_rows(shapes[0]):
        raise ValueError(f"{shape_text(shapes[0])} has no rows")
    return tuple(dim * blocks_of(shapes[0]) for dim in shapes[0][1:])


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


def total_rows(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[P, Q], a matrix, of rows."""
    return (shapes[0][0].in_blocks(0), *shapes[0][1:])


def in_rows(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """A vector [P] as numbers of rows, or a matrix [P, Q] as rows, in `blocks` blocks."""
    return (shapes[0][0].in_blocks(attrs["blocks"]), *shapes[0][1:])


def rows_gone(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[P], a vector, of the numbers of rows."""
    if len(shapes[0]) != 1 or not has_rows(shapes[0]):
        raise ValueError(f"{shape_text(shapes[0])} are no numbers of rows")
    return (shapes[0][0].in_blocks(0),)


def folded(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """[parts, N / parts], rows, of a vector [N]."""
    (vector,) = shapes
    if len(vector) != 1 or has_rows(vector):
        raise ValueError(f"{shape_text(vector)} is no vector")
    return (Dim.of(attrs["parts"]).in_blocks(1), vector[0] / attrs["parts"])


def unfolded(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S * K], a vector, of rows [S, K] of which there is a number."""
    rows = shapes[0]
    if not is_rows(rows) or rows[0].names:
        raise ValueError(f"{shape_text(rows)} are no rows of a number")
    return (rows[1] * rows[0].constant,)


def outer_vectors(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """[P, Q], rows, of vectors [P] and [Q], the second in a part for each of `blocks` blocks."""
    (rows,), (columns,) = shapes
    return (rows.in_blocks(attrs["blocks"]), columns / attrs["blocks"])


def rows_product(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S, N], of a matrix [N, K] and rows [S, K]."""
    matrix, rows = shapes
    if len(matrix) != 2 or is_rows(matrix) or not is_rows(rows) or matrix[1] != rows[1]:
        raise ValueError(f"{shape_text(matrix)} does not multiply the rows {shape_text(rows)}")
    return (rows[0], matrix[0])


def rows_dot(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[S], of rows [S, K] and a vector [K]."""
    rows, vector = shapes
    if not is_rows(rows) or vector != (rows[1] * blocks_of(rows),):
        raise ValueError(f"rows {shape_text(rows)} do not multiply {shape_text(vector)}")
    return rows[:1]


def weighted_sum(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[K], of numbers [S] and rows [S, K]; a part for each block of them."""
    numbers, rows = shapes[:2]
    if not is_rows(rows) or numbers != rows[:1]:
        raise ValueError(f"{shape_text(numbers)} are no weights of rows {shape_text(rows)}")
    return (rows[1] * blocks_of(rows),)


def columns_read(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[Q], of a vector [P] and rows [P, Q]; a part for each block of them."""
    vector, rows = shapes
    if not is_rows(rows) or vector != (rows[0].in_blocks(0),):
        raise ValueError(f"{shape_text(vector)} does not multiply {shape_text(rows)}")
    return (rows[1] * blocks_of(rows),)


def times_matrix(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[P, N], rows, of rows [P, K] and a matrix [K, N]."""
    rows, matrix = shapes
    if not is_rows(rows) or len(matrix) != 2 or has_rows(matrix) or rows[1] != matrix[0]:
        raise ValueError(f"{shape_text(rows)} does not multiply {shape_text(matrix)}")
    return (rows[0], matrix[1])


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


def square(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[N, N], of the same."""
    (matrix,) = shapes
    if len(matrix) != 2 or matrix[0] != matrix[1]:
        raise ValueError(f"{shape_text(matrix)} is not square")
    return matrix


def solved(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """[N, M], of [N, N] and [N, M]."""
    (rows, _), right = square(shapes[:1], attrs), shapes[1]
    if len(right) != 2 or right[0] != rows:
        raise ValueError(f"{shape_text(shapes[0])} does not fit {shape_text(right)}")
    return right


def given(_shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> Shape:
    """What the attribute `shape` says."""
    return attrs["shape"]
