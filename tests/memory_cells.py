"""Cells that read a memory, which between them have all that the language has over positions."""

from recurra import cell
from recurra.lang import expand, layer_norm, mean, sigmoid, softmax, split, tanh, windows
from recurra.lang import max as largest
from recurra.lang import sum as total


@cell(memory="m", sizes={"v": "A"})
def additive(x, h, m, W_a, U_a, v, W, U, C, b):
    """Additive attention; what depends on the memory alone leaves the loop."""
    score = tanh(W_a @ h + U_a @ m) @ v
    alpha = softmax(score)
    return tanh(W @ x + U @ h + C @ (alpha @ m) + b)


@cell(state=("h", "a"), memory="m", sizes={"a": "S", "v": "A", "Q": ("F", "3")})
def located(x, h, a, m, W, V, U, Q, b, v, R, C):
    """A state over positions, convolved."""
    score = tanh(W @ h + V @ m + U @ (Q @ windows(a, 3)) + b) @ v
    alpha = softmax(score)
    return tanh(R @ x + C @ (alpha @ m) + h), alpha


@cell(state=("h", "cover"), memory=("k", "u"), sizes={"cover": "S", "v": "A"}, output=True)
def everything(x, h, cover, k, u, W, U, V, v, b, g, R, P):
    """Two memories, every reduction, and an output over positions."""
    q, w = split(U @ k, 2)
    e = layer_norm(tanh(W @ x + q * w + b + v * cover), g)
    s = total(e * e) + e @ v + largest(e) + mean(e)
    beta = sigmoid(s)
    pooled = mean(u, dim=0) + largest(u, dim=0) + total(u * beta, dim=0)
    scale = mean(s) * largest(s) / total(s * s + 1)
    new = tanh(R @ x + beta @ (V @ u) + P @ pooled + h * scale)
    return softmax(k @ new), new, cover + beta * softmax(s)


@cell(memory="m", output=True)
def afterwards(x, h, m, W, U, A, C, b):
    """Attention that no later step reads: it leaves the loop, for all steps at once."""
    new = tanh(W @ x + U @ h + b)
    return tanh(C @ (softmax(m @ (A @ new)) @ m) + new), new


@cell(memory="m", context="c")
def of_the_input(x, h, m, c, W, U, A, b):
    """Scores of the input alone, which would be many for all steps at once."""
    alpha = softmax(m @ (A @ x) + tanh(m @ c))
    return tanh(W @ x + U @ h + alpha @ m + b)


@cell(state=("h", "a"), memory="m", sizes={"a": "S", "U": ("H", "H")})
def rows_of_rows(x, h, a, m, W, V, U):
    """Products with rows of equal size, one after the other."""
    r = sigmoid(V @ m + U @ h)
    return tanh(W @ x + a @ tanh(U @ r)) + h, total(r) / 4.0


@cell(memory="m", sizes={"U": ("H", "I"), "W": ("H", "K"), "V": ("H", "H")})
def apart_from_the_state(x, h, m, U, W, V, C):
    """No state reads it: after the reverse loop its rows stand beside values of all steps."""
    u = tanh(U @ x)
    return tanh(V @ u + C @ (softmax((W @ m) @ u) @ m)) + 0.5 * h


@cell(memory="m")
def evenly(x, h, m, W, U, V):
    """Numbers and rows that are the same at all positions."""
    even = softmax(expand(0.5, "S")) + expand(total(tanh(h)), "S") / 8
    return tanh(W @ x + U @ (even @ (m + expand(0.25, ("S", "K")))) + V @ h)


CELLS = (
    *(additive, located, everything, afterwards, of_the_input, rows_of_rows),
    *(apart_from_the_state, evenly),
)
SIZES = {"I": 3, "H": 4, "K": 5, "A": 6, "F": 3, "K_u": 5, "C": 5}
