"""Cells whose state is a matrix: what is written to it under a key is read with a query.

Letters: x input; S, C, A or M the matrix; q query, k key, v value; n a normaliser of it and m a
stabiliser; f, i, o gates; alpha, beta and gamma how much is kept and written. With several heads it
is a matrix for each, one below the other.
"""

import numpy as np

from recurra.lang import (
    abs,
    cell,
    concat,
    detach,
    exp,
    expand,
    flatten,
    layer_norm,
    log_sigmoid,
    max,
    maximum,
    minimum,
    outer,
    rows,
    sigmoid,
    silu,
    softmax,
    softplus,
    split,
    sqrt,
    tanh,
)
from recurra.lang import sum as total


def _unit(v, heads):
    """Each head of a vector at length 1."""
    each = rows(v, heads)
    return flatten(each / outer(sqrt(total(each * each) + 1e-6), 1))


def _normed(v, heads):
    """Each head of a vector normalised by itself."""
    return flatten(layer_norm(rows(v, heads)))


def _elu_and_1(v):
    """elu(v) + 1, whose small values keep their digits: exp(v) - 1 is not taken first."""
    return exp(minimum(v, 0)) + maximum(v, 0)


@cell(state=("h", "A"), sizes={"A": ("H", "H")}, init={"gain": 1.0, "bias": 0.0})
def fast_weights(x, h, A, W, C, gain, bias, decay=0.95, rate=0.5, inner=1):
    """Fast weights: an associative memory of its own past states, looked into at each step.

    Source: Ba, Hinton, Mnih, Leibo, Ionescu (2016), "Using Fast Weights to Attend to the Recent
    Past", NeurIPS, arXiv:1610.06258, eq. (1) and (2), with its layer normalisation.
    """
    A = decay * A + rate * outer(h, h)
    slow = W @ h + C @ x
    new = tanh(slow)
    for _ in range(inner):
        new = tanh(layer_norm(slow + A @ new, gain, bias))
    return new, A


@cell(state=("S", "n"), output=True, heads={"S": "heads"})
def linear_transformer(x, S, n, W_q, W_k, W_v, heads=4):
    """Linear attention as a recurrence: what a causal transformer reads, in a state of one size.

    Source: Katharopoulos, Vyas, Pappas, Fleuret (2020), "Transformers are RNNs", ICML,
    arXiv:2006.16236, eq. (16)-(20), with the feature map of eq. (7).
    Differences: several heads; no feed-forward part and no residual. 1e-6 is added to the
    denominator, as in the authors' code: where all features are 0, nothing is read.
    """
    q, k = _elu_and_1(W_q @ x), _elu_and_1(W_k @ x)
    S = S + outer(W_v @ x, k, heads)
    n = n + k
    read = rows(S @ q, heads) / outer(total(rows(n * q, heads)) + 1e-6, 1)
    return flatten(read), S, n


@cell(
    state=("C", "n", "m"),
    output=True,
    heads={"C": "heads"},
    sizes={"m": "heads", "W_i": ("heads", "I"), "W_f": ("heads", "I")},
    init={"b_f": 3.0},
)
def mlstm(x, C, n, m, W_q, b_q, W_k, b_k, W_v, b_v, W_i, b_i, W_f, b_f, W_o, b_o, heads=4):
    """mLSTM: exponential gates, a matrix memory, a normaliser n and a stabiliser m of its gates.

    Source: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter
    (2024), "xLSTM: Extended Long Short-Term Memory", NeurIPS, arXiv:2405.04517, eq. (19)-(27), with
    the sigmoid as forget gate, stabilised by eq. (15)-(17).
    Differences: exp(-m) is held below exp(80). Gates are written as differences held below 0, as
    they are less the maximum: the larger has a gradient of 0 then, not of two terms that cancel.
    """
    q, v = W_q @ x + b_q, W_v @ x + b_v
    k = (W_k @ x + b_k) / sqrt(total(expand(1, "H")) / heads)
    log_i, log_f = W_i @ x + b_i, log_sigmoid(W_f @ x + b_f)
    o = sigmoid(W_o @ x + b_o)
    kept = log_f + m
    m_new = maximum(kept, log_i)
    i, f = expand(exp(minimum(log_i - kept, 0)), "H"), expand(exp(minimum(kept - log_i, 0)), "H")
    C = outer(f, 1, heads) * C + outer(i * v, k, heads)
    n = f * n + i * k
    size = maximum(abs(total(rows(n * q, heads))), exp(minimum(-m_new, 80)))
    return o * flatten(rows(C @ q, heads) / outer(size, 1)), C, n, m_new


@cell(state="S", output=True, heads={"S": "heads"}, sizes={"W": ("heads", "I")})
def delta_net(x, S, W_q, W_k, W_v, W, b, heads=4):
    """DeltaNet: what is read under a key is corrected towards the value, by the delta rule.

    Source: Schlag, Irie, Schmidhuber (2021), "Linear Transformers Are Secretly Fast Weight
    Programmers", ICML, arXiv:2102.11174, the delta rule; keys and queries as in Yang, Wang, Zhang,
    Shen, Kim (2024), "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    NeurIPS, arXiv:2406.06484.
    Differences: no short convolutions, no normalisation and no product after the read.
    """
    q, k = _unit(silu(W_q @ x), heads), _unit(silu(W_k @ x), heads)
    beta = expand(sigmoid(W @ x + b), "H")
    S = S + outer(beta * (W_v @ x - S @ k), k, heads)
    return S @ q, S


@cell(
    state="S",
    output=True,
    heads={"S": "heads"},
    sizes={"W": ("heads", "I"), "W_a": ("heads", "I"), "a": "heads"},
)
def gated_delta_net(x, S, W_q, W_k, W_v, W, b, W_a, b_a, a, heads=4):
    """Gated DeltaNet: the delta rule on a memory that also forgets as a whole.

    Source: Yang, Kautz, Hatamizadeh (2025), "Gated Delta Networks: Improving Mamba2 with Delta
    Rule", ICLR, arXiv:2412.06464, the gated delta rule, its gate alpha as Mamba 2 has it.
    Differences: no short convolutions, no normalisation, gate and product after the read; exp(a) is
    held below exp(80).
    """
    q, k = _unit(silu(W_q @ x), heads), _unit(silu(W_k @ x), heads)
    beta = expand(sigmoid(W @ x + b), "H")
    alpha = expand(exp(-exp(minimum(a, 80.0)) * softplus(W_a @ x + b_a)), "H")
    S = outer(alpha, 1, heads) * S
    S = S + outer(beta * (W_v @ x - S @ k), k, heads)
    return S @ q, S


@cell(state="S", output=True, heads={"S": "heads"}, sizes={"W_o": ("H", "H")})
def retnet(x, S, W_q, W_k, W_v, W_g, W_o, heads=4):
    """Retention in its recurrent form: each head forgets at a rate of its own.

    Source: Sun, Dong, Huang, Ma, Xia, Xue, Wang, Wei (2023), "Retentive Network: A Successor to
    Transformer for Large Language Models", arXiv:2307.08621, the recurrent form, gated
    and of several scales.
    Differences: no rotation of keys and queries by their position; layer normalisation, without
    gain, as group normalisation.
    """
    gamma = concat([1 - 2.0 ** (-5 - head) for head in range(heads)])
    S = outer(expand(gamma, "H"), 1, heads) * S + outer(W_v @ x, W_k @ x, heads)
    read = _normed(S @ (W_q @ x), heads)
    return W_o @ (silu(W_g @ x) * read), S


@cell(
    state="S",
    output=True,
    heads={"S": "heads"},
    sizes={"U_a": ("H", "R"), "W_o": ("H", "H")},
    default_sizes={"R": 16},
)
def gla(x, S, W_q, W_k, W_v, W_a, U_a, b_a, W_r, b_r, W_o, heads=4, tau=16):
    """Gated linear attention: each feature of the keys forgets by a gate of its own.

    Source: Yang, Wang, Shen, Panda, Kim (2024), "Gated Linear Attention Transformers with
    Hardware-Efficient Training", ICML, arXiv:2312.06635, the recurrent form of GLA.
    Differences: layer normalisation without gain.
    """
    alpha = exp(log_sigmoid(U_a @ (W_a @ x) + b_a) / tau)
    S = S * alpha + outer(W_v @ x, W_k @ x, heads)
    read = _normed(S @ (W_q @ x), heads)
    return W_o @ (silu(W_r @ x + b_r) * read), S


@cell(state="S", output=True, heads={"S": "heads"})
def hgrn2(x, S, W_f, b_f, W_i, b_i, W_o, b_o, heads=4, bound=0.0):
    """HGRN2: a gated linear recurrence whose state is expanded by an outer product.

    Source: Qin, Yang, Sun, Shen, Li, Sun, Zhong (2024), "HGRN2: Gated Linear RNNs with State
    Expansion", COLM, arXiv:2404.07904: what is kept of a key's feature is f, and
    1 - f is the key.
    Differences: `bound` below f is a constant, not learned over layers.
    """
    f = bound + (1 - bound) * sigmoid(W_f @ x + b_f)
    i = silu(W_i @ x + b_i)
    o = sigmoid(W_o @ x + b_o)
    S = S * f + outer(i, 1 - f, heads)
    return S @ o, S


@cell(
    state="S",
    output=True,
    sizes={"S": ("H", "Q"), "A": ("H", "Q")},
    default_sizes={"Q": 16},
)
def mamba(x, S, W, b, W_d, b_d, W_B, W_C, A, D):
    """Mamba's selective state space: each unit has Q states, written and read as the input says.

    Source: Gu, Dao (2023), "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
    arXiv:2312.00752, eq. (2) and algorithm 2, with the transition diag(-exp(A)).
    Differences: no convolution and no gate around it; the step of each unit is one whole product;
    exp(A) is held below exp(80).
    """
    u = silu(W @ x + b)
    delta = softplus(W_d @ u + b_d)
    S = exp(-outer(delta, 1) * exp(minimum(A, 80))) * S + outer(delta * u, W_B @ u)
    return S @ (W_C @ u) + D * u, S


def _addressed(M, w, h, slots, W_k, b_k, u_beta, u_g, W_s, u_gamma):
    """Where a head of a neural Turing machine looks: eq. (5)-(9)."""
    k, beta = W_k @ h + b_k, softplus(total(u_beta * h))
    content = softmax(beta * (M @ k) / sqrt(total(M * M) * total(k * k) + 1e-6))
    g = sigmoid(total(u_g * h))
    mixed = g * content + (1 - g) * w
    turn = np.roll(np.eye(slots), 1, axis=0)
    back, stay, on = (total(part) for part in split(softmax(W_s @ h), 3))
    moved = back * (turn.T @ mixed) + stay * mixed + on * (turn @ mixed)
    moved = maximum(moved, 1e-6)
    sharp = (moved / detach(max(moved))) ** (1 + softplus(total(u_gamma * h)))
    return sharp / total(sharp)


@cell(
    state=("h", "M", "r", "w"),
    sizes={
        **{"M": ("slots", "K"), "r": "slots", "w": "slots"},
        **{"W_s": (3, "H"), "V_s": (3, "H"), "u_g": "H", "v_g": "H", "M_0": ("slots", "K")},
    },
    default_sizes={"K": "H/2"},
)
def ntm(
    x, h, M, r, w, M_0, W, U, R, b,
    W_k, b_k, u_beta, u_g, W_s, u_gamma, V_k, c_k, v_beta, v_g, V_s, v_gamma,
    W_e, b_e, W_a, b_a, slots=16,
):  # fmt: skip
    """A neural Turing machine: a memory of slots, found by content and by shifts from where it was.

    Source: Graves, Wayne, Danihelka (2014), "Neural Turing Machines", arXiv:1410.5401, eq. (2)-(9),
    with one head that reads, at r, and one that writes, at w.
    Differences: the controller is a simple recurrent network. The memory starts at M_0, which is
    learned (slots that start alike stay alike): the state M is how far it is from there. Small
    numbers hold the cosine in range, and weights above 0 where they are sharpened. They are
    sharpened as parts of the largest: no power is so high that all of them vanish.
    """
    slot = M + M_0
    h = tanh(W @ x + U @ h + R @ (r @ slot) + b)
    w = _addressed(slot, w, h, slots, V_k, c_k, v_beta, v_g, V_s, v_gamma)
    e, a = sigmoid(W_e @ h + b_e), tanh(W_a @ h + b_a)
    slot = slot * (1 - outer(w, e)) + outer(w, a)
    r = _addressed(slot, r, h, slots, W_k, b_k, u_beta, u_g, W_s, u_gamma)
    return h, slot - M_0, r, w
