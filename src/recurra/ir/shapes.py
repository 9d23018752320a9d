"""The shape of what an operation gives, from the shapes of its inputs and its attributes.

Each raises ValueError where the inputs do not fit.
"""

from typing import Any

from recurra.ir.dims import Dim, Shape, shape_text


def broadcast(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """That of the vectors or matrices among them; scalars go with all."""
    wide = [shape for shape in shapes if shape]
    for shape in wide:
        if shape != wide[0]:
            raise ValueError(f"sizes {shape_text(wide[0])} and {shape_text(shape)} differ")
    return wide[0] if wide else ()


def matvec(shapes: tuple[Shape, ...], _attrs: dict[str, Any]) -> Shape:
    """[N] or [N, M], of a matrix [N, K] times [K] or [K, M]."""
    matrix, operand = shapes
    if len(matrix) != 2 or not operand or matrix[1] != operand[0]:
        raise ValueError(f"{shape_text(matrix)} does not multiply {shape_text(operand)}")
    return (matrix[0], *operand[1:])


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
    """[N, K], of vectors [N] and [K]."""
    return (shapes[0][0], shapes[1][0])


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
