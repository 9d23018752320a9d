"""Sequences that may not say everything: no run of tokens twice, no end behind certain tokens.

Letters: N rows that a decoder runs side by side, V tokens.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from recurra.decoding.beam import StepDecoder

_UNWANTED = 1e4  # nats: said only where everything else is unwanted as well


class Constrained:
    """A decoder whose scores keep it from what is not wanted; a `StepDecoder`.

    What is not wanted is said where nothing else can be: a caption that has to end ends.

    Args:
        decoder: whose scores are changed.
        mark: the id of the mark, which is read first, and ends a sequence.
        no_repeat_ngram: of how many tokens no run may stand twice in a sequence; 0 allows all.
        bad_endings: tokens behind which a sequence does not end.

    Source: Paulus, Xiong, Socher (2018), "A Deep Reinforced Model for Abstractive Summarization",
    ICLR, arXiv:1705.04304, section 2.5 (no trigram twice).
    """

    def __init__(
        self,
        decoder: StepDecoder,
        *,
        mark: int,
        no_repeat_ngram: int = 0,
        bad_endings: Collection[int] = (),
    ) -> None:
        self._decoder, self._mark = decoder, mark
        self._ngram, self._bad = no_repeat_ngram, frozenset(bad_endings)
        self._said: list[list[int]] = []  # of each row, from the mark on

    def __call__(self, tokens: Tensor) -> Tensor:
        """The scores [N, V] of the next token of each row, after reading tokens [N]."""
        said = self._said or [[] for _ in range(len(tokens))]
        self._said = [[*before, token] for before, token in zip(said, tokens.tolist(), strict=True)]
        scores = self._decoder(tokens).float().clone()
        for row, words in enumerate(self._said):
            unwanted = list(_repeating(words, self._ngram))
            if words[-1] in self._bad:
                unwanted.append(self._mark)
            if unwanted:
                places = torch.tensor(unwanted, dtype=torch.int64, device=scores.device)
                scores[row, places] -= _UNWANTED
        return scores

    def reorder(self, rows: Tensor) -> None:
        """As `StepDecoder` says."""
        self._said = [self._said[row] for row in rows.tolist()]
        self._decoder.reorder(rows)


def _repeating(words: list[int], length: int) -> set[int]:
    """The tokens that would end a run of `length` tokens that stands in `words` already."""
    if not 0 < length < len(words):
        return set()
    end = words[len(words) - length + 1 :]
    starts = range(1, len(words) - length + 1)  # behind the mark
    return {words[s + length - 1] for s in starts if words[s : s + length - 1] == end}
