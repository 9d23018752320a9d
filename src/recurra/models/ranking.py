"""Scores of images with sentences, and the loss that has each find the other.

Letters: N images, M sentences, R regions of an image, W words of all sentences, J features of the
space that they share.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

NEGATIVES = ("all", "hardest")


def looked_at(
    regions: Float[Tensor, "images regions joint"],
    words: Float[Tensor, "words joint"],
    there: Bool[Tensor, "images regions"] | None = None,
) -> Float[Tensor, "images regions words"]:
    """How alike each region of each image is to each word: v_i . s_t.

    Args:
        regions: [N, R, J].
        words: [W, J].
        there: [N, R], which regions there are; None: all. Those that are not have -inf.
    """
    scores = (regions @ words.T).to(regions.dtype)
    return scores if there is None else scores.masked_fill(~there[:, :, None], -torch.inf)


def image_sentence_scores(
    regions: Float[Tensor, "images regions joint"],
    words: Float[Tensor, "words joint"],
    of: Int64[Tensor, " words"],
    num_sentences: int,
    there: Bool[Tensor, "images regions"] | None = None,
) -> Float[Tensor, "images sentences"]:
    """S[k, l], the sum over the words of sentence l of their best region's v_i . s_t in image k.

    Args:
        regions: [N, R, J].
        words: [W, J], those of all sentences.
        of: [W], the sentence that each word is of.
        num_sentences: M.
        there: [N, R], which regions there are; None: all.
    Returns:
        [N, M]; 0 for a sentence without words.
    Cost: N R W J multiplications; N R W numbers are kept for the backward pass.

    Source: Karpathy, Fei-Fei (2015), arXiv:1412.2306, eq. 8.
    """
    best = looked_at(regions, words, there).max(dim=1).values
    return best.new_zeros(len(regions), num_sentences).index_add(1, of, best)


def max_margin(
    scores: Float[Tensor, "images sentences"],
    which: Int64[Tensor, " sentences"],
    *,
    margin: float = 1.0,
    negatives: str = "all",
) -> Float[Tensor, " sentences"]:
    """How far each sentence and its image are from being told apart from others by a margin.

    Of sentence l of image k it is, with [x]+ for max(0, x),

        mean over k' of [S(k', l) - S(k, l) + margin]+  +  mean over l' of [S(k, l') - S(k, l) +
        margin]+

    over all other images k' and all sentences l' of other images; with "hardest" the largest in
    place of the mean.

    Args:
        scores: [N, M], S of each image with each sentence.
        which: [M], the image that each sentence is of.
        margin: by which the right one is to be ahead.
        negatives: "all", or "hardest" (Faghri et al. 2018, arXiv:1707.05612).
    Returns:
        [M]; 0 where there is no other.

    Source: Karpathy, Fei-Fei (2015), arXiv:1412.2306, eq. 9. Differences: means in place of sums,
    so that the loss has one scale whatever the batch; an image may have several sentences.
    """
    N, M = scores.shape
    numbers = torch.arange(N, dtype=torch.int64, device=scores.device)
    right = scores[which, torch.arange(M, dtype=torch.int64, device=scores.device)]
    images = (scores - right + margin).clamp(min=0).T  # [M, N]
    sentences = (scores[which] - right[:, None] + margin).clamp(min=0)  # [M, M]
    others = which[:, None] != numbers
    of_others = which[:, None] != which
    reduce: Any = _mean if negatives == "all" else _most
    return reduce(images, others) + reduce(sentences, of_others)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum(1) / counts.sum(1).clamp(min=1)


def _most(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).max(dim=1).values
