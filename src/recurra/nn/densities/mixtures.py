"""Mixtures of normal distributions: of each channel, and of the strokes of a pen.

Letters: C channels of the target, K components.

Source: Bishop (1994), "Mixture Density Networks", Aston University NCRG/94/004; Graves (2013),
"Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, sections 4 and 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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

_MAX_CORRELATION = 0.999  # beyond it float32 has no 1 - rho^2
_HALVINGS = 40  # of the interval that a quantile is in


@dataclass(frozen=True, slots=True)
class Mixture(Density):
    """A mixture of normal distributions of each channel, which may have several peaks.

    Attributes:
        components: K.
    """

    components: int = 5
    kind: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        _check_components(self.components)

    def size(self, channels: int) -> int:
        """3 K numbers a channel."""
        return 3 * self.components * channels

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """In nats."""
        target, there = filled(target)
        log_weight, loc, scale = self.parameters(raw)
        each = log_weight + log_normal(target.unsqueeze(-2), loc, scale)
        return torch.where(there, -each.logsumexp(-2), 0)

    def mean(self, raw: Tensor) -> Tensor:
        """The means of the components, each by its weight."""
        log_weight, loc, _ = self.parameters(raw)
        return (log_weight.exp() * loc).sum(-2)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A component is drawn, then a value of it."""
        log_weight, loc, scale = self.parameters(raw)
        chosen = _drawn(log_weight, generator).unsqueeze(-2)
        loc, scale = loc.gather(-2, chosen).squeeze(-2), scale.gather(-2, chosen).squeeze(-2)
        return loc + scale * normal_like(loc, generator)

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles, by halving."""
        return _mixture_quantiles(*self.parameters(raw), levels)

    def parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of the weights, means and standard deviations, each [..., K, C]."""
        log_weight, loc, scale = by_parameter(raw, 3 * self.components).chunk(3, dim=-2)
        return log_weight.log_softmax(-2), loc, positive(scale)


@dataclass(frozen=True, slots=True)
class PenMixture(Density):
    """The next movement of a pen: a mixture of bivariate normal distributions of its offset, and
    the probability that it is lifted then.

    The three channels of a target are the offsets dx and dy, and 1 where the stroke ends there or
    else 0. `nll` has two terms a step: that of the offset, and that of the end. Where any of the
    three is missing neither counts.

    Attributes:
        components: K.
        bias: 0 draws as was learned; the more, the less the pen strays (Graves, eq. 61-62).

    Source: Graves (2013), eq. 15-26. Differences: standard deviations by softplus instead of exp,
    and the raw number of the end with the other sign.
    """

    components: int = 20
    bias: float = 0.0
    kind: ClassVar[str] = "pen"

    def __post_init__(self) -> None:
        _check_components(self.components)
        if not (self.bias >= 0 and math.isfinite(self.bias)):
            raise ValueError(f"bias: expected 0 or more, got {self.bias}. Use 0 to 2.")

    def size(self, channels: int) -> int:
        """6 K numbers for the components, and one for the end."""
        if channels != 3:
            raise ValueError(
                f"PenMixture: expected 3 channels, dx, dy and the end of a stroke, got {channels}. "
                "Use mixture for other series."
            )
        return 6 * self.components + 1

    def nll(self, raw: Tensor, target: Tensor) -> Tensor:
        """In nats, [..., 2]: of the offset, and of the end."""
        there = self.counted(target)
        dx, dy, end = filled(target)[0].unbind(-1)
        log_weight, loc, scale, rho, end_raw = self.parameters(raw)
        # eq. 24-25, with z the offsets from the means in standard deviations
        zx, zy = ((torch.stack([dx, dy], dim=-1).unsqueeze(-2) - loc) / scale).unbind(-1)
        left = 1 - rho.square()
        exponent = -(zx.square() + zy.square() - 2 * rho * zx * zy) / (2 * left)
        log_normal = exponent - math.log(2 * math.pi) - scale.log().sum(-1) - 0.5 * left.log()
        offset = -(log_weight + log_normal).logsumexp(-1)
        lifted = functional.binary_cross_entropy_with_logits(end_raw, end, reduction="none")
        return torch.where(there, torch.stack([offset, lifted], dim=-1), 0)

    def counted(self, target: Tensor) -> Tensor:
        """Both terms of a step, [..., 2], or neither."""
        return (~target.isnan()).all(-1, keepdim=True).expand(*target.shape[:-1], 2)

    def mean(self, raw: Tensor) -> Tensor:
        """The expected offset, and the probability of the end."""
        log_weight, loc, _, _, end = self.parameters(raw)
        offset = (log_weight.exp().unsqueeze(-1) * loc).sum(-2)
        return torch.cat([offset, end.sigmoid().unsqueeze(-1)], dim=-1)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """An offset of a component that is drawn, and whether the stroke ends."""
        log_weight, loc, scale, rho, end = self.parameters(raw)
        sharp = ((1 + self.bias) * log_weight).log_softmax(-1)
        chosen = _drawn(sharp.unsqueeze(-1), generator)  # [..., 1]
        both = chosen.unsqueeze(-1).expand(*chosen.shape, 2)
        loc, scale = loc.gather(-2, both).squeeze(-2), scale.gather(-2, both).squeeze(-2)
        scale = scale * math.exp(-self.bias)
        rho = rho.gather(-1, chosen)
        first, second = normal_like(loc, generator).split(1, dim=-1)
        turned = torch.cat([first, rho * first + (1 - rho.square()).sqrt() * second], dim=-1)
        lifted = uniform_like(end, generator) < end.sigmoid()
        return torch.cat([loc + scale * turned, lifted.to(loc.dtype).unsqueeze(-1)], dim=-1)

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles of each offset by itself, and of the end, which are 0 or 1."""
        log_weight, loc, scale, _, end = self.parameters(raw)
        offset = _mixture_quantiles(log_weight.unsqueeze(-1), loc, scale, levels)
        goes_on = functional.sigmoid(-end)
        lifted = torch.stack([(goes_on < level).to(loc.dtype) for level in levels])
        return torch.cat([offset, lifted.unsqueeze(-1)], dim=-1)

    def parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Logarithms of the weights [..., K]; means and standard deviations [..., K, 2];
        correlations [..., K]; and the logit of the end [...]."""
        K = self.components
        log_weight, loc, scale, rho, end = raw.split([K, 2 * K, 2 * K, K, 1], dim=-1)
        return (
            log_weight.log_softmax(-1),
            loc.unflatten(-1, (K, 2)),
            positive(scale).unflatten(-1, (K, 2)),
            _MAX_CORRELATION * rho.tanh(),
            end.squeeze(-1),
        )


def _drawn(log_weight: Tensor, generator: torch.Generator | None) -> Tensor:
    """A component for each [..., C] of log weights [..., K, C], int64."""
    share = uniform_like(log_weight[..., 0, :], generator)
    below = log_weight.exp().cumsum(-2) <= share.unsqueeze(-2)
    return below.sum(-2).clamp(max=log_weight.shape[-2] - 1)


def _mixture_quantiles(
    log_weight: Tensor, loc: Tensor, scale: Tensor, levels: Sequence[float]
) -> Tensor:
    """The quantiles [Q, ..., C] of mixtures [..., K, C]. That of a mixture lies between the least
    and the greatest of its components'."""
    found = []
    weight = log_weight.exp()
    for level, z in zip(check_levels(levels), normal_quantiles(levels), strict=True):
        of_each = loc + z * scale
        low, high = of_each.amin(-2), of_each.amax(-2)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            under = (weight * torch.special.ndtr((middle.unsqueeze(-2) - loc) / scale)).sum(-2)
            low, high = (
                torch.where(under < level, middle, low),
                torch.where(under < level, high, middle),
            )
        found.append((low + high) / 2)
    return torch.stack(found)


def _check_components(components: int) -> None:
    if not isinstance(components, int) or components < 1:
        raise ValueError(
            f"components: expected an integer of 1 or more, got {components!r}. Use 5 to 20."
        )
