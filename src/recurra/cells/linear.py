"""Cells that are linear in their state, element by element: no matrix stands between two steps.

What multiplies the state and what is added to it depend on the input alone, so every product is
made for all steps at once, and a step is a handful of operations on each unit.

Letters: x input, h or c state; z and h_tilde candidates; gates f (forget), i (input), o (output),
r (reset); x_old the input of the step before, for cells that read two inputs at a step.
"""

from recurra.lang import cell, exp, expm1, maximum, sigmoid, softplus, sqrt, tanh


@cell(state="h")
def mingru(x, h, W_z, b_z, W_h, b_h):
    """minGRU: a GRU whose gate and candidate read the input alone.

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi (2024), "Were RNNs All We Needed?",
    arXiv:2410.01201, section 3.1.
    """
    z = sigmoid(W_z @ x + b_z)
    h_tilde = W_h @ x + b_h
    return (1 - z) * h + z * h_tilde


@cell(state="h", init={"b_f": 1.0})
def minlstm(x, h, W_f, b_f, W_i, b_i, W_h, b_h):
    """minLSTM: gates that read the input alone and sum to one.

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi (2024), "Were RNNs All We Needed?",
    arXiv:2410.01201, section 3.2; in logarithms, as in its appendix, because f / (f + i) of two
    gates that are shut is 0 / 0: shut_f is -log f.
    """
    shut_f = softplus(-(W_f @ x + b_f))
    shut_i = softplus(-(W_i @ x + b_i))
    h_tilde = W_h @ x + b_h
    return sigmoid(shut_i - shut_f) * h + sigmoid(shut_f - shut_i) * h_tilde


@cell(state=("c", "x_old"), output=True, sizes={"x_old": "I"})
def qrnn_fo(x, c, x_old, V_z, W_z, b_z, V_f, W_f, b_f, V_o, W_o, b_o):
    """Quasi-recurrent network with fo-pooling, over windows of two inputs.

    Source: Bradbury, Merity, Xiong, Socher (2017), "Quasi-Recurrent Neural Networks", ICLR,
    arXiv:1611.01576, eq. (2) and (4).
    Differences: biases.
    """
    z = tanh(V_z @ x_old + W_z @ x + b_z)
    f = sigmoid(V_f @ x_old + W_f @ x + b_f)
    o = sigmoid(V_o @ x_old + W_o @ x + b_o)
    c = f * c + (1 - f) * z
    return o * c, c, x


@cell(state=("c", "x_old"), output=True, sizes={"x_old": "I"}, init={"b_f": 1.0})
def qrnn_ifo(x, c, x_old, V_z, W_z, b_z, V_f, W_f, b_f, V_i, W_i, b_i, V_o, W_o, b_o):
    """Quasi-recurrent network with ifo-pooling, over windows of two inputs.

    Source: Bradbury, Merity, Xiong, Socher (2017), "Quasi-Recurrent Neural Networks", ICLR,
    arXiv:1611.01576, eq. (2) and (5).
    Differences: biases.
    """
    z = tanh(V_z @ x_old + W_z @ x + b_z)
    f = sigmoid(V_f @ x_old + W_f @ x + b_f)
    i = sigmoid(V_i @ x_old + W_i @ x + b_i)
    o = sigmoid(V_o @ x_old + W_o @ x + b_o)
    c = f * c + i * z
    return o * c, c, x


@cell(state="c", output=True)
def sru(x, c, W, W_f, b_f, W_r, b_r, W_h):
    """Simple recurrent unit: gates that read the input alone, and a highway past the memory.

    Source: Lei, Zhang (2017), "Training RNNs as Fast as CNNs", arXiv:1709.02755v1, eq. (3)-(7).
    Differences: W_h projects the highway, so that the input size is free.
    """
    f = sigmoid(W_f @ x + b_f)
    r = sigmoid(W_r @ x + b_r)
    c = f * c + (1 - f) * (W @ x)
    return r * tanh(c) + (1 - r) * (W_h @ x), c


@cell(state="c", output=True)
def sru_2018(x, c, W, W_f, v_f, b_f, W_r, v_r, b_r, W_h):
    """Simple recurrent unit as published later: each unit's gates also read its own memory.

    Not linear in c, but no matrix stands between two steps either.

    Source: Lei, Zhang, Wang, Dai, Artzi (2018), "Simple Recurrent Units for Highly Parallelizable
    Recurrence", EMNLP, arXiv:1709.02755, eq. (1)-(4).
    Differences: W_h projects the highway, so that the input size is free; the paper does so where
    the sizes differ.
    """
    f = sigmoid(W_f @ x + v_f * c + b_f)
    r = sigmoid(W_r @ x + v_r * c + b_r)
    c = f * c + (1 - f) * (W @ x)
    return r * c + (1 - r) * (W_h @ x), c


@cell(state="h", heads={"W_r": "heads", "W_i": "heads"}, init={"decay": 1.0})
def rg_lru(x, h, W, W_r, b_r, W_i, b_i, decay, heads=4, power=8.0):
    """RG-LRU: a linear recurrent unit whose decay is gated by the input, block by block.

    Source: De, Smith, Fernando, Botev et al. (2024), "Griffin: Mixing Gated Linear Recurrences with
    Local Attention for Efficient Language Models", arXiv:2402.19427, eq. (1)-(4).
    Differences: W projects the input, so that its size is free, as the block around the unit does
    in the paper; `decay` is the logit whose sigmoid is the paper's a. The root is bounded below:
    where the gate is shut its derivative by the gate is infinite, though that by what the gate is
    made of is 0.
    """
    u = W @ x
    r = sigmoid(W_r @ u + b_r)
    i = sigmoid(W_i @ u + b_i)
    log_a = -power * softplus(-decay) * r
    root = sqrt(maximum(-expm1(2 * log_a), 1e-36))
    return exp(log_a) * h + root * (i * u)


@cell(state="h")
def trnn(x, h, W, b_z, V, b):
    """Strongly typed RNN: the state is a running mean of what is projected from the input.

    Source: Balduzzi, Ghifary (2016), "Strongly-Typed Recurrent Neural Networks", ICML,
    arXiv:1602.02218, section 3.1.
    Differences: a bias in z.
    """
    z = W @ x + b_z
    f = sigmoid(V @ x + b)
    return f * h + (1 - f) * z


@cell(state=("h", "x_old"), sizes={"x_old": "I"})
def tgru(x, h, x_old, V_z, W_z, b_z, V_f, W_f, b_f, V_o, W_o, b_o):
    """Strongly typed GRU: gates read two inputs and no state.

    Source: Balduzzi, Ghifary (2016), "Strongly-Typed Recurrent Neural Networks", ICML,
    arXiv:1602.02218, section 3.2.
    """
    z = V_z @ x_old + W_z @ x + b_z
    f = sigmoid(V_f @ x_old + W_f @ x + b_f)
    o = tanh(V_o @ x_old + W_o @ x + b_o)
    return f * h + z * o, x


@cell(state=("c", "x_old"), output=True, sizes={"x_old": "I"})
def tlstm(x, c, x_old, V_z, W_z, b_z, V_f, W_f, b_f, V_o, W_o, b_o):
    """Strongly typed LSTM: a running mean of the projected inputs, and a gate before the output.

    Source: Balduzzi, Ghifary (2016), "Strongly-Typed Recurrent Neural Networks", ICML,
    arXiv:1602.02218, section 3.2.
    """
    z = V_z @ x_old + W_z @ x + b_z
    f = sigmoid(V_f @ x_old + W_f @ x + b_f)
    o = tanh(V_o @ x_old + W_o @ x + b_o)
    c = f * c + (1 - f) * z
    return c * o, c, x
