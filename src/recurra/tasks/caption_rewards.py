"""Captions that a model draws, and learns from by what they score.

Letters: N images, T tokens of the longest caption.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recurra.models import Captioner
from recurra.models.captioning import CaptionRows
from recurra.models.writing import text_of
from recurra.nn.plain import evaluating
from recurra.tasks.caption_data import tokens_of
from recurra.tasks.caption_scores import Consensus
from recurra.text import Vocabulary


def written(
    model: Captioner, features: Tensor, max_length: int, draw: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """A caption of each image, token by token, all side by side; nothing is learned by it.

    Args:
        features: of `Captioner.features`.
        max_length: tokens at most.
        draw: draws each token with its probability; None takes the most probable.
    Returns:
        captions: [T, N] int64, zeros past the end of each.
        lengths: [N] int64.
    """
    device = features.device
    N = len(features)
    lengths = torch.full((N,), max_length, dtype=torch.int64, device=device)
    said: list[Tensor] = []
    with torch.no_grad(), evaluating(model):
        rows = CaptionRows(model, model.seen(features))
        tokens = torch.full((N,), model.mark, dtype=torch.int64, device=device)
        for t in range(max_length):
            logits = rows(tokens).float()
            if draw is None:
                tokens = logits.argmax(1)
            else:
                shares = logits.softmax(1).cpu()
                tokens = torch.multinomial(shares, 1, generator=draw)[:, 0].to(device)
            ended = (tokens == model.mark) & (lengths == max_length)
            lengths = torch.where(ended, t, lengths)
            tokens = tokens.where(lengths > t, model.mark)
            if bool((lengths <= t).all()):
                break
            said.append(tokens.where(lengths > t, 0))
    if not said:
        return torch.zeros((0, N), dtype=torch.int64, device=device), lengths
    return torch.stack(said), lengths


def self_critical(
    model: Any,
    images: Tensor,
    numbers: Sequence[int],
    reward: Consensus,
    *,
    max_length: int,
    seed: int,
) -> tuple[Tensor, int]:
    """The loss of a batch of images by the reward of captions that are drawn, and their tokens.

    For each image a caption is drawn, and another written by the most probable token each time;
    the drawn one becomes more probable by as much as its reward is above the other's.

    Args:
        model: a `Captioner`, maybe wrapped for its precision.
        images: as the model is called with them.
        numbers: of the images in the part that the reward knows.
        reward: of captions.
        max_length: tokens at most.
        seed: of what is drawn.
    Returns:
        loss: the mean over the tokens drawn of -(r - r of the other) log p(token).
        count: how many tokens, and ends, that are.

    Source: Rennie et al. (2017), "Self-critical Sequence Training for Image Captioning", CVPR,
    arXiv:1612.00563, eq. (9).
    """
    of: Captioner = getattr(model, "module", model)
    vocabulary: Vocabulary = of.needed("vocabulary", "self_critical")
    with torch.no_grad(), evaluating(of):
        features = of.features(images)
    draw = torch.Generator().manual_seed(seed)
    drawn, lengths = written(of, features, max_length, draw)
    plain, plain_lengths = written(of, features, max_length, None)
    scores = [
        torch.from_numpy(reward(_texts(vocabulary, *each), numbers))
        for each in ((drawn, lengths), (plain, plain_lengths))
    ]
    gained = (scores[0] - scores[1]).to(features)
    logits = model(images, drawn, lengths, packed=True).float()
    nll = functional.cross_entropy(logits, of.wanted(drawn, lengths), reduction="none")
    steps = torch.arange(len(drawn) + 1, dtype=torch.int64, device=drawn.device)[:, None]
    each = gained.expand(len(drawn) + 1, -1)[steps <= lengths]
    return (each * nll).mean(), len(nll)


def _texts(vocabulary: Vocabulary, captions: Tensor, lengths: Tensor) -> list[str]:
    columns = captions.T.tolist() if len(captions) else [[] for _ in lengths]
    return [
        tokens_of(vocabulary, text_of(vocabulary, ids[:length]))
        for ids, length in zip(columns, lengths.tolist(), strict=True)
    ]
