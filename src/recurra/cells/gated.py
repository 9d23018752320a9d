"""Cells that gate one state: the GRU and the three mutations found by architecture search.

Letters: x input, h state of the step before; gates z (update) and r (reset); W_ab the matrix from a
to b, b bias.
"""

from recurra.lang import cell, sigmoid, tanh


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
