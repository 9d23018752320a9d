"""Error surfaces: the cliff of Pascanu et al., descent on it with and without clipping, and the
loss of any model over a plane of its weights.

A point of a surface is two numbers: (w, b) of the one-unit network, or how far along each of two
directions the weights of a model are. `descend` takes any function of a point, so that the path on
the textbook's cliff and the path on a model's own surface are computed, and drawn, the same way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.insight import style

Slope = Callable[[np.ndarray], tuple[float, np.ndarray]]  # a point -> loss, gradient there

# Of the example: x_0, the target of sigma(x_50), and the number of steps, as in the paper.
FIRST, TARGET, STEPS = 0.5, 0.7, 50
# A descent from the plateau: near enough to the cliff that a step of it meets the wall.
CLIFF_START, CLIFF_LR, CLIFF_MAX_NORM = (5.5, -3.3), 0.5, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A loss over a grid of points.

    Attributes:
        x: [X], the first coordinate of the points.
        y: [Y], the second.
        loss: [Y, X].
        names: what the coordinates are, as axes are labelled.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    names: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """A path of gradient descent.

    Attributes:
        points: [N + 1, P], from the start to where N steps lead.
        loss: [N + 1], at each point.
        norms: [N], of the gradient before each step, before clipping.
        max_norm: that gradients were clipped to; None: they were not.
    """

    points: np.ndarray
    loss: np.ndarray
    norms: np.ndarray
    max_norm: float | None

    @property
    def largest_rise(self) -> float:
        """The largest factor by which the loss rose in one step; 0 without a step."""
        before = np.maximum(self.loss[:-1], np.finfo(float).tiny)
        return float((self.loss[1:] / before).max(initial=0.0))

    @property
    def clipped(self) -> float:
        """The share of steps whose gradient was longer than `max_norm`; 0 without clipping."""
        if self.max_norm is None or not len(self.norms):
            return 0.0
        return float((self.norms > self.max_norm).mean())


def descend(
    slope: Slope,
    start: Sequence[float] | np.ndarray,
    *,
    lr: float,
    steps: int,
    max_norm: float | None = None,
) -> Descent:
    """The path of gradient descent from a point, its gradients clipped by their norm or not.

    theta <- theta - lr g min(1, max_norm / |g|). The path ends early where a number is not finite.

    Args:
        slope: the loss and the gradient [P] at a point [P].
        start: [P].
        lr: learning rate.
        steps: N, at most.
        max_norm: the longest that a gradient may be; None: as it is.
    Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural
    networks", arXiv:1211.5063, algorithm 1.
    """
    point = np.array(start, dtype=float)
    value, gradient = slope(point)
    points, loss, norms = [point], [value], []
    for _ in range(steps):
        norm = float(np.linalg.norm(gradient))
        if not np.isfinite(norm):
            break
        scale = 1.0 if max_norm is None else min(1.0, max_norm / max(norm, 1e-300))
        point = point - lr * scale * gradient
        value, gradient = slope(point)
        points.append(point)
        loss.append(value)
        norms.append(norm)
    return Descent(
        points=np.array(points), loss=np.array(loss), norms=np.array(norms), max_norm=max_norm
    )


# ---- the cliff -----------------------------------------------------------------------------------


def cliff_loss(
    w: Any, b: Any, *, steps: int = STEPS, first: float = FIRST, target: float = TARGET
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of a network of one unit, and its gradient, both exactly.

    x_t = w sigma(x_{t-1}) + b, no input; L = (sigma(x_T) - target)^2. The derivatives of x_t by w
    and b are carried along: d x_t / d theta = d+ x_t / d theta + w sigma'(x_{t-1}) d x_{t-1} / d
    theta. Where w sigma' is above 1 for all steps they grow exponentially: that is the wall.

    Args:
        w: any shape that goes with that of b.
        b: any shape that goes with that of w.
        steps: T.
        first: x_0.
        target: of sigma(x_T).
    Returns:
        The loss, of the shape of w + b; the gradient, [2] more dimensions in front: by w, by b.
    Source: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063, section 2.3 and figure 6.
    """
    w, b = np.broadcast_arrays(np.asarray(w, dtype=float), np.asarray(b, dtype=float))
    x = np.full(w.shape, float(first))
    by_w, by_b = np.zeros(w.shape), np.zeros(w.shape)
    for _ in range(steps):
        unit = _sigmoid(x)
        gain = w * unit * (1.0 - unit)
        x, by_w, by_b = w * unit + b, unit + gain * by_w, 1.0 + gain * by_b
    unit = _sigmoid(x)
    by_x = 2.0 * (unit - target) * unit * (1.0 - unit)
    return np.asarray((unit - target) ** 2), np.stack([by_x * by_w, by_x * by_b])


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # without an exp that overflows


def cliff_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and the gradient of the example at (w, b), as `descend` takes it."""
    loss, gradient = cliff_loss(point[0], point[1])
    return float(loss), gradient


def cliff_surface(
    w: tuple[float, float] = (3.0, 6.5), b: tuple[float, float] = (-4.0, -1.5), points: int = 201
) -> Surface:
    """The loss of the example over (w, b), `points` along each."""
    x, y = np.linspace(*w, points), np.linspace(*b, points)
    loss, _ = cliff_loss(x[None, :], y[:, None])
    return Surface(x=x, y=y, loss=loss, names=("w", "b"))


def cliff_descents(steps: int = 400) -> tuple[Descent, Descent]:
    """Descent on the cliff from the same point: first without clipping, then with it."""
    free = descend(cliff_slope, CLIFF_START, lr=CLIFF_LR, steps=steps)
    return free, descend(
        cliff_slope, CLIFF_START, lr=CLIFF_LR, steps=steps, max_norm=CLIFF_MAX_NORM
    )


# ---- the plane around a model --------------------------------------------------------------------


def filter_normalised(
    parameters: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """A random direction in weight space, each filter of it as long as that filter of the weights.

    d_i <- d_i / |d_i| |theta_i| for each row i of a matrix, which is what one unit reads. A step
    along it so changes every unit by the same share, and surfaces of models whose weights are of
    different size can be compared. Vectors (biases, gains) do not move, as in the paper's figures.

    Args:
        parameters: by name.
        generator: that draws; None: torch's own.
    Returns:
        A tensor for each parameter, of its shape, dtype and device.
    Source: Li et al. (2018), "Visualizing the Loss Landscape of Neural Nets", arXiv:1712.09913,
    section 4.
    """
    direction: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        theta = parameter.detach()
        if theta.ndim < 2:
            direction[name] = torch.zeros_like(theta)
            continue
        drawn = torch.randn(theta.shape, generator=generator, dtype=torch.float64, device="cpu").to(
            theta
        )
        length = drawn.flatten(1).norm(dim=1).clamp_min(torch.finfo(theta.dtype).tiny)
        scale = theta.flatten(1).norm(dim=1) / length
        direction[name] = drawn * scale.view(-1, *[1] * (theta.ndim - 1))
    return direction


class Plane:
    """The weights of a model, moved along two directions and back.

    Args:
        model: what has the weights; they are as before after each call.
        loss: of the model as it is now, a scalar tensor; it has to be the same each time, so no
            dropout and the same batch.
        directions: two of them, each a tensor for each parameter that trains; None: two that are
            random and filter-normalised.
        seed: of the random ones.
    Raises:
        ValueError: when the model has no parameter that trains.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module], Tensor],
        *,
        directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self._loss = model, loss
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise ValueError(
                f"model: expected parameters that train, got none in {type(model).__name__}. "
                "Set requires_grad of those that shall move."
            )
        if directions is None:
            generator = torch.Generator().manual_seed(seed)
            first = filter_normalised(self._parameters, generator)
            directions = first, filter_normalised(self._parameters, generator)
        self.directions = directions

    def loss(self, point: Sequence[float] | np.ndarray) -> float:
        """The loss where the weights are theta + point[0] d_1 + point[1] d_2."""
        with torch.no_grad(), self._moved(point):
            return float(self._loss(self.model))

    def slope(self, point: Sequence[float] | np.ndarray) -> tuple[float, np.ndarray]:
        """The loss at a point and its gradient [2] along the directions, as `descend` takes it."""
        names = list(self._parameters)
        with torch.enable_grad(), self._moved(point):
            loss = self._loss(self.model)
            found = torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True)
        gradient = [
            sum(
                float((g.double() * direction[name].double()).sum())
                for name, g in zip(names, found, strict=True)
                if g is not None
            )
            for direction in self.directions
        ]
        return float(loss.detach()), np.array(gradient)

    def surface(self, *, span: float = 1.0, points: int = 25) -> Surface:
        """The loss over [-span, span] along each direction; the middle is the model itself.

        Cost: `points` squared evaluations of the loss.
        """
        along = np.linspace(-span, span, points)
        loss = np.array([[self.loss((x, y)) for x in along] for y in along])
        return Surface(x=along, y=along, loss=loss, names=("direction 1", "direction 2"))

    @contextmanager
    def _moved(self, point: Sequence[float] | np.ndarray) -> Iterator[None]:
        before = {name: p.detach().clone() for name, p in self._parameters.items()}
        try:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    for share, direction in zip(point, self.directions, strict=True):
                        parameter.add_(direction[name], alpha=float(share))
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(before[name])


# ---- drawing -------------------------------------------------------------------------------------


_CONTOURS = 12  # lines of equal loss
_MOST_MARKED = 60  # steps of a path, beyond which they are a line alone


def draw_surface(surface: Surface, axes: Any, paths: Mapping[str, Descent] | None = None) -> Any:
    """Draw the logarithm of a surface's loss with lines of equal loss, and paths over it.

    A path that leaves the surface is drawn to its edge: the axes stay those of the surface.

    Args:
        surface: to draw.
        axes: of matplotlib.
        paths: descents by what the legend calls them.
    Returns:
        The image, whose values are powers of ten and of which a colour bar can be made.
    """
    shown = np.where(np.isfinite(surface.loss), surface.loss, np.nan)
    positive = shown[np.isfinite(shown) & (shown > 0)]
    least, most = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    floor = max(float(least), 1e-4 * float(most))
    low, high = np.log10(floor), np.log10(max(float(most), 2 * floor))
    powers = np.log10(np.maximum(shown, floor))
    image = axes.imshow(
        powers,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        cmap=style.sequential(),
        vmin=low,
        vmax=high,
        extent=(*_edges(surface.x), *_edges(surface.y)),
    )
    if positive.size and np.nanmin(powers) < np.nanmax(powers):
        axes.contour(
            surface.x,
            surface.y,
            powers,
            levels=np.linspace(low, high, _CONTOURS),
            colors=[style.INK],
            linestyles="solid",
            linewidths=0.5,
            alpha=0.35,
        )
    for number, (name, path) in enumerate((paths or {}).items()):
        is_long = len(path.points) > _MOST_MARKED
        axes.plot(
            *path.points[:, :2].T,
            marker="" if is_long else "o",
            markersize=2.5,
            linewidth=1.0 if is_long else 1.2,
            color=(style.RED, style.GREEN, style.GOLD)[number % 3],
            label=name,
            zorder=3 + number,
        )
        axes.plot(*path.points[0, :2], marker="o", markersize=6, color=style.INK, zorder=9)
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    axes.set_xlabel(surface.names[0])
    axes.set_ylabel(surface.names[1])
    if paths:
        axes.legend(loc="upper right").set_zorder(10)
    return image


def _edges(places: np.ndarray) -> tuple[float, float]:
    """Where the first and the last cell end, whose middles are at evenly spaced places."""
    half = 0.5 * float(places[1] - places[0]) if len(places) > 1 else 0.5
    return float(places[0]) - half, float(places[-1]) + half


def draw_descents(paths: Mapping[str, Descent], axes: Any) -> None:
    """Draw the loss along each path, by step, on a logarithmic scale."""
    for number, (name, path) in enumerate(paths.items()):
        colour = (style.RED, style.GREEN, style.GOLD)[number % 3]
        width = 0.7 if len(path.loss) > _MOST_MARKED else 1.4
        axes.plot(np.maximum(path.loss, 1e-12), label=name, color=colour, linewidth=width)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
