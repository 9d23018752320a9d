"""One state and no gates: the bare dynamical systems and the simple recurrent networks.

Letters: x input, s or h state, W_ab the matrix from a to b, b bias; every state is that of the step
before.
"""

from recurra.lang import cell, concat, relu, sigmoid, tanh


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


@cell(state="h", init={"W_hh": "identity", "b_h": 0.0})
def irnn(x, h, W_xh, W_hh, b_h):
    """Rectified linear units that start by remembering everything: W_hh is the identity.

    Source: Le, Jaitly, Hinton (2015), "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", arXiv:1504.00941, section 2.
    """
    return relu(W_xh @ x + W_hh @ h + b_h)


@cell(state="h")
def indrnn(x, h, W_xh, u, b_h):
    """Independently recurrent network: each unit reads its own state alone, by one weight.

    Source: Li, Li, Cook, Zhu, Gao (2018), "Independently Recurrent Neural Network (IndRNN):
    Building A Longer and Deeper RNN", CVPR, arXiv:1803.04831, eq. (2).
    """
    return relu(W_xh @ x + u * h + b_h)


@cell(state=("h", "s"), output=True, sizes={"s": "C"}, default_sizes={"C": "H/2"})
def scrn(x, h, s, B, A, P, R, alpha=0.95):
    """Structurally constrained network: hidden units h beside context units s that change slowly.

    Source: Mikolov, Joulin, Chopra, Mathieu, Ranzato (2014), "Learning Longer Memory in Recurrent
    Neural Networks", arXiv:1412.7753, eq. (3)-(4).
    Differences: the output is h and s, of which the paper's eq. (5) makes U h + V s.
    """
    s = (1 - alpha) * (B @ x) + alpha * s
    h = sigmoid(P @ s + A @ x + R @ h)
    return concat(h, s), h, s
