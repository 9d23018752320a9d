"""numpy's functions on symbols: those that mean what a function of the language means."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recurra.lang import functions
from recurra.lang.on_tensors import also_on_tensors
from recurra.lang.products import product
from recurra.lang.symbols import NUMPY_FUNCTIONS, Symbol, elementwise


def _same(*names: str) -> None:
    """Functions of the same name and the same arguments."""
    for name in names:
        NUMPY_FUNCTIONS[getattr(np, name)] = getattr(functions, name)


def _elementwise(op: str, *names: str) -> None:
    def operator(*values: Any) -> Symbol:
        return elementwise(op, *values)

    operator.__name__ = op
    either = also_on_tensors(operator)
    NUMPY_FUNCTIONS.update({getattr(np, name): either for name in names})


def _over_features(function: Callable[..., Symbol], *names: str) -> None:
    """numpy's reductions take an axis; a vector has one."""

    def reduction(a: Any, axis: int | None = None) -> Symbol:
        return function(a, dim=-1 if axis in (None, 0) else axis)

    reduction.__name__ = function.__name__
    NUMPY_FUNCTIONS.update({getattr(np, name): reduction for name in names})


_same("tanh", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "sign", "floor", "where")
_elementwise("abs", "absolute", "fabs")
_elementwise("add", "add")
_elementwise("sub", "subtract")
_elementwise("mul", "multiply")
_elementwise("div", "divide")
_elementwise("pow", "power", "float_power")
_elementwise("neg", "negative")
_elementwise("minimum", "minimum")
_elementwise("maximum", "maximum")
for _op, _name in {
    **{"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"},
    **{"eq": "equal", "ne": "not_equal"},
}.items():
    _elementwise(_op, _name)
_over_features(functions.sum, "sum")
_over_features(functions.mean, "mean")
_over_features(functions.var, "var")
_over_features(functions.max, "max", "amax")


def _floor_divide(a: Any, b: Any) -> Symbol:
    return functions.floor(np.divide(a, b))


def _square(v: Any) -> Symbol:
    return v * v


def _clip(a: Any, a_min: Any = None, a_max: Any = None) -> Symbol:
    return functions.clamp(a, a_min, a_max)


def _concatenate(arrays: Any, axis: int = 0) -> Symbol:
    return functions.concat(*arrays, dim=axis)


def _split(ary: Any, indices_or_sections: int, axis: int = 0) -> tuple[Symbol, ...]:
    return functions.split(ary, indices_or_sections, dim=axis)


def _transpose(a: Any) -> Symbol:
    return a.T


NUMPY_FUNCTIONS.update(
    {
        np.square: _square,
        np.floor_divide: _floor_divide,
        np.remainder: functions.mod,
        np.clip: _clip,
        np.concatenate: _concatenate,
        np.hstack: _concatenate,
        np.split: _split,
        np.transpose: _transpose,
        np.matmul: also_on_tensors(product),
        np.dot: functions.dot,
        np.inner: functions.dot,
    }
)
