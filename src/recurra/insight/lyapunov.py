"""The Lyapunov spectrum of a recurrent layer: at what rates small changes of its states grow.

The derivatives of the states after T steps by the first ones are a product of T Jacobians. Its
singular values grow or fall as exp(lambda_i T), and the lambda_i are the exponents. They are found
by carrying an orthonormal frame through the Jacobians and making it orthonormal again by QR after
each step, whose R has what it grew by on its diagonal.

Source: Benettin, Galgani, Giorgilli, Strelcyn (1980), "Lyapunov characteristic exponents for
smooth dynamical systems and for Hamiltonian systems", Meccanica 15. For recurrent networks:
Engelken, Wolf, Abbott (2023), "Lyapunov spectra of chaotic recurrent neural networks", Physical
Review Research 5.

Letters: T time, B batch, N numbers in all states together, K exponents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from recurra.insight.calls import call_of
from recurra.insight.linearized import Linearized
from recurra.insight.runs import linearized_run
from recurra.insight.step import place_of
from recurra.nn.stack import CellStack

_FEW = 4  # a frame of less than a fourth of all directions is carried without the whole Jacobian


@dataclass(frozen=True, slots=True, kw_only=True)
class LyapunovSpectrum:
    """The exponents of a run, in 1 / step: changes along the i-th direction grow as exp(e_i t).

    Attributes:
        exponents: [K], falling, mean over the sequences.
        each: [B, K], of each sequence that has steps that count.
        running: [T', K]: the estimate after each step counted, mean over the sequences.
        log_det: mean log |det J| a step, which the whole spectrum sums to; NaN where K < N.
        size: N.
        steps: T', how many were counted.
    """

    exponents: Float64[np.ndarray, " exponents"]
    each: Float64[np.ndarray, "batch exponents"]
    running: Float64[np.ndarray, "steps exponents"]
    log_det: float
    size: int
    steps: int

    @property
    def kaplan_yorke(self) -> float:
        """The Kaplan-Yorke dimension of the attractor: how many directions it fills.

        j + (e_1 + ... + e_j) / |e_{j+1}|, j the most exponents whose sum is not negative; 0 where
        the first is negative. N where all sum to no less than 0. NaN where K < N are too few to
        tell. Source: Kaplan, Yorke (1979), "Chaotic behavior of multidimensional difference
        equations", Lecture Notes in Mathematics 730.
        """
        sums = np.cumsum(self.exponents)
        if not len(sums) or sums[0] < 0:
            return 0.0
        count = int(np.nonzero(sums >= 0)[0][-1]) + 1
        if count == len(sums):
            return float(self.size) if count == self.size else float("nan")
        return count + float(sums[count - 1] / abs(self.exponents[count]))

    @property
    def horizon(self) -> float:
        """1 / |e_1|: steps in which a change has grown by a factor of e, or shrunk to 1 / e; inf
        where it stays."""
        first = abs(float(self.exponents[0]))
        return 1.0 / first if first else float("inf")


def lyapunov_spectrum(
    layer: CellStack,
    x: Any,
    *,
    index: int = 0,
    reverse: bool = False,
    num_exponents: int | None = None,
    burn_in: int = 0,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> LyapunovSpectrum:
    """The Lyapunov spectrum of a layer along `layer(x, ...)`, from exact Jacobians.

    The first steps bring the states to where they stay, and turn the frame into the directions
    that grow most: leave out `burn_in` of them.

    Args:
        layer: `rc.Recurrent` or a drop-in, of any cell.
        x: what the layer is called with; for the dynamics without input, zeros.
        index: which of its layers, from 0, the first.
        reverse: the direction that reads from the end; forward unless it is asked for.
        num_exponents: K, the first ones; None for all N.
        burn_in: steps that are not counted.
        dtype: to compute in.
        options: the layer's other arguments: state, lengths, context, memory, ...

    Raises:
        ValueError: when no step is left to count, or K is not in 1..N.

    Cost: for each step and sequence a pass back over N rows, a product and a QR of [N, K].
    """
    place = place_of(layer, index, reverse)
    run = linearized_run(call_of(layer, x, **options), place, dtype=dtype)
    return spectrum_of_run(run, num_exponents=num_exponents, burn_in=burn_in)


def spectrum_of_run(
    run: Linearized, *, num_exponents: int | None = None, burn_in: int = 0
) -> LyapunovSpectrum:
    """The same of a run that is linearised already."""
    steps, size = list(run.order), run.size
    count = size if num_exponents is None else num_exponents
    if not 1 <= count <= size:
        raise ValueError(
            f"lyapunov_spectrum: expected num_exponents in 1..{size}, the numbers in all states, "
            f"got {num_exponents}. Leave it out for all."
        )
    if not 0 <= burn_in < len(steps):
        raise ValueError(
            f"lyapunov_spectrum: expected burn_in in 0..{len(steps) - 1}, for {len(steps)} steps, "
            f"got {burn_in}. Leave a step to count."
        )
    batch = run.y.shape[1]
    with torch.no_grad():
        frame = _first_frame(size, count, run.y).expand(batch, -1, -1)
        logs = []
        for k in steps:
            frame, stretched = orthonormal(_carried(run, k, frame))
            logs.append(stretched)
        grown = torch.stack(logs[burn_in:]).double().cpu().numpy()  # [T', B, K]
        # past the end of a sequence states are held, which is no step of its own; the direction
        # from the end comes to a sequence's own first steps later
        own = run.inside[steps]
        counts = own & (own.cumsum(0) > burn_in)
        inside = counts[burn_in:].double().cpu().numpy()
        grown = np.where(inside[..., None] > 0, grown, 0.0)
    counted = inside.sum(0)
    if not counted.any():
        raise ValueError(
            f"lyapunov_spectrum: expected a sequence of more than {burn_in} steps, got none. Leave "
            f"fewer out."
        )
    has = counted > 0
    each = grown.sum(0)[has] / counted[has][:, None]
    means = each.mean(0)
    order = np.argsort(-means, kind="stable")
    sums = np.cumsum(grown[:, has], 0)
    running = (sums / np.maximum(np.cumsum(inside[:, has], 0), 1)[..., None]).mean(1)
    return LyapunovSpectrum(
        exponents=means[order],
        each=-np.sort(-each, axis=1),
        running=running[:, order],
        log_det=float(means.sum()) if count == size else float("nan"),
        size=size,
        steps=len(grown),
    )


def orthonormal(frame: Tensor) -> tuple[Tensor, Tensor]:
    """A frame [B, N, K] made orthonormal, and log |what each direction had grown to| [B, K]."""
    Q, R = torch.linalg.qr(frame)
    return Q, R.diagonal(dim1=-2, dim2=-1).abs().log()


def _carried(run: Linearized, k: int, frame: Tensor) -> Tensor:
    """[B, N, K]: J_k times the frame."""
    if frame.shape[-1] * _FEW < run.size:
        return run.push(k, frame.permute(2, 0, 1)).permute(1, 2, 0)
    return run.jacobian(k) @ frame


def _first_frame(size: int, count: int, like: Tensor) -> Tensor:
    """[N, K]: a direction for each exponent, none of which is special."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, count, generator=generator, dtype=torch.float64, device="cpu")
    return torch.linalg.qr(drawn)[0].to(like)
