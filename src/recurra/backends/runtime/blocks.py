"""The torch spelling of operations on rows that lie in several blocks.

Letters: n blocks, P rows, Q columns. Rows [..., P, Q] are looked at as [..., n, P / n, Q]; a vector
beside them is [..., n Q], a part for each block, numbers are [..., P].
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from recurra.ir import Node, blocks_of, has_rows, is_rows

Kernel = Callable[..., Tensor]


def maker(node: Node) -> Callable[[Node, Mapping[str, int]], Kernel] | None:
    """What makes the kernel of an operation that is another one in several blocks."""
    rows = next((child for child in node.inputs if is_rows(child.shape)), node)
    if not is_rows(rows.shape) or blocks_of(rows.shape) == 1:
        return None
    return _MAKERS.get(node.op)


def on_rows(function: Kernel, node: Node) -> Kernel:
    """An elementwise function of rows, and of what stands beside them."""
    count = blocks_of(node.shape)
    views = [_view(child, count) for child in node.inputs]

    def in_blocks(*values: Tensor) -> Tensor:
        return function(*(view(v) for view, v in zip(views, values, strict=True))).flatten(-3, -2)

    return in_blocks


def _view(node: Node, count: int) -> Kernel:
    """A value as it stands beside [..., n, P / n, Q]."""
    if is_rows(node.shape):
        return lambda v: v.unflatten(-2, (count, -1))
    if has_rows(node.shape):
        return lambda v: v.unflatten(-1, (count, -1)).unsqueeze(-1)
    if node.shape:
        return lambda v: v.unflatten(-1, (count, -1)).unsqueeze(-2)
    return lambda v: v.unsqueeze(-1).unsqueeze(-1)


def _make_rows_dot(node: Node, _sizes: Mapping[str, int]) -> Kernel:
    count = blocks_of(node.inputs[0].shape)

    def rows_dot(rows: Tensor, vector: Tensor) -> Tensor:
        parts = vector.unflatten(-1, (count, -1)).unsqueeze(-1)
        return (rows.unflatten(-2, (count, -1)) @ parts).squeeze(-1).flatten(-2)

    return rows_dot


def _make_weighted_sum(node: Node, _sizes: Mapping[str, int]) -> Kernel:
    count = blocks_of(node.inputs[1].shape)

    def weighted_sum(numbers: Tensor, rows: Tensor) -> Tensor:
        weights = numbers.unflatten(-1, (count, -1)).unsqueeze(-2)
        return (weights @ rows.unflatten(-2, (count, -1))).squeeze(-2).flatten(-2)

    return weighted_sum


def _make_sum_rows(node: Node, _sizes: Mapping[str, int]) -> Kernel:
    count = blocks_of(node.inputs[0].shape)
    return lambda rows: rows.unflatten(-2, (count, -1)).sum(-2).flatten(-2)


def _make_max_rows(node: Node, _sizes: Mapping[str, int]) -> Kernel:
    count = blocks_of(node.inputs[0].shape)
    return lambda rows: rows.unflatten(-2, (count, -1)).amax(-2).flatten(-2)


def _make_expand(node: Node, sizes: Mapping[str, int]) -> Kernel:
    """A vector, a number for each row, or one for all, as rows."""
    count = blocks_of(node.shape)
    each, columns = node.shape[0].evaluate(sizes) // count, node.shape[1].evaluate(sizes)
    view = _view(node.inputs[0], count)

    def expand(v: Tensor) -> Tensor:
        wide = view(v)
        return wide.expand(*wide.shape[:-3], count, each, columns).flatten(-3, -2)

    return expand


_MAKERS: dict[str, Callable[[Node, Mapping[str, int]], Kernel]] = {
    "rows_dot": _make_rows_dot,
    "weighted_sum": _make_weighted_sum,
    "sum_rows": _make_sum_rows,
    "max_rows": _make_max_rows,
    "expand": _make_expand,
}
