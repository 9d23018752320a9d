"""How a translation is written, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recurra.errors import argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What a translator makes of one text.

    Attributes:
        text: the best translation.
        score: its log-probability over its length, as it was chosen by; see `length_norm`.
        tokens: its tokens, a text each.
        source: the tokens that were read, a text each.
        others: the next best, where several were asked for: texts and scores, the best first.
        attention: [tokens + 1, source] float32, where each token, and the end, was looked up; None
            unless it was asked for.
    """

    text: str
    score: float
    tokens: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    others: tuple[tuple[str, float], ...] = ()
    attention: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How translations are searched.

    Attributes:
        beam_size: beginnings that are followed at once; 1 takes the most probable token each time.
        length_penalty: how much longer ones are favoured: scores are divided by
            ((5 + tokens) / 6) ** length_penalty.
        coverage_penalty: how much a source that was not looked at counts against a translation:
            times the sum over positions of log(min(attention, 1)), Wu et al. (2016), eq. (14).
        num_best: translations that are given, at most beam_size.
        temperature: above 0 draws tokens, each with its probability; 0 searches.
        seed: of what is drawn.
        first: how many texts there were before: what is drawn depends on the place of a text.
        max_length: tokens at most; None allows twice those of the source and 10 more.
        batch_size: texts that are read at a time.
        copy_unknown: whether <unk> becomes the word of the source that was looked at most.
        attention: whether translations have their attention.
        scored: whether the most probable token each time needs a score; without one it is NaN.
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    num_best: int = 1
    temperature: float = 0.0
    seed: int = 1
    first: int = 0
    max_length: int | None = None
    batch_size: int = 64
    copy_unknown: bool = True
    attention: bool = False
    scored: bool = True

    def check(self, where: str) -> None:
        """Raise ValueError where a value is out of its range."""
        least: Sequence[tuple[str, Any, float]] = (
            ("beam_size", self.beam_size, 1),
            ("num_best", self.num_best, 1),
            ("batch_size", self.batch_size, 1),
            ("max_length", self.max_length if self.max_length is not None else 1, 1),
            ("length_penalty", self.length_penalty, 0),
            ("coverage_penalty", self.coverage_penalty, 0),
            ("temperature", self.temperature, 0),
        )
        for name, value, smallest in least:
            if not value >= smallest:
                raise ValueError(
                    f"{where}: expected {name} of {smallest} or more, got {value}. Correct it."
                )
        if self.num_best > (1 if self.temperature else self.beam_size):
            raise ValueError(
                f"{argument('num_best')}: expected num_best of at most beam_size, "
                f"{self.beam_size}, and of 1 where tokens are drawn, got {self.num_best}. Lower "
                f"it, or follow more beams."
            )
