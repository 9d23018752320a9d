"""Cells with a memory of their own: from the naive additive memory to the LSTM and its peepholes.

Letters: x input, h output state, c memory; gates i (input), f (forget), o (output) and the
candidate g; W_ab the matrix from a to b, p_a the peephole vector from the memory to a, b bias. h
and c are those of the step before.
"""

from recurra.lang import cell, concat, exp, maximum, minimum, relu, sigmoid, split, tanh, where


@cell(state=("h", "c"), sizes={"b_g": "H"})
def naive_memory(x, h, c, W_xg, W_hg, b_g, W, W_g):
    """Additive memory without gates: the naive solution, and the first step to the LSTM.

    c_t = W c_{t-1} + W_g g_t and h_t = tanh(c_t): nothing squashes the path from c_{t-1} to c_t, so
    an error flows back through it by W alone; nothing protects the memory from irrelevant input
    either.

    Source: Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8),
    1735-1780, "Constant error flow: naive approach".
    Differences: vectors where the paper has one unit, and matrices W and W_g where the paper fixes
    W to 1.
    """
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = W @ c + W_g @ g
    h = tanh(c)
    return h, c


@cell(state=("h", "c"))
def lstm_1997(x, h, c, W_xi, W_hi, b_i, W_xo, W_ho, b_o, W_xg, W_hg, b_g):
    """Long short-term memory as first published: input and output gates, no forget gate.

    Source: Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8),
    1735-1780, section 4 and appendix A.1.
    Differences: tanh for both squashing functions, which the paper scales as 2 tanh(a/2) for g and
    tanh(a/2) for the output; one memory in each block.
    """
    i = sigmoid(W_xi @ x + W_hi @ h + b_i)
    o = sigmoid(W_xo @ x + W_ho @ h + b_o)
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = c + i * g
    h = o * tanh(c)
    return h, c


@cell(state=("h", "c"), init={"b_f": 1.0})
def lstm(x, h, c, W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xg, W_hg, b_g):
    """Long short-term memory with a forget gate whose bias starts at 1.

    Source: Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization",
    arXiv:1409.2329, section 3.1; forget gate from Gers, Schmidhuber, Cummins (2000), "Learning to
    Forget: Continual Prediction with LSTM", Neural Computation 12(10), 2451-2471; its bias of 1
    from Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML.
    """
    i = sigmoid(W_xi @ x + W_hi @ h + b_i)
    f = sigmoid(W_xf @ x + W_hf @ h + b_f)
    o = sigmoid(W_xo @ x + W_ho @ h + b_o)
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state=("h", "c"))
def lstm_stacked(x, h, c, W, b):
    """Long short-term memory with one matrix for all gates; rows of W and b stacked as i, f, o, g.

    Equal to `lstm` with the same weights; b starts like any other parameter here, the forget part
    included.

    Source: Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization",
    arXiv:1409.2329, section 3.1.
    """
    i, f, o, g = split(W @ concat(x, h) + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


@cell(state=("h", "c"), init={"b_f": 1.0})
def peephole_lstm(
    x, h, c, W_xi, W_hi, p_i, b_i, W_xf, W_hf, p_f, b_f, W_xo, W_ho, p_o, b_o, W_xg, W_hg, b_g
):
    """Long short-term memory whose gates see it: i and f the memory before the step, o the new one.

    Source: Gers, Schmidhuber (2000), "Recurrent Nets that Time and Count", IJCNN, and Gers,
    Schraudolph, Schmidhuber (2002), "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3,
    115-143; in vector form Graves (2013), arXiv:1308.0850, eq. (7)-(11).
    Differences: tanh for both squashing functions, as in Graves; the forget bias starts at 1.
    """
    i = sigmoid(W_xi @ x + W_hi @ h + p_i * c + b_i)
    f = sigmoid(W_xf @ x + W_hf @ h + p_f * c + b_f)
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = f * c + i * g
    o = sigmoid(W_xo @ x + W_ho @ h + p_o * c + b_o)
    h = o * tanh(c)
    return h, c


@cell(state=("h", "c"))
def ran(x, h, c, W_xc, W_xi, W_hi, b_i, W_xf, W_hf, b_f):
    """Recurrent additive network: the memory is a weighted sum of the inputs, nothing else.

    Source: Lee, Levy, Zettlemoyer (2017), "Recurrent Additive Networks", arXiv:1705.07393, eq. (1).
    """
    i = sigmoid(W_xi @ x + W_hi @ h + b_i)
    f = sigmoid(W_xf @ x + W_hf @ h + b_f)
    c = i * (W_xc @ x) + f * c
    return tanh(c), c


@cell(state=("h", "c"), sizes={"W_xm": ("H", "I")}, init={"b_f": 1.0})
def multiplicative_lstm(
    x, h, c, W_xm, W_hm, W_xi, W_mi, b_i, W_xf, W_mf, b_f, W_xo, W_mo, b_o, W_xg, W_mg, b_g
):
    """mLSTM: the input chooses the recurrent transition, by a product of two projections.

    Source: Krause, Lu, Murray, Renals (2016), "Multiplicative LSTM for sequence modelling",
    arXiv:1609.07959, eq. (9)-(14).
    """
    m = (W_xm @ x) * (W_hm @ h)
    i = sigmoid(W_xi @ x + W_mi @ m + b_i)
    f = sigmoid(W_xf @ x + W_mf @ m + b_f)
    o = sigmoid(W_xo @ x + W_mo @ m + b_o)
    g = tanh(W_xg @ x + W_mg @ m + b_g)
    c = f * c + i * g
    return o * tanh(c), c


@cell(state=("h", "c"), init={"b_f": 1.0})
def residual_lstm(
    x, h, c, W_xi, W_hi, p_i, b_i, W_xf, W_hf, p_f, b_f, W_xo, W_ho, p_o, b_o, W_xg, W_hg, b_g,
    W_p, W_r,
):  # fmt: skip
    """LSTM with a shortcut from the input to the output, behind the memory's own projection.

    Source: Kim, El-Khamy, Lee (2017), "Residual LSTM: Design of a Deep Recurrent Architecture for
    Distant Speech Recognition", Interspeech, arXiv:1701.03360, eq. (10)-(16).
    """
    i = sigmoid(W_xi @ x + W_hi @ h + p_i * c + b_i)
    f = sigmoid(W_xf @ x + W_hf @ h + p_f * c + b_f)
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = f * c + i * g
    o = sigmoid(W_xo @ x + W_ho @ h + p_o * c + b_o)
    h = o * (W_p @ tanh(c) + W_r @ x)
    return h, c


@cell(state=("h", "c"), init={"b_f": 1.0})
def wmc_lstm(
    x, h, c, W_xi, W_hi, W_ci, b_i, W_xf, W_hf, W_cf, b_f, W_xo, W_ho, W_co, b_o, W_xg, W_hg, b_g
):
    """LSTM with working memory connections: gates see the whole memory, squashed, by matrices.

    Source: Landi, Baraldi, Cornia, Cucchiara (2021), "Working Memory Connections for LSTM", Neural
    Networks 144, 334-341, arXiv:2109.00020, eq. (9)-(14).
    """
    i = sigmoid(W_xi @ x + W_hi @ h + tanh(W_ci @ c) + b_i)
    f = sigmoid(W_xf @ x + W_hf @ h + tanh(W_cf @ c) + b_f)
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    c = f * c + i * g
    o = sigmoid(W_xo @ x + W_ho @ h + tanh(W_co @ c) + b_o)
    h = o * tanh(c)
    return h, c


@cell(state=("v", "c"), output=True, init={"b_f": 1.0})
def mc_lstm(
    x, v, c, W_xi, W_vi, b_i, W_xf, W_vf, b_f, W_xo, W_vo, b_o, W_xm, W_vm, b_m, W_xg, W_vg, b_g
):
    """LSTM with a memory controller: the gates read v, which is not the output.

    Source: a paper of a workshop on sequence modelling (NIPS, 2017), as torchrecurrent 0.2.5 gives
    its equations; the paper itself was not at hand.
    """
    i = sigmoid(W_xi @ x + W_vi @ v + b_i)
    f = sigmoid(W_xf @ x + W_vf @ v + b_f)
    o = sigmoid(W_xo @ x + W_vo @ v + b_o)
    m = sigmoid(W_xm @ x + W_vm @ v + b_m)
    g = tanh(W_xg @ x + W_vg @ v + b_g)
    c = f * c + i * g
    return o * tanh(c), m * tanh(c), c


@cell(state=("h", "c"), sizes={"W": ("8 * H", "I"), "U": ("8 * H", "H"), "b": "8 * H"})
def nas(x, h, c, W, U, b):
    """The cell that a network trained by reinforcement learning composed for language modelling.

    Source: Zoph, Le (2017), "Neural Architecture Search with Reinforcement Learning", ICLR,
    arXiv:1611.01578, figure 8; in the order of sums that TensorFlow's NASCell has.
    """
    a1, a2, a3, a4, a5, a6, a7, a8 = split(W @ x + U @ h + b, 8)
    left = tanh(tanh(sigmoid(a1) * relu(a2)) + c)
    c = left * tanh(sigmoid(a3) + relu(a4))
    right = tanh(tanh(tanh(a5) * sigmoid(a6)) + sigmoid(tanh(a7) + sigmoid(a8)))
    return tanh(c * right), c


@cell(
    state=("h", "c", "n", "m"),
    heads={"R_z": "heads", "R_i": "heads", "R_f": "heads", "R_o": "heads"},
)
def slstm(x, h, c, n, m, W_z, R_z, b_z, W_i, R_i, b_i, W_f, R_f, b_f, W_o, R_o, b_o, heads=4):
    """sLSTM: exponential gates, a normaliser n, and a stabiliser m that keeps them in range.

    Memories mix within a head alone: the recurrent matrices are block-diagonal.

    Source: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter
    (2024), "xLSTM: Extended Long Short-Term Memory", NeurIPS, arXiv:2405.04517, eq. (8)-(17), with
    the exponential forget gate of eq. (14).
    Differences: m starts from the first input gate, whatever it was before: there is nothing in c
    and n yet that it would have to keep in range. The bound on f says nothing but then, where f
    multiplies zeros.
    """
    z = tanh(W_z @ x + R_z @ h + b_z)
    log_i = W_i @ x + R_i @ h + b_i
    log_f = W_f @ x + R_f @ h + b_f
    o = sigmoid(W_o @ x + R_o @ h + b_o)
    m_new = where(n == 0, log_i, maximum(log_f + m, log_i))
    i = exp(log_i - m_new)
    f = exp(minimum(log_f + m - m_new, 80))
    c = f * c + i * z
    n = f * n + i
    return o * (c / n), c, n, m_new
