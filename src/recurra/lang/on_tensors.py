"""The functions and operators of the language on plain tensors: computed at once, with torch's own.

Within the equations of a cell that runs on tensors (`calling`) values have forms, see `operands`;
elsewhere a vector is [H], a matrix or rows [P, Q]. Letters: S positions of a memory, P rows in n
blocks, Q features of a row.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.errors import singular
from recurra.lang.operands import (
    RUNNING,
    Form,
    Operand,
    beside,
    form_of,
    form_of_rows,
    made_of,
    number_of,
    plain,
    tensors,
)
from recurra.lang.symbols import Symbol
from recurra.lang.trace import ACTIVE


def is_plain_call(values: Sequence[Any]) -> bool:
    """Whether a call has tensors, or numbers alone, and is no part of a cell's definition."""
    if ACTIVE.get() is not None or any(isinstance(value, Symbol) for value in values):
        return False
    runs = RUNNING.get() is not None
    is_number = [isinstance(v, Real) or (isinstance(v, str) and runs) for v in values]
    return any(isinstance(v, Tensor) for v in values) or (bool(values) and all(is_number))


def also_on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which outside of the definition of a cell takes tensors and numbers too."""
    in_torch = ON_TENSORS.get(function.__name__)
    if in_torch is None:
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
        found = in_torch(*args, **kwargs)
        is_number = isinstance(found, Tensor) and not any(isinstance(v, Tensor) for v in values)
        return found.item() if is_number and found.dim() == 0 else found

    return either


# ---- element by element --------------------------------------------------------------------------


def _each(function: Callable[..., Tensor], is_product: bool = False) -> Callable[..., Tensor]:
    """An elementwise function of torch's, of numbers and of what has rows too."""

    def each(*values: Any, **options: Any) -> Tensor:
        found, form = beside(values, is_product)
        return made_of(values, function(*found, **options), form)

    return each


def _comparison(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """1 where it holds, else 0: in equations all values are of one dtype."""
    return _each(lambda a, b: function(a, b).to(a.dtype))


# ---- over features, rows and positions -----------------------------------------------------------


def _over(function: Callable[[Tensor, int], Tensor], keeps: bool = False) -> Callable[..., Tensor]:
    """A reduction of torch's, or what is of the same shape as it was (`keeps`).

    Over the features of a vector or of each row, over rows (dim=0), or over positions.
    """

    def over(v: Any, dim: int = -1) -> Tensor:
        form, (value,) = form_of(v), tensors(v)
        if form is None or value.dim() < 2:
            found = function(value, -1 if form is not None else dim)
            return made_of((v,), found, form if keeps else None)
        if dim == -1:
            found = function(value, -1)
            return made_of((v,), found, form if keeps or form.over_positions else None)
        blocks = value.reshape(max(form.blocks, 1), -1, value.shape[-1])
        return made_of((v,), function(blocks, 1).reshape(-1))

    return over


def _layer_norm(v: Any, gain: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    (value,) = tensors(v)
    centred = value - value.mean(-1, keepdim=True)
    normed = centred / torch.sqrt(torch.var(value, -1, correction=0, keepdim=True) + eps)
    normed = made_of((v,), normed, form_of(v))
    normed = normed if gain is None else _times(normed, gain)
    return normed if bias is None else _plus(normed, bias)


# ---- products ------------------------------------------------------------------------------------


def _product(left: Any, right: Any) -> Tensor:
    """A matrix times a vector, a matrix or rows; rows and a vector; numbers times rows."""
    forms, (a, b) = (form_of(left), form_of(right)), tensors(left, right)
    own = next((form for form in forms if form is not None), None)
    if own is None:
        return made_of((left, right), a @ (b.reshape(1) if b.dim() == 0 else b))
    if not own.over_positions:
        return _with_matrix(left, right, a, b, own)
    if forms[0] is None:
        return made_of((left, right), b @ a.mT, own)
    return made_of((left, right), a @ b, own if a.dim() == 2 else None)


def _with_matrix(left: Any, right: Any, a: Tensor, b: Tensor, form: Form) -> Tensor:
    """Of a matrix that each sequence has of its own: S @ q, S.T @ v, v @ S, and S @ W."""
    is_left = form_of(left) is not None
    own, other = (a, b) if is_left else (b, a)
    if other.dim() == 2:
        return made_of((left, right), own @ other, form)
    turned = own.mT if form.turned else own
    blocks = turned.reshape(form.blocks, -1, turned.shape[-1])
    if is_left != form.turned:
        read = blocks @ other.reshape(form.blocks, -1, 1)
    else:
        read = other.reshape(form.blocks, 1, -1) @ blocks
    return made_of((left, right), read.reshape(-1))


def _outer(a: Any, b: Any, heads: int = 1) -> Tensor:
    left, right = tensors(a, b)
    if right.dim() == 0:  # beside 1
        column = left if RUNNING.get() is not None else left.reshape(-1, 1)
        return made_of((a, b), column, Form(heads))
    if left.dim() == 0:
        return made_of((a, b), right)
    made = left.reshape(heads, -1, 1) * right.reshape(heads, 1, -1)
    return made_of((a, b), made.reshape(len(left), -1), Form(heads))


def _dot(a: Any, b: Any) -> Tensor:
    """As numpy has it."""
    left, right = tensors(a, b)
    if 0 in (left.dim(), right.dim()):
        return _times(a, b)
    if left.dim() == 2:
        return _product(a, b)
    return _product(b.T, a) if right.dim() == 2 else _sum(_times(a, b))


# ---- parts, and vectors made of them -------------------------------------------------------------


def _concat(*vectors: Any, dim: int = -1) -> Tensor:
    parts = vectors[0] if isinstance(vectors[0], list | tuple) else vectors
    return made_of(parts, torch.cat([torch.atleast_1d(part) for part in tensors(*parts)]))


def _split(v: Any, parts: int | Sequence[int | str], dim: int = -1) -> tuple[Tensor, ...]:
    (value,), form = tensors(v), form_of(v)
    sizes: Any = parts
    if not isinstance(parts, int):
        sizes = [number_of(size) for size in parts]
    elif value.shape[dim] % parts:
        raise ValueError(
            f"split: expected a vector that {parts} equal parts make up, got {value.shape[dim]} "
            f"features. Choose another size."
        )
    else:
        sizes = value.shape[dim] // parts
    return tuple(made_of((v,), part, form) for part in torch.split(value, sizes, dim))


def _expand(s: Any, size: Any) -> Tensor:
    (number,) = tensors(s)
    sizes = size if isinstance(size, tuple) else (size,)
    shape = tuple(map(number_of, sizes))
    if number.dim() == 1:  # each of n numbers stands for an n-th of the vector
        each = shape[0] // len(number)
        return made_of((s,), number.reshape(-1, 1).expand(-1, each).reshape(-1))
    return made_of((s,), number.expand(shape), form_of_rows(sizes[0]))


def _rows(v: Any, parts: int) -> Tensor:
    return made_of((v,), tensors(v)[0].reshape(parts, -1), Form(1))


def _windows(v: Any, width: int) -> Tensor:
    wide = F.pad(tensors(v)[0], (width // 2, width // 2))
    return made_of((v,), wide.unfold(0, width, 1), Form(0))


# ---- matrices made of parameters -----------------------------------------------------------------


def _regular(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def of_regular(*values: Any) -> Tensor:
        try:
            return made_of(values, function(*tensors(*values)))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] - documented
            raise singular(name) from None

    return of_regular


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Tensor]:
    return lambda value: made_of((value,), function(tensors(value)[0]))


_plus, _times = _each(torch.add), _each(torch.mul, is_product=True)
_sum = _over(torch.sum)
_OPERATORS: dict[str, Callable[..., Any]] = {
    **{"add": _plus, "sub": _each(torch.sub), "mul": _times, "div": _each(torch.div)},
    **{"pow": _each(torch.pow), "neg": _each(torch.neg), "abs": _each(torch.abs)},
    **{n: _comparison(getattr(torch, n)) for n in ("lt", "le", "gt", "ge", "eq", "ne")},
    "mod": _each(torch.remainder),
    "product": _product,
}
ON_TENSORS: dict[str, Callable[..., Any]] = {
    **_OPERATORS,
    **{
        name: _each(getattr(torch, name))
        for name in (
            *("sigmoid", "tanh", "relu", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos"),
            *("sign", "floor", "minimum", "maximum", "detach"),
        )
    },
    **{name: _each(getattr(F, name)) for name in ("silu", "gelu")},
    "softplus": _each(lambda v: F.softplus(v, threshold=40.0)),
    "log_sigmoid": _each(F.logsigmoid),
    "leaky_relu": lambda v, negative_slope=0.01: _each(F.leaky_relu)(
        v, negative_slope=negative_slope
    ),
    "elu": lambda v, alpha=1.0: _each(F.elu)(v, alpha=alpha),
    "where": _each(lambda condition, a, b: torch.where(condition != 0, a, b)),
    "clamp": lambda v, min=None, max=None: _each(torch.clamp)(v, min=min, max=max),
    "sum": _sum,
    "mean": _over(torch.mean),
    "var": _over(lambda v, dim: torch.var(v, dim, correction=0)),
    "max": _over(torch.amax),
    "softmax": _over(torch.softmax, keeps=True),
    "layer_norm": _layer_norm,
    "dot": _dot,
    "outer": _outer,
    "concat": _concat,
    "split": _split,
    "chunk": _split,
    "expand": _expand,
    "rows": _rows,
    "flatten": _of_one(torch.flatten),
    "windows": _windows,
    "inverse": _regular("inverse", torch.linalg.inv),
    "solve": _regular("solve", torch.linalg.solve),
    "matrix_exp": _of_one(torch.linalg.matrix_exp),
    "diag": _of_one(torch.diag),
    "eye": lambda size: made_of((), torch.diag(plain(_expand(1.0, size)))),
}


def _operator(name: str, turned: bool = False) -> Callable[..., Tensor]:
    function = _OPERATORS[name]
    return (lambda a, b: function(b, a)) if turned else function


for _name, _sign in {**{n: n for n in _OPERATORS}, "div": "truediv", "product": "matmul"}.items():
    setattr(Operand, f"__{_sign}__", _operator(_name))
    if _sign in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul"):
        setattr(Operand, f"__r{_sign}__", _operator(_name, turned=True))
        setattr(Operand, f"__i{_sign}__", _operator(_name))  # h += v: what was given stays as it is
Operand.__floordiv__ = Operand.__ifloordiv__ = lambda a, b: ON_TENSORS["floor"](a / b)  # type: ignore[method-assign]
Operand.__rfloordiv__ = lambda a, b: ON_TENSORS["floor"](b / a)  # type: ignore[method-assign]
Operand.__hash__ = Tensor.__hash__
