"""How captions are written, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# words of English that no sentence ends with
BAD_ENDINGS = (
    *("a", "an", "the", "in", "on", "at", "of", "with", "before", "after", "upon", "near", "to"),
    *("is", "are", "am", "and", "or", "by", "from", "for", "into", "between", "above", "below"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What a captioner says of one image.

    Attributes:
        text: the best caption.
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
class CaptionWriting:
    """How captions are searched.

    Attributes:
        beam_size: beginnings that are followed at once; 1 takes the most probable token each time.
        length_penalty: how much longer ones are favoured: log-probabilities are divided by
            ((5 + tokens) / 6) ** length_penalty before they are compared.
        num_best: captions that are given, at most beam_size.
        temperature: above 0 draws tokens, each with its probability; 0 searches.
        seed: of what is drawn.
        max_length: tokens at most.
        no_repeat_ngram: of how many tokens no run may stand twice in a caption; 0 allows all.
        no_bad_ending: whether captions end behind none of `BAD_ENDINGS`, words of English.
        batch_size: images that are read at a time.
        attention: whether captions have their attention.
    """

    beam_size: int = 3
    length_penalty: float = 1.0
    num_best: int = 1
    temperature: float = 0.0
    seed: int = 1
    max_length: int = 30
    no_repeat_ngram: int = 0
    no_bad_ending: bool = False
    batch_size: int = 64
    attention: bool = False

    def check(self, where: str) -> None:
        """Raise ValueError where a value is out of its range."""
        least: Sequence[tuple[str, Any, float]] = (
            ("beam_size", self.beam_size, 1),
            ("num_best", self.num_best, 1),
            ("batch_size", self.batch_size, 1),
            ("max_length", self.max_length, 1),
            ("length_penalty", self.length_penalty, 0),
            ("temperature", self.temperature, 0),
            ("no_repeat_ngram", self.no_repeat_ngram, 0),
        )
        for name, value, smallest in least:
            if not value >= smallest:
                raise ValueError(
                    f"{where}: expected {name} of {smallest} or more, got {value}. Correct it."
                )
        if self.num_best > (1 if self.temperature else self.beam_size):
            raise ValueError(
                f"{where}: expected num_best of at most beam_size, {self.beam_size}, and of 1 "
                f"where tokens are drawn, got {self.num_best}. Lower it, or follow more beams."
            )
