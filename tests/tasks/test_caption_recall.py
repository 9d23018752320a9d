"""What is hopeless is not read to its end, and ranks are those of all pairs."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.models import Captioner
from recurra.tasks.caption_recall import pair_scores
from recurra.views import unwatched

COUNT, TOKENS = 20, 24


class Sure(Captioner):
    """A captioner that is sure which tokens it says of an image, whatever stands before them."""

    def __init__(self, scale: float) -> None:
        super().__init__(TOKENS, image_size=1, hidden_size=1, embedding_size=1)
        draw = torch.Generator().manual_seed(0)
        logits = scale * torch.randn(COUNT, TOKENS + 1, generator=draw)
        own = torch.arange(COUNT)
        logits[own, own] = logits.amax(1) + scale / 4  # of each image another token
        logits[:, self.mark] = logits.amax(1)  # it may end anywhere
        self.log_p = logits.log_softmax(1)
        self.read = 0  # tokens and ends

    def forward(self, images: Tensor, captions: Tensor, lengths: Tensor, *, which: Tensor) -> Any:
        self.read += int(lengths.sum()) + len(lengths)
        own = self.log_p[images[which, 0].long()]
        return own.expand(len(captions) + 1, *own.shape)

    def log_probabilities(
        self, images: Tensor, captions: Tensor, lengths: Tensor, *, which: Tensor
    ) -> Tensor:
        log_p = self(images, captions, lengths, which=which)
        ended = torch.cat([captions, captions.new_zeros(1, captions.shape[1])])
        t = torch.arange(len(ended))[:, None]
        each = log_p.gather(2, ended.where(t < lengths, self.mark)[:, :, None])[:, :, 0]
        return (each * (t <= lengths)).sum(0)


def batch_of(model: Sure) -> CaptionBatch:
    """Images with two captions each: what the model says of them, but of every tenth."""
    draw = np.random.default_rng(1)
    captions = [
        [
            draw.integers(0, TOKENS, length) if n % 10 == 2 else np.full(length, n)
            for length in draw.integers(18, 21, 2)
        ]
        for n in range(COUNT)
    ]
    images = np.arange(COUNT, dtype=np.float32)[:, None]
    return CaptionExamples(images, captions).gather(np.arange(COUNT))


def ranks(scores: Tensor, which: Tensor) -> tuple[list[int], list[int]]:
    """How many captions are ahead of an image's own, and images of a caption's, not by noise."""
    best = torch.stack([scores[n, which == n].amax() for n in range(COUNT)])
    own = scores[which, torch.arange(len(which))]
    ahead = [scores > each + 1e-3 for each in (best[:, None], own)]
    return ahead[0].sum(1).tolist(), ahead[1].sum(0).tolist()


@pytest.mark.parametrize(("scale", "is_sooner"), [(16.0, True), (0.1, False)])
def test_ranks_are_those_of_all_pairs(scale: float, is_sooner: bool) -> None:
    model: Any = Sure(scale)
    batch = batch_of(model)
    zeros = torch.zeros_like(batch.which)
    whole = torch.stack(
        [
            model.log_probabilities(image[None], batch.captions, batch.lengths, which=zeros)
            for image in batch.images
        ]
    )
    needed, model.read = model.read, 0
    found = pair_scores(model, batch.images, batch, unwatched)
    assert (model.read < 0.8 * needed) == is_sooner
    assert (found >= whole + 1e-6 * whole - 1e-4).all()
    for given, expected in (
        (found, whole),
        (found - found.logsumexp(0), whole - whole.logsumexp(0)),
    ):
        assert ranks(given, batch.which) == ranks(expected, batch.which)


def test_an_image_that_is_behind_with_its_own_captions_reads_all_to_their_ends() -> None:
    """They may be behind by as much as what was not read on: only whole captions have ranks."""
    model: Any = Sure(16.0)
    batch = batch_of(model)
    scores = pair_scores(model, batch.images, batch, unwatched)
    own = scores - scores.logsumexp(0)
    zeros, hopeless = torch.zeros_like(batch.which), 0
    for n, image in enumerate(batch.images):
        if own[n, batch.which == n].amax() < -20:
            hopeless += 1
            expected = model.log_probabilities(
                image[None], batch.captions, batch.lengths, which=zeros
            )
            torch.testing.assert_close(scores[n], expected)
    assert hopeless > 0
