"""Cells with matrices of each sequence, which between them have all that the language has."""

from recurra import cell
from recurra.lang import (
    exp,
    expand,
    flatten,
    layer_norm,
    max,
    maximum,
    mean,
    outer,
    rows,
    sigmoid,
    softmax,
    split,
    sqrt,
    sum,
    tanh,
    var,
    where,
)

SIZES = {"I": 3, "H": 4, "P": 2, "Q": 5, "C": 5}


@cell(state=("h", "S"), sizes={"S": ("P", "Q")})
def written(x, h, S, W_k, W_v, W_q, U, b, f, g):
    """By rows and by columns, and what is read both ways."""
    k, v, q = W_k @ x, W_v @ x + U @ h, W_q @ h
    S = sigmoid(f) * S * outer(sigmoid(v), 1) + outer(tanh(v), k)
    return tanh(W_q.T @ (S.T @ v) + U.T @ (S @ q + k @ S.T) + b), S * g


@cell(
    state=("C", "n", "m"),
    output=True,
    heads={"C": "heads"},
    sizes={"b_f": "heads", "b_i": "heads"},
)
def in_heads(x, C, n, m, W_k, W_v, W_q, W_f, b_f, W_i, b_i, heads=2):
    """Gates of one number a head, and what each head reads by itself."""
    k, v, q = W_k @ x, W_v @ x, softmax(W_q @ x)
    f = expand(sigmoid(W_f @ x + b_f), "H")
    i = expand(exp(W_i @ x + b_i), "H")
    C = outer(f, 1, heads) * C + outer(i * (v - C @ k), k, heads)
    n = f * n + i * k
    norm = maximum(sum(rows(n * q, heads)), 1.0)
    h = flatten(layer_norm(rows(C @ q, heads), eps=0.1) / outer(norm, 1))
    return h, C, n, 0.5 * m + q @ C


@cell(state=("h", "M"), sizes={"M": ("P", "Q"), "A": ("P", "Q")})
def selective(x, h, M, A, W_d, W_b, W_c, W, V, gain):
    """A matrix of parameters beside the state, and sums of it."""
    d, b, c = sigmoid(W_d @ x), W_b @ x, W_c @ h
    M = exp(-outer(d, 1) * exp(A)) * M + outer(d, b) + 0.1 * outer(d, gain) * A
    score = (M @ c) / sqrt(sum(M * M) * sum(c * c) + 0.5)
    read = softmax(score) @ M + mean(M, dim=0) + max(M, dim=0) * sum(M, dim=0)
    left = W @ (mean(M) + max(M) * var(M) + sum(tanh(softmax(M))))
    return tanh(left + V @ read), where(M > 0.3, M, 0.5 * M + A)


@cell(
    state=("S", "s"),
    output=True,
    heads={"S": "heads"},
    sizes={"S": ("H", "H/2"), "s": "1", "W": ("H/2", "H/2")},
)
def everything(x, S, s, t, W, V, K, c, gain, heads=2):
    """Blocks with all that goes beside them."""
    v, k = V @ x, K @ x
    wide = layer_norm(S * c + outer(v, k, heads), gain, eps=0.1) @ W + outer(v + t, 1, heads)
    both, b = tanh(wide) * s, maximum(S, outer(k, 1, heads) * v)
    a = split(both, 1)[0]
    new = a / (1.5 + sum(b, dim=0) ** 2 / 9) + mean(b, dim=0)
    new = tanh(new - 0.1 * max(b, dim=0) * outer(c, 1, heads))
    y = S @ v + k @ S + new.T @ k + v @ new.T
    return tanh(y), new, s * sigmoid(mean(y))


@cell
def per_head(x, h, W, U, b, g, heads=2):
    """No matrix state: rows of a vector alone."""
    z = W @ x + U @ h + b
    each = rows(z, heads)
    normed = (each - outer(mean(each), 1)) / outer(sqrt(var(each) + 0.1), 1)
    scaled = normed * outer(max(each), 1) + outer(sum(rows(h * g, heads)), 1)
    return tanh(flatten(softmax(scaled) + layer_norm(each, eps=0.1)))


@cell(context="v", sizes={"w": "P", "u": "P", "U": ("P", "I")})
def made_anew(x, h, v, w, u, W, V, b, U):
    """No matrix state either: of parameters and the context, which do not change with the step."""
    S = tanh(outer(w, v) + outer(u, b))
    return tanh(W @ (S @ (V @ h + b))) * sum(U @ x)


CELLS = [written, in_heads, selective, everything, per_head, made_anew]
