"""A part of the data read once by a captioner: what it says, how probable what people say is to it,
and what its encoder makes of each image.

Letters: N images, P positions of a grid, D features of each.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.models import Caption, Captioner
from recurra.nn.plain import evaluating
from recurra.views import Watch

BLOCK = 64  # images that are read side by side
_ENCODED = 256  # pictures that are encoded side by side, where nothing is said of them

# images of a batch as the model is called with them
Images = Callable[[CaptionBatch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of a part.

    Attributes:
        said: N captions.
        nll: of what people say, in nats a token, each given those before.
        vectors: [N, D] of the images; of grids their means.
        features: of those that were chosen, [n, D] or [n, P, D].
        seconds: that captioning took, encoding included.
    """

    said: list[Caption]
    nll: float
    vectors: Tensor
    features: Tensor
    seconds: float


def read(
    model: Captioner,
    part: CaptionExamples,
    images: Images,
    watch: Watch,
    *,
    chosen: Sequence[int] = (),
    **writing: Any,
) -> Reading:
    """All images of a part, each encoded once.

    Args:
        part: that is read.
        images: gives those of a batch.
        watch: is told how many are read.
        chosen: numbers of images, in their order, whose features are wanted.
        writing: as of `Captioner.predict`.
    """
    wanted = {number: place for place, number in enumerate(chosen)}
    said: list[Caption] = []
    vectors: list[Tensor] = []
    features: dict[int, Tensor] = {}
    total, count, seconds = 0.0, 0, 0.0
    with torch.no_grad(), evaluating(model):
        for numbers in blocks(np.arange(len(part)), BLOCK):
            watch("captioning", len(said), len(part))
            batch = part.gather(numbers)
            started = time.perf_counter()
            own = model.features(images(batch))
            said += model.predict(own, **writing)
            seconds += time.perf_counter() - started
            nats, tokens = surprise(model, own, batch)
            total, count = total + nats, count + tokens
            vectors.append(as_vectors(own))
            features |= {wanted[n]: own[k] for k, n in enumerate(numbers.tolist()) if n in wanted}
    kept = [features[place] for place in range(len(chosen))]
    return Reading(
        said=said,
        nll=total / count,
        vectors=torch.cat(vectors),
        features=torch.stack(kept) if kept else vectors[0][:0],
        seconds=seconds,
    )


def surprise(model: Captioner, features: Tensor, batch: CaptionBatch) -> tuple[float, int]:
    """The sum of -log p in nats of all captions of a batch and their ends, and how many tokens and
    ends they are.

    Args:
        features: of the images of the batch.
    """
    device = model.output.weight.device
    captions, lengths, which = (
        each.to(device) for each in (batch.captions, batch.lengths, batch.which)
    )
    log_p = model.log_probabilities(features, captions, lengths, which=which)
    return -float(log_p.double().sum()), int(lengths.sum()) + len(lengths)


def surprise_of_all(blind: Captioner, part: CaptionExamples, watch: Watch) -> float:
    """The mean of -log p, in nats a token, of all captions of a part by a model that sees none of
    its images."""
    total, count = 0.0, 0
    nothing = np.zeros((len(part), blind.image_size), dtype=np.float32)
    pictureless = CaptionExamples(nothing, part.captions)
    with torch.no_grad(), evaluating(blind):
        for numbers in blocks(np.arange(len(part)), BLOCK):
            watch("captions without images", int(numbers[0]), len(part))
            batch = pictureless.gather(numbers)
            nats, tokens = surprise(blind, batch.images, batch)
            total, count = total + nats, count + tokens
    return total / count


def vectors_of(
    model: Captioner, part: CaptionExamples, images: Images, watch: Watch, numbers: np.ndarray
) -> Tensor:
    """[N, D]: what the model's encoder makes of images with these numbers; of a grid the mean."""
    found: list[Tensor] = []
    done = 0
    with torch.no_grad(), evaluating(model):
        for some in blocks(numbers, _ENCODED):
            watch("pictures of training", done, len(numbers))
            found.append(as_vectors(model.features(images(part.pictures(some)))))
            done += len(some)
    return torch.cat(found)


def as_vectors(features: Tensor) -> Tensor:
    """[N, D] of features [N, D], or of grids [N, P, D], whose means they are."""
    return features.mean(1) if features.dim() == 3 else features


def blocks(numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Numbers in their order, so many at a time."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
