"""The functions of the language on plain tensors: one step of one sequence, computed at once.

`cell(x, h, W, ...)` with tensors runs the cell's own function, line by line, so that a debugger can
be in it. Operators are torch's own there. Letters: a vector is [H], a matrix [H, I]; for many
sequences at once there is `torch.vmap`, and for many steps a layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.errors import singular
from recurra.ir import Dim, Shape, shape_text
from recurra.lang.arrays import kind_of
from recurra.lang.symbols import Symbol
from recurra.lang.trace import ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A cell's function that runs on tensors: its sizes by name, and one of the tensors."""

    sizes: Mapping[str, int]
    like: Tensor


RUNNING: ContextVar[Running | None] = ContextVar("recurra_running", default=None)


@contextmanager
def running(sizes: Mapping[str, int], like: Tensor) -> Iterator[None]:
    """While a cell's function runs on tensors."""
    token = RUNNING.set(Running(sizes=sizes, like=like))
    try:
        yield
    finally:
        RUNNING.reset(token)


class _Operand(Tensor):
    """A tensor in equations: numpy's arrays stand beside it, and sizes in its brackets."""

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_bounds(index))


def _beside_arrays(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(Tensor, name)

    def operator(self: Any, other: Any) -> Any:
        return plain(self, _one(other) if isinstance(other, np.ndarray) else other)

    return operator


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow"),
    *("matmul", "rmatmul", "mod", "rmod", "floordiv", "rfloordiv"),
    *("lt", "le", "gt", "ge", "eq", "ne"),
):
    setattr(_Operand, f"__{_name}__", _beside_arrays(f"__{_name}__"))
_Operand.__hash__ = Tensor.__hash__


def run(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """What a cell's function returns for tensors and numbers, in the block of `running`."""
    operands = {
        n: v.as_subclass(_Operand) if isinstance(v, Tensor) else v for n, v in given.items()
    }
    found = function(**operands)
    if isinstance(found, tuple | list):
        return type(found)(map(_plain, found))
    return _plain(found)


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Tensor) else value


def _bounds(index: Any) -> Any:
    """What stands in brackets, its sizes as numbers."""
    if isinstance(index, tuple):
        return tuple(map(_bounds, index))
    if isinstance(index, slice):
        return slice(_bounds(index.start), _bounds(index.stop), _bounds(index.step))
    return _number(index) if isinstance(index, str | Dim) else index


def is_plain_call(values: Sequence[Any]) -> bool:
    """Whether a call has tensors, or numbers alone, and is no part of a cell's definition."""
    if ACTIVE.get() is not None or any(isinstance(value, Symbol) for value in values):
        return False
    is_number = [isinstance(v, Real) or (isinstance(v, str) and _sizes()) for v in values]
    return any(isinstance(v, Tensor) for v in values) or (bool(values) and all(is_number))


def _sizes() -> Mapping[str, int]:
    found = RUNNING.get()
    return {} if found is None else found.sizes


def _tensors(*values: Any) -> list[Tensor]:
    """The values as tensors of the dtype and device of the first tensor among them."""
    found = RUNNING.get()
    like = next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)
    like = found.like if like is None and found is not None else like
    dtype = torch.float64 if like is None else like.dtype
    device = torch.device("cpu") if like is None else like.device
    return [torch.as_tensor(value, dtype=dtype, device=device) for value in values]


def _one(value: Any) -> Tensor:
    return _tensors(value)[0]


def _each(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An elementwise function of torch's, of numbers too."""
    return lambda *values: function(*_tensors(*values))


def _where(condition: Any, a: Any, b: Any) -> Tensor:
    first, second = _tensors(a, b)
    return torch.where(torch.as_tensor(condition, device=first.device) != 0, first, second)


def _layer_norm(v: Tensor, gain: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    normed = (v - v.mean(-1)) / torch.sqrt(torch.var(v, -1, correction=0) + eps)
    normed = normed if gain is None else normed * gain
    return normed if bias is None else normed + bias


def _concat(*vectors: Any, dim: int = -1) -> Tensor:
    parts = vectors[0] if isinstance(vectors[0], list | tuple) else vectors
    return torch.cat([part.reshape(1) if part.dim() == 0 else part for part in _tensors(*parts)])


def _number(size: Any) -> int:
    if isinstance(size, int):
        return size
    return (size if isinstance(size, Dim) else Dim.parse(size)).evaluate(_sizes())


def _split(v: Tensor, parts: int | Sequence[int | str], dim: int = -1) -> tuple[Tensor, ...]:
    if not isinstance(parts, int):
        return torch.split(v, [_number(size) for size in parts], dim)
    if v.shape[dim] % parts:
        raise ValueError(
            f"split: expected a vector that {parts} equal parts make up, got {v.shape[dim]} "
            f"features. Choose another size."
        )
    return torch.split(v, v.shape[dim] // parts, dim)


def _expand(s: Any, size: Any) -> Tensor:
    (number,) = _tensors(s)
    shape = tuple(map(_number, size if isinstance(size, tuple) else (size,)))
    return number.expand(shape)


def _regular(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def of_regular(*values: Any) -> Tensor:
        try:
            return function(*_tensors(*values))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] - documented
            raise singular(name) from None

    return of_regular


ON_TENSORS: dict[str, Callable[..., Any]] = {
    **{
        name: _each(getattr(torch, name))
        for name in (
            *("sigmoid", "tanh", "relu", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos"),
            *("sign", "floor", "abs", "minimum", "maximum"),
        )
    },
    **{name: _each(getattr(F, name)) for name in ("silu", "gelu")},
    "softplus": lambda v: F.softplus(_one(v), threshold=40.0),
    "log_sigmoid": _each(F.logsigmoid),
    "leaky_relu": lambda v, negative_slope=0.01: F.leaky_relu(_one(v), negative_slope),
    "elu": lambda v, alpha=1.0: F.elu(_one(v), alpha),
    "detach": lambda v: v.detach(),
    "where": _where,
    "clamp": lambda v, min=None, max=None: torch.clamp(_one(v), min, max),
    "mod": _each(torch.remainder),
    "sum": lambda v, dim=-1: torch.sum(v, dim),
    "mean": lambda v, dim=-1: torch.mean(v, dim),
    "var": lambda v, dim=-1: torch.var(v, dim, correction=0),
    "max": lambda v, dim=-1: torch.amax(v, dim),
    "softmax": lambda v, dim=-1: torch.softmax(v, dim),
    "layer_norm": _layer_norm,
    "concat": _concat,
    "split": _split,
    "chunk": _split,
    "expand": _expand,
    "inverse": _regular("inverse", torch.linalg.inv),
    "solve": _regular("solve", torch.linalg.solve),
    "matrix_exp": torch.linalg.matrix_exp,
    "diag": torch.diag,
    "eye": lambda size: torch.diag(_expand(1.0, size)),
}


def also_on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which outside of the definition of a cell takes tensors and numbers too."""
    plain = ON_TENSORS.get(function.__name__)
    if plain is None:
        return function

    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        values += [part for value in values if isinstance(value, list | tuple) for part in value]
        values = [
            value for value in values if value is not None and not isinstance(value, list | tuple)
        ]
        if not is_plain_call(values):
            return function(*args, **kwargs)
        found = plain(*args, **kwargs)
        is_number = isinstance(found, Tensor) and not any(isinstance(v, Tensor) for v in values)
        return found.item() if is_number and found.dim() == 0 else found

    return either


def solved_sizes(shapes: Mapping[str, Shape], given: Mapping[str, Any]) -> dict[str, int]:
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


def check_shapes(
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
