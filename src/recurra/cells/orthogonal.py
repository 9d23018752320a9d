"""Cells whose recurrent matrix is orthogonal, whatever its parameters are, of which it is made once
a call: it neither lengthens nor shortens what it multiplies.

Letters: x input, h state, A what the skew-symmetric matrix A - A.T is made of, b bias.
"""

from recurra.lang import abs, cell, detach, eye, matrix_exp, relu, sign, solve


def _mod_relu(z, b):
    """z brought nearer to 0, or further from it, by b (Arjovsky et al. 2016, arXiv:1511.06464)."""
    return sign(z) * relu(abs(z) + b)


@cell(sizes={"d": "H"})
def scornn(x, h, U, A, d, b):
    """scoRNN: the recurrent matrix is a scaled Cayley transform, W = (I + A)^-1 (I - A) D.

    Source: Helfrich, Willmott, Ye (2018), "Orthogonal Recurrent Neural Networks with Scaled Cayley
    Transform", ICML, arXiv:1707.09520: the scaled Cayley transform, and the network with modReLU.
    Differences: a full matrix A of which A - A.T is taken. D has the signs of d, and is learned as
    d is, straight through them, where the paper fixes how many are -1.
    """
    skew = A - A.T
    D = sign(d) + (d - detach(d))
    W = solve(eye("H") + skew, eye("H") - skew) * D
    return _mod_relu(U @ x + W @ h, b)


@cell
def exprnn(x, h, U, A, b):
    """expRNN: the recurrent matrix is the exponential of a skew-symmetric one.

    Source: Lezcano-Casado, Martínez-Rubio (2019), "Cheap Orthogonal Constraints in Neural Networks:
    A Simple Parametrization of the Orthogonal and Unitary Group", ICML, arXiv:1901.08428, with
    modReLU. Differences: a full matrix A of which A - A.T is taken.
    """
    return _mod_relu(U @ x + matrix_exp(A - A.T) @ h, b)
