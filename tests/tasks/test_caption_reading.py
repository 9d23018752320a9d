"""A part is read once: what comes of it is what comes of captioning, scoring and encoding apart."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.models import Captioner
from recurra.tasks.caption_floors import nearest, recalls
from recurra.tasks.caption_reading import read, surprise_of_all, vectors_of
from recurra.tasks.caption_recall import recalled
from recurra.text import WordVocabulary
from recurra.views import unwatched

WORDS = WordVocabulary.of_words(["a", "red", "dog", "runs"])
COUNT = 70  # more than are read side by side


def model_of(inject: str) -> Captioner:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 6, "embedding_size": 5, "image_size": 4}
    return Captioner(vocabulary=WORDS, inject=inject, backend="reference", **sizes).eval()


def part_of(inject: str) -> CaptionExamples:
    draw = np.random.default_rng(0)
    shape = (COUNT, 9, 4) if inject == "attend" else (COUNT, 4)
    captions = [
        [draw.integers(0, len(WORDS), draw.integers(1, 6)) for _ in range(1 + n % 2)]
        for n in range(COUNT)
    ]
    return CaptionExamples(draw.normal(size=shape).astype(np.float32), captions)


def images(batch: CaptionBatch) -> Tensor:
    return batch.images


@pytest.mark.parametrize("inject", ["first", "attend", "none"])
def test_what_is_said_and_how_probable_and_what_is_seen(inject: str) -> None:
    model, part = model_of(inject), part_of(inject)
    chosen = [3, 68, 40]
    told: list[tuple[str, int, int]] = []

    def watch(*each: object) -> None:
        told.append(each)  # type: ignore[arg-type]

    found = read(model, part, images, watch, chosen=chosen, beam_size=2, max_length=7)
    whole = torch.from_numpy(np.asarray(part.images))
    with torch.no_grad():
        assert found.said == model.predict(whole, beam_size=2, max_length=7)
        every = part.gather(np.arange(COUNT))
        log_p = model.log_probabilities(whole, every.captions, every.lengths, which=every.which)
        tokens = int(every.lengths.sum()) + len(every.lengths)
        assert found.nll == pytest.approx(-float(log_p.double().sum()) / tokens, rel=1e-6)
        grids = whole.mean(1) if inject == "attend" else whole
        torch.testing.assert_close(found.vectors, grids)
        torch.testing.assert_close(found.features, whole[chosen])
    assert told == [("captioning", 0, COUNT), ("captioning", 64, COUNT)]


def test_vectors_of_some_images_and_the_nearest_of_them() -> None:
    model, part = model_of("attend"), part_of("attend")
    numbers = np.array([69, 2, 33])
    found = vectors_of(model, part, images, unwatched, numbers)
    torch.testing.assert_close(found, torch.from_numpy(part.images[numbers]).mean(1))
    assert nearest(found[1:], found) == [1, 2]


def test_what_sees_nothing_is_as_surprised_whatever_the_images() -> None:
    model, part = model_of("none"), part_of("first")
    found = surprise_of_all(model, part, unwatched)
    read_with = read(model, part, images, unwatched, beam_size=1, max_length=3)
    assert found == pytest.approx(read_with.nll, rel=1e-6)


def every_pair(model: Captioner, batch: CaptionBatch) -> Tensor:
    """[N, M], each caption read by itself with each image, to its end."""
    scores = torch.empty(len(batch.images), len(batch.which))
    for n, image in enumerate(batch.images):
        for m, length in enumerate(batch.lengths.tolist()):
            caption = batch.captions[:length, m : m + 1]
            if model.inject == "memory":
                scores[n, m] = torch.cosine_similarity(model.imagined(caption)[0], image, dim=0)
            else:
                scores[n, m] = model.log_probabilities(image[None], caption)[0]
    return scores


@torch.no_grad()
@pytest.mark.parametrize("inject", ["every", "attend", "memory"])
def test_each_sentence_is_scored_with_each_image(inject: str) -> None:
    model = model_of(inject)
    batch = part_of(inject).gather(np.arange(12))
    found = recalled(model, batch.images, batch, unwatched)
    scores, owners = every_pair(model, batch), batch.which.tolist()
    ways = [scores, scores] if inject == "memory" else [scores - scores.logsumexp(0), scores]
    for way, own in zip(("image_to_text", "text_to_image"), ways, strict=True):
        expected = recalls(own, owners)
        assert {k: v for k, v in found.items() if k.startswith(way)} == {
            k: v for k, v in expected.items() if k.startswith(way)
        }
