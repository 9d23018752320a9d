"""Cells that are steps of a differential equation, or that hold its time constants.

Letters: x input, the states and matrices as the papers have them, b bias; `step` is the length of a
step of time. Every state is that of the step before, unless it was assigned above.
"""

from recurra.lang import cell, concat, sigmoid, split, tanh


@cell(state="h")
def antisymmetric_rnn(x, h, V, W, b, step=0.1, damping=0.01):
    """A step of Euler's method for a system whose Jacobian's eigenvalues are imaginary, but for the
    damping: a state neither explodes nor vanishes.

    Source: Chang, Chen, Haber, Chi (2019), "AntisymmetricRNN: A Dynamical System View on Recurrent
    Neural Networks", ICLR, arXiv:1902.09689, eq. (14).
    """
    return h + step * tanh(W @ h - W.T @ h - damping * h + V @ x + b)


@cell(state="h")
def gated_antisymmetric_rnn(x, h, V_h, V_z, W, b_h, b_z, step=0.1, damping=0.01):
    """The antisymmetric network with a gate that reads the same system.

    Source: Chang, Chen, Haber, Chi (2019), "AntisymmetricRNN: A Dynamical System View on Recurrent
    Neural Networks", ICLR, arXiv:1902.09689, eq. (16)-(17).
    """
    flow = W @ h - W.T @ h - damping * h
    z = sigmoid(flow + V_z @ x + b_z)
    return h + step * z * tanh(flow + V_h @ x + b_h)


@cell(state=("y", "z"))
def cornn(x, y, z, V, W, W_z, b, step=0.1, frequency=1.0, damping=1.0):
    """Coupled oscillators, y their positions and z their velocities, driven by what they read.

    Source: Rusch, Mishra (2021), "Coupled Oscillatory Recurrent Neural Network (coRNN)", ICLR,
    arXiv:2010.00951, eq. (3).
    Differences: the damping acts on the velocity before the step (the paper offers both).
    """
    z = z + step * (tanh(W @ y + W_z @ z + V @ x + b) - frequency * y - damping * z)
    y = y + step * z
    return y, z


@cell(state=("y", "z"))
def unicornn(x, y, z, V, w, c, b, step=0.1, stiffness=1.0):
    """Oscillators that are not coupled within a layer, each with a time scale of its own.

    Source: Rusch, Mishra (2021), "UnICORNN: A recurrent model for learning very long time
    dependencies", ICML, arXiv:2103.05487, eq. (4).
    """
    scale = step * sigmoid(c)
    z = z - scale * (tanh(w * y + V @ x + b) + stiffness * y)
    y = y + scale * z
    return y, z


@cell(state=("h", "c"))
def lem(x, h, c, W_xd, W_hd, b_d, W_xe, W_he, b_e, W_xc, W_hc, b_c, W_xh, W_ch, b_h, step=1.0):
    """Long expressive memory: two states, each with time steps that it learns to choose.

    Source: Rusch, Mishra, Erichson, Mahoney (2022), "Long Expressive Memory for Sequence Modeling",
    ICLR, arXiv:2110.04744, eq. (3).
    """
    fast = step * sigmoid(W_xd @ x + W_hd @ h + b_d)
    slow = step * sigmoid(W_xe @ x + W_he @ h + b_e)
    c = (1 - fast) * c + fast * tanh(W_xc @ x + W_hc @ h + b_c)
    h = (1 - slow) * h + slow * tanh(W_xh @ x + W_ch @ c + b_h)
    return h, c


@cell(state=("h", "past"), sizes={"past": "delay * H"})
def taugru(
    x, h, past, W_u, U_u, b_u, W_z, U_z, b_z, W_g, U_g, b_g, W_a, U_a, b_a, delay=5, weight=1.0
):
    """Gated unit with a delay: it also reads the state of `delay` steps ago, weighed by a.

    Source: Erichson, Lim, Mahoney (2023), "Gated Recurrent Neural Networks with Weighted Time-Delay
    Feedback", arXiv:2212.00228, eq. (7)-(11).
    Differences: `past` holds the last states, the oldest first, so that a step needs no other.
    """
    oldest, *younger = split(past, delay)
    u = tanh(W_u @ h + U_u @ x + b_u)
    z = tanh(W_z @ oldest + U_z @ x + b_z)
    g = sigmoid(W_g @ h + U_g @ x + b_g)
    a = sigmoid(W_a @ h + U_a @ x + b_a)
    new = (1 - g) * h + g * (u + weight * a * z)
    return new, concat(*younger, h)
