"""The linear recurrence h_t = W h_{t-1} as the power method: what is left of h_0 is one direction.

With W = Q diag(lambda) Q^-1, h_t = Q diag(lambda^t) Q^-1 h_0: each eigenvalue is taken to the power
t, and what was along any eigenvector but that of the largest is lost in comparison.

Source: Goodfellow, Bengio, Courville (2016), "Deep Learning", MIT Press, section 10.7, eq. (10.36)
to (10.39); Golub, Van Loan (2013), "Matrix Computations", section 7.3.1, for the method.

Letters: T steps, H hidden.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMethod:
    """The linear recurrence, step by step.

    Attributes:
        log_norms: [T + 1], log |h_t|, of h_0 zero.
        growth: [T], |h_t| / |h_{t-1}|.
        alignment: [T + 1], the share of |h_t| in the space of the largest eigenvalue: that of one
            eigenvector, or of the plane of a complex pair.
        eigenvalues: [H], by falling size.
    """

    log_norms: Float64[np.ndarray, " states"]
    growth: Float64[np.ndarray, " steps"]
    alignment: Float64[np.ndarray, " states"]
    eigenvalues: Complex128[np.ndarray, " hidden"]

    @property
    def radius(self) -> float:
        """The size of the largest eigenvalue, to which growth goes."""
        return float(np.abs(self.eigenvalues[0]))

    @property
    def gap(self) -> float:
        """The size of the next eigenvalue over that of the largest: what is left, each step, of
        everything else. A complex pair counts as one."""
        sizes = np.abs(self.eigenvalues)
        count = _leading(self.eigenvalues)
        return float(sizes[count] / sizes[0]) if count < len(sizes) and sizes[0] > 0 else 0.0


def power_method(
    W: Float64[Tensor, "hidden hidden"], steps: int, h_0: Tensor | None = None, *, seed: int = 0
) -> PowerMethod:
    """Run h_t = W h_{t-1}, with what the eigenvalues of W say of it.

    Args:
        W: float64.
        steps: T.
        h_0: [H], of any norm but 0; None draws it.
        seed: of what is drawn.

    Raises:
        ValueError: when h_0 is zero or of another size.
    """
    size = W.shape[0]
    if h_0 is not None and (h_0.shape != (size,) or not bool(h_0.any())):
        got = "zeros" if h_0.shape == (size,) else f"{list(h_0.shape)}"
        raise ValueError(
            f"h_0: expected [{size}] numbers that are not all zero, got {got}. Leave it out to "
            f"have it drawn."
        )
    if h_0 is None:
        generator = torch.Generator().manual_seed(seed)
        h_0 = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
    values, vectors = (v.cpu().numpy() for v in torch.linalg.eig(W.detach()))
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    first = vectors[:, 0]
    spanning = [first.real, first.imag] if _leading(values) == 2 else [first.real]
    plane = np.linalg.qr(np.stack(spanning, 1))[0]
    matrix = W.detach().cpu().numpy()
    h = h_0.detach().double().cpu().numpy()
    h = h / np.linalg.norm(h)
    logs, growth, alignment = [0.0], [], [float(np.linalg.norm(plane.T @ h))]
    for _ in range(steps):  # kept at norm 1: powers leave the range of numbers
        h = matrix @ h
        norm = float(np.linalg.norm(h))
        growth.append(norm)
        with np.errstate(divide="ignore"):
            logs.append(logs[-1] + float(np.log(norm)))
        h = h / norm if norm > 0 else h
        alignment.append(float(np.linalg.norm(plane.T @ h)))
    return PowerMethod(
        log_norms=np.array(logs),
        growth=np.array(growth),
        alignment=np.array(alignment),
        eigenvalues=values.astype(np.complex128),
    )


def _leading(values: Complex128[np.ndarray, " hidden"]) -> int:
    """How many eigenvalues, by falling size, are the first one or its conjugate."""
    is_pair = (
        len(values) > 1 and abs(values[0].imag) > 0 and np.isclose(values[1], values[0].conj())
    )
    return 2 if is_pair else 1
