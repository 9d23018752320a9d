"""What an aligner says of a picture and a sentence, and words joined to phrases.

Letters: T words, M sentences, R regions of a picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recurra.nn.crf import FORBIDDEN, Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Which region of a picture each word of a sentence looks at.

    Attributes:
        score: of the picture with the sentence, the sum over words of their best region's.
        words: T of them, a text each.
        regions: for each word, the number of its region; where smoothing was asked for, that of
            the most likely sequence of all words' regions.
        scores: [T, R] float32, how alike each word is to each region.
        boxes: [R, 4] float32, left, top, right and bottom of each region, in shares of the picture
            as the model saw it.
        grid: rows and columns of the regions that are cells of a grid, which come first, row by
            row; None of given boxes.
    """

    score: float
    words: tuple[str, ...]
    regions: tuple[int, ...]
    scores: Tensor = field(repr=False, compare=False)
    boxes: Tensor = field(repr=False, compare=False)
    grid: tuple[int, int] | None = None

    def phrases(self) -> Iterator[tuple[str, int]]:
        """Runs of words that look at one region, with spaces between, and that region."""
        first = 0
        for t in range(1, len(self.words) + 1):
            if t == len(self.words) or self.regions[t] != self.regions[first]:
                yield " ".join(self.words[first:t]), self.regions[first]
                first = t


def smoothed(
    scores: Float[Tensor, "words sentences regions"],
    lengths: Int64[Tensor, " sentences"],
    smoothness: float,
) -> Int64[Tensor, "words sentences"]:
    """The region of each word, by the most likely sequence of a chain over the words.

    It is a Markov random field in which word t may choose any region a_t: the sequence of the
    largest

        sum over t of scores[t, a_t]  +  smoothness * (how many neighbours have one region)

    is found by dynamic programming, exactly. With 0 each word has the region that is most alike to
    it; the larger, the longer are the phrases; in the end a sentence has one region.

    Args:
        scores: [T, M, R]; -inf of regions that are not there.
        lengths: [M] in 0..T.
        smoothness: 0 or more, the beta of the paper.
    Returns:
        [T, M], 0 past the lengths.
    Cost: T M R^2.

    Source: Karpathy, Fei-Fei (2015), arXiv:1412.2306, section 3.1.4, eq. 10-12, whose energy is the
    negative of this.
    """
    R = scores.shape[2]
    chain = Chain(R)
    chain.behind = smoothness * torch.eye(R, dtype=torch.float64, device="cpu")
    return chain.best_path(scores.double().clamp(min=FORBIDDEN), lengths)
