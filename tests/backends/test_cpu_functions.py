"""The elementwise functions of the C++ runtime against float64, over all of float32."""

import ctypes
import math
from collections.abc import Callable

import numpy as np
import pytest

from recurra.backends.cpu.compiler import found_compiler, load_library

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

Function = Callable[[np.ndarray], np.ndarray]

_erf = np.frompyfunc(math.erf, 1, 1)


def softplus(a: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def sigmoid(a: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


# the function in float64, and the error allowed, in units of the last place of the true value
FUNCTIONS: dict[str, tuple[Function, float]] = {
    "exp": (np.exp, 2.0),
    "expm1": (np.expm1, 4.0),
    "log": (np.log, 2.0),
    "sqrt": (np.sqrt, 1.0),
    "sigmoid": (sigmoid, 4.0),
    "tanh": (np.tanh, 3.0),
    "softplus": (softplus, 4.0),
    "erf": (lambda a: _erf(a).astype(np.float64), 4.0),
    "sin": (np.sin, 4.0),
    "cos": (np.cos, 4.0),
}


def _printed(name: str) -> str:
    return f"""extern "C" void apply_{name}(const float *a, float *y, long n) {{
    for (long j = 0; j < n; j += VL) {{
        const long m = n - j;
        if (m >= VL) store(y + j, v_{name}(load(a + j)));
        else store_first(y + j, v_{name}(load_first(a + j, m)), m);
    }}
}}"""


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    lines = ['#include "runtime.hpp"', *map(_printed, FUNCTIONS)]
    return load_library("\n".join(lines) + "\n")


def applied(library: ctypes.CDLL, name: str, a: np.ndarray) -> np.ndarray:
    y = np.full_like(a, np.nan)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (a, y)]
    library[f"apply_{name}"](*pointers, ctypes.c_long(a.size))
    return y


def whole_range() -> np.ndarray:
    """Numbers of every sign and exponent, special values, and a dense sample around zero."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, size=1_000_003, dtype=np.uint64).astype(np.uint32)
    dense = rng.uniform(-110, 110, size=1_000_000).astype(np.float32)
    small = rng.normal(size=500_000).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-45, 88.7, -103.9])
    numbers = np.concatenate([bits.view(np.float32), dense, small, special.astype(np.float32)])
    return np.ascontiguousarray(numbers)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_accurate_everywhere(library: ctypes.CDLL, name: str) -> None:
    exact, allowed = FUNCTIONS[name]
    a = whole_range()
    found = applied(library, name, a)
    with np.errstate(all="ignore"):
        expected = exact(a.astype(np.float64))
        rounded = expected.astype(np.float32)
    assert np.array_equal(np.isnan(found), np.isnan(rounded)), name
    infinite = np.isinf(rounded)
    assert np.array_equal(found[infinite], rounded[infinite]), name
    finite = np.isfinite(rounded)
    unit = np.maximum(np.abs(np.spacing(rounded[finite])).astype(np.float64), 2.0**-149)
    error = np.abs(found[finite].astype(np.float64) - expected[finite]) / unit
    worst = int(np.argmax(error))
    assert error[worst] <= allowed, (
        f"{name}({a[finite][worst]!r}) is off by {error[worst]:.2f} units in the last place: "
        f"{found[finite][worst]!r}, not {expected[finite][worst]!r}"
    )
