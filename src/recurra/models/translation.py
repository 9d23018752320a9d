"""How a translation is written, and what comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from recurra.models.search import Search


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
class Writing(Search):
    """How translations are searched: as `Search` says, max_length None allowing twice the tokens of
    the source and 10 more, and

    Attributes:
        coverage_penalty: how much a source that was not looked at counts against a translation:
            times the sum over positions of log(min(attention, 1)), Wu et al. (2016), eq. (14).
        copy_unknown: whether <unk> becomes the word of the source that was looked at most.
        scored: whether the most probable token each time needs a score; without one it is NaN.
    """

    coverage_penalty: float = 0.0
    copy_unknown: bool = True
    scored: bool = True

    def _least(self) -> Iterator[tuple[str, int]]:
        yield from Search._least(self)
        yield "coverage_penalty", 0
