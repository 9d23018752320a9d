"""Cells that hold the past as coefficients of polynomials: the matrices of that memory are given by
mathematics and not learned.

Letters: x input, h state, m the coefficients, A and B the system that they follow; `order` is how
many there are. The arrays are computed once, when a cell is defined.
"""

import numpy as np

from recurra.lang import cell, sum, tanh


def _legendre_window(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """A and B of one step, of which m holds the last `theta` steps of what it is driven by.

    Source: Voelker, Kajić, Eliasmith (2019), eq. (2). With u constant over a step, both come
    out of the exponential of one matrix.
    """
    i, j = np.mgrid[:order, :order]
    system = np.zeros((order + 1, order + 1))
    system[:order, :order] = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    system[:order, order] = (2 * i[:, 0] + 1) * (-1.0) ** i[:, 0]
    step = _exponential(system / theta)
    return step[:order, :order], step[:order, order]


def _exponential(matrix: np.ndarray) -> np.ndarray:
    """Of a matrix, by a series after halving it often enough, and squaring as often."""
    halvings = max(0, int(np.ceil(np.log2(np.abs(matrix).sum(1).max()))) + 1)
    small = matrix / 2.0**halvings
    term = total = np.eye(len(matrix))
    for n in range(1, 20):
        term = term @ small / n
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total


@cell(state=("h", "m"), sizes={"m": "order"})
def lmu(x, h, m, W_x, W_h, W_m, e_x, e_h, e_m, order=16, theta=64.0):
    """Legendre memory unit: m holds a window of the last `theta` steps of a signal u that is read
    from the input, the state and m itself.

    Source: Voelker, Kajić, Eliasmith (2019), "Legendre Memory Units: Continuous-Time Representation
    in Recurrent Neural Networks", NeurIPS, its layer, and its linear system, discretised by holding
    u constant over a step.
    """
    A, B = _legendre_window(order, theta)
    u = sum(e_x * x) + sum(e_h * h) + sum(e_m * m)
    m = A @ m + B * u
    return tanh(W_x @ x + W_h @ h + W_m @ m), m
