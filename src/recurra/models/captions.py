"""How captions are read and written, and what comes of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from recurra.models.search import Search

# words of English that no sentence ends with
BAD_ENDINGS = (
    *("a", "an", "the", "in", "on", "at", "of", "with", "before", "after", "upon", "near", "to"),
    *("is", "are", "am", "and", "or", "by", "from", "for", "into", "between", "above", "below"),
)

_MARKS = re.compile(r"(?:[^\w\s'’-]|_)+")


def plain(text: str, *, lower: bool = True, punctuation: bool = False) -> str:
    """A caption as it is learned and scored: in lower case, and without marks unless asked for."""
    if not punctuation:
        text = _MARKS.sub(" ", text)
    text = " ".join(text.split())
    return text.lower() if lower else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What a captioner says of one image.

    Attributes:
        text: the best caption; of one that was cut, its whole words.
        log_probability: of all its tokens and of its end, in nats.
        tokens: its tokens, a text each.
        finished: whether it chose to end, and did not come upon the longest that is allowed.
        others: the next best, where several were asked for: texts and log-probabilities.
        attention: [tokens + 1, rows, columns] float32, where on the image's grid each token, and
            the end, was looked up; None unless it was asked for.
    """

    text: str
    log_probability: float
    tokens: tuple[str, ...] = ()
    finished: bool = True
    others: tuple[tuple[str, float], ...] = ()
    attention: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionWriting(Search):
    """How captions are searched: as `Search` says, and

    Attributes:
        no_repeat_ngram: of how many tokens no run may stand twice in a caption; 0 allows all.
        no_bad_ending: whether captions end behind none of `BAD_ENDINGS`, words of English.
    """

    beam_size: int = 3
    max_length: int = 30
    no_repeat_ngram: int = 0
    no_bad_ending: bool = False

    def _least(self) -> Iterator[tuple[str, int]]:
        yield from Search._least(self)
        yield "no_repeat_ngram", 0
