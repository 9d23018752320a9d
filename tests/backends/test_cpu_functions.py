"""The elementwise functions of the C++ runtime against float64, over all of float32.

On every target that this machine can run.
"""

import ctypes
import math
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from recurra.backends.cpu.compiler import found_compiler, load_library
from recurra.nn.machine import _cpu, vector_unit

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
    "expm1": (np.expm1, 3.0),
    "log": (np.log, 2.0),
    "sqrt": (np.sqrt, 1.0),
    "sigmoid": (sigmoid, 3.0),
    "tanh": (np.tanh, 3.0),
    "softplus": (softplus, 3.0),
    "erf": (lambda a: _erf(a).astype(np.float64), 3.0),
    "sin": (np.sin, 3.0),
    "cos": (np.cos, 3.0),
}


# of two operands, in float64
PAIRS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float]] = {
    "minimum": (np.minimum, 0.0),
    "maximum": (np.maximum, 0.0),
    "pow": (np.power, 1.0),
}
# exact, the sign of zero apart
EXACT: dict[str, Function] = {
    "abs": np.abs,
    "sign": lambda a: np.where(np.isnan(a), 0.0, np.sign(a)),
    "floor": np.floor,
    "relu": lambda a: np.where(a < 0, 0.0, a),
}


def _printed(name: str, operands: str) -> str:
    arguments = ", ".join(f"const float *{a}" for a in operands)
    whole = ", ".join(f"load({a} + j)" for a in operands)
    first = ", ".join(f"load_first({a} + j, m)" for a in operands)
    return f"""extern "C" void apply_{name}({arguments}, float *y, long n) {{
    for (long j = 0; j < n; j += VL) {{
        const long m = n - j;
        if (m >= VL) store(y + j, v_{name}({whole}));
        else store_first(y + j, v_{name}({first}), m);
    }}
}}"""


@pytest.fixture(
    scope="module",
    params=[
        "native",
        *(pytest.param(name, marks=pytest.mark.medium) for name in ("avx2", "generic", "scalar")),
    ],
)
def library(request: pytest.FixtureRequest) -> Iterator[ctypes.CDLL]:
    if request.param == "avx2" and vector_unit(_cpu()[1])[1] < 256:
        pytest.skip("needs a CPU with AVX2")
    lines = ['#include "runtime.hpp"', *(_printed(name, "a") for name in (*FUNCTIONS, *EXACT))]
    lines += [_printed(name, "ab") for name in PAIRS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_TARGET", request.param)
        yield load_library("\n".join(lines) + "\n")


def applied(library: ctypes.CDLL, name: str, *operands: np.ndarray) -> np.ndarray:
    y = np.full_like(operands[0], np.nan)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (*operands, y)]
    library[f"apply_{name}"](*pointers, ctypes.c_long(y.size))
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


@pytest.mark.medium
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_accurate_everywhere(library: ctypes.CDLL, name: str) -> None:
    exact, allowed = FUNCTIONS[name]
    if "-fsanitize" in os.environ.get("RECURRA_CXXFLAGS", ""):
        # the checks of a sanitizer stand between products and sums, which are rounded one by one
        allowed += 0.25
    a = whole_range()
    with np.errstate(all="ignore"):
        expected = exact(a.astype(np.float64))
    hold(name, applied(library, name, a), expected, allowed, a)


@pytest.mark.medium
@pytest.mark.parametrize("name", PAIRS)
def test_function_of_two_is_accurate_everywhere(library: ctypes.CDLL, name: str) -> None:
    exact, allowed = PAIRS[name]
    a = whole_range()
    b = np.random.default_rng(1).permutation(a)
    with np.errstate(all="ignore"):
        expected = exact(a.astype(np.float64), b.astype(np.float64))
    hold(name, applied(library, name, a, b), expected, allowed, a)


@pytest.mark.medium
@pytest.mark.parametrize("name", EXACT)
def test_function_is_exact_everywhere(library: ctypes.CDLL, name: str) -> None:
    a = whole_range()
    with np.errstate(all="ignore"):  # of signalling NaNs
        expected = EXACT[name](a.astype(np.float64))
    hold(name, applied(library, name, a), expected, 0.0, a)


def hold(name: str, found: np.ndarray, expected: np.ndarray, allowed: float, a: np.ndarray) -> None:
    """Hold to `allowed` units in the last place, and to the same NaN and infinities."""
    with np.errstate(all="ignore"):
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
