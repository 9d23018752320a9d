"""Cells of one state with fewer gates, or fewer matrices, than the GRU.

Letters: x input, h state of the step before; W_ab the matrix from a to b, b bias; gates z (update),
f (forget).
"""

from recurra.lang import cell, relu, sigmoid, tanh


@cell(state="h")
def ugrnn(x, h, W_xg, W_hg, b_g, W_xc, W_hc, b_c):
    """Update gate recurrent network: between a simple network and a GRU.

    Source: Collins, Sohl-Dickstein, Sussillo (2017), "Capacity and Trainability in Recurrent Neural
    Networks", ICLR, arXiv:1611.09913, section 1.1.
    """
    g = sigmoid(W_xg @ x + W_hg @ h + b_g)
    c = tanh(W_xc @ x + W_hc @ h + b_c)
    return g * h + (1 - g) * c


@cell(state="h")
def ligru(x, h, W_xz, W_hz, b_z, W_xh, W_hh, b_h):
    """Li-GRU: no reset gate, and a rectified candidate.

    Source: Ravanelli, Brakel, Omologo, Bengio (2018), "Light Gated Recurrent Units for Speech
    Recognition", IEEE TETCI 2(2), 92-102, arXiv:1803.10225, section III.
    Differences: biases, where the paper normalises the input's products over the batch.
    """
    z = sigmoid(W_xz @ x + W_hz @ h + b_z)
    h_tilde = relu(W_xh @ x + W_hh @ h + b_h)
    return z * h + (1 - z) * h_tilde


@cell(state="h")
def minimalrnn(x, h, W_xz, b_z, W_hu, W_zu, b_u):
    """MinimalRNN: the state moves in the space of the embedded input, by one gate.

    Source: Chen (2017), "MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural
    Networks", arXiv:1711.06788, section 2.
    Differences: the embedding is affine and tanh, as in the paper's experiments.
    """
    z = tanh(W_xz @ x + b_z)
    u = sigmoid(W_hu @ h + W_zu @ z + b_u)
    return u * h + (1 - u) * z


@cell(state="h")
def atr(x, h, W_xp, W_hq):
    """Addition-subtraction twin-gated network: both gates from one product each.

    Source: Zhang, Xiong, Su, Lin, Zhang (2018), "Simplifying Neural Machine Translation with
    Addition-Subtraction Twin-Gated Recurrent Networks", EMNLP, arXiv:1810.12546, section 3.
    """
    p, q = W_xp @ x, W_hq @ h
    i, f = sigmoid(p + q), sigmoid(p - q)
    return i * p + f * h


@cell(state="h")
def star(x, h, W_xz, b_z, W_xk, W_hk, b_k):
    """Stackable recurrent cell: one gate, and a state that stays squashed.

    Source: Turkoglu, D'Aronco, Wegner, Schindler (2021), "Gating Revisited: Deep Multi-layer RNNs
    That Can Be Trained", IEEE TPAMI, arXiv:1911.11033, section 4.
    """
    z = tanh(W_xz @ x + b_z)
    k = sigmoid(W_xk @ x + W_hk @ h + b_k)
    return tanh((1 - k) * h + k * z)


@cell(state="h", sizes={"alpha": "1", "beta": "1"}, init={"alpha": -3.0, "beta": 3.0})
def fastrnn(x, h, W, U, b, alpha, beta):
    """FastRNN: a simple network with a weighted connection past it; two numbers more.

    Source: Kusupati, Singh, Bhatia, Kumar, Jain, Varma (2018), "FastGRNN: A Fast, Accurate, Stable
    and Tiny Kilobyte Sized Gated Recurrent Neural Network", NeurIPS, arXiv:1901.02358, section 3.1.
    """
    h_tilde = tanh(W @ x + U @ h + b)
    return sigmoid(alpha) * h_tilde + sigmoid(beta) * h


@cell(state="h", sizes={"zeta": "1", "nu": "1"}, init={"zeta": 1.0, "nu": -4.0})
def fastgrnn(x, h, W, U, b_z, b_h, zeta, nu):
    """FastGRNN: gate and candidate share both matrices.

    Source: Kusupati, Singh, Bhatia, Kumar, Jain, Varma (2018), "FastGRNN: A Fast, Accurate, Stable
    and Tiny Kilobyte Sized Gated Recurrent Neural Network", NeurIPS, arXiv:1901.02358, section 3.2.
    """
    u = W @ x + U @ h
    z, h_tilde = sigmoid(u + b_z), tanh(u + b_h)
    return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * h_tilde + z * h


@cell(state="h", init={"b_f": 1.0})
def janet(x, h, W_xf, W_hf, b_f, W_xg, W_hg, b_g, beta=1.0):
    """Just another network: an LSTM of the forget gate alone, whose memory is its output.

    Source: van der Westhuizen, Lasenby (2018), "The unreasonable effectiveness of the forget gate",
    arXiv:1804.04849, eq. (2).
    Differences: the forget bias starts at 1 where the paper starts it by chrono.
    """
    s = W_xf @ x + W_hf @ h + b_f
    g = tanh(W_xg @ x + W_hg @ h + b_g)
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * g


@cell(state="h")
def lightru(x, h, W_xh, b_h, W_xf, W_hf, b_f):
    """Light recurrent unit: the candidate reads the input alone.

    Source: Ye, Zhang, Liu, Li, Chang, Zheng (2024), "Light Recurrent Unit: Towards an Interpretable
    Recurrent Neural Network for Modeling Long-Range Dependency", Electronics 13(16), 3204.
    """
    h_tilde = tanh(W_xh @ x + b_h)
    f = sigmoid(W_xf @ x + W_hf @ h + b_f)
    return (1 - f) * h + f * h_tilde


@cell(state="h")
def sgrn(x, h, W, U, b, b_f):
    """Simple gated recurrent network: its one gate is made of what it lets in.

    Source: doi:10.1049/gtd2.12056 (IET Generation, Transmission and Distribution, 2021), as
    torchrecurrent 0.2.5 gives its equations; the paper itself was not at hand.
    """
    a = W @ x + b
    f = sigmoid(a + U @ h + b_f)
    return tanh((1 - f) * a + f * h)
