"""Jacobians along a run: what one step does to small changes of the states, and what many do.

The gradient of a loss goes back through the product J_t J_{t-1} ... J_{k+1}. Its singular values
say by how much directions shrink or grow on the way; eigenvalues say what a step would do if it
were repeated.

Letters: T time, B batch, N numbers in all states together, n steps or lags looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64
from torch import Tensor

from recurra.insight.calls import call_of, chosen_steps
from recurra.insight.linearized import Linearized
from recurra.insight.runs import FromEnds, linearized_run
from recurra.insight.step import place_of
from recurra.nn.stack import CellStack

LAGS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianSpectra:
    """Of dh_t/dh_{t-1} at each step looked at; NaN past the end of a sequence, where none is.

    Attributes:
        steps: [n], which.
        singular_values: [n, B, N], falling: by how much a step stretches directions.
        eigenvalues: [n, B, N], by falling size.
    """

    steps: Int64[np.ndarray, " steps"]
    singular_values: Float64[np.ndarray, "steps batch size"]
    eigenvalues: Complex128[np.ndarray, "steps batch size"]

    @property
    def radius(self) -> Float64[np.ndarray, "steps batch"]:
        """[n, B]: the spectral radius, the size of the largest eigenvalue."""
        return np.abs(self.eigenvalues[..., 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianProducts:
    """Of dh_T/dh_{T-l}, the product of the last l Jacobians of each sequence.

    Attributes:
        lags: [n], the numbers l of Jacobians.
        log_singular_values: [n, B, N], natural logarithms, falling. NaN where a value is less than
            rounding has left of it beside the largest, and of a sequence of fewer steps.
        log_bound: [n, B]: the sum of log |J| over the steps, which the first cannot exceed; NaN of
            a sequence of fewer steps.
    """

    lags: Int64[np.ndarray, " lags"]
    log_singular_values: Float64[np.ndarray, "lags batch size"]
    log_bound: Float64[np.ndarray, "lags batch"]


def jacobian_spectra(
    layer: CellStack,
    x: Any,
    *,
    index: int = 0,
    reverse: bool = False,
    steps: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> JacobianSpectra:
    """Singular values and eigenvalues of the exact Jacobians along `layer(x, ...)`.

    Args:
        layer: `rc.Recurrent` or a drop-in, of any cell.
        x: what the layer is called with.
        index: which of its layers.
        reverse: the direction that reads from the end.
        steps: which to look at; None for all that a sequence has.
        dtype: to compute in.
        options: the layer's other arguments: state, lengths, context, memory, ...

    Raises:
        ValueError: when there is no such step.
    """
    run = _run(layer, x, index, reverse, dtype, options)
    inside = run.inside
    has = inside.any(1).tolist()
    asked = [k for k in run.order if has[k]] if steps is None else steps
    chosen = chosen_steps("jacobian_spectra, steps", asked, len(run.order))
    singular, eigen = [], []
    with torch.no_grad():
        for k in chosen:
            J = run.jacobian(k)
            own = inside[k, :, None]
            singular.append(torch.where(own, torch.linalg.svdvals(J), torch.nan))
            eigen.append(torch.where(own, torch.linalg.eigvals(J), torch.nan))
    values = torch.stack(eigen).cpu().numpy().astype(np.complex128)
    falling = np.argsort(-np.abs(values), axis=-1, kind="stable")
    return JacobianSpectra(
        steps=np.array(chosen, dtype=np.int64),
        singular_values=torch.stack(singular).double().cpu().numpy(),
        eigenvalues=np.take_along_axis(values, falling, axis=-1),
    )


def jacobian_products(
    layer: CellStack,
    x: Any,
    *,
    index: int = 0,
    reverse: bool = False,
    lags: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> JacobianProducts:
    """Singular values of products of Jacobians of `layer(x, ...)` that end at the last step of each
    sequence.

    Args:
        lags: how many Jacobians to multiply; None for 1, 2, 5, 10, ... up to T.

    Others as for `jacobian_spectra`.

    Raises:
        ValueError: when a lag is not in 1..T.
    """
    run = _run(layer, x, index, reverse, dtype, options)
    order, ends = list(run.order), FromEnds(run)
    chosen = _lags(lags, ends.longest)
    places = ends.places(chosen)
    batch = run.y.shape[1]
    with torch.no_grad():
        product = torch.eye(run.size, dtype=dtype, device=run.y.device).expand(batch, -1, -1)
        log_scale = torch.zeros(batch, dtype=torch.float64, device=run.y.device)
        bound = torch.zeros_like(log_scale)
        values, bounds = {}, {}
        for place, k in enumerate(order[: -places[-1] - 1 : -1], 1):
            J = run.jacobian(k)
            bound = bound + torch.linalg.matrix_norm(J, 2).double().log()
            product = product @ J
            size = torch.linalg.matrix_norm(product).clamp(min=torch.finfo(dtype).tiny)
            product, log_scale = product / size[:, None, None], log_scale + size.double().log()
            if place in places:
                values[place] = _log_singular_values(product) + log_scale[:, None]
                bounds[place] = bound
    return JacobianProducts(
        lags=np.array(chosen, dtype=np.int64),
        log_singular_values=ends.at(chosen, values).cpu().numpy(),
        log_bound=ends.at(chosen, bounds).cpu().numpy(),
    )


def _run(
    layer: CellStack,
    x: Any,
    index: int,
    reverse: bool,
    dtype: torch.dtype,
    options: dict[str, Any],
) -> Linearized:
    place = place_of(layer, index, reverse)
    return linearized_run(call_of(layer, x, **options), place, dtype=dtype)


def _lags(lags: Sequence[int] | None, steps: int) -> list[int]:
    chosen = sorted({lag for lag in LAGS if lag <= steps} if lags is None else set(lags))
    wrong = [lag for lag in chosen if not 1 <= lag <= steps]
    if wrong or not chosen:
        raise ValueError(
            f"jacobian_products: expected lags in 1..{steps}, for {steps} steps, got "
            f"{wrong[0] if wrong else 'none'}. A lag is how many Jacobians are multiplied."
        )
    return chosen


def _log_singular_values(product: Tensor) -> Tensor:
    """[B, N]: NaN for those that are rounding."""
    values = torch.linalg.svdvals(product).double()
    least = values[:, :1] * values.shape[-1] * torch.finfo(product.dtype).eps
    return torch.where(values > least, values.log(), torch.nan)
