"""Cells of papers that are in no registry, each with a part of the language that others lack.

Letters: x input, h state, m memory, S matrix state, dt time since the step before.
"""

import numpy as np

from recurra import cell
from recurra.lang import (
    Cell,
    abs,
    concat,
    detach,
    exp,
    expand,
    eye,
    flatten,
    floor,
    inverse,
    layer_norm,
    max,
    minimum,
    outer,
    relu,
    rows,
    sigmoid,
    sign,
    silu,
    softmax,
    solve,
    split,
    sum,
    tanh,
    where,
    windows,
)

_RNG = np.random.default_rng(0)
_RESERVOIR = 0.3 * _RNG.standard_normal((6, 6))
_SUMS = np.tril(np.ones((4, 4)))
_SLOWER = np.kron(np.triu(np.ones((3, 3))), np.ones((2, 2)))
_PERIODS = np.repeat([1.0, 2.0, 4.0], 2)
_N = np.arange(4)
_LEGENDRE = -np.sqrt(np.outer(2 * _N + 1, 2 * _N + 1)) * np.tri(4, k=-1) - np.diag(_N + 1.0)
_READ_IN = np.sqrt(2.0 * _N + 1)


@cell(inputs=("x", "m", "dt"), sizes={"m": "I", "dt": "I", "W_g": ("H", "I")}, output=True)
def brits(x, h, m, dt, W_r, b_r, W_g, b_g, W_z, U_z, b_z, W_h, U_h, b_h):
    """Values that are missing are guessed from the state. Cao et al. (2018), arXiv:1805.10572."""
    guess = W_r @ h + b_r
    h = exp(-relu(W_g @ dt + b_g)) * h
    both = concat(m * x + (1 - m) * guess, m)
    z = sigmoid(W_z @ both + U_z @ h + b_z)
    return guess, z * h + (1 - z) * tanh(W_h @ both + U_h @ h + b_h)


@cell(sizes={"h": 6, "x": 3})
def reservoir(x, h, W_back, leak=0.3, W_in=_RNG.uniform(-1, 1, (6, 3))):  # noqa: B008
    """Constant arrays. Jaeger (2001), leaky units."""
    return (1 - leak) * h + leak * np.tanh(W_in @ x + _RESERVOIR @ h + W_back @ h)


@cell(state=("h", "u"), sizes={"u": "1", "w": "H", "b_u": "1"}, init={"b_u": 1.0})
def skip_rnn(x, h, u, W, U, b, w, b_u):
    """A straight-through step. Campos et al. (2018), arXiv:1708.06834."""
    awake = u + detach(where(u >= 0.5, 1.0, 0.0) - u)
    h = awake * tanh(W @ x + U @ h + b) + (1 - awake) * h
    delta = sigmoid(sum(w * h) + b_u)
    return h, awake * delta + (1 - awake) * (u + minimum(delta, 1 - u))


@cell(state=("h", "c"), sizes={"b_f": 4, "b_i": 4})
def ordered_neurons(x, h, c, W, U, b, W_f, U_f, b_f, W_i, U_i, b_i):
    """Sums of a softmax, spread over groups. Shen et al. (2019), arXiv:1810.09536."""
    f, i, o, g = split(W @ x + U @ h + b, 4)
    forget = expand(_SUMS @ softmax(W_f @ x + U_f @ h + b_f), "H")
    write = expand(1 - _SUMS @ softmax(W_i @ x + U_i @ h + b_i), "H")
    both = forget * write
    c = (sigmoid(f) * both + forget - both) * c + (sigmoid(i) * both + write - both) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(sizes={"h": 6})
def clockwork(x, h, t, W, U, b):
    """The index of the step, and a masked matrix. Koutnik et al. (2014), arXiv:1402.3511."""
    return where(t % _PERIODS == 0, tanh(W @ x + (_SLOWER * U) @ h + b), h)


@cell(sizes={"A": ("H", "H"), "d": "H"})
def cayley(x, h, A, W, b, d):
    """An orthogonal matrix. Helfrich, Willmott, Ye (2018), arXiv:1707.09520, modReLU."""
    skew = A - A.T
    z = W @ x + (solve(eye("H") + skew, eye("H") - skew) * sign(d)) @ h
    return sign(z) * relu(abs(z) + b)


@cell(sizes={"r": "H/2", "C": ("R", "H")})
def stochastic(x, h, r, W, A, B, C):
    """Matrices of parameters: rows that sum to 1, positive numbers, C^T C; halves."""
    top, low = split(softmax(A) @ h, ["H/2", "H/2"])
    positive = exp(B) @ (h / (1 + sum(abs(h))))
    return tanh(concat(top + r, low - r) + positive + W @ x) + C.T @ (C @ h) / 8


@cell(state=("h", "s"), sizes={"s": 2})
def unequal(x, h, s, W, U, b):
    """Unequal parts, single numbers, and numbers joined to vectors."""
    g, z, k = split(W @ x + U @ h + b, ["H", "H", 2])
    s = 0.9 * s + 0.1 * tanh(k)
    h = sigmoid(z) * h + (1 - sigmoid(z)) * tanh(g) * s[0] + s[-1]
    return concat(sum(h) / 4, h[1:]), s


@cell
def ring(x, h, W, b):
    """A shift. Le, Jaitly, Hinton (2015)'s task of memory by position."""
    return tanh(0.9 * concat(h[-1], h[:-1]) + W @ x + b)


@cell(state="S", output=True, heads={"S": "heads"}, sizes={"w": "H", "u": "H"})
def rwkv_5(x, S, W_r, W_k, W_v, W_g, w, u, heads=2):
    """A matrix for each head, with a bonus for this step. Peng et al. (2024), arXiv:2404.05892."""
    r, k, v, g = W_r @ x, W_k @ x, W_v @ x, silu(W_g @ x)
    now = outer(v, k, heads)
    read = (S + now * u) @ r
    return g * flatten(layer_norm(rows(read, heads), eps=0.01)), S * exp(-exp(w)) + now


@cell(memory=("m", "n"), sizes={"v": "A", "w": "A"})
def two_sources(x, h, m, n, W_1, U_1, v, W_2, U_2, w, W, U, C_1, C_2, b):
    """Two memories, one after the other. Libovicky, Helcl (2017), arXiv:1704.06567."""
    first = softmax(tanh(W_1 @ h + U_1 @ m) @ v) @ m
    second = softmax(tanh(W_2 @ concat(h, first) + U_2 @ n) @ w) @ n
    return tanh(W @ x + U @ h + C_1 @ first + C_2 @ second + b)


@cell(state=("h", "a"), memory="m", sizes={"a": "S", "v": "A", "g": "H"})
def forward_attention(x, h, a, m, W_a, U_a, v, g, W, U, C, b):
    """Weights that move on by a position. Zhang, Ling, Dai (2018), arXiv:1807.06736."""
    move = sigmoid(sum(g * h))
    moved = windows(a, 3) @ np.array([1.0, 0.0, 0.0])
    a = ((1 - move) * a + move * moved + 0.001) * softmax(tanh(W_a @ h + U_a @ m) @ v)
    a = a / sum(a)
    return tanh(W @ x + U @ h + C @ (a @ m) + b), a


@cell(state=("h", "M"), sizes={"M": ("P", "Q")})
def slots(x, h, M, W_k, W_w, W, U, b):
    """Read softly and at the largest, erased and written by rows. After Graves et al. (2014)."""
    k, w = W_k @ x, softmax(W_w @ h)
    score = M @ k
    largest = where(score == max(score), 1.0, 0.0)
    read = softmax(score) @ M + detach(largest @ M)
    M = M * (1 - 0.5 * outer(w, 1)) + outer(w, k)
    return tanh(W @ x + U @ h + b * sum(read * k)), M


@cell(state=("h", "m"), sizes={"m": 4, "log_dt": "1", "w": "I"}, init={"log_dt": -3.0})
def hippo(x, h, m, W, U, V, b, w, log_dt):
    """A bilinear step of a learned length. Gu et al. (2020), arXiv:2008.07669."""
    dt = exp(log_dt)
    left = inverse(eye(4) - dt / 2 * _LEGENDRE)
    m = left @ ((eye(4) + dt / 2 * _LEGENDRE) @ m) + dt * (left @ _READ_IN) * sum(w * x)
    return tanh(W @ x + U @ h + V @ m + b), m


@cell(
    state=("h", "p"),
    inputs=("x", "dt"),
    sizes={"p": "H/4", "f": "H/4", "U": ("3H/4", "H/4")},
)
def phases(x, h, p, dt, W, V, U, f, b):
    """Phases that wrap around, of a quarter of the units. After Neil, Pfeiffer, Liu (2016)."""
    p = p + dt * f
    p = p - floor(p)
    gate = concat(where(p < 0.5, 1.0, 0.1), tanh(U @ p))
    return (1 - gate) * h + gate * tanh(W @ x + V @ h + b), p


CELLS: tuple[Cell, ...] = (
    *(brits, reservoir, skip_rnn, ordered_neurons, clockwork, cayley, stochastic, unequal, ring),
    *(rwkv_5, two_sources, forward_attention, slots, hippo, phases),
)
SIZES = {"I": 3, "A": 5, "P": 3, "Q": 5, "R": 4, "K": 4, "K_m": 4, "K_n": 5}


def sizes_of(of: Cell) -> dict[str, int]:
    """A number for each size of the cell; those whose state is as wide as their arrays have H 6."""
    hidden = 6 if of in (reservoir, clockwork) else 8
    return {name: (SIZES | {"H": hidden}).get(name, 4) for name in of.size_names}
