"""One value, some quantiles, or one bell-shaped distribution of each channel.

Letters: C channels of the target, Q levels, N rows of a table.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recurra.nn.densities.base import (
    Density,
    by_parameter,
    check_levels,
    filled,
    log_normal,
    normal_like,
    normal_quantiles,
    positive,
    uniform_like,
)

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mse": torch.square,
    "mae": torch.abs,
    "huber": lambda error: functional.huber_loss(error, torch.zeros_like(error), reduction="none"),
}
_NEAR = 16.0  # where the series of a difference of log gammas is as exact as float32
_ROWS = 513  # of the table of Student's quantiles
_NODES = 64  # of the integral that is Student's distribution function


@dataclass(frozen=True, slots=True)
class Point(Density):
    """One value of each channel, and nothing of how sure it is.

    Attributes:
        loss: "mse", of which the mean is best; "mae", of which the median is; "huber", the half
            of the square up to 1, and beyond it a line.
    """

    loss: str = "mse"
    kind: ClassVar[str] = "point"
    has_spread: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(
                f"loss: expected one of {', '.join(LOSSES)}, got {self.loss!r}. Use mae where "
                "outliers should count less."
            )

    def size(self, channels: int) -> int:
        """C."""
        return channels

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """The loss of each channel, which is no logarithm of a density."""
        target, there = filled(target)
        return torch.where(there, LOSSES[self.loss](raw - target), 0)

    def mean(self, raw: Tensor) -> Tensor:
        """The point."""
        return raw

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The point; nothing is drawn."""
        return raw

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """A point has none."""
        raise ValueError(
            "quantiles: expected a density with a spread, got a point. Train a model of quantiles, "
            "gaussian, student or mixture."
        )


@dataclass(frozen=True, slots=True)
class Quantiles(Density):
    """The quantiles of each channel at some levels.

    The quantile function is a line between two levels, and constant past the outermost. Quantiles
    that cross are put in order where they are read, which makes them no worse (Chernozhukov,
    Fernández-Val, Galichon 2010, "Quantile and Probability Curves Without Crossing", Econometrica
    78, arXiv:0704.3649).

    Attributes:
        levels: Q probabilities, growing.

    Source: Wen, Torkkola, Narayanaswamy, Madeka (2017), "A Multi-Horizon Quantile Recurrent
    Forecaster", arXiv:1711.11053, section 3. Differences: the loss is twice the mean over levels,
    which estimates the CRPS.
    """

    levels: tuple[float, ...] = DECILES
    kind: ClassVar[str] = "quantiles"

    def __post_init__(self) -> None:
        check_levels(self.levels)
        growing = all(low < high for low, high in zip(self.levels, self.levels[1:], strict=False))
        if len(self.levels) < 2 or not growing:
            raise ValueError(
                f"levels: expected two or more, growing, got {self.levels}. Use 0.1 0.5 0.9."
            )

    def size(self, channels: int) -> int:
        """Q numbers a channel."""
        return len(self.levels) * channels

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """Twice the pinball loss, mean over levels; no logarithm of a density."""
        target, there = filled(target)
        said = by_parameter(raw, len(self.levels))  # not in order: a level keeps its own gradient
        error = target.unsqueeze(-2) - said
        level = self._levels(raw)[:, None]
        loss = torch.maximum(level * error, (level - 1) * error)
        return torch.where(there, 2 * loss.mean(-2), 0)

    def mean(self, raw: Tensor) -> Tensor:
        """The integral of the quantile function."""
        levels = self._levels(raw)
        between = (levels[1:] + levels[:-1]) / 2
        edges = torch.cat([levels.new_zeros(1), between, levels.new_ones(1)])
        return torch.einsum("...qc,q->...c", self._in_order(raw), edges.diff())

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The quantile function at a uniform draw."""
        said = self._in_order(raw)
        return self._at(said, uniform_like(said[..., 0, :], generator))

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantile function at these levels, which lie between the outermost of its own."""
        least, most = self.levels[0], self.levels[-1]
        outside = [level for level in check_levels(levels) if not least <= level <= most]
        if outside:
            raise ValueError(
                f"quantiles: expected levels from {least:g} to {most:g}, which the model has "
                f"learned, got {outside[0]:g}. Train it with more levels."
            )
        said = self._in_order(raw)
        each = [torch.full_like(said[..., 0, :], level) for level in levels]
        return torch.stack([self._at(said, share) for share in each])

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.levels, dtype=like.dtype, device=like.device)

    def _in_order(self, raw: Tensor) -> Tensor:
        return by_parameter(raw, len(self.levels)).sort(dim=-2).values

    def _at(self, said: Tensor, share: Tensor) -> Tensor:
        """The quantile function that [..., Q, C] say, at probabilities [..., C]."""
        levels = self._levels(said)
        share = share.clamp(levels[0], levels[-1]).contiguous()
        above = torch.searchsorted(levels, share).clamp(1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        under = said.gather(-2, (above - 1).unsqueeze(-2)).squeeze(-2)
        over = said.gather(-2, above.unsqueeze(-2)).squeeze(-2)
        return torch.lerp(under, over, (share - low) / (high - low))


@dataclass(frozen=True, slots=True)
class Gaussian(Density):
    """A normal distribution of each channel: its mean, and its standard deviation by softplus.

    Source: Salinas, Flunkert, Gasthaus, Januschowski (2017), "DeepAR: Probabilistic Forecasting
    with Autoregressive Recurrent Networks", arXiv:1704.04110, section 3.1.
    """

    kind: ClassVar[str] = "gaussian"

    def size(self, channels: int) -> int:
        """Two numbers a channel."""
        return 2 * channels

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """In nats."""
        target, there = filled(target)
        return torch.where(there, -log_normal(target, *self.parameters(raw)), 0)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean."""
        return self.parameters(raw)[0]

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw of each channel."""
        loc, scale = self.parameters(raw)
        return loc + scale * normal_like(loc, generator)

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles, exact."""
        loc, scale = self.parameters(raw)
        return torch.stack([loc + scale * z for z in normal_quantiles(levels)])

    def parameters(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of each channel."""
        loc, scale = by_parameter(raw, 2).unbind(-2)
        return loc, positive(scale)


@dataclass(frozen=True, slots=True)
class StudentT(Density):
    """Student's t of each channel: location, scale, and degrees of freedom above 2, so that there
    is a variance. A value far off costs less than by a normal distribution.

    Source: as `Gaussian`, with the likelihood of GluonTS, Alexandrov et al. (2020), JMLR 21.
    """

    kind: ClassVar[str] = "student"

    def size(self, channels: int) -> int:
        """Three numbers a channel."""
        return 3 * channels

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """In nats."""
        target, there = filled(target)
        loc, scale, df = self.parameters(raw)
        z = (target - loc) / scale
        log_density = (
            _log_gamma_step(df / 2)
            - 0.5 * torch.log(math.pi * df)
            - scale.log()
            - (df + 1) / 2 * torch.log1p(z.square() / df)
        )
        return torch.where(there, -log_density, 0)

    def mean(self, raw: Tensor) -> Tensor:
        """The location."""
        return self.parameters(raw)[0]

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A normal draw over the root of a draw of chi squared over its degrees of freedom."""
        loc, scale, df = self.parameters(raw)
        # what torch.distributions calls, which takes no generator
        gamma = torch._standard_gamma(df / 2, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
        chi_squared = 2 * gamma
        return loc + scale * normal_like(loc, generator) * (df / chi_squared).sqrt()

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles, to four digits."""
        loc, scale, df = self.parameters(raw)
        table = torch.tensor(
            student_table(tuple(check_levels(levels))), dtype=loc.dtype, device=loc.device
        )
        place = (1 / df) * 2 * (_ROWS - 1)  # 1/df is in (0, 1/2)
        row = place.floor().clamp(0, _ROWS - 2)
        at, part = row.to(torch.int64), place - row
        return torch.stack([loc + scale * torch.lerp(z[at], z[at + 1], part) for z in table])

    def parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Location, scale and degrees of freedom of each channel."""
        loc, scale, df = by_parameter(raw, 3).unbind(-2)
        return loc, positive(scale), 2 + positive(df)


def _log_gamma_step(a: Tensor) -> Tensor:
    """log Gamma(a + 1/2) - log Gamma(a); of large a by its series, for the logarithms alone are so
    large that their difference is lost."""
    near = a.clamp(max=_NEAR)
    far = a.clamp(min=_NEAR)
    series = 0.5 * far.log() - 1 / (8 * far) + 1 / (192 * far**3)
    return torch.where(a < _NEAR, torch.lgamma(near + 0.5) - torch.lgamma(near), series)


@lru_cache(maxsize=16)
def student_table(levels: tuple[float, ...]) -> np.ndarray:
    """Student's quantiles [Q, N] at N values of 1/df, evenly from 0 (the normal's) to 1/2.

    With t = sqrt(df) tan(a), the distribution function is 1/2 plus the integral of cos^(df - 1)
    from 0 to a over that from -pi/2 to pi/2, which is halved until the level is found.
    """
    inverse = np.linspace(0, 0.5, _ROWS)[1:]
    df = 1 / inverse
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes, weights = (nodes + 1) / 2, weights / 2
    whole = np.array([math.exp(math.lgamma(n / 2) - math.lgamma((n + 1) / 2)) for n in df])
    whole *= math.sqrt(math.pi)
    rows = []
    for level in levels:
        # by symmetry; the share of the integral that lies between 0 and the quantile
        share = abs(level - 0.5) * whole
        low, high = np.zeros_like(df), np.full_like(df, math.pi / 2)
        for _ in range(60):
            middle = (low + high) / 2
            under = np.cos(middle[:, None] * nodes) ** (df[:, None] - 1) @ weights * middle
            low, high = np.where(under < share, middle, low), np.where(under < share, high, middle)
        rows.append(math.copysign(1, level - 0.5) * np.sqrt(df) * np.tan(low))
    normal = np.array(normal_quantiles(levels))
    return np.concatenate([normal[:, None], np.array(rows)], axis=1)
