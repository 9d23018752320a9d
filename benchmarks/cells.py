"""The cells that torch.nn does not have, from the registry and written here."""

import recurra as rc
from recurra.lang import Cell, cell, layer_norm, sigmoid, softmax, split, tanh

# The recurrent gain starts low: at 1 the state is chaotic over hundreds of steps, and no two sides
# that round differently agree.
_GAINS = {"a_x": 1.0, "a_h": 0.1, "a_c": 1.0} | {"d_x": 0.0, "d_h": 0.0, "d_c": 0.0}


@cell(state=("h", "c"), init=_GAINS)
def layer_norm_lstm(x, h, c, W_x, a_x, d_x, W_h, a_h, d_h, b, a_c, d_c):
    """LSTM with layer normalisation of both products and of the memory; gates i, f, o, g.

    Source: Ba, Kiros, Hinton (2016), "Layer Normalization", arXiv:1607.06450, eq. (20)-(22).
    """
    gates = layer_norm(W_x @ x, a_x, d_x) + layer_norm(W_h @ h, a_h, d_h) + b
    i, f, o, g = split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(layer_norm(c, a_c, d_c))
    return h, c


@cell(state=("h", "m"))
def relay(x, h, m, W_xk, W_hk, b_k, W_xr, W_mr, b_r, W_xg, W_hg, b_g):
    """A cell that is in no library: a memory whose writes compete, and a gate that reads both.

    k shares one write among all features, r weighs the output against the memory.
    """
    k = softmax(W_xk @ x + W_hk @ h + b_k)
    r = sigmoid(W_xr @ x + W_mr @ (h * m) + b_r)
    g = tanh(W_xg @ x + W_hg @ (r * h) + b_g)
    m = (1 - k) * m + k * g
    h = r * h + (1 - r) * tanh(g + m)
    return h, m


ANY_CELLS: dict[str, Cell] = {
    "MUT1": rc.cells.mut1,
    "MUT2": rc.cells.mut2,
    "peephole LSTM": rc.cells.peephole_lstm,
    "layer-normalised LSTM": layer_norm_lstm,
    "relay (in no library)": relay,
}
