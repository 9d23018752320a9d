"""Cells that gate one state: the GRU, the mutations found by architecture search, and their kin.

Letters: x input, h state of the step before; gates z (update) and r (reset); W_ab the matrix from a
to b, b bias.
"""

from recurra.lang import cell, clamp, relu, sigmoid, softplus, split, tanh


@cell(state="h")
def gru(x, h, W_xr, W_hr, b_r, W_xz, W_hz, b_z, W_xh, W_hh, b_h):
    """Gated recurrent unit; z near 1 keeps the old state.

    Source: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio (2014), "Learning
    Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    arXiv:1406.1078, eq. (5)-(8).
    Differences: biases, which the paper leaves out. Chung et al. (2014), arXiv:1412.3555, and many
    notes after them print z and 1 - z the other way round.
    """
    r = sigmoid(W_xr @ x + W_hr @ h + b_r)
    z = sigmoid(W_xz @ x + W_hz @ h + b_z)
    h_tilde = tanh(W_xh @ x + W_hh @ (r * h) + b_h)
    return z * h + (1 - z) * h_tilde


@cell(state="h")
def mut1(x, h, W_xz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h):
    """MUT1, the first mutation: the update gate sees the input alone, the input is squashed twice.

    Source: Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML, PMLR 37, 2342-2350, section 3.
    Differences: the paper prints tanh(x_t), which needs an input of the state's size; W_xh projects
    x_t here, so that the input size is free. With W_xh the identity the two are the same. The paper
    goes from h_t to h_{t+1}; lecture notes, and latex() here, from h_{t-1} to h_t.
    """
    z = sigmoid(W_xz @ x + b_z)
    r = sigmoid(W_xr @ x + W_hr @ h + b_r)
    h_tilde = tanh(W_hh @ (r * h) + tanh(W_xh @ x) + b_h)
    return h_tilde * z + h * (1 - z)


@cell(state="h")
def mut2(x, h, W_xz, W_hz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h):
    """MUT2, the second mutation: the input reaches the reset gate unweighted in the paper.

    Source: Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML, PMLR 37, 2342-2350, section 3.
    Differences: the paper prints r = sigm(x_t + W_hr h_t + b_r), which needs an input of the
    state's size; W_xr projects x_t here, so that the input size is free. With W_xr the identity the
    two are the same; with W_xr free, the equations are the GRU's with z and 1 - z exchanged. The
    paper goes from h_t to h_{t+1}; lecture notes, and latex() here, from h_{t-1} to h_t.
    """
    z = sigmoid(W_xz @ x + W_hz @ h + b_z)
    r = sigmoid(W_xr @ x + W_hr @ h + b_r)
    h_tilde = tanh(W_hh @ (r * h) + W_xh @ x + b_h)
    return h_tilde * z + h * (1 - z)


@cell(state="h")
def mut3(x, h, W_xz, W_hz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h):
    """MUT3, the third mutation: the update gate sees the state squashed once more.

    Source: Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML, PMLR 37, 2342-2350, section 3.
    Differences: the paper goes from h_t to h_{t+1}; lecture notes, and latex() here, from h_{t-1}
    to h_t.
    """
    z = sigmoid(W_xz @ x + W_hz @ tanh(h) + b_z)
    r = sigmoid(W_xr @ x + W_hr @ h + b_r)
    h_tilde = tanh(W_hh @ (r * h) + W_xh @ x + b_h)
    return h_tilde * z + h * (1 - z)


@cell(state="h")
def mgu(x, h, W_xf, W_hf, b_f, W_xh, W_hh, b_h):
    """Minimal gated unit: one gate forgets and updates.

    Source: Zhou, Wu, Zhang, Zhou (2016), "Minimal Gated Unit for Recurrent Neural Networks",
    arXiv:1603.09420, section 3.
    """
    f = sigmoid(W_xf @ x + W_hf @ h + b_f)
    h_tilde = tanh(W_xh @ x + W_hh @ (f * h) + b_h)
    return (1 - f) * h + f * h_tilde


@cell(state="h")
def miru1(x, h, W_xr, W_hr, b_r, W_xh, W_hh, b_h, keep=0.5):
    """Minion gated unit 1: a GRU whose update gate is the number `keep`.

    Source: doi:10.1016/j.neucom.2026.132847 (Neurocomputing, 2026), as torchrecurrent 0.2.5 gives
    its equations; the paper itself was not at hand.
    """
    r = sigmoid(W_xr @ x + W_hr @ h + b_r)
    h_tilde = tanh(W_xh @ x + W_hh @ (r * h) + b_h)
    return keep * h + (1 - keep) * h_tilde


@cell(state="h")
def miru2(x, h, W_xh, W_hh, b_h, keep=0.5, reset=0.5):
    """Minion gated unit 2: a GRU whose gates are both numbers.

    Source: doi:10.1016/j.neucom.2026.132847 (Neurocomputing, 2026), as torchrecurrent 0.2.5 gives
    its equations; the paper itself was not at hand.
    """
    h_tilde = tanh(W_xh @ x + W_hh @ (reset * h) + b_h)
    return keep * h + (1 - keep) * h_tilde


def _hard_sigmoid(v, slope):
    """The line of that slope through (0, 1/2), kept within 0 and 1."""
    return clamp(slope * v + 0.5, 0.0, 1.0)


@cell(state="h")
def sgu(x, h, W_xh, b_g, W_zh, W_xz, W_hz, b_z, slope=0.2):
    """Simple gated unit: what comes in multiplies the state, where the GRU adds it.

    Source: Gao, Glowacka (2016), "Deep Gate Recurrent Neural Network", ACML, PMLR 63, 350-365,
    arXiv:1604.02910, section 3.1.
    """
    x_g = W_xh @ x + b_g
    z_g = tanh(W_zh @ (x_g * h))
    z_out = softplus(z_g * h)
    z = _hard_sigmoid(W_xz @ x + W_hz @ h + b_z, slope)
    return (1 - z) * h + z * z_out


@cell(state="h")
def dsgu(x, h, W_xh, b_g, W_zh, W_go, W_xz, W_hz, b_z, slope=0.2):
    """Deep simple gated unit: the simple gated unit with one more matrix before its output.

    Source: Gao, Glowacka (2016), "Deep Gate Recurrent Neural Network", ACML, PMLR 63, 350-365,
    arXiv:1604.02910, section 3.2.
    """
    x_g = W_xh @ x + b_g
    z_g = tanh(W_zh @ (x_g * h))
    z_out = sigmoid(W_go @ (z_g * h))
    z = _hard_sigmoid(W_xz @ x + W_hz @ h + b_z, slope)
    return (1 - z) * h + z * z_out


@cell(state="h")
def cfn(x, h, W_xo, W_ho, b_o, W_xe, W_he, b_e, W_xh):
    """Chaos-free network: without input its state decays to zero.

    Source: Laurent, von Brecht (2017), "A Recurrent Neural Network without Chaos", ICLR,
    arXiv:1612.06212, eq. (1)-(2).
    """
    keep = sigmoid(W_xo @ x + W_ho @ h + b_o)
    enter = sigmoid(W_xe @ x + W_he @ h + b_e)
    return keep * tanh(h) + enter * tanh(W_xh @ x)


@cell(state="h")
def br(x, h, W_xa, w_a, W_xc, w_c, W_xh):
    """Bistable recurrent cell: each unit reads its own state alone, and can hold one bit for ever.

    Source: Vecoven, Ernst, Drion (2021), "A bio-inspired bistable recurrent cell allows for
    long-lasting memory", PLOS ONE 16(6), arXiv:2006.05252, section 3.2.
    """
    a = 1 + tanh(W_xa @ x + w_a * h)
    c = sigmoid(W_xc @ x + w_c * h)
    return c * h + (1 - c) * tanh(W_xh @ x + a * h)


@cell(state="h")
def nbr(x, h, W_xa, W_ha, W_xc, W_hc, W_xh):
    """Recurrently neuromodulated bistable cell: all units set how bistable each one is.

    Source: Vecoven, Ernst, Drion (2021), "A bio-inspired bistable recurrent cell allows for
    long-lasting memory", PLOS ONE 16(6), arXiv:2006.05252, section 3.3.
    """
    a = 1 + tanh(W_xa @ x + W_ha @ h)
    c = sigmoid(W_xc @ x + W_hc @ h)
    return c * h + (1 - c) * tanh(W_xh @ x + a * h)


@cell(state="h", output=True)
def intersection_rnn(x, h, W_xy, W_hy, b_y, W_xh, W_hh, b_h, W_xu, W_hu, b_u, W_xg, W_hg, b_g):
    """Intersection RNN (+RNN): one gate for the depth of the network, one for time.

    The output has the size of the input, because it carries it upwards.

    Source: Collins, Sohl-Dickstein, Sussillo (2017), "Capacity and Trainability in Recurrent Neural
    Networks", ICLR, arXiv:1611.09913, section 1.1.
    """
    y_in = relu(W_xy @ x + W_hy @ h + b_y)
    h_in = tanh(W_xh @ x + W_hh @ h + b_h)
    u = sigmoid(W_xu @ x + W_hu @ h + b_u)
    g = sigmoid(W_xg @ x + W_hg @ h + b_g)
    return u * x + (1 - u) * y_in, g * h + (1 - g) * h_in


_LEVELS = ("depth * H", "H")


@cell(
    state="s",
    sizes={"R_h": _LEVELS, "R_t": _LEVELS, "b_h": "depth * H", "b_t": "depth * H"},
    init={"b_t": -2.0},
)
def rhn(x, s, W_h, W_t, R_h, R_t, b_h, b_t, depth=3):
    """Recurrent highway network: `depth` highway layers within one step; the first reads the input.

    Source: Zilly, Srivastava, Koutnik, Schmidhuber (2017), "Recurrent Highway Networks", ICML,
    arXiv:1607.03474, eq. (6)-(9), with the carry gate coupled, c = 1 - t, as in section 5.
    """
    matrices = zip(split(R_h, depth, dim=0), split(R_t, depth, dim=0), strict=True)
    biases = zip(split(b_h, depth), split(b_t, depth), strict=True)
    of_x = (W_h @ x, W_t @ x)
    for (to_h, to_t), (h_0, t_0) in zip(matrices, biases, strict=True):
        h = tanh(of_x[0] + to_h @ s + h_0)
        t = sigmoid(of_x[1] + to_t @ s + t_0)
        s = h * t + s * (1 - t)
        of_x = (0, 0)
    return s
