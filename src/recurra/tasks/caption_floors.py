"""What captions are read beside: those of the most alike picture, and a language model that sees
nothing.

Letters: N images, D features of each.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recurra.data import Buckets
from recurra.data.caption_store import CaptionExamples, SingleCaptions
from recurra.models import Captioner
from recurra.tasks.beside import digest, kept
from recurra.text import Vocabulary
from recurra.views import Watch, unwatched

_STEPS, _PASSES = 400, 20  # of the language model, at most; captions are short and alike
_BATCH = 64  # captions
_UNITS = 128
_RATE = 5e-3
_RECIPE = 1  # raised when the same captions come to give another language model
_BLOCK = 256  # images that are compared at a time


def nearest(vectors: Tensor, others: Tensor) -> list[int]:
    """For each vector the number of the most alike of others, by their cosine.

    Args:
        vectors: [N, D].
        others: [M, D].

    Source: Devlin et al. (2015), "Exploring Nearest Neighbor Approaches for Image Captioning",
    arXiv:1505.04467, with one neighbour.
    """
    directions = functional.normalize(others.float(), dim=1).T
    found: list[int] = []
    for some in vectors.float().split(_BLOCK):
        found += (functional.normalize(some, dim=1) @ directions).argmax(1).tolist()
    return found


def blind_model(
    train: CaptionExamples,
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    path: Path | None = None,
    watch: Watch = unwatched,
) -> Captioner:
    """A language model of captions, trained a little: what their words alone say of the next one.

    Args:
        train: the part to train on; its images count for nothing.
        vocabulary: of the captions.
        seed: of its weights and batches.
        path: of the file where its weights are kept, by what they are learned from.
        watch: is told how many steps are taken.
    """
    rows = [ids for each in train.captions for ids in each]
    lengths = np.array([len(ids) for ids in rows])
    whole = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    recipe = json.dumps([_RECIPE, _STEPS, _PASSES, _BATCH, _UNITS, _RATE, seed, len(vocabulary)])
    key = digest(recipe, arrays=[lengths, whole])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Captioner(
            vocabulary=vocabulary,
            image_size=1,
            inject="none",
            cell="gru",
            hidden_size=_UNITS,
            embedding_size=_UNITS // 2,
        )
        weights = kept(path, key, lambda: _trained(model, train, seed, watch).state_dict())
        model.load_state_dict(dict(weights))
    return model.eval()


def _trained(model: Captioner, train: CaptionExamples, seed: int, watch: Watch) -> Captioner:
    """The language model, having learned."""
    with torch.enable_grad():
        optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
        nothing = np.zeros((len(train), 1), dtype=np.float32)
        captions = SingleCaptions(CaptionExamples(nothing, train.captions))
        source = Buckets(captions, _BATCH, seed=seed)
        steps = min(_STEPS, _PASSES * len(source))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            watch("a language model without images", step, steps)
            batch = source.batch(step // len(source), step % len(source))
            loss = model.loss(batch.images, batch.captions, batch.lengths, which=batch.which)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def recalls(scores: Tensor, of: Sequence[int]) -> dict[str, float]:
    """How often the right one is among the first k of N, both ways.

    Args:
        scores: [N, M], of each image with each caption, the larger the more alike.
        of: [M], the image that each caption is of.
    Returns:
        `image_to_text_1`, `_5`, `_10`: the share of images one of whose captions is among the first
        k; `text_to_image_1`, ...: the share of captions whose image is; and the median ranks,
        `image_to_text_median` and `text_to_image_median`, 1 being the first.
    """
    N = len(scores)
    owner = torch.tensor(list(of), dtype=torch.int64, device=scores.device)
    order = owner[scores.argsort(dim=1, descending=True)]
    numbers = torch.arange(N, dtype=torch.int64, device=scores.device)[:, None]
    image_ranks = (order == numbers).int().argmax(1) + 1
    order = scores.argsort(dim=0, descending=True).T
    text_ranks = (order == owner[:, None]).int().argmax(1) + 1
    found: dict[str, Any] = {}
    for way, ranks in (("image_to_text", image_ranks), ("text_to_image", text_ranks)):
        found |= {f"{way}_{k}": float((ranks <= k).float().mean()) for k in (1, 5, 10)}
        found[f"{way}_median"] = float(ranks.float().median())
    return found
