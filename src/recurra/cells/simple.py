"""One state and no gates: the bare dynamical systems and the simple recurrent networks.

Letters: x input, s or h state, W_ab the matrix from a to b, b bias; every state is that of the step
before.
"""

from recurra.lang import cell, relu, tanh


@cell(state="s")
def dynamical_system(s, W, b):
    """Autonomous dynamical system s_t = f(s_{t-1}), f an affine map and tanh; it reads no input.

    Source: Goodfellow, Bengio, Courville (2016), "Deep Learning", MIT Press, eq. (10.1).
    Differences: the book leaves f open.
    """
    return tanh(W @ s + b)


@cell(state="s")
def driven_system(x, s, W, U, b):
    """Dynamical system driven by an external signal: s_t = f(s_{t-1}, x_t).

    Source: Goodfellow, Bengio, Courville (2016), "Deep Learning", MIT Press, eq. (10.4), with f
    from eq. (10.8) and (10.9).
    """
    return tanh(b + W @ s + U @ x)


@cell(state="h")
def rnn(x, h, W_xh, W_hh, b_h):
    """Simple recurrent network.

    Source: Elman (1990), "Finding structure in time", Cognitive Science 14(2), 179-211.
    Differences: tanh where the paper has the logistic function.
    """
    return tanh(W_xh @ x + W_hh @ h + b_h)


@cell(state="h")
def rnn_relu(x, h, W_xh, W_hh, b_h):
    """Simple recurrent network of rectified linear units.

    Source: Le, Jaitly, Hinton (2015), "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", arXiv:1504.00941.
    Differences: the paper starts W_hh at the identity and b_h at zero (the IRNN).
    """
    return relu(W_xh @ x + W_hh @ h + b_h)
