"""Fixed and slow points of a recurrence under a constant input, and what the steps near them do.

A trained network is a map h -> F(h, x). Where it stands still, and where it hardly moves, says what
it remembers: stable points are memories, saddles decide between them, a line of slow points
integrates. There F is about linear, and the eigenvalues of its Jacobian say how fast each direction
decays.

Letters: P points, N numbers in all states of the layer together, T time, B batch, C components.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.insight import style
from recurra.insight.step import OneStep

FIXED = 1e-14  # speed below which a point is fixed as far as float64 can tell: |F(h) - h| < 2e-7
_DAMPING = (1e-3, 1e-12, 1e8)  # of Levenberg's: at first, at least, and where a search gives up
_ROWS = 4_000_000  # numbers in the Jacobians of the points that are searched from at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoints:
    """Where a map stands still, or nearly; the slowest first.

    Attributes:
        points: [P, N], all states as one vector each, in the order of the cell's states.
        speeds: [P], q = |F(h) - h|^2 / 2.
        eigenvalues: [P, N] complex, of the Jacobian there, by falling modulus.
        time_constants: [P, N], steps in which a change along that eigenvector falls (or, where it
            is negative, grows) to a share of 1 / e: -1 / log |eigenvalue|; inf where it stays.
        counts: [P] int64, of the searches that ended there.
        distances: [P], to the nearest of the states that were searched from.
        searches: how many there were; those that ended where it is not slow gave no point.
    """

    points: np.ndarray
    speeds: np.ndarray
    eigenvalues: np.ndarray
    time_constants: np.ndarray
    counts: np.ndarray
    distances: np.ndarray
    searches: int

    def __len__(self) -> int:
        return len(self.points)

    @property
    def is_fixed(self) -> np.ndarray:
        """[P] bool: the map stands still there as far as can be told; the others are slow."""
        return self.speeds <= FIXED

    @property
    def unstable(self) -> np.ndarray:
        """[P] int64: the directions that grow, whose eigenvalue has a modulus above 1."""
        return (np.abs(self.eigenvalues) > 1.0).sum(1)

    @property
    def is_stable(self) -> np.ndarray:
        """[P] bool: no direction grows."""
        return self.unstable == 0

    @property
    def leading(self) -> np.ndarray:
        """[P]: the largest modulus of the eigenvalues."""
        return np.abs(self.eigenvalues).max(1, initial=0.0)


def states_seen(step: OneStep, x: Tensor, first: Tensor | None = None) -> Tensor:
    """The states that a layer goes through while it reads, [T + 1, B, N], from the first on.

    Args:
        step: the map.
        x: [T, B, I] features, or [T, B] token ids.
        first: [B, N], what it starts from; None for what the layer does.
    """
    with torch.no_grad():
        states = [step.first(x.shape[1]) if first is None else first]
        for t, x_t in enumerate(x):
            states.append(step(states[-1], x_t, t=t))
    return torch.stack(states)


def find_fixed_points(
    step: OneStep,
    starts: Tensor,
    x: Tensor | None = None,
    *,
    tolerance: float = 1e-20,
    noise: float = 0.0,
    searches: int = 256,
    iterations: int = 200,
    distance: float | None = None,
    seed: int = 0,
) -> FixedPoints:
    """Points where h = F(h, x), or where h hardly moves, found from many states at once.

    Minimises the speed q(h) = |F(h, x) - h|^2 / 2 from each start, by Levenberg's method with the
    exact Jacobian J of F: (A^T A + mu I) d = -A^T (F(h) - h), A = J - I, mu smaller after a step
    that helped and larger after one that did not. A search ends where q is at most `tolerance`, so
    that a large one, 1e-6 say, gives slow points near to where they were seen, as along a line that
    integrates; a small one goes on to the fixed points. Local minima of q above the tolerance are
    no points. What ends closer than `distance` is one point, the slowest of them.

    Args:
        step: the map, as `OneStep(layer, dtype=torch.float64)`: in float32 rounding keeps speeds
            above a small tolerance.
        starts: [..., N], states seen on trajectories, as `states_seen` gives them; `searches` of
            them are drawn.
        x: [I], the constant input, or a token id []; None is an input of zeros.
        tolerance: of the speed.
        noise: standard deviation of what is added to each start, times that of all starts.
        searches: at most.
        iterations: of each search, at most.
        distance: None: a hundredth of the root mean square distance of the starts from their mean.
        seed: of what is drawn.
    Raises:
        ValueError: when the starts are of another size, or not finite.
    Source: Sussillo, Barak (2013), "Opening the Black Box: Low-Dimensional Dynamics in
    High-Dimensional Recurrent Neural Networks", Neural Computation 25(3), section 3.
    Cost: an iteration is a pass back over N rows and a linear system [N, N] for each search.
    """
    seen = starts.detach().reshape(-1, starts.shape[-1]).to(step.dtype)
    if seen.shape[1] != step.size or not len(seen) or not bool(torch.isfinite(seen).all()):
        raise ValueError(
            f"starts: expected finite states [..., {step.size}], got {list(starts.shape)}. Take "
            "those of states_seen."
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(seen), generator=generator, dtype=torch.int64, device="cpu")[
        :searches
    ]
    spread = float((seen - seen.mean(0)).square().sum(1).mean().sqrt()) or 1.0
    begun = seen[chosen]
    if noise:
        drawn = torch.randn(begun.shape, generator=generator, dtype=torch.float64, device="cpu").to(
            begun
        )
        begun = begun + noise * spread / step.size**0.5 * drawn
    constant = _input(step, x)
    size = max(1, _ROWS // step.size**2)
    parts = [_search(step, part, constant, tolerance, iterations) for part in begun.split(size)]
    found, speeds = (torch.cat(each) for each in zip(*parts, strict=True))
    slow = speeds <= tolerance
    kept, counts = _distinct(
        found[slow], speeds[slow], 0.01 * spread if distance is None else distance
    )
    points, own = found[slow][kept], speeds[slow][kept]
    with torch.no_grad():
        jacobians = [step.jacobian(part, constant) for part in points.split(size)]
    return _described(points, own, jacobians, counts, seen, len(begun))


def _input(step: OneStep, x: Tensor | None) -> Tensor | None:
    """The constant input as a batch of one."""
    if step.layer.cell.input is None:
        return None
    if x is None:
        return torch.zeros(1, step.input_size, dtype=step.dtype, device=step.layer.home.device)
    return x.reshape(1) if x.dtype == torch.int64 else x.reshape(1, -1)


def _search(
    step: OneStep, h: Tensor, x: Tensor | None, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Where Levenberg's method comes to from each row of h [P, N], and the speeds [P] there."""
    h = h.clone()
    eye = torch.eye(step.size, dtype=h.dtype, device=h.device)
    first, least, most = _DAMPING
    with torch.no_grad():
        off = step(h, x) - h
        speed = 0.5 * off.square().sum(1)
        damping = torch.full_like(speed, first)
        for _ in range(iterations):
            rows = ((speed > tolerance) & (damping < most)).nonzero()[:, 0]
            if not len(rows):
                break
            A = step.jacobian(h[rows], x) - eye
            normal = A.transpose(1, 2) @ A + damping[rows, None, None] * eye
            gradient = (A.transpose(1, 2) @ off[rows, :, None])[..., 0]
            # what rounding makes singular gives no finite step, which does not help
            ahead = h[rows] - torch.linalg.solve_ex(normal, gradient).result
            off_ahead = step(ahead, x) - ahead
            speed_ahead = 0.5 * off_ahead.square().sum(1)
            helped = speed_ahead < speed[rows]
            better = rows[helped]
            h[better], off[better] = ahead[helped], off_ahead[helped]
            speed[better] = speed_ahead[helped]
            damping[rows] = torch.where(helped, damping[rows] / 10, damping[rows] * 10)
            damping.clamp_(min=least)
    return h, speed


def _distinct(points: Tensor, speeds: Tensor, distance: float) -> tuple[Tensor, np.ndarray]:
    """Which points stand for those around them, the slowest first, and for how many each does."""
    kept: list[int] = []
    counts: list[int] = []
    order = speeds.argsort(stable=True)
    for index in order.tolist():
        if kept:
            near = (points[kept] - points[index]).norm(dim=1)
            closest = int(near.argmin())
            if float(near[closest]) <= distance:
                counts[closest] += 1
                continue
        kept.append(index)
        counts.append(1)
    return torch.tensor(kept, dtype=torch.int64, device="cpu"), np.array(counts, dtype=np.int64)


def _described(
    points: Tensor,
    speeds: Tensor,
    jacobians: list[Tensor],
    counts: np.ndarray,
    seen: Tensor,
    searches: int,
) -> FixedPoints:
    size = points.shape[1]
    eigenvalues = np.zeros((0, size), dtype=complex)
    distances = np.zeros(0)
    if len(points):
        found = np.linalg.eigvals(torch.cat(jacobians).double().cpu().numpy())
        order = np.argsort(-np.abs(found), axis=1, kind="stable")
        eigenvalues = np.take_along_axis(found.astype(complex), order, axis=1)
        distances = torch.cdist(points, seen).min(1).values.cpu().numpy()
    return FixedPoints(
        points=points.cpu().numpy(),
        speeds=speeds.cpu().numpy(),
        eigenvalues=eigenvalues,
        time_constants=time_constants(eigenvalues),
        counts=counts,
        distances=distances,
        searches=searches,
    )


def time_constants(eigenvalues: np.ndarray) -> np.ndarray:
    """Steps in which a change along each eigenvector falls to 1 / e: -1 / log |eigenvalue|; 0 where
    it is gone at once, inf where it stays, negative where it grows."""
    modulus = np.abs(eigenvalues)
    with np.errstate(divide="ignore"):
        rates = np.log(modulus)
    return np.where(rates == 0.0, np.inf, -1.0 / np.where(rates == 0.0, 1.0, rates))


# ---- what is seen of them ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The first principal components of states.

    Attributes:
        mean: [N].
        components: [C, N], of norm 1.
        shares: [C], of the variance that lies along each.
    """

    mean: np.ndarray
    components: np.ndarray
    shares: np.ndarray

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """States [..., N] along the components, [..., C]."""
        return (states - self.mean) @ self.components.T


def principal_components(states: np.ndarray, components: int = 3) -> Projection:
    """The directions [C, N] along which states [..., N] vary most; of each the entry that is
    largest in size is positive."""
    rows = np.asarray(states, dtype=float).reshape(-1, np.shape(states)[-1])
    mean = rows.mean(0)
    _, lengths, directions = np.linalg.svd(rows - mean, full_matrices=False)
    own = directions[:components]
    largest = np.take_along_axis(own, np.abs(own).argmax(1)[:, None], axis=1)
    variance = lengths**2
    shares = variance / max(variance.sum(), np.finfo(float).tiny)
    return Projection(mean=mean, components=own * np.sign(largest), shares=shares[:components])


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLine:
    """Slow points along the direction in which they spread most.

    Attributes:
        position: [P], along the first principal component of the points, rising.
        belief: [P], what the read-out says there, such as a difference of two logits.
        leading: [P], the largest modulus of an eigenvalue there.
        share: of the points' variance that lies along the line.
        correlation: of position and belief.
    """

    position: np.ndarray
    belief: np.ndarray
    leading: np.ndarray
    share: float
    correlation: float


def slow_line(
    points: FixedPoints, belief: Callable[[np.ndarray], np.ndarray], *, leading: float = 0.95
) -> SlowLine:
    """The line along which points of large eigenvalues lie, and the belief along it.

    A classifier of text that was trained on sentiment keeps its belief as the place on a line of
    points that hardly move: each word shifts it, and it stays.

    Args:
        points: with a tolerance at which they are slow, not fixed.
        belief: of points [P, N], [P].
        leading: the smallest largest eigenvalue that a point may have.
    Raises:
        ValueError: when fewer than three points have such an eigenvalue.
    Source: Maheswaranathan et al. (2019), "Reverse engineering recurrent networks for sentiment
    classification reveals line attractor dynamics", NeurIPS, arXiv:1906.10720, section 4.
    """
    slow = points.leading >= leading
    if slow.sum() < 3:
        raise ValueError(
            f"points: expected three or more with an eigenvalue of at least {leading:g}, got "
            f"{int(slow.sum())} of {len(points)}. Raise the tolerance of the search."
        )
    own = points.points[slow]
    along = principal_components(own, 1)
    position = along(own)[:, 0]
    order = np.argsort(position, kind="stable")
    said = np.asarray(belief(own), dtype=float)
    return SlowLine(
        position=position[order],
        belief=said[order],
        leading=points.leading[slow][order],
        share=float(along.shares[0]),
        correlation=float(np.corrcoef(position, said)[0, 1]),
    )


# ---- drawing -------------------------------------------------------------------------------------

_STABLE, _SADDLE, _PATH = style.GREEN, style.RED, style.GREY


def draw_fixed_points(
    points: FixedPoints,
    trajectories: np.ndarray,
    axes: Any,
    *,
    most: int = 24,
) -> Projection:
    """Draw points and trajectories in the first principal components of the trajectories.

    Stable points are filled, the others open, larger where more directions grow.

    Args:
        points: to draw.
        trajectories: [T, B, N].
        axes: of matplotlib; three components on axes of three dimensions, else two.
        most: trajectories that are drawn.
    Returns:
        What was projected on.
    """
    count = 3 if hasattr(axes, "get_zlim") else 2
    on = _padded(principal_components(trajectories, count), count)
    paths = on(trajectories)
    for b in range(min(most, paths.shape[1])):
        axes.plot(*paths[:, b].T, color=_PATH, linewidth=0.6, alpha=0.6, zorder=1)
    shown = on(points.points)
    stable = points.is_stable
    if stable.any():
        axes.scatter(*shown[stable].T, color=_STABLE, s=40, zorder=3, label="stable")
    if (~stable).any():
        sizes = 20 + 12 * points.unstable[~stable]
        axes.scatter(
            *shown[~stable].T,
            s=sizes,
            facecolors="none",
            edgecolors=_SADDLE,
            zorder=3,
            label="saddle",
        )
    names = [f"component {i + 1} ({share:.0%})" for i, share in enumerate(on.shares)]
    for set_label, name in zip(
        (axes.set_xlabel, axes.set_ylabel, getattr(axes, "set_zlabel", None)), names, strict=False
    ):
        if set_label is not None:
            set_label(name)
    if len(points):
        axes.legend()
    return on


def _padded(on: Projection, count: int) -> Projection:
    """With components of zeros where states have fewer numbers than axes."""
    missing = max(0, count - len(on.components))
    return Projection(
        mean=on.mean,
        components=np.pad(on.components, ((0, missing), (0, 0))),
        shares=np.pad(on.shares, (0, missing)),
    )


def draw_eigenvalues(points: FixedPoints, axes: Any) -> None:
    """Draw the eigenvalues at each point in the complex plane, with the unit circle."""
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=style.FAINT, linewidth=0.8)
    for stable, colour in ((True, _STABLE), (False, _SADDLE)):
        own = points.eigenvalues[points.is_stable == stable].ravel()
        axes.scatter(np.real(own), np.imag(own), s=8, color=colour, alpha=0.7)
    axes.set_aspect("equal")
    axes.set_xlabel("real")
    axes.set_ylabel("imaginary")


def draw_slow_line(line: SlowLine, axes: Any) -> None:
    """Draw the belief along a line of slow points, coloured by the largest eigenvalue."""
    drawn = axes.scatter(line.position, line.belief, c=line.leading, s=22, cmap=style.sequential())
    axes.axhline(0.0, color=style.FAINT, linewidth=0.8)
    axes.set_xlabel(f"place along the line ({line.share:.0%} of the points' variance)")
    axes.set_ylabel("belief")
    axes.figure.colorbar(drawn, ax=axes, label="largest eigenvalue")
