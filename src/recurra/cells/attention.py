"""Decoders that attend to a memory: at each step they read what an encoder has made of a sequence.

Letters: x input, h state, c memory of an LSTM, m the encoded sequence [S, K] with a row for each of
its positions, v what turns a row into a score, A size of the layer that scores, alpha the weights
of the positions, read their weighted sum. A layer is called with the sequence:
`layer(x, memory=m, memory_lengths=n)`.
"""

from recurra.lang import cell, concat, exp, expand, sigmoid, softmax, split, sqrt, tanh, windows
from recurra.lang import sum as total

_LIKE_H = {"A": "H", "K": "H"}


def _gru(x, h, read, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b):
    """The decoder of Bahdanau et al. (2015), arXiv:1409.0473, appendix A.2.2, with biases."""
    z = sigmoid(W_z @ x + U_z @ h + C_z @ read + b_z)
    r = sigmoid(W_r @ x + U_r @ h + C_r @ read + b_r)
    h_tilde = tanh(W @ x + U @ (r * h) + C @ read + b)
    return (1 - z) * h + z * h_tilde


def _lstm(x, h, c, W, b):
    """An LSTM whose gates are stacked in one matrix: i, f, o, candidate."""
    i, f, o, g = split(W @ concat(x, h) + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(memory="m", sizes={"v": "A"}, default_sizes=_LIKE_H)
def additive_attention_gru(
    x, h, m, W_a, U_a, v, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b
):
    """RNNsearch: a GRU decoder that scores each position by a layer over it and its own state.

    Source: Bahdanau, Cho, Bengio (2015), "Neural Machine Translation by Jointly Learning to Align
    and Translate", ICLR, arXiv:1409.0473, appendix A.1.2 and A.2.2. Differences: biases, which the
    paper leaves out to be read; the input is the embedding of the word before.
    """
    score = tanh(W_a @ h + U_a @ m) @ v
    alpha = softmax(score)
    read = alpha @ m
    return _gru(x, h, read, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b)


@cell(state=("attended", "h", "c"), memory="m")
def dot_attention_lstm(x, attended, h, c, m, W, b, W_c):
    """An LSTM decoder that scores each position by its product with the state, with input feeding:
    what it attended to is read at the next step, beside the input.

    Source: Luong, Pham, Manning (2015), "Effective Approaches to Attention-based Neural Machine
    Translation", EMNLP, arXiv:1508.04025, section 3.1 (dot) and 3.3. One layer.
    """
    h, c = _lstm(concat(x, attended), h, c, W, b)
    alpha = softmax(m @ h)
    read = alpha @ m
    return tanh(W_c @ concat(read, h)), h, c


@cell(state=("attended", "h", "c"), memory="m", default_sizes={"K": "H"})
def general_attention_lstm(x, attended, h, c, m, W_a, W, b, W_c):
    """As `dot_attention_lstm`, with a matrix between position and state.

    Source: Luong, Pham, Manning (2015), arXiv:1508.04025, section 3.1 (general) and 3.3.
    One layer.
    """
    h, c = _lstm(concat(x, attended), h, c, W, b)
    alpha = softmax((W_a @ m) @ h)
    read = alpha @ m
    return tanh(W_c @ concat(read, h)), h, c


@cell(memory="m", sizes={"W_k": ("A", "K"), "W_v": ("K", "K")}, default_sizes=_LIKE_H)
def scaled_dot_attention_gru(
    x, h, m, W_q, W_k, W_v, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b
):
    """A GRU decoder that scores keys by their scaled product with a query, and reads values.

    Source: Vaswani et al. (2017), "Attention Is All You Need", NeurIPS, arXiv:1706.03762, eq. 1,
    one head, in the decoder of Bahdanau et al. (2015). Values are as wide as the memory's vectors.
    """
    keys, values = W_k @ m, W_v @ m
    scale = sqrt(total(expand(1, "A")))
    alpha = softmax(keys @ (W_q @ h) / scale)
    read = alpha @ values
    return _gru(x, h, read, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b)


@cell(
    state=("h", "alpha"),
    memory="m",
    sizes={"alpha": "S", "v": "A", "F": ("Q", "width")},
    default_sizes={**_LIKE_H, "Q": 10},
)
def location_attention_gru(
    x, h, alpha, m, W_a, V_a, U_a, F, b_a, v,
    W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b, width=201,
):  # fmt: skip
    """A GRU decoder whose scores also see where it looked the step before, through Q filters.

    Source: Chorowski, Bahdanau, Serdyuk, Cho, Bengio (2015), "Attention-Based Models for Speech
    Recognition", NeurIPS, arXiv:1506.07503, location-awareness; the filters are Q x width (10 x
    201).
    """
    f = F @ windows(alpha, width)
    score = tanh(W_a @ h + V_a @ m + U_a @ f + b_a) @ v
    alpha = softmax(score)
    read = alpha @ m
    return _gru(x, h, read, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b), alpha


@cell(
    state=("h", "cover"),
    memory="m",
    sizes={"cover": "S", "v": "A", "V_a": "A"},
    default_sizes=_LIKE_H,
)
def coverage_gru(
    x, h, cover, m, W_a, U_a, V_a, v, U_f,
    W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b, most=2.0,
):  # fmt: skip
    """A GRU decoder whose scores see how much of each position was translated before.

    Source: Tu, Lu, Liu, Liu, Li (2016), "Modeling Coverage for Neural Machine Translation", ACL,
    arXiv:1601.04811, linguistic coverage, where a position is done after as many words
    as its fertility says, of at most `most`.
    """
    score = tanh(W_a @ h + U_a @ m + cover * V_a) @ v
    alpha = softmax(score)
    read = alpha @ m
    fertility = most * sigmoid(m @ U_f)
    cover = cover + alpha / fertility
    return _gru(x, h, read, W_z, U_z, C_z, b_z, W_r, U_r, C_r, b_r, W, U, C, b), cover


@cell(memory="m", sizes={"v": "A"}, default_sizes=_LIKE_H)
def conditional_gru(
    x, h, m, W_z, U_z, b_z, W_r, U_r, b_r, W, U, b,
    W_a, U_a, v, C_z, V_z, d_z, C_r, V_r, d_r, C, V, d,
):  # fmt: skip
    """Two GRU transitions with attention between them: the first reads x, the second the memory.

    Source: Sennrich et al. (2017), "Nematus: a Toolkit for Neural Machine Translation", EACL,
    arXiv:1703.04357, the conditional GRU, with biases.
    """
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    moved = (1 - z) * tanh(W @ x + r * (U @ h) + b) + z * h
    alpha = softmax(tanh(W_a @ moved + U_a @ m) @ v)
    read = alpha @ m
    z = sigmoid(C_z @ read + V_z @ moved + d_z)
    r = sigmoid(C_r @ read + V_r @ moved + d_r)
    return (1 - z) * tanh(C @ read + r * (V @ moved) + d) + z * moved


@cell(
    state=("h", "c", "kappa", "w"),
    memory=("m", "u"),
    output=True,
    sizes={"w": "K", "m": "K", "u": 1, "kappa": "Q"},
    default_sizes={"Q": 10, "K": "H"},
)
def window_lstm(x, h, c, kappa, w, m, u, W, b, W_w, b_w):
    """An LSTM that reads a text through a soft window of Q Gaussians, which move on along it.

    A second memory u has the number of each position: `layer(x, memory=(text, numbers))`, with the
    text [S, B, K] and the numbers 0 to S - 1 as [S, B, 1]. The output is h and what is read.

    Source: Graves (2013), "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850,
    section 5, the first layer of the synthesis network. Differences: no peepholes.
    """
    h, c = _lstm(concat(x, w), h, c, W, b)
    alpha, beta, forward = split(exp(W_w @ h + b_w), 3)
    kappa = kappa + forward
    distance = kappa - expand(1, ("Q", 1)) @ u
    phi = exp(-beta * distance * distance) @ alpha
    w = phi @ m
    return concat(h, w), h, c, kappa, w


@cell(state=("h", "c"), memory="m", sizes={"v": "A"}, output=True, default_sizes=_LIKE_H)
def pointer_lstm(x, h, c, m, W, b, W_1, W_2, v):
    """An LSTM that points: its output is a probability for each position of the memory.

    Source: Vinyals, Fortunato, Jaitly (2015), "Pointer Networks", NeurIPS, arXiv:1506.03134, the
    pointer network.
    """
    h, c = _lstm(x, h, c, W, b)
    score = tanh(W_1 @ m + W_2 @ h) @ v
    return softmax(score), h, c
