"""Matrices that each sequence has of its own on plain torch tensors, for the oracle: one sequence.

A matrix [P, Q] in n blocks is [n, P / n, Q], a number for each of its rows [n, P / n, 1]: tensors
of a type of their own, beside which torch's broadcasting puts a vector as [n, 1, Q]. What Python
runs on them are the equations as they are written.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__)
# what torch's own code reads of a tensor: no operation of the equations
_NOT_VALUES = (Tensor.as_subclass, Tensor.detach)


class Own(Tensor):
    """Rows, or where `column` is set a number for each."""

    column: bool

    @property
    def T(self) -> "Turned":  # type: ignore[override] # noqa: N802
        return Turned(self)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if function in _PRODUCTS:
                return _product(*args)
            first = next(arg for arg in args if isinstance(arg, Own))
            found = function(*(_beside(arg, len(first)) for arg in args), **(kwargs or {}))
            if not isinstance(found, Tensor) or found.dim() != 3 or function in _NOT_VALUES:
                return found
            return own(found, column=all(map(_has_no_columns, args)))


class Turned:
    """The transpose of a matrix, beside @."""

    def __init__(self, rows: Own) -> None:
        self.rows = rows

    def __matmul__(self, vector: Tensor) -> Tensor:
        return vector @ self.rows

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert function in _PRODUCTS
        vector, turned = args
        return turned.rows @ vector


def own(value: Tensor, *, column: bool = False) -> Own:
    """A tensor [n, P / n, Q] as one of the type."""
    found = value.as_subclass(Own)
    found.column = column
    return found


def plain(value: Any) -> Any:
    """The tensor without its type."""
    if not isinstance(value, Own):
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor)


def _has_no_columns(arg: Any) -> bool:
    return arg.column if isinstance(arg, Own) else not isinstance(arg, Tensor) or arg.dim() == 0


def _beside(value: Any, blocks: int) -> Any:
    value = plain(value)
    if not isinstance(value, Tensor) or value.dim() in (0, 3):
        return value
    return value.reshape(blocks, -1, value.shape[-1] // (blocks if value.dim() == 1 else 1))


def _product(a: Tensor, b: Tensor) -> Tensor:
    if isinstance(a, Own) and b.dim() == 2:
        return own(plain(a) @ b)
    if isinstance(a, Own):
        return (plain(a) * b.reshape(len(a), 1, -1)).sum(-1).reshape(-1)
    assert isinstance(b, Own)
    return (plain(b) * a.reshape(len(b), -1, 1)).sum(1).reshape(-1)


def outer(a: Any, b: Any, heads: int = 1) -> Tensor:
    """The product of two vectors, or one of them beside 1."""
    if not isinstance(a, Tensor):
        return b
    left = a.reshape(heads, -1, 1)
    return own(left * b.reshape(heads, 1, -1)) if isinstance(b, Tensor) else own(left, column=True)


def rows(v: Tensor, parts: int) -> Own:
    """Equal parts as rows."""
    return own(v.reshape(1, parts, -1))


def flatten(r: Own) -> Tensor:
    """Rows one behind the other."""
    return plain(r).reshape(-1)


def reduced(function: Any, v: Own, dim: int) -> Tensor:
    """torch's reduction over the columns of each row (-1), or over the rows of each block (0)."""
    value = plain(v)
    if v.column:
        found = function(value.reshape(-1), -1)
        return found if found.dim() == 0 else own(found.reshape(value.shape), column=True)
    found = function(value, -1 if dim == -1 else 1)
    return own(found) if found.dim() == 3 else found.reshape(-1)


def layer_norm(v: Own, gain: Tensor | None, bias: Tensor | None, eps: float) -> Own:
    """Of each row."""
    found = F.layer_norm(plain(v), v.shape[-1:], None, None, eps)
    found = found if gain is None else found * gain.reshape(len(v), 1, -1)
    return own(found if bias is None else found + bias.reshape(len(v), 1, -1))


def split(v: Own, parts: int) -> tuple[Own, ...]:
    """The columns in equal parts."""
    return tuple(map(own, plain(v).chunk(parts, -1)))
