"""The torch spelling of every operation.

Values carry time and batch in front: a vector of size H is [H], [B, H] or [T, B, H], a scalar is
[1], [B, 1] or [T, B, 1], a matrix is [R, C]. Leading dimensions broadcast. Over a memory, numbers
are [..., S] and rows [..., S, K]; where S is 1 it stands for all positions. The rows of matrices
that each sequence has of its own are in `blocks`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.runtime import blocks
from recurra.errors import singular
from recurra.ir import OPS, Group, Node, blocks_of, has_positions, has_rows, is_rows, topological

Kernel = Callable[..., Tensor]
Sizes = Mapping[str, int]


def kernel(node: Node, sizes: Sizes) -> Kernel:
    """The torch function that computes `node` from the values of its inputs."""
    maker = blocks.maker(node) or _MAKERS.get(node.op)
    function = maker(node, sizes) if maker is not None else _PLAIN[node.op]
    is_wide = is_rows(node.shape) and OPS[node.op].group is Group.ELEMENTWISE
    if is_wide and blocks_of(node.shape) > 1:
        return blocks.on_rows(function, node)
    return _on_rows(function, node) if is_wide else function


def _on_rows(function: Kernel, node: Node) -> Kernel:
    """An elementwise function where some operands have no positions, or no features."""
    axes = tuple(
        None if is_rows(child.shape) else -2 if len(child.shape) > has_rows(child.shape) else -1
        for child in node.inputs
    )

    def on_rows(*values: Tensor) -> Tensor:
        pairs = zip(values, axes, strict=True)
        return function(*(v if axis is None else v.unsqueeze(axis) for v, axis in pairs))

    return on_rows if any(axes) else function


def _compare(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    def compare(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b).to(torch.result_type(a, b))

    return compare


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition != 0, a, b)


def _matvec(matrix: Tensor, operand: Tensor) -> Tensor:
    return F.linear(operand, matrix)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def outer(d: Tensor, v: Tensor) -> Tensor:
    """The sum over all leading dimensions of d v^T."""
    if d.shape[:-1] != v.shape[:-1]:
        lead = torch.broadcast_shapes(d.shape[:-1], v.shape[:-1])
        d, v = d.expand(*lead, d.shape[-1]), v.expand(*lead, v.shape[-1])
    return d.reshape(-1, d.shape[-1]).t() @ v.reshape(-1, v.shape[-1])


def _rows_dot(rows: Tensor, vector: Tensor) -> Tensor:
    """[..., S]: each of the rows [..., S, K] times a vector [..., K]."""
    if vector.dim() == 1:
        return rows @ vector
    if vector.dim() == 3 == rows.dim():  # the same rows at all steps: one product a sequence
        return (vector.transpose(0, 1) @ rows.transpose(1, 2)).transpose(0, 1)
    return (rows @ vector.unsqueeze(-1)).squeeze(-1)


def _weighted_sum(numbers: Tensor, rows: Tensor) -> Tensor:
    """[..., K]: the rows [..., S, K], each times its number [..., S], summed."""
    if numbers.shape[-1] != rows.shape[-2]:  # one of them stands for all positions
        S = max(numbers.shape[-1], rows.shape[-2])
        numbers = numbers.expand(*numbers.shape[:-1], S)
        rows = rows.expand(*rows.shape[:-2], S, rows.shape[-1])
    if numbers.dim() == 3 == rows.dim():
        return (numbers.transpose(0, 1) @ rows).transpose(0, 1)
    return (numbers.unsqueeze(-2) @ rows).squeeze(-2)


def _outer_time(numbers: Tensor, vector: Tensor) -> Tensor:
    """[B, S, K]: numbers [T, B, S] times a vector [T, B, K], summed over time."""
    if numbers.dim() == 3 == vector.dim():
        return numbers.permute(1, 2, 0) @ vector.transpose(0, 1)
    numbers, vector = (v.sum(0) if v.dim() == 3 else v for v in (numbers, vector))
    return numbers.unsqueeze(-1) * vector.unsqueeze(-2)


def _overlaps(windows: Tensor) -> Tensor:
    """[..., S]: to each position what the windows [..., S, W] of those beside it have of it."""
    width = windows.shape[-1]
    wide = F.pad(windows, (0, 0, width // 2, width // 2))
    # position s is entry w of the window around s - w + W // 2
    parts = wide.unfold(-2, width, 1)  # [..., S, W, shift]
    return parts.flip(-1).diagonal(dim1=-2, dim2=-1).sum(-1)


def _in_full(function: Kernel) -> Kernel:
    """A function of torch's that takes no narrower numbers than float32."""

    def widened(*values: Tensor) -> Tensor:
        dtype = values[0].dtype
        if dtype in (torch.bfloat16, torch.float16):
            return function(*(value.float() for value in values)).to(dtype)
        return function(*values)

    return widened


def _of_regular(node: Node, function: Kernel) -> Kernel:
    """A function of torch's of a matrix that must have an inverse."""
    names = [leaf.name for leaf in topological(node.inputs[:1]) if leaf.op == "input"]

    def checked(*values: Tensor) -> Tensor:
        try:
            return function(*values)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] - documented
            what = f"{node.op}, of a matrix made of {', '.join(names)}" if names else node.op
            raise singular(what) from None

    return checked


def _exponential(m: Tensor) -> Tensor:
    """In float64: squaring magnifies rounding, and a derivative is a block beside the matrix."""
    return torch.linalg.matrix_exp(m.double()).to(m.dtype)


def _make_total(node: Node, _sizes: Sizes) -> Kernel:
    if is_rows(node.shape) and has_positions(node.shape):  # what is one row for all positions
        return lambda v: v.reshape(-1, v.shape[-1]).sum(0, keepdim=True)
    return lambda v: v.reshape(-1, v.shape[-1]).sum(0) if v.dim() > 1 else v


def _same(v: Tensor) -> Tensor:
    return v


_PLAIN: dict[str, Kernel] = {
    "neg": torch.neg,
    "abs": torch.abs,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    # the threshold above which torch returns its argument unchanged, moved out of float64's way
    "softplus": lambda v: F.softplus(v, threshold=40.0),
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": torch.sign,
    "floor": torch.floor,
    "detach": lambda v: v.detach().clone(),  # a value of its own, as those of others are
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "lt": _compare(torch.lt),
    "le": _compare(torch.le),
    "gt": _compare(torch.gt),
    "ge": _compare(torch.ge),
    "eq": _compare(torch.eq),
    "ne": _compare(torch.ne),
    "where": _where,
    "transpose": lambda m: m.t(),
    "rows_product": _matvec,
    "rows_dot": _rows_dot,
    "weighted_sum": _weighted_sum,
    "sum_rows": lambda rows: rows.sum(-2),
    "max_rows": lambda rows: rows.amax(-2),
    "outer_time": _outer_time,
    "matrix_softmax": lambda m: m.softmax(-1),
    "matrix_exp": _exponential,
    "diag": torch.diag,
    "diagonal": torch.diag,
    "overlaps": _overlaps,
    "outer": outer,
    "column": _same,
    "vector": _same,
    "matrix_rows": _same,
    "flatten": lambda rows: rows.flatten(-2),
    "total_rows": lambda rows: rows.sum(0) if rows.dim() == 3 else rows,
    "total_time": lambda v: v.sum(0),
}


# operations for which torch looks at values, and so waits for a GPU
WAITING = frozenset({"inverse", "solve", "matrix_exp"})

# operations whose torch function takes `out`
IN_PLACE = frozenset(
    {"neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "tanh", "erf"}
    | {"sin", "cos", "sign", "floor"}
    | {"add", "sub", "mul", "div", "pow", "minimum", "maximum", "concat"}
)

# ---- operations with attributes or whose torch function depends on shapes ----------------------


def _make_clamp(node: Node, _sizes: Sizes) -> Kernel:
    lo, hi = node.attr("lo"), node.attr("hi")
    return lambda v: torch.clamp(v, lo, hi)


def _make_matvec(node: Node, _sizes: Sizes) -> Kernel:
    return _matmul if len(node.shape) == 2 else _matvec


def _make_sum(node: Node, _sizes: Sizes) -> Kernel:
    if is_rows(node.inputs[0].shape):
        return lambda rows: rows.sum(-1)
    if len(node.inputs[0].shape) == 2:
        return lambda m: m.sum().reshape(1)
    return lambda v: v.sum(-1, keepdim=True)


def _make_max(node: Node, _sizes: Sizes) -> Kernel:
    if is_rows(node.inputs[0].shape):
        return lambda rows: rows.amax(-1)
    return lambda v: v.amax(-1, keepdim=True)


def _make_expand(node: Node, sizes: Sizes) -> Kernel:
    if has_rows(node.shape):
        return _spread(node, sizes)
    shape = tuple(dim.evaluate(sizes) for dim in node.shape)
    if len(shape) == 2:
        return lambda v: v.expand(shape)
    return lambda v: v.expand(*v.shape[:-1], shape[0])


def _spread(node: Node, sizes: Sizes) -> Kernel:
    """Over positions, and features too, of which there is one; S stays 1."""
    own = node.inputs[0].shape
    count = 1 if has_positions(node.shape) else node.shape[0].evaluate(sizes)
    if not is_rows(node.shape):
        return lambda v: v.expand(*v.shape[:-1], count)
    if own and not has_rows(own):
        return lambda v: v.unsqueeze(-2).expand(*v.shape[:-1], count, -1)
    size = node.shape[1].evaluate(sizes)
    wide = (lambda v: v.expand(*v.shape[:-1], count)) if not own else (lambda v: v)
    return lambda v: wide(v).unsqueeze(-1).expand(*wide(v).shape, size)


def _make_windows(node: Node, _sizes: Sizes) -> Kernel:
    width = node.attr("width")
    return lambda v: F.pad(v, (width // 2, width // 2)).unfold(-1, width, 1)


def _make_rows(node: Node, _sizes: Sizes) -> Kernel:
    parts = node.attr("parts")
    return lambda v: v.unflatten(-1, (parts, -1))


def _dim(node: Node) -> int:
    return node.attr("axis") - len(node.shape)


def _make_concat(node: Node, _sizes: Sizes) -> Kernel:
    dim = _dim(node)
    if is_rows(node.shape):
        return lambda *parts: torch.cat(_of_one_lead(parts), dim)
    if len(node.shape) == 2:
        return lambda *parts: torch.cat(parts, dim)

    def concat(*parts: Tensor, out: Tensor | None = None) -> Tensor:
        lead = parts[0].shape[:-1]
        if any(part.shape[:-1] != lead for part in parts):
            lead = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
            parts = tuple(part.expand(*lead, part.shape[-1]) for part in parts)
        return torch.cat(parts, dim, out=out)

    return concat


def _of_one_lead(rows: tuple[Tensor, ...]) -> list[Tensor]:
    lead = torch.broadcast_shapes(*(part.shape[:-1] for part in rows))
    return [part.expand(*lead, part.shape[-1]) for part in rows]


def _make_slice(node: Node, sizes: Sizes) -> Kernel:
    dim = _dim(node)
    start, size = node.attr("start").evaluate(sizes), node.attr("size").evaluate(sizes)
    return lambda v: v.narrow(dim, start, size)


def _make_pad(node: Node, sizes: Sizes) -> Kernel:
    before, after = node.attr("before").evaluate(sizes), node.attr("after").evaluate(sizes)
    padding = (*(0, 0) * (-_dim(node) - 1), before, after)
    return lambda v: F.pad(v, padding)


_MAKERS: dict[str, Callable[[Node, Sizes], Kernel]] = {
    "clamp": _make_clamp,
    "matvec": _make_matvec,
    "sum": _make_sum,
    "max": _make_max,
    "expand": _make_expand,
    "concat": _make_concat,
    "slice": _make_slice,
    "windows": _make_windows,
    "pad": _make_pad,
    "rows": _make_rows,
    "total": _make_total,
    "inverse": lambda node, _sizes: _of_regular(node, _in_full(torch.linalg.inv)),
    "solve": lambda node, _sizes: _of_regular(node, _in_full(torch.linalg.solve)),
}
