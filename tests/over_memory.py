"""Values over a memory on plain torch tensors, for the oracle: one sequence, no batch, no padding.

A number for each position is [S], a row for each is [S, K], S being what this sequence has. Both
are tensors of a type of their own, because [S] and a vector of features are not to be told apart
by shape; what Python runs on them are the equations as they are written.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import own_rows
from own_rows import Own

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__)


class Positions(Tensor):
    """Numbers [S] or rows [S, K] over the positions of a memory."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if function in _PRODUCTS:
                return _product(*args)
            found = function(*_beside(function, args), **(kwargs or {}))
            is_value = isinstance(found, Tensor) and found.dim() > 0 and function not in _NOT_VALUES
            return found.as_subclass(Positions) if is_value else found


# what torch's own code reads of a tensor: no operation of the equations
_NOT_VALUES = (Tensor.as_subclass, Tensor.detach)


def plain(value: Any) -> Any:
    """The tensor without its type."""
    if type(value) is not Positions:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor)


def over(value: Tensor) -> Tensor:
    """A tensor as one over positions."""
    return value.as_subclass(Positions)


def _beside(function: Any, args: tuple[Any, ...]) -> list[Any]:
    """The arguments so that torch's broadcasting puts together what belongs together."""
    is_over = [isinstance(arg, Positions) for arg in args]
    if any(o and arg.dim() == 2 for o, arg in zip(is_over, args, strict=True)):
        return [_along_rows(arg, o) for arg, o in zip(args, is_over, strict=True)]
    if function in (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__):
        vectors = [isinstance(arg, Tensor) and arg.dim() == 1 for arg in args]
        if vectors != is_over:  # numbers times a vector of features
            return [_along_rows(arg, o) for arg, o in zip(args, is_over, strict=True)]
    return [plain(arg) for arg in args]


def _along_rows(value: Any, is_over: bool) -> Any:
    """A number for each row as a column, so that it goes with all of its row."""
    value = plain(value)
    return value[:, None] if is_over and value.dim() == 1 else value


def _product(a: Tensor, b: Tensor) -> Tensor:
    """A matrix times each row, each row times a vector, or numbers times rows."""
    if not isinstance(a, Positions):
        return over(plain(b) @ a.T)
    return plain(a) @ plain(b) if a.dim() == 1 else over(plain(a) @ b)


def reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch's reduction, over the features of a vector or of each row, or over positions."""

    def reduced(v: Tensor, dim: int = -1) -> Tensor:
        if isinstance(v, Own):
            return own_rows.reduced(function, v, dim)
        if not isinstance(v, Positions):
            return function(v, dim)
        found = function(plain(v), dim)
        keeps = found.dim() > 0 and (dim == -1 or found.dim() == v.dim())
        return over(found) if keeps else found

    return reduced


def split(v: Tensor, parts: int) -> tuple[Tensor, ...]:
    """The features of each row in equal parts."""
    return tuple(map(over, plain(v).chunk(parts, -1)))


def windows(v: Tensor, width: int) -> Tensor:
    """To each position the numbers around it."""
    wide = F.pad(plain(v), (width // 2, width // 2))
    return over(torch.stack([wide[i : i + width] for i in range(len(v))]))
