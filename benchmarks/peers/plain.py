"""Cells as a PyTorch user writes them by hand: one step a turn of a Python loop, nothing hoisted.

Parameters are named and shaped as in the cell of recurra with the same equations. A product and its
bias are one call, `linear`, as in a module made of nn.Linear; x [T, B, I], y [T, B, H].
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import layer_norm, linear

Parameters = Mapping[str, Tensor]


def mut1(x: Tensor, p: Parameters, hidden_size: int) -> Tensor:
    h = x.new_zeros(x.shape[1], hidden_size)
    outputs = []
    for x_t in x:
        z = sigmoid(linear(x_t, p["W_xz"], p["b_z"]))
        r = sigmoid(linear(x_t, p["W_xr"], p["b_r"]) + linear(h, p["W_hr"]))
        candidate = tanh(linear(r * h, p["W_hh"], p["b_h"]) + tanh(linear(x_t, p["W_xh"])))
        h = candidate * z + h * (1 - z)
        outputs.append(h)
    return torch.stack(outputs)


def mut2(x: Tensor, p: Parameters, hidden_size: int) -> Tensor:
    h = x.new_zeros(x.shape[1], hidden_size)
    outputs = []
    for x_t in x:
        z = sigmoid(linear(x_t, p["W_xz"], p["b_z"]) + linear(h, p["W_hz"]))
        r = sigmoid(linear(x_t, p["W_xr"], p["b_r"]) + linear(h, p["W_hr"]))
        candidate = tanh(linear(r * h, p["W_hh"], p["b_h"]) + linear(x_t, p["W_xh"]))
        h = candidate * z + h * (1 - z)
        outputs.append(h)
    return torch.stack(outputs)


def peephole_lstm(x: Tensor, p: Parameters, hidden_size: int) -> Tensor:
    h = c = x.new_zeros(x.shape[1], hidden_size)
    outputs = []
    for x_t in x:
        i = sigmoid(linear(x_t, p["W_xi"], p["b_i"]) + linear(h, p["W_hi"]) + p["p_i"] * c)
        f = sigmoid(linear(x_t, p["W_xf"], p["b_f"]) + linear(h, p["W_hf"]) + p["p_f"] * c)
        g = tanh(linear(x_t, p["W_xg"], p["b_g"]) + linear(h, p["W_hg"]))
        c = f * c + i * g
        o = sigmoid(linear(x_t, p["W_xo"], p["b_o"]) + linear(h, p["W_ho"]) + p["p_o"] * c)
        h = o * tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


def layer_norm_lstm(x: Tensor, p: Parameters, hidden_size: int) -> Tensor:
    h = c = x.new_zeros(x.shape[1], hidden_size)
    outputs = []
    for x_t in x:
        from_x = layer_norm(linear(x_t, p["W_x"]), p["a_x"].shape, p["a_x"], p["d_x"])
        from_h = layer_norm(linear(h, p["W_h"]), p["a_h"].shape, p["a_h"], p["d_h"])
        i, f, o, g = (from_x + from_h + p["b"]).chunk(4, dim=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(layer_norm(c, p["a_c"].shape, p["a_c"], p["d_c"]))
        outputs.append(h)
    return torch.stack(outputs)


def relay(x: Tensor, p: Parameters, hidden_size: int) -> Tensor:
    h = m = x.new_zeros(x.shape[1], hidden_size)
    outputs = []
    for x_t in x:
        k = torch.softmax(linear(x_t, p["W_xk"], p["b_k"]) + linear(h, p["W_hk"]), dim=1)
        r = sigmoid(linear(x_t, p["W_xr"], p["b_r"]) + linear(h * m, p["W_mr"]))
        g = tanh(linear(x_t, p["W_xg"], p["b_g"]) + linear(r * h, p["W_hg"]))
        m = (1 - k) * m + k * g
        h = r * h + (1 - r) * tanh(g + m)
        outputs.append(h)
    return torch.stack(outputs)


LOOPS: dict[str, Callable[[Tensor, Parameters, int], Tensor]] = {
    loop.__name__: loop for loop in (mut1, mut2, peephole_lstm, layer_norm_lstm, relay)
}


class PlainLoop(nn.Module):
    """A loop by the name of its cell, with copies of the parameters, called as a layer is."""

    def __init__(self, name: str, parameters: Parameters, hidden_size: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({k: v.detach().clone() for k, v in parameters.items()})
        self._loop = LOOPS[name]
        self._hidden_size = hidden_size

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """The output, in the place where layers have it."""
        return self._loop(x, dict(self.weights.items()), self._hidden_size), None
