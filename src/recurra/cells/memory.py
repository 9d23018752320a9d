"""Cells with a memory of their own: from the naive additive memory to the LSTM and its peepholes.

Letters: x input, h output state, c memory; gates i (input), f (forget), o (output) and the
candidate g; W_ab the matrix from a to b, p_a the peephole vector from the memory to a, b bias. h
and c are those of the step before.
"""

from recurra.lang import cell, concat, sigmoid, split, tanh


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
