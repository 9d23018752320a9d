"""Cells and functions of the language on plain tensors."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recurra import Recurrent, cell, cells, compose
from recurra.lang import concat, exp, expand, layer_norm, sigmoid, softmax, split, sum, tanh, where
from recurra.lang.on_tensors import ON_TENSORS
from recurra.lang.symbols import FUNCTIONS

OVER_ROWS = {name for name in cells.names() if cells.get(name).memory} | {
    name
    for name in cells.names()
    if any(
        len(n.shape) == 2 and n.attr("kind") == "state" for n in cells.get(name).equations.inputs
    )
}


def _step(name: str) -> None:
    of = cells.get(name)
    layer = Recurrent(
        of, 8 if of.input else 0, 8, dtype=torch.float64, backend="reference",
        sizes=of.usual_sizes(8, 8) or None,
    )  # fmt: skip
    torch.manual_seed(0)
    parameters = {n.removesuffix("_l0"): p.detach() for n, p in layer.named_parameters()}
    given: dict[str, Tensor | float] = dict(parameters)
    sizes = [[dim.evaluate(layer.layer_sizes[0])] for dim in of.state_sizes]
    states = [torch.randn(1, 1, size, dtype=torch.float64) for (size,) in sizes]
    scalars = {node.name for node in of.equations.inputs if not node.shape}
    for state, value in zip(of.states, states, strict=True):
        given[state] = value.reshape(()) if state in scalars else value[0, 0]
    x = torch.randn(1, 1, 8, dtype=torch.float64) if of.input else torch.empty(1, 1, 0).double()
    further = {}
    for key, shape in layer.further_sizes.items():
        further[key] = torch.rand(1, 1, *shape, dtype=torch.float64) + 0.1
        given[key] = further[key].reshape(shape)
    if of.input:
        given[of.input] = x[0, 0]
    if of.step:
        given[of.step] = 0.0
    state = tuple(states) if len(states) > 1 else states[0]
    y, final = layer(x, state, **further)
    returned = of(**given)
    returned = returned if isinstance(returned, tuple) else (returned,)
    torch.testing.assert_close(returned[0].reshape(-1), y[0, 0])
    finals = final if isinstance(final, tuple) else (final,)
    for new, expected in zip(returned[-len(finals) :], finals, strict=True):
        torch.testing.assert_close(new.reshape(-1), expected[0, 0])


@pytest.mark.medium
def test_registered_cells_on_tensors() -> None:
    for name in cells.names():
        of = cells.get(name)
        if name in OVER_ROWS or hasattr(of.function, "names_its_values"):
            continue
        _step(name)


def test_many_sequences_by_vmap_and_gradients() -> None:
    of = cells.gru
    layer = Recurrent(of, 3, 4, backend="reference")
    parameters = [p for _, p in layer.named_parameters()]
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    new = torch.vmap(lambda x, h: of(x, h, *parameters))(x, h)
    torch.testing.assert_close(new, layer(x[None], h[None])[0][0])
    new.sum().backward()
    assert all(p.grad is not None for p in parameters)


def test_constants_heads_and_named_sizes() -> None:
    @cell(heads={"R": "heads"}, sizes={"v": "A"})
    def f(x, h, R, W, U, v, base=np.array([1.0, 2.0]), heads=2):  # noqa: B008
        a, b = split(U @ x, ["A", "H"])
        return tanh(R @ h + b) * sum(expand(1, "A") * a * v) + sum(base) * (W @ x)

    layer = Recurrent(f, 3, 4, sizes={"A": 2}, backend="reference")
    given = {n.removesuffix("_l0"): p for n, p in layer.named_parameters()}
    x, h = torch.randn(3), torch.randn(4)
    torch.testing.assert_close(f(x, h, **given), layer(x[None], h[None])[1][0])


def test_functions_on_tensors_and_numbers() -> None:
    assert exp(1) == math.e
    assert math.isclose(tanh(0.5), math.tanh(0.5))
    v = torch.randn(4)
    torch.testing.assert_close(softmax(v), torch.softmax(v, -1))
    torch.testing.assert_close(layer_norm(v, 2.0), torch.nn.functional.layer_norm(v, (4,)) * 2)
    torch.testing.assert_close(where(v > 0, v, 0.0), v.relu())
    assert concat(v, 1.0).shape == (5,)
    assert set(FUNCTIONS) - set(ON_TENSORS) == {"windows", "outer", "rows", "flatten"}


def test_arrays_of_numpy_and_sizes_in_brackets_beside_tensors() -> None:
    grid = np.arange(4.0)

    @cell(sizes={"h": 4})
    def f(x, h, W):
        u = sigmoid(W @ x + h)
        return concat(u[:"I - 1"], (grid * u - grid / 2 + u**grid)["I - 1":])

    layer = Recurrent(f, 3, 4, backend="reference")
    x, h = torch.randn(3), torch.randn(4)
    new = f(x, h, layer.W_l0)
    assert type(new) is Tensor
    torch.testing.assert_close(new, layer(x[None], h[None])[1][0])
    new.sum().backward()
    assert layer.W_l0.grad is not None
    sizes = {"m": 8, "W_m": (4, 8), "e_m": 8, "W_x": (4, 3), "W_h": (4, 4), "e_x": 3, "e_h": 4}
    given = {name: torch.randn(size) for name, size in sizes.items()}
    expected = cells.lmu.with_constants(order=8)(x, h, **given)
    torch.testing.assert_close(cells.lmu(x, h, **given, order=8), expected)


def test_arguments_on_tensors_that_are_wrong() -> None:
    of, x, h = cells.rnn, torch.ones(3), torch.ones(4)
    W, U = torch.ones(4, 3), torch.ones(4, 4)
    with pytest.raises(TypeError, match=r"^rnn: expected x, h, W_xh.*, got no W_hh, b_h\. Give"):
        of(x, h, W)
    with pytest.raises(TypeError, match=r"^rnn: expected the arguments x, h, .* too many pos"):
        of(*[x] * 9)
    with pytest.raises(TypeError, match=r"^rnn: expected the arguments .* keyword argument 'm'"):
        of(x, h, m=h)
    with pytest.raises(TypeError, match=r"^rnn: expected h as a tensor of shape \[H\], got float"):
        of(x, 0.0, W, U, h)
    with pytest.raises(TypeError, match=r"^rnn: expected b_h as a .*, got ndarray of shape \(4,\)"):
        of(x, h, W, U, np.ones(4))
    with pytest.raises(
        ValueError, match=r"^lmu: expected m of shape \[16\] = \(16,\), .*got \(5,\)"
    ):
        cells.lmu(x, h, torch.ones(5), W, U, torch.ones(4, 16), x, h, torch.ones(16))


def test_what_does_not_run_on_tensors() -> None:
    @cell
    def f(x, h, W):
        return sigmoid(W @ x + h)

    with pytest.raises(ValueError, match=r"f: expected x of shape \[I\] = \(3,\), of one step"):
        f(torch.ones(2, 3), torch.ones(4), torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"f: expected W of shape \[H, I\] = \(4, 3\), .*got"):
        f(torch.ones(3), torch.ones(4), torch.ones(3, 4))
    with pytest.raises(TypeError, match=r"made of another cell. Run it as a layer, Recurrent\("):
        compose.zoneout(f, 0.1)(torch.ones(3), torch.ones(4), W=torch.ones(4, 3))
    with pytest.raises(TypeError, match=r"got one which reads m, over rows. Run it as a layer"):
        cells.pointer_lstm(torch.ones(3))
