"""Whether gradients vanish or explode through a layer, and what the theorem says about it.

For h_t = f(W h_{t-1} + ...) the Jacobian of a step is diag(f'(z_t)) W, of norm at most gamma
sigma_1(W), where |f'| <= gamma. So with eta = gamma sigma_1(W) below 1 what reaches step k of a
loss at t is at most eta^(t-k) of it: sufficient for vanishing. Above 1 is necessary for exploding
and not sufficient: where units are saturated f' is far below gamma, and nothing grows.

Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural networks",
ICML, arXiv:1211.5063, section 2.1 and the supplement.

Letters: B batch, N numbers in all states together, L lags.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from recurra.insight.calls import call_of
from recurra.insight.linearized import Linearized
from recurra.insight.runs import FromEnds, linearized_run
from recurra.insight.step import place_of
from recurra.ir import Node, topological
from recurra.lang import Cell
from recurra.nn import Recurrent
from recurra.nn.stack import CellStack

# the largest |f'|; of gelu and silu at their only maximum
_GAMMA = {
    "tanh": 1.0,
    "sigmoid": 0.25,
    "relu": 1.0,
    "softplus": 1.0,
    "sin": 1.0,
    "cos": 1.0,
    "erf": 2 / math.sqrt(math.pi),
    "abs": 1.0,
    "clamp": 1.0,
    "gelu": 1.129,
    "silu": 1.0999,
}
_FACTOR = 100.0  # to what part, or how many times, a gradient must come to be called vanished


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleRecurrence:
    """A cell of the form h_t = f(W h_{t-1} + ...).

    Attributes:
        parameter: the name of W.
        activation: f; "identity" for none.
        gamma: the largest |f'|.
    """

    parameter: str
    activation: str
    gamma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanishing:
    """What reaches earlier steps of a loss at the last one, and bounds of it.

    Of sequences of several lengths each counts from its own last step, and is NaN at lags beyond
    its first.

    Attributes:
        lags: [L], 0, 1, ...: how many steps before the last.
        gradient: [L, B]: the norm of a loss's gradient, of norm 1 at the last step.
        product_norm: [L, B]: the norm of the product of the Jacobians between, the most that any
            gradient can keep.
        product_of_norms: [L, B]: the product of their norms, a bound of that.
        largest: [L - 1, B]: the norm of each Jacobian, from the last step back.
        simple: W, f and gamma, where the cell has that form; None where not.
        sigma: the largest singular value of W.
        eta: gamma sigma; where the cell has no such form the largest norm of a Jacobian that was
            met, which bounds this run alone.
    """

    lags: Int64[np.ndarray, " lags"]
    gradient: Float64[np.ndarray, "lags batch"]
    product_norm: Float64[np.ndarray, "lags batch"]
    product_of_norms: Float64[np.ndarray, "lags batch"]
    largest: Float64[np.ndarray, "steps batch"]
    simple: SimpleRecurrence | None
    sigma: float | None
    eta: float

    @property
    def bound(self) -> Float64[np.ndarray, " lags"]:
        """[L]: eta^lag."""
        with np.errstate(over="ignore"):
            return np.power(self.eta, self.lags.astype(np.float64))

    @property
    def factor(self) -> float:
        """By what a gradient was multiplied in a step, in the geometric mean; 0 where none is
        left."""
        last = float(np.nanmean(self.product_norm[-1]))
        return last ** (1 / int(self.lags[-1]))

    @property
    def kind(self) -> str:
        """ "vanishes", "explodes", or "holds": to a hundredth or a hundredfold at the last lag."""
        last = float(np.nanmean(self.product_norm[-1]))
        if last < 1 / _FACTOR:
            return "vanishes"
        return "explodes" if last > _FACTOR else "holds"

    def verdict(self) -> str:
        """What was found and what the theorem says, in two or three sentences."""
        lag, last = int(self.lags[-1]), float(np.nanmean(self.product_norm[-1]))
        found = {
            "vanishes": f"The gradient vanishes: at most {last:.2g} of it is left {lag} steps back",
            "explodes": f"The gradient explodes: it grows up to {last:.2g} times in {lag} steps",
            "holds": "The gradient neither vanishes nor explodes: at most "
            f"{last:.2g} of it is left {lag} steps back",
        }[self.kind]
        return f"{found} ({self.factor:.3g} a step). {self._theorem()}"

    def _theorem(self) -> str:
        """The theorem's part of the verdict."""
        if self.simple is None or self.sigma is None:
            worst = "could not have grown" if self.eta < 1 else "could have grown"
            return (
                f"The theorem is about h = f(W h + ...), which this cell is not; the Jacobians of "
                f"this run have norms up to {self.eta:.3g}, by which a gradient {worst}."
            )
        gamma, name = self.simple.gamma, self.simple.parameter
        limit = f"1/gamma = {1 / gamma:.3g}"
        if self.eta < 1:
            return (
                f"The largest singular value of {name}, {self.sigma:.3g}, is below {limit}: it "
                f"must vanish, at least as fast as {self.eta:.3g} to the power of the lag."
            )
        above = (
            f"The largest singular value of {name}, {self.sigma:.3g}, is not below {limit}: it may "
            f"explode, but need not"
        )
        if self.kind == "explodes":
            return f"{above}; here it does."
        used = float(np.nanmean(self.largest)) / self.sigma
        kept = self.factor / self.sigma
        flat = f", as {self.simple.activation} is flat where the units are" if used < 0.995 else ""
        return (
            f"{above}. The Jacobian of a single step has {used:.0%} of it on average{flat}; the "
            f"product of all {int(self.lags[-1])} has {kept:.0%} of it a step, as directions turn "
            f"away from those that {name} stretches."
        )


def simple_recurrence(cell: Cell) -> SimpleRecurrence | None:
    """W, f and gamma of a cell h_t = f(W h_{t-1} + ...); None of any other.

    What is added may be anything that does not depend on the state.
    """
    equations = cell.evaluation.equations
    states = [node for node in equations.inputs if node.attr("kind") == "state"]
    if len(states) != 1:
        return None
    state = states[0]
    new = equations.output(state.name)
    activation, gamma = "identity", 1.0
    if new.op in _GAMMA or new.op in ("leaky_relu", "elu"):
        activation, gamma = new.op, _gamma(new)
        new = new.inputs[0]
    matrix = _only_product(new, state)
    return (
        None
        if matrix is None
        else SimpleRecurrence(parameter=matrix, activation=activation, gamma=gamma)
    )


def _gamma(node: Node) -> float:
    if node.op == "leaky_relu":
        return max(1.0, abs(float(node.attr("slope"))))
    return max(1.0, abs(float(node.attr("alpha")))) if node.op == "elu" else _GAMMA[node.op]


def _only_product(node: Node, state: Node) -> str | None:
    """The parameter W of a sum of W @ state and what does not depend on the state."""
    if node.op in ("add", "sub"):
        reading = [child for child in node.inputs if state in topological([child])]
        return _only_product(reading[0], state) if len(reading) == 1 else None
    if node.op != "matvec" or node.inputs[1] is not state:
        return None
    matrix = node.inputs[0]
    is_parameter = matrix.op == "input" and matrix.attr("kind") == "parameter"
    return matrix.name if is_parameter else None


def vanishing(
    layer: CellStack,
    x: Any,
    *,
    index: int = 0,
    reverse: bool = False,
    max_lag: int = 100,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Vanishing:
    """What reaches earlier steps of a loss at the last step of each sequence, with its bounds.

    Args:
        layer: `rc.Recurrent` or a drop-in, of any cell.
        x: what the layer is called with, in `layer(x, ...)`.
        index: which of its layers.
        reverse: the direction that reads from the end.
        max_lag: how far back to look, a step at least, and at most to the first.
        seed: of the direction of the loss's gradient.
        dtype: to compute in.
        options: the layer's other arguments: state, lengths, context, memory, ...

    Raises:
        ValueError: when no lag is left to look at.

    Cost: for each step back a pass over N rows, a product and two singular values of [N, N].
    """
    if max_lag < 1:
        raise ValueError(
            f"vanishing: expected max_lag of 1 or more, got {max_lag}. At lag 0 nothing has become "
            f"of a gradient yet."
        )
    place = place_of(layer, index, reverse)
    run = linearized_run(call_of(layer, x, **options), place, dtype=dtype)
    return vanishing_of_run(run, layer, place, max_lag=max_lag, seed=seed)


def vanishing_of_run(
    run: Linearized, layer: CellStack, place: tuple[int, int], *, max_lag: int = 100, seed: int = 0
) -> Vanishing:
    """The same of a run that is linearised already, of a layer and one of its `places`."""
    with torch.no_grad():
        found = _back(run, max_lag, seed)
    simple = simple_recurrence(layer.cell)
    sigma, eta = None, float(np.nanmax(found["largest"]))
    if simple is not None:
        W = layer.parameters_of(*place)[simple.parameter].detach().to(run.dtype)
        sigma = float(torch.linalg.matrix_norm(W, 2))
        eta = simple.gamma * sigma
    return Vanishing(
        lags=np.arange(len(found["gradient"]), dtype=np.int64),
        simple=simple,
        sigma=sigma,
        eta=eta,
        **found,
    )


def _back(run: Linearized, max_lag: int, seed: int) -> dict[str, Any]:
    """The measured fields of `Vanishing`, [L, B] each."""
    batch, size = run.y.shape[1], run.size
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(batch, 1, size, generator=generator, dtype=torch.float64, device="cpu").to(
        run.y
    )
    d = drawn / drawn.norm(dim=-1, keepdim=True)
    product = torch.eye(size, dtype=run.dtype, device=run.y.device).expand(batch, -1, -1)
    ones = torch.ones(batch, dtype=run.dtype, device=run.y.device)
    ends = FromEnds(run)
    if not ends.longest:
        raise ValueError("vanishing: expected a sequence that has steps, got none. Give others.")
    lags = range(min(max_lag, ends.longest) + 1)
    places = ends.places(lags)
    gradient, norms, largest = [ones], [ones], [ones]
    for k in list(run.order)[::-1][: places[-1]]:
        J = run.jacobian(k)
        d, product = d @ J, product @ J
        gradient.append(d.norm(dim=-1)[:, 0])
        norms.append(torch.linalg.matrix_norm(product, 2))
        largest.append(torch.linalg.matrix_norm(J, 2))
    # a held step, past a sequence's end, is the identity and leaves all of them as they are
    walked: dict[str, Sequence[Tensor]] = {
        "gradient": gradient,
        "product_norm": norms,
        "product_of_norms": list(torch.stack(largest).cumprod(0)),
        "largest": largest,
    }
    found = {name: ends.at(lags, dict(enumerate(rows))) for name, rows in walked.items()}
    found["largest"] = found["largest"][1:]
    return {name: value.double().cpu().numpy() for name, value in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterExample:
    """One matrix, on two inputs: above 1/gamma gradients can explode, and need not.

    Attributes:
        layer: a tanh RNN whose W_hh has all its singular values at the gain.
        exploding: without input, from states near zero.
        saturated: with an input that drives every unit to where tanh is flat.
    """

    layer: Recurrent
    exploding: Vanishing
    saturated: Vanishing


def counterexample(
    gain: float = 1.5, hidden_size: int = 32, steps: int = 50, seed: int = 0
) -> CounterExample:
    """A largest singular value above 1/gamma that explodes on one input and not on another.

    Args:
        gain: of W_hh, an orthogonal matrix times that.
        hidden_size: H.
        steps: T.
        seed: of W_hh, the first state and the signs of the input.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

    layer = Recurrent(
        "rnn", hidden_size, hidden_size, dtype=torch.float64, device="cpu", backend="reference"
    )
    with torch.no_grad():
        turn = torch.linalg.qr(drawn(hidden_size, hidden_size))[0]
        layer.get_parameter("W_hh_l0").copy_(gain * turn)
        layer.get_parameter("W_xh_l0").copy_(
            torch.eye(hidden_size, dtype=torch.float64, device="cpu")
        )
        layer.get_parameter("b_h_l0").zero_()
    still = torch.zeros(steps, 1, hidden_size, dtype=torch.float64, device="cpu")
    first = 1e-9 * drawn(1, 1, hidden_size)
    pushed = still + 6.0 * drawn(hidden_size).sign()
    return CounterExample(
        layer=layer,
        exploding=vanishing(layer, still, state=first, max_lag=steps, seed=seed),
        saturated=vanishing(layer, pushed, state=first, max_lag=steps, seed=seed),
    )
