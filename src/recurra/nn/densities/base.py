"""What every density has, and the arithmetic that several of them share.

Letters: C channels of the target, S raw numbers a step, P parameters a channel, Q levels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from recurra.errors import DataError

MIN_SCALE = 1e-3  # of what the raw numbers are in: no density grows without bound


class Density(ABC):
    """How the raw numbers of a step are read.

    Attributes:
        kind: its name, as in `named("gaussian")`.
        has_spread: whether it says how far off it may be; only then has it quantiles.
    """

    known: ClassVar[dict[str, "type[Density]"]] = {}  # every kind
    kind: ClassVar[str]
    has_spread: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Density.known[cls.kind] = cls

    @abstractmethod
    def size(self, channels: int) -> int:
        """S, the raw numbers a step for C channels."""

    @abstractmethod
    def nll(
        self, raw: Float[Tensor, "*steps size"], target: Float[Tensor, "*steps channels"]
    ) -> Float[Tensor, "*steps terms"]:
        """What is minimised: the negative logarithm of the density in nats, or the loss that stands
        in its place.

        Args:
            raw: [..., S].
            target: [..., C]; NaN where a value is missing.
        Returns:
            nll: [..., C] unless the density says otherwise; 0 where the target is missing. The
            mean is its sum over the number of `counted`.
        """

    def counted(self, target: Float[Tensor, "*steps channels"]) -> Bool[Tensor, "*steps terms"]:
        """Which terms of `nll` count: those whose target is there."""
        return ~target.isnan()

    @abstractmethod
    def mean(self, raw: Float[Tensor, "*steps size"]) -> Float[Tensor, "*steps channels"]:
        """The expected value of each channel; of a point the point."""

    @abstractmethod
    def sample(
        self, raw: Float[Tensor, "*steps size"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "*steps channels"]:
        """A draw of each channel; of a point the point."""

    @abstractmethod
    def quantiles(
        self, raw: Float[Tensor, "*steps size"], levels: Sequence[float]
    ) -> Float[Tensor, "levels *steps channels"]:
        """The quantiles of each channel.

        Args:
            raw: [..., S].
            levels: Q probabilities above 0 and below 1.
        Returns:
            quantiles: [Q, ..., C].
        Raises:
            ValueError: when there is no spread, or a level is out of range.
        """

    def to_config(self) -> dict[str, Any]:
        """Its kind and its settings, as JSON types."""
        assert hasattr(self, "__dataclass_fields__")
        own = {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in own.items()}
        return {"kind": self.kind, **plain}

    @staticmethod
    def from_config(config: Any) -> "Density":
        """The inverse of `to_config`.

        Raises:
            DataError: when it is not what `to_config` gives.
        """
        try:
            own = {name: value for name, value in config.items() if name != "kind"}
            given = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
            return named(config["kind"], **given)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"density: expected a kind and its settings, got {error!r:.200}. Use the "
                "config.json as the run wrote it."
            ) from error


def named(kind: str, **settings: Any) -> Density:
    """The density of a kind, such as `named("mixture", components=5)`.

    Raises:
        ValueError: when there is no such kind, or a setting is wrong.
    """
    if kind not in Density.known:
        raise ValueError(
            f"density: expected one of {', '.join(Density.known)}, got {kind!r}. Use gaussian "
            "when in doubt."
        )
    return Density.known[kind](**settings)


# ---- the arithmetic of several -------------------------------------------------------------------


def by_parameter(raw: Tensor, count: int) -> Tensor:
    """Raw numbers [..., P * C] as [..., P, C]: the first C are the first parameter's."""
    return raw.unflatten(-1, (count, raw.shape[-1] // count))


def positive(raw: Tensor) -> Tensor:
    """A scale: softplus, and no less than `MIN_SCALE`."""
    return functional.softplus(raw) + MIN_SCALE


def filled(target: Tensor) -> tuple[Tensor, Tensor]:
    """The target with 0 where it is missing, and where it is there."""
    there = ~target.isnan()
    return torch.where(there, target, 0), there


def log_normal(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The logarithm of the normal density."""
    z = (value - loc) / scale
    return -0.5 * z.square() - scale.log() - 0.5 * math.log(2 * math.pi)


def normal_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape of `like`."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def uniform_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) of the shape of `like`."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def normal_quantiles(levels: Sequence[float]) -> list[float]:
    """The standard normal quantiles."""
    wide = torch.tensor(check_levels(levels), dtype=torch.float64, device="cpu")
    return torch.special.ndtri(wide).tolist()


def _is_number(level: object) -> bool:
    return isinstance(level, Real) and not isinstance(level, bool)


def check_levels(levels: Sequence[float]) -> list[float]:
    """The levels as a list.

    Raises:
        TypeError: when they are no list of numbers.
        ValueError: when there is none, or one is not a probability above 0 and below 1.
    """
    if not isinstance(levels, Sequence | np.ndarray) or not all(map(_is_number, levels)):
        raise TypeError(
            f"levels: expected a list of probabilities, got {levels!r:.60}. Use 0.1 0.5 0.9."
        )
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong or not len(levels):
        got = wrong[0] if wrong else "none"
        raise ValueError(
            f"levels: expected probabilities above 0 and below 1, got {got}. Use 0.1 0.5 0.9."
        )
    return list(levels)
