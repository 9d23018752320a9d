"""Cells and functions of the language on plain tensors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recurra import Recurrent, cell, cells, compose
from recurra.ir import POSITIONS, is_inside
from recurra.lang import (
    Cell,
    concat,
    exp,
    expand,
    flatten,
    layer_norm,
    outer,
    rows,
    sigmoid,
    softmax,
    split,
    sum,
    tanh,
    where,
    windows,
)
from recurra.lang.on_tensors import ON_TENSORS
from recurra.lang.symbols import FUNCTIONS

SIZES = {"I": 8, "H": 8}
S = 5  # positions of a memory


def _given(of: Cell, sizes: dict[str, int], generator: torch.Generator) -> dict[str, Tensor]:
    """Numbers for all that one step reads, but parameters, in the shapes of a plain call."""
    found = {}
    for leaf in of.equations.inputs:
        if is_inside(leaf) or leaf.attr("kind") in ("parameter", "array", "step"):
            continue
        shape = [S if dim == POSITIONS else dim.evaluate(sizes) for dim in leaf.shape]
        found[leaf.name] = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return found


def _layers(of: Cell, layer: Recurrent, given: dict[str, Tensor]) -> tuple[Any, Any]:
    """The layer's own first step: output [O], and the states in their shapes."""

    def batched(name: str) -> Tensor:
        return given[name].reshape(1, 1, *(given[name].shape or (1,)))

    x = batched(of.input) if of.input else torch.empty(1, 1, 0, dtype=torch.float64)
    states = tuple(map(batched, of.states))
    memory = tuple(given[name][:, None] for name in of.memory)
    y, final = layer(
        x,
        states if len(of.states) > 1 else next(iter(states)),
        context=tuple(given[name][None] for name in of.context) or None,
        memory=memory or None,
        **{name: batched(name) for name in of.further},
    )
    return y[0, 0], [value[0, 0] for value in (final if len(states) > 1 else (final,))]


def _check_step(of: Cell) -> None:
    """One step on plain tensors, of numbers and of all gradients, is the layer's to 1e-12."""
    sizes = SIZES | of.usual_sizes(8, 8)
    layer = Recurrent(
        of, 8 if of.input else 0, 8, dtype=torch.float64, backend="reference",
        sizes={k: v for k, v in sizes.items() if k not in SIZES} or None,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    given = _given(of, sizes, generator)
    leaves = {n.removesuffix("_l0"): p for n, p in layer.named_parameters()}
    leaves |= {name: value.requires_grad_() for name, value in given.items()}
    called = of(**leaves, **({of.step: 0.0} if of.step else {}))
    found = list(called) if isinstance(called, tuple) else [called]
    y, finals = _layers(of, layer, given)
    expected = [y, *finals] if of.options.output else finals
    weights = [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in found]
    gradients = []
    for values in (found, expected):
        total = torch.stack([(v * w).sum() for v, w in zip(values, weights, strict=True)]).sum()
        gradients.append(torch.autograd.grad(total, list(leaves.values()), allow_unused=True))
    for value, of_layer in zip(found, expected, strict=True):
        assert type(value) is Tensor
        torch.testing.assert_close(value, of_layer.reshape(value.shape), rtol=1e-12, atol=1e-12)
    for name, own, of_layer in zip(leaves, *gradients, strict=True):
        of_layer = torch.zeros(()) if of_layer is None else of_layer
        own = torch.zeros_like(of_layer) if own is None else own
        torch.testing.assert_close(
            own, of_layer, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


# in `make check` those that have all there is between them
_FEW = {"delta_net", "location_attention_gru", "lstm_cifg", "mlstm", "ntm", "gru_d", "window_lstm"}


@pytest.mark.parametrize(
    "name", [n if n in _FEW else pytest.param(n, marks=pytest.mark.medium) for n in cells.names()]
)
def test_registered_cells_on_tensors(name: str) -> None:
    of = cells.get(name)
    _check_step(of.with_constants(width=3) if "width" in of.constants else of)


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
    assert set(FUNCTIONS) <= set(ON_TENSORS)


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


def _parameters(layer: Recurrent) -> dict[str, Tensor]:
    return {name.removesuffix("_l0"): value for name, value in layer.named_parameters()}


@cell(state=("h", "S"), memory="m", sizes={"S": ("H", "H"), "v": "H"})
def by_other_names(x, h, S, m, W, U, v):
    """torch's and numpy's functions, and what is assigned in place."""
    h += torch.tanh(W @ x)
    q = torch.softmax(torch.mv(U, h), dim=-1)
    S = S + torch.outer(q, h)
    scores = torch.tanh(m + q) @ v
    alpha = torch.softmax(scores, 0)
    read = torch.matmul(alpha, m) + torch.sum(m * alpha, dim=0)
    r = np.tanh(np.dot(U, h)) + torch.matmul(S.T, q) + read
    best = (scores == torch.amax(scores)) @ m
    few = torch.cat([h[:2], sum(h), h[3:]]) + (1 - (h > 0)) * best + h // 2
    return np.where(r > 0, r, 0.5 * h) + torch.clamp(few, -1, 1) + np.square(r) % 1.5, S


def test_names_of_torch_and_numpy_mean_the_same_on_tensors() -> None:
    layer = Recurrent(by_other_names, 3, 4, dtype=torch.float64, backend="reference")
    x, h = torch.randn(3).double(), torch.randn(4).double()
    S, m, before = torch.randn(4, 4).double(), torch.randn(6, 4).double(), h.clone()
    found = by_other_names(x, h, S, m, **_parameters(layer))
    _, (h_new, S_new) = layer(x[None], (h[None], S[None]), memory=m)
    torch.testing.assert_close(found, (h_new[0], S_new[0]))
    assert torch.equal(h, before)


def test_composed_cells_on_tensors() -> None:
    """Their equations; masks that are not given are at their means, and others are taken."""
    of = compose.zoneout(compose.attend(cells.gru), 0.25)
    layer = Recurrent(of, 3, 4, sizes={"K": 2}, dtype=torch.float64, backend="reference").eval()
    x, h, m = torch.randn(3).double(), torch.randn(4).double(), torch.randn(5, 2).double()
    given = dict(zip(("x", "h", *of.memory), (x, h, m), strict=True)) | _parameters(layer)
    torch.testing.assert_close(of(**given), layer(x[None], h[None], memory=m)[1][0])
    kept = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
    (mask,) = of.masks
    assert torch.equal(of(**given, **{mask: kept})[::2], h[::2])


def test_cells_in_cells_on_tensors() -> None:
    smooth = compose.replace(cells.mgu, "smooth")

    @cell(sizes={"h": "I"})
    def twice(x, h, W_f, U_f, b_f, W_h, U_h, b_h):
        own = (W_f, U_f, b_f, W_h, U_h, b_h)
        return cells.mgu(x, smooth(x, h, *own)[:"I"], *own)

    layer = Recurrent(twice, 4, 4, dtype=torch.float64, backend="reference")
    x, h = torch.randn(2, 4).double()
    found = twice(x, h, **_parameters(layer))
    assert type(found) is Tensor
    torch.testing.assert_close(found, layer(x[None], h[None])[1][0])


@pytest.mark.parametrize("name", ["location_attention_gru", "mlstm", "ntm"])
def test_many_sequences_with_memories_and_matrices_by_vmap(name: str) -> None:
    of = cells.get(name)
    of = of.with_constants(width=3) if "width" in of.constants else of
    sizes = SIZES | of.usual_sizes(8, 8)
    own = {k: v for k, v in sizes.items() if k not in SIZES}
    layer = Recurrent(of, 8, 8, dtype=torch.float64, backend="reference", sizes=own)
    parameters, generator = _parameters(layer), torch.Generator().manual_seed(1)
    each = [_given(of, sizes, generator) for _ in range(3)]
    names = list(each[0])
    batch = [torch.stack([given[name] for given in each]) for name in names]
    found = torch.vmap(lambda *values: of(**dict(zip(names, values, strict=True)), **parameters))(
        *batch
    )
    for value, *expected in zip(found, *(of(**given, **parameters) for given in each), strict=True):
        torch.testing.assert_close(value, torch.stack(expected))


def test_rows_outside_of_cells_are_plain_matrices() -> None:
    v, k = torch.randn(4), torch.randn(6)
    torch.testing.assert_close(outer(v, k), torch.outer(v, k))
    torch.testing.assert_close(outer(v, k, 2)[2:], torch.outer(v[2:], k[3:]))
    assert outer(v, 1).shape == (4, 1)
    torch.testing.assert_close(flatten(rows(k, 2)), k)
    torch.testing.assert_close(windows(v, 3)[:, 1], v)
    torch.testing.assert_close(expand(v, 8), v.repeat_interleave(2))
    norms = torch.nn.functional.layer_norm(rows(k, 2), (3,))
    torch.testing.assert_close(layer_norm(rows(k, 2)), norms)


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


def test_shapes_of_one_step_of_one_sequence() -> None:
    @cell
    def f(x, h, W):
        return sigmoid(W @ x + h)

    with pytest.raises(ValueError, match=r"f: expected x of shape \[I\] = \(3,\), of one step"):
        f(torch.ones(2, 3), torch.ones(4), torch.ones(4, 3))
    S, W = torch.ones(8, 8), torch.ones(8, 3)
    with pytest.raises(ValueError, match=r"retnet: expected S of shape \[H, H/4\] = \(8, 2\)"):
        cells.retnet(torch.ones(3), S, W, W, W, W, S)
    with pytest.raises(
        ValueError,
        match=r"_lstm: expected m of shape \[S, H\], of one step .*\(2, 5, 4\)",
    ):
        cells.dot_attention_lstm(
            torch.ones(3), *torch.ones(3, 4), torch.ones(2, 5, 4), torch.ones(16, 11),
            torch.ones(16), torch.ones(4, 8),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"f: expected W of shape \[H, I\] = \(4, 3\), .*got"):
        f(torch.ones(3), torch.ones(4), torch.ones(3, 4))
