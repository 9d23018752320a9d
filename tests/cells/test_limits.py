"""Cells far from where they are trained: what they give is finite and what their equations give.

Judged in float64, on both backends: outputs, final states and every gradient. Where an input far
out makes a result depend on its last digits, the reference's own results move as much when its
inputs are rounded to float32, and so much is allowed.
"""

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from oracle import WITHOUT_MEMORY, Case, Inputs, Results, results, slow_beyond_the_core
from recurra import Recurrent, cells, lang
from recurra.backends import ReferenceBackend, load
from recurra.backends.runtime import ops
from recurra.lang import Cell, cell

SIZES = {"I": 3, "H": 8, "P": 2, "C": 4, "R": 4, "K": 4, "Q": 4}
HEADS = 2  # with 4 features each: of 2 features, layer normalisation leaves a sign alone
BACKENDS = ("reference", "cpu")
DOUBLE = torch.float64
TOLERANCE = 1e-3
ROUNDING, ROUNDINGS = 2.0**-22, 4
LARGEST = 1e30  # of a result that float32 must have: what is added up on the way to it is larger

Change = Callable[[Inputs], None]


def inputs_times(scale: float) -> Change:
    def change(inputs: Inputs) -> None:
        inputs.x.mul_(scale)

    return change


def matrices_times(scale: float) -> Change:
    def change(inputs: Inputs) -> None:
        for value in inputs.parameters.values():
            value.mul_(scale if value.dim() == 2 else 1.0)

    return change


def states_times(scale: float) -> Change:
    def change(inputs: Inputs) -> None:
        for value in inputs.states:
            value.mul_(scale)

    return change


def vectors_at(value: float) -> Change:
    """Biases far to one side: every gate that has one is open, or shut."""

    def change(inputs: Inputs) -> None:
        for parameter in inputs.parameters.values():
            if parameter.dim() < 2:
                parameter.fill_(value)

    return change


def no_states(change: Change) -> Change:
    """From states of zero, as a layer starts."""

    def from_zero(inputs: Inputs) -> None:
        change(inputs)
        states_times(0.0)(inputs)

    return from_zero


CONDITIONS: dict[str, Change] = {
    "inputs of 0": no_states(inputs_times(0.0)),
    "inputs of 60": no_states(inputs_times(60.0)),
    "inputs of 1e4": inputs_times(1e4),
    "inputs of 1e10": no_states(inputs_times(1e10)),
    "weights x 300": no_states(matrices_times(300.0)),
    "states x 300": states_times(300.0),
    "biases of 200": no_states(vectors_at(200.0)),
    "biases of -200": no_states(vectors_at(-200.0)),
}

_READ = "a read is a cube of the inputs, and layer normalisation squares it: 1e60"

# What float32 has no digits for, and why: what it gives must be finite still.
BEYOND_FLOAT32: dict[tuple[str, str], str] = {
    ("gla", "inputs of 1e10"): _READ,
    ("retnet", "inputs of 1e10"): _READ,
    ("mlstm", "inputs of 1e10"): "the gradient of W_q is 1e-5, a difference of terms of 1e11",
    ("mlstm", "biases of 200"): "the gradient of b_i is 2, over time a sum of terms of 1e5: what "
    "scales all input gates alike changes nothing but m",
}

# Whose gradients overflow on the way, and why: outputs and states must be finite still.
OVERFLOWS: dict[tuple[str, str], str] = {
    ("mamba", "inputs of 1e10"): "an output is a fourth power of the inputs: 1e40",
    ("mamba", "weights x 300"): "rates of exp(80) times states and their gradients of 1e17 each",
}


def drawn(of: Cell, change: Change, dtype: torch.dtype, rounding: float = 0.0) -> Inputs:
    inputs = Case(T=5, B=4, sizes=SIZES).tensors(of, torch.float64)
    with torch.no_grad():
        change(inputs)
        for leaf in inputs.leaves().values():
            leaf.mul_(1.0 + rounding * torch.randn_like(leaf))
    made = vars(inputs) | {
        "x": _leaf(inputs.x, dtype),
        "arrays": {name: array.to(dtype) for name, array in inputs.arrays.items()},
        "further": tuple(_leaf(each, dtype) for each in inputs.further),
        "states": tuple(_leaf(state, dtype) for state in inputs.states),
        "parameters": {name: _leaf(p, dtype) for name, p in inputs.parameters.items()},
    }
    return Inputs(**made)


def _leaf(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to(dtype).requires_grad_()


def _moved(of: Cell, change: Change, expected: Results) -> dict[str, float]:
    """How far the results move in float64 when the inputs are rounded, and, for gradients, when the
    values of functions that saturate are: of 1 - tanh(v) ** 2 nothing is left then."""
    moved = dict.fromkeys(expected, 0.0)
    reference = ReferenceBackend(of)
    again = [results(reference, drawn(of, change, DOUBLE, ROUNDING)) for _ in range(ROUNDINGS)]
    saturating = {name: _rounded(ops._PLAIN[name]) for name in ("sigmoid", "tanh")}
    with mock.patch.dict(ops._PLAIN, saturating):
        found = results(ReferenceBackend(of), drawn(of, change, DOUBLE))
    again.append({name: value for name, value in found.items() if name.startswith("d ")})
    for results_again in again:
        for name, value in results_again.items():
            moved[name] = max(moved[name], float((value - expected[name]).abs().max()))
    return moved


def _rounded(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def rounded(v: Tensor, out: Tensor | None = None) -> Tensor:
        y = function(v).float().double()
        return y if out is None else out.copy_(y)

    return rounded


def assert_what_the_equations_give(of: Cell, label: str, found: Results, expected: Results) -> None:
    moved: dict[str, float] | None = None
    for name, value in expected.items():
        where = f"{of.name}, {label}: {name}"
        assert value.isfinite().all(), f"{where}: not finite in float64"
        within = value.abs() < LARGEST
        assert found[name][within].isfinite().all(), f"{where}: not finite"
        off = float((found[name].double() - value)[within].abs().max())
        allowed = TOLERANCE * (1.0 + float(value.abs().max()))
        if off > allowed:
            moved = moved or _moved(of, CONDITIONS[label], expected)
            allowed += 8 * moved[name]
        assert off <= allowed, f"{where}: off by {off:.2e}, allowed {allowed:.2e}"


def assert_finite(of: Cell, label: str, found: Results, expected: Results) -> None:
    """All in float64, and in float32 where it is below what float32 must have."""
    overflows = (of.name, label) in OVERFLOWS
    for name, value in expected.items():
        where = f"{of.name}, {label}: {name}"
        assert value.isfinite().all(), f"{where}: not finite in float64"
        if not (overflows and name.startswith("d ")):
            assert found[name][value.abs() < LARGEST].isfinite().all(), f"{where}: not finite"


@pytest.mark.medium
@pytest.mark.parametrize("name", slow_beyond_the_core(WITHOUT_MEMORY))
def test_far_out(name: str) -> None:
    of = cells.get(name)
    of = of.with_constants(heads=HEADS) if "heads" in of.constants else of
    reference, compiled = (load(of, backend=backend) for backend in BACKENDS)
    for label, change in CONDITIONS.items():
        expected = results(reference, drawn(of, change, DOUBLE))
        for backend in (reference, compiled):
            found = results(backend, drawn(of, change, torch.float32))
            if (name, label) in BEYOND_FLOAT32 | OVERFLOWS:
                assert_finite(of, label, found, expected)
            else:
                assert_what_the_equations_give(of, label, found, expected)


# ---- against formulas of their own ---------------------------------------------------------------


def layer_of(name: str, **parameters: Tensor) -> tuple[Recurrent, dict[str, Tensor]]:
    """A layer, and its parameters in float64."""
    layer = Recurrent(name, 4, 8)
    with torch.no_grad():
        for parameter, value in parameters.items():
            layer.parameters_of(0)[parameter].copy_(value)
    return layer, {key: p.detach().double() for key, p in layer.parameters_of(0).items()}


@pytest.mark.parametrize("shut", [0.0, -200.0])
@pytest.mark.parametrize("scale", [1.0, 400.0, 1e10])
def test_minlstm_goes_by_the_ratio_of_its_gates(scale: float, shut: float) -> None:
    biases = {name: torch.full((8,), shut) for name in ("b_f", "b_i")}
    layer, given = layer_of("minlstm", **biases)
    x = scale * torch.randn(20, 5, 4)
    f, i, new = (x.double() @ given[f"W_{g}"].T + given[f"b_{g}"] for g in "fih")
    share = torch.sigmoid(F.logsigmoid(f) - F.logsigmoid(i))
    h = torch.zeros(5, 8, dtype=DOUBLE)
    for t, found in enumerate(layer(x)[0]):
        h = share[t] * h + (1 - share[t]) * new[t]
        torch.testing.assert_close(found.double(), h, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.medium
@pytest.mark.parametrize("decay", [-200.0, 1.0, 16.0, 20.0, 200.0])
def test_rg_lru_at_any_decay(decay: float) -> None:
    """One step from zero is the root times what is let in."""
    layer, given = layer_of("rg_lru", decay=torch.full((8,), decay))
    x = torch.randn(1, 6, 4)
    u = x[0].double() @ given["W"].T
    r, i = (
        torch.sigmoid(u @ torch.block_diag(*given[f"W_{g}"].chunk(4)).T + given[f"b_{g}"])
        for g in "ri"
    )
    root = torch.sqrt(-torch.expm1(-16.0 * r * F.softplus(-given["decay"], threshold=40.0)))
    torch.testing.assert_close(layer(x)[0][0].double(), root * i * u, rtol=1e-4, atol=1e-12)


@pytest.mark.medium
def test_slstm_starts_from_its_first_input_gate() -> None:
    """Whatever the gates, the first step gives o * z: c / n of one input alone."""
    layer, given = layer_of("slstm")
    for scale in (1.0, 300.0, 1e6):
        x = scale * torch.randn(1, 6, 4)
        z, o = (x[0].double() @ given[f"W_{g}"].T + given[f"b_{g}"] for g in "zo")
        want = torch.sigmoid(o) * torch.tanh(z)
        torch.testing.assert_close(layer(x)[0][0].double(), want, rtol=1e-4, atol=1e-5)


# ---- functions -----------------------------------------------------------------------------------

# of each function: its value and derivative in torch, and where; float32 has no digits beyond
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
    "log_sigmoid": F.logsigmoid,
    "softplus": lambda v: F.softplus(v, threshold=800.0),
    "silu": F.silu,
    "gelu": F.gelu,
}
POINTS = (-80.0, -20.0, -1.0, -1e-3, -1e-6, 1e-6, 1e-3, 1.0, 20.0, 60.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_their_digits(name: str, backend: str) -> None:
    function = getattr(lang, name)

    @cell(sizes={"x": "H"})
    def applied(x, h, b):
        return function(x) + b * h

    points = torch.tensor([p for p in POINTS if name != "log1p" or p > -1]).reshape(-1, 1)
    layer = Recurrent(applied, 1, 1, backend=backend)
    x = points.repeat(6, 1, 1).requires_grad_()
    y = layer(x, torch.zeros(1, len(points), 1))[0][0]
    (found,) = torch.autograd.grad(y.sum(), x)
    exact = points.double().requires_grad_()
    value = FUNCTIONS[name](exact)
    (slope,) = torch.autograd.grad(value.sum(), exact)
    # gelu's own 1 + erf(v) has seven digits of 1
    absolute = 1e-6 if name == "gelu" else 1e-30
    torch.testing.assert_close(y.double(), value, rtol=1e-5, atol=absolute)
    torch.testing.assert_close(found[0].double(), slope, rtol=1e-5, atol=absolute)
