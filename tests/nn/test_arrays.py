"""Constant arrays of a cell as buffers of its layer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.lang import mean, tanh, where

T, B, IN, H = 6, 3, 3, 5
A = np.array([[0.8, 0.6], [-0.6, 0.8]])
DRIVE = np.array([1.0, 0.25])


@rc.cell(state=("h", "m"), sizes={"m": 2})
def turning(x, h, m, W, U, V, b):
    """A memory that turns, driven by the mean of the input."""
    m = A @ m + DRIVE * mean(x)
    return tanh(W @ x + U @ h + V @ m + b), m


def by_hand(layer: rc.Recurrent, x: Tensor) -> Tensor:
    """y [T, B, H] of one layer, in torch."""
    W, U, V, b = (getattr(layer, f"{name}_l0") for name in ("W", "U", "V", "b"))
    a, drive = torch.tensor(A, dtype=x.dtype), torch.tensor(DRIVE, dtype=x.dtype)
    h, m, rows = x.new_zeros(B, H), x.new_zeros(B, 2), []
    for t in range(len(x)):
        m = m @ a.T + drive * x[t].mean(-1, keepdim=True)
        h = torch.tanh(x[t] @ W.T + h @ U.T + m @ V.T + b)
        rows.append(h)
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_layer(dtype: torch.dtype) -> None:
    layer = rc.Recurrent(turning, IN, H, dtype=dtype)
    x = torch.randn(T, B, IN, dtype=dtype, requires_grad=True)
    y, expected = layer(x)[0], by_hand(layer, x)
    torch.testing.assert_close(y, expected)
    leaves = [x, *layer.parameters()]
    found = torch.autograd.grad(y.square().sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), leaves))


def test_they_are_buffers() -> None:
    layer = rc.Recurrent(turning, IN, H, 2, bidirectional=True)
    assert [name for name, _ in layer.named_buffers()] == ["constant_A", "constant_DRIVE"]
    assert not any("constant" in name for name, _ in layer.named_parameters())
    assert layer.constant_A.dtype == torch.float32
    assert layer.double().constant_A.dtype == torch.float64
    x = torch.randn(T, B, IN, dtype=torch.float64)
    assert layer(x)[0].dtype == torch.float64
    assert rc.Recurrent(turning, IN, H, device="meta").constant_A.is_meta


def test_what_is_loaded_is_what_runs() -> None:
    layer, other = (rc.Recurrent(turning, IN, H) for _ in range(2))
    state = layer.state_dict()
    state["constant_A"] = torch.zeros(2, 2)
    other.load_state_dict(state)
    x = torch.randn(T, B, IN)
    stream = layer.stream(B)
    torch.testing.assert_close(stream(x[0]), layer(x)[0][0].detach())
    layer.load_state_dict(state)  # a stream sees it at its next step
    stream.reset()
    steps = torch.stack([stream(each) for each in x])
    assert not torch.allclose(other(x)[0], by_hand(layer, x))
    torch.testing.assert_close(other(x)[0], layer(x)[0])
    torch.testing.assert_close(steps, layer(x)[0].detach())


def test_a_buffer_that_was_replaced_is_refused() -> None:
    layer, x = rc.Recurrent(turning, IN, H), torch.randn(T, B, IN)
    layer.constant_A = layer.constant_A.double()
    with pytest.raises(TypeError, match=r"parameter constant_A of torch.float32"):
        layer(x)
    layer.constant_A = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"constant_A of shape \(2, 2\), got \(3, 3\)"):
        layer(x)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_reservoir_that_learns_nothing(backend: str) -> None:
    """An echo state network: random matrices that stay as they are. Source: Jaeger (2001)."""

    def reservoir(inputs: int, units: int, radius: float = 0.9, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        W_in, W = rng.uniform(-1, 1, (units, inputs)), rng.normal(size=(units, units))
        W *= radius / np.abs(np.linalg.eigvals(W)).max()

        @rc.cell(sizes={"x": inputs, "h": units})
        def echo_state(x, h, leak=0.3):
            return (1 - leak) * h + leak * tanh(W_in @ x + W @ h)

        return echo_state

    layer = rc.Recurrent(reservoir(IN, 20), IN, 20, backend=backend)
    assert list(layer.parameters()) == []
    x = torch.randn(50, B, IN, requires_grad=True)
    y, _ = layer(x)
    first = torch.ones(1, B, 20)
    other, _ = layer(x, first)
    assert (y[0] - other[0]).abs().max() > 0.1
    torch.testing.assert_close(y[-1], other[-1], rtol=0, atol=1e-2)  # what was before is forgotten
    (d,) = torch.autograd.grad(y[-1].sum(), x)
    assert d[-1].abs().min() > 0
    stream = layer.stream(B)
    torch.testing.assert_close(torch.stack([stream(each) for each in x]), y.detach())


def test_a_clockwork_network() -> None:
    """Units of a period change at its multiples alone, and read none that are faster. Source:
    Koutník, Greff, Gomez, Schmidhuber (2014), "A Clockwork RNN", ICML, arXiv:1402.3511."""
    periods = np.repeat([1.0, 2.0, 4.0], 2)
    slower = (periods[None, :] >= periods[:, None]).astype(float)

    @rc.cell(sizes={"h": 6})
    def clockwork(x, h, t, W, U, b):
        return where(t % periods == 0, tanh(W @ x + (slower * U) @ h + b), h)

    layer = rc.Recurrent(clockwork, IN, 6, dtype=torch.float64)
    first = torch.randn(1, B, 6, dtype=torch.float64, requires_grad=True)
    y, _ = layer(torch.randn(9, B, IN, dtype=torch.float64), first)
    changed = (y[1:] != y[:-1]).any(1)
    assert [changed[:, unit].nonzero().flatten().add(1).tolist() for unit in (0, 2, 4)] == [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [2, 4, 6, 8],
        [4, 8],
    ]
    (d,) = torch.autograd.grad(y[-1, :, 4:].sum(), first)
    assert not d[..., :4].any(), "the slowest units see nothing of the others"
    assert d[..., 4:].all()


@pytest.mark.parametrize("backend", ["reference", pytest.param("auto", marks=pytest.mark.medium)])
def test_coefficients_of_the_whole_past(backend: str) -> None:
    """HiPPO-LegS: m holds the past since the first step as coefficients of Legendre polynomials.
    Source: Gu, Dao, Ermon, Rudra, Ré (2020), "HiPPO: Recurrent Memory with Optimal Polynomial
    Projections", NeurIPS, arXiv:2008.07669, eq. (4)."""
    order = 6
    root = np.sqrt(2.0 * np.arange(order) + 1)
    legs = np.tril(np.outer(root, root), -1) + np.diag(np.arange(order) + 1.0)

    @rc.cell(state=("h", "m"), sizes={"m": order})
    def hippo(x, h, m, t, W, U, V, b):
        m = m + (root * mean(x) - legs @ m) / (t + 1)
        return tanh(W @ x + U @ h + V @ m + b), m

    layer = rc.Recurrent(hippo, IN, H, backend=backend)
    x, m = torch.randn(20, 1, IN), np.zeros(order)
    for k, u in enumerate(x.double().mean(-1).flatten().tolist(), 1):
        m = m - legs @ m / k + root * u / k
    _, (_, held) = layer(x)
    expected = torch.tensor(m, dtype=torch.float32)
    torch.testing.assert_close(held.detach().flatten(), expected, rtol=1e-4, atol=1e-4)
    _, (_, of_constant) = layer(torch.full((order, 1, IN), 0.7))
    expected = torch.tensor([0.7] + [0.0] * (order - 1))
    torch.testing.assert_close(of_constant.detach().flatten(), expected, rtol=0, atol=1e-4)


@pytest.mark.medium
def test_a_model_is_loaded_where_the_cell_is_gone(tmp_path: Path) -> None:
    model = rc.LanguageModel(7, cell=turning, embedding_size=IN, hidden_size=H)
    model.save(tmp_path / "model")
    loaded = rc.load(tmp_path / "model")
    assert np.array_equal(loaded.recurrent.cell.arrays["A"], A)
    ids = torch.randint(7, (T, B))
    torch.testing.assert_close(loaded(ids)[0], model(ids)[0], rtol=0, atol=0)
    ours = rc.load(tmp_path / "model", cell=turning)
    assert ours.recurrent.cell is turning
    other = rc.cell(state=("h", "m"), sizes={"m": 2})(_turning_back)
    with pytest.raises(Exception, match="with other equations"):
        rc.load(tmp_path / "model", cell=other)


def _turning_back(x: Any, h: Any, m: Any, W: Any, U: Any, V: Any, b: Any) -> Any:
    A_back = A.T.copy()
    m = A_back @ m + DRIVE * mean(x)
    return tanh(W @ x + U @ h + V @ m + b), m


_turning_back.__name__ = "turning"
