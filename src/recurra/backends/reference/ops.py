"""The torch spelling of every operation.

Values carry time and batch in front: a vector of size H is [H], [B, H] or [T, B, H], a scalar is
[1], [B, 1] or [T, B, 1], a matrix is [R, C]. Leading dimensions broadcast.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.ir import Node

Kernel = Callable[..., Tensor]
Sizes = Mapping[str, int]


def kernel(node: Node, sizes: Sizes) -> Kernel:
    """The torch function that computes `node` from the values of its inputs."""
    maker = _MAKERS.get(node.op)
    return maker(node, sizes) if maker is not None else _PLAIN[node.op]


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


def _outer(d: Tensor, v: Tensor) -> Tensor:
    """The sum over all leading dimensions of d v^T."""
    if d.shape[:-1] != v.shape[:-1]:
        lead = torch.broadcast_shapes(d.shape[:-1], v.shape[:-1])
        d, v = d.expand(*lead, d.shape[-1]), v.expand(*lead, v.shape[-1])
    return d.reshape(-1, d.shape[-1]).t() @ v.reshape(-1, v.shape[-1])


def _total(v: Tensor) -> Tensor:
    return v.reshape(-1, v.shape[-1]).sum(0) if v.dim() > 1 else v


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
    "outer": _outer,
    "total": _total,
    "total_time": lambda v: v.sum(0),
}


# operations whose torch function takes `out`
IN_PLACE = frozenset(
    {"neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "tanh", "erf"}
    | {"sin", "cos", "sign"}
    | {"add", "sub", "mul", "div", "pow", "minimum", "maximum", "concat"}
)

# ---- operations with attributes or whose torch function depends on shapes ----------------------


def _make_clamp(node: Node, _sizes: Sizes) -> Kernel:
    lo, hi = node.attr("lo"), node.attr("hi")
    return lambda v: torch.clamp(v, lo, hi)


def _make_matvec(node: Node, _sizes: Sizes) -> Kernel:
    return _matmul if len(node.shape) == 2 else _matvec


def _make_sum(node: Node, _sizes: Sizes) -> Kernel:
    if len(node.inputs[0].shape) == 2:
        return lambda m: m.sum().reshape(1)
    return lambda v: v.sum(-1, keepdim=True)


def _make_max(_node: Node, _sizes: Sizes) -> Kernel:
    return lambda v: v.amax(-1, keepdim=True)


def _make_expand(node: Node, sizes: Sizes) -> Kernel:
    shape = tuple(dim.evaluate(sizes) for dim in node.shape)
    if len(shape) == 2:
        return lambda v: v.expand(shape)
    return lambda v: v.expand(*v.shape[:-1], shape[0])


def _dim(node: Node) -> int:
    return node.attr("axis") - len(node.shape)


def _make_concat(node: Node, _sizes: Sizes) -> Kernel:
    dim = _dim(node)
    if len(node.shape) == 2:
        return lambda *parts: torch.cat(parts, dim)

    def concat(*parts: Tensor, out: Tensor | None = None) -> Tensor:
        lead = parts[0].shape[:-1]
        if any(part.shape[:-1] != lead for part in parts):
            lead = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
            parts = tuple(part.expand(*lead, part.shape[-1]) for part in parts)
        return torch.cat(parts, dim, out=out)

    return concat


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
    "pad": _make_pad,
}
