"""The aligner: its scores and loss against loops, words joined to phrases against trying all,
regions, its way to disk."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.models.aligned import Alignment, smoothed
from recurra.models.ranking import image_sentence_scores, max_margin
from recurra.models.regions import cells, geometry, shares
from recurra.text import WordVocabulary
from recurra.vision import Preprocessing

WORDS = WordVocabulary.of_words(["red", "the", "dog"])
SIZE, POSITIONS = 5, 6
BOXES = torch.tensor(
    [
        [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.1, 0.2, 0.3, 0.9]],
        [[0.2, 0.0, 0.9, 0.4], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
    ]
)


def aligner(**options: Any) -> rc.Aligner:
    torch.manual_seed(3)
    sizes = {"embedding_size": 4, "hidden_size": 5, "joint_size": 6, "image_size": SIZE}
    model = rc.Aligner(vocabulary=WORDS, **{**sizes, "cell": "gru", **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model.eval()


def seeing(**options: Any) -> rc.Aligner:
    """One with an encoder, of pictures of 8 x 8 with a grid of 4 x 4."""
    encoder = {"name": "convnet", "widths": [4], "size": 1, "pool": 1}
    made = Preprocessing(size=8)
    return aligner(encoder=encoder, preprocessing=made, image_size=None, **options)


def batch(dtype: torch.dtype = torch.float32) -> tuple[Any, Any, list[int]]:
    """Grids of three images, four sentences, and their lengths."""
    draw = torch.Generator().manual_seed(1)
    grids = torch.randn((3, POSITIONS, SIZE), generator=draw, dtype=dtype)
    captions = torch.randint(0, len(WORDS), (5, 4), generator=draw)
    return grids, captions, [5, 1, 3, 2]


# ---- scores --------------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("whole_image", [False, True])
def test_a_score_is_the_sum_over_words_of_the_best_region(whole_image: bool) -> None:
    """Equation 8, by loops."""
    model = aligner(dtype=torch.float64, whole_image=whole_image, cell="rnn_relu")
    grids, captions, lengths = batch(torch.float64)
    with torch.no_grad():
        scores = model(grids, captions, lengths)
        regions, words = model.regions(grids), model.words(captions, lengths)
    assert regions.vectors.shape == (3, POSITIONS + whole_image, 6)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for k, m in itertools.product(range(3), range(4)):
        for t in range(lengths[m]):
            best = max(float(v @ words[t, m]) for v in regions.vectors[k])
            expected[k, m] += best
    torch.testing.assert_close(scores, expected)


def by_loops(S: torch.Tensor, which: list[int], margin: float, hardest: bool) -> torch.Tensor:
    losses = []
    reduce = torch.amax if hardest else torch.mean
    for m, k in enumerate(which):
        images = [S[i, m] - S[k, m] + margin for i in range(len(S)) if i != k]
        others = [S[k, o] - S[k, m] + margin for o in range(len(which)) if which[o] != k]
        losses.append(sum(reduce(torch.stack(each).clamp(min=0)) for each in (images, others)))
    return torch.stack(losses)


@pytest.mark.parametrize("negatives", ["all", "hardest"])
def test_the_loss_is_that_of_loops(negatives: str) -> None:
    draw = torch.Generator().manual_seed(0)
    S = torch.randn(4, 7, generator=draw, dtype=torch.float64, requires_grad=True)
    which = [0, 0, 1, 3, 2, 3, 3]
    found = max_margin(S, torch.tensor(which), margin=0.7, negatives=negatives)
    expected = by_loops(S, which, 0.7, negatives == "hardest")
    torch.testing.assert_close(found, expected)
    weights = torch.randn(7, generator=draw, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(weights @ each, S)[0] for each in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_one_image_alone_has_nothing_to_be_told_from() -> None:
    S = torch.randn(1, 2, requires_grad=True)
    lost = max_margin(S, torch.tensor([0, 0]))
    assert lost.tolist() == [0, 0]
    lost.sum().backward()
    assert S.grad is not None
    assert not S.grad.any()


@pytest.mark.medium
def test_a_batch_is_each_sentence_by_itself() -> None:
    """What lies past the lengths counts for nothing."""
    model = aligner()
    grids, captions, lengths = batch()
    scores = model(grids, captions, lengths)
    for m, T in enumerate(lengths):
        alone = model(grids, captions[:T, m : m + 1])
        torch.testing.assert_close(scores[:, m : m + 1], alone, rtol=1e-4, atol=1e-5)
    captions[1:, 1] = 10**6
    assert model(grids, captions, lengths).equal(scores)
    assert not model(grids, captions[:0]).any()  # no words: no score


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["grid", "boxes"])
def test_all_of_it_learns(kind: str) -> None:
    model = seeing(regions=kind, whole_image=True, num_layers=2).train()
    pixels = torch.randn(2, 3, 8, 8)
    given = {"boxes": BOXES, "box_counts": [3, 1]} if kind == "boxes" else {}
    captions, which = torch.tensor([[0, 2, 1], [1, 2, 0]]), torch.tensor([0, 1, 0])
    model.loss(pixels, captions, which=which, margin=100.0, **given).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in without if not n.startswith("encoder.project")] == []


# ---- regions -------------------------------------------------------------------------------------


def test_cells_and_the_whole_are_boxes_too() -> None:
    """The mean of a grid in the box of a cell is that cell; in the whole, the mean of all."""
    like = torch.zeros(1, dtype=torch.float64)
    own = cells(2, 3, like)
    assert own[4].tolist() == pytest.approx([1 / 3, 0.5, 2 / 3, 1.0])
    torch.testing.assert_close(shares(own[None], 2, 3)[0], torch.eye(6, dtype=torch.float64))
    boxes = torch.rand(5, 7, 2, dtype=torch.float64).sort(-1).values
    boxes = torch.stack([boxes[..., 0], boxes[..., 0] / 2, boxes[..., 1], boxes[..., 1]], -1)
    torch.testing.assert_close(shares(boxes, 4, 5).sum(-1), torch.ones(5, 7, dtype=torch.float64))
    [[whole]] = shares(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), 2, 3).tolist()
    assert whole == pytest.approx([1 / 6] * 6)
    point = torch.tensor([[[0.9, 0.1, 0.9, 0.1], [1.0, 1.0, 1.0, 1.0]]])
    assert shares(point, 2, 2)[0].round(decimals=3).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
    assert geometry(torch.tensor([0.0, 0.5, 0.5, 1.0])).tolist() == [-0.5, 0.5, 0.0, 0.0]


def test_a_box_is_the_mean_of_the_grid_in_it_by_pixels() -> None:
    """Each cell painted in pixels, and the pixels of the box averaged."""
    draw = torch.Generator().manual_seed(0)
    grid = torch.randn(4 * 3, 2, generator=draw, dtype=torch.float64)
    box = torch.tensor([[[0.25, 0.1, 0.8, 0.7]]], dtype=torch.float64)
    painted = grid.view(4, 3, 2).repeat_interleave(30, 0).repeat_interleave(40, 1)  # 120 x 120
    expected = painted[12:84, 30:96].mean((0, 1))
    torch.testing.assert_close((shares(box, 4, 3) @ grid)[0, 0], expected)


def test_boxes_that_are_not_there_are_not_looked_at() -> None:
    """An image without boxes has itself."""
    model = seeing(regions="boxes")
    pixels, captions = torch.randn(2, 3, 8, 8), torch.tensor([[0, 1], [2, 0]])
    scores = model(pixels, captions, boxes=BOXES, box_counts=[3, 1])
    few = model(pixels[1:], captions, boxes=BOXES[1:, :1])
    torch.testing.assert_close(scores[1:], few)
    looked, regions = model.looked_at(pixels, captions, boxes=BOXES, box_counts=[3, 1])
    assert looked.shape == (2, 2, 3)
    assert looked[:, 1].isinf().sum() == 4
    assert regions.there is not None
    assert regions.there.tolist() == [[True] * 3, [True, False, False]]
    none = model(pixels, captions, boxes=BOXES, box_counts=[3, 0])
    whole = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    torch.testing.assert_close(none[1:], model(pixels[1:], captions, boxes=whole))


def test_vectors_of_boxes_may_come_from_elsewhere() -> None:
    model = aligner(regions="boxes")
    vectors, captions = torch.randn(2, 3, SIZE), torch.tensor([[0, 1]])
    scores = model(vectors, captions, boxes=BOXES, box_counts=[3, 1])
    expected = image_sentence_scores(
        model.regions(vectors[:1], BOXES[:1]).vectors,
        model.words(captions)[0],
        torch.tensor([0, 1]),
        2,
    )
    torch.testing.assert_close(scores[:1], expected)


# ---- phrases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothness", [0.0, 0.3, 1.2, 100.0])
def test_the_regions_of_words_are_the_best_of_all_sequences(smoothness: float) -> None:
    """Equations 10 to 12, by trying every sequence; -inf is never chosen."""
    draw = torch.Generator().manual_seed(4)
    scores = torch.randn(5, 3, 4, generator=draw)
    scores[:, 1, 2] = -torch.inf
    lengths = torch.tensor([5, 4, 0])
    found = smoothed(scores, lengths, smoothness)
    for m, T in enumerate(lengths.tolist()):
        values = {
            path: sum(float(scores[t, m, a]) for t, a in enumerate(path))
            + smoothness * sum(a == b for a, b in itertools.pairwise(path))
            for path in itertools.product(range(4), repeat=T)
        }
        path = found[:T, m].tolist()
        assert values[tuple(path)] == pytest.approx(max(values.values()))
        assert not found[T:, m].any()
        if smoothness == 0:
            assert path == scores[:T, m].argmax(-1).tolist()
        if smoothness == 100:
            assert len({*path}) == (T > 0)


def test_phrases_are_runs_of_words_on_one_region() -> None:
    said = Alignment(
        score=1.0,
        words=("a", "red", "dog", "runs"),
        regions=(2, 2, 2, 0),
        scores=torch.zeros(4, 3),
        boxes=torch.zeros(3, 4),
    )
    assert list(said.phrases()) == [("a red dog", 2), ("runs", 0)]


# ---- what users have -----------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["grid", "boxes"])
def test_what_a_user_is_told_is_what_a_call_gives(kind: str) -> None:
    """Pictures and texts as they are, in any number; sentences are read as they were learned."""
    model = seeing(regions=kind, whole_image=kind == "boxes")
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (9, 12, 3)).astype(np.uint8) for _ in range(70)]
    boxes = None if kind == "grid" else [BOXES[n % 2, : 3 - 2 * (n % 2)].numpy() for n in range(70)]
    texts = ["The RED dog!", "dog", "the red, cat"]
    scores = model.scores(pictures, texts, boxes=boxes)
    assert scores.shape == (70, 3)
    ids = torch.from_numpy(WORDS.encode("the red dog"))[:, None]
    given = {} if boxes is None else {"boxes": torch.as_tensor(boxes[0])[None]}
    expected = model(model.pixels(pictures[:1]), ids, **given)
    torch.testing.assert_close(scores[:1, :1], expected)
    pairs = [(pictures[n], texts[n % 3]) for n in range(70)]
    said = model.predict(pairs, boxes=boxes)
    for n, each in enumerate(said):
        assert each.score == pytest.approx(float(scores[n, n % 3]), rel=1e-4, abs=1e-4)
        count = 16 if boxes is None else len(boxes[n]) + 1
        assert each.boxes.shape == (count, 4)
        assert each.scores.shape == (len(each.words), count)
        assert each.regions == tuple(each.scores.argmax(1).tolist())
    assert said[0].words == ("the", "red", "dog")
    assert said[2].words == ("the", "red", "cat")
    assert said[0].grid == (None if kind == "boxes" else (4, 4))
    [joined] = model.predict(pairs[:1], smoothness=1e6, boxes=None if boxes is None else boxes[:1])
    assert len({*joined.regions}) == 1


@pytest.mark.medium
def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    model = seeing(cell="zoneout(lstm, 0.1)", whole_image=True, lower=False, dropout=0.2)
    model.save(tmp_path)
    again = rc.load(tmp_path)
    assert isinstance(again, rc.Aligner)
    assert again.config == model.config
    picture = np.full((8, 8, 3), 90, dtype=np.uint8)
    assert again.predict([(picture, "red Dog")]) == model.predict([(picture, "red Dog")])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rc.Aligner(image_size=3), "expected vocab_size, or a vocabulary, got neither"),
        (
            lambda: aligner(regions="cells"),
            "expected regions to be one of grid, boxes, got 'cells'",
        ),
        (lambda: aligner()(torch.zeros(1, 6, 4), torch.tensor([[0]])), "expected grids"),
        (
            lambda: aligner().regions(torch.zeros(1, 6, SIZE), BOXES[:1]),
            "expected boxes for regions='boxes' alone, got regions='grid' and some",
        ),
        (
            lambda: aligner(regions="boxes").regions(torch.zeros(1, 3, SIZE), BOXES[:1] * 8),
            r"expected boxes in shares of the picture, .* got \[0.0, 0.0, 4.0, 4.0\]",
        ),
        (lambda: aligner().scores([], "a dog"), "expected a list of sentences, got 'a dog'"),
        (lambda: aligner().scores([], []), "expected a list of sentences, got \\[\\]"),
        (
            lambda: aligner().predict([], smoothness=-1.0),
            "expected smoothness of 0 or more, got -1.0",
        ),
        (
            lambda: aligner().loss(torch.zeros(1, 6, SIZE), torch.tensor([[0, 1]])),
            "expected an image for each of 2 sentences, got 1",
        ),
        (
            lambda: aligner().loss(torch.zeros(1, 6, SIZE), torch.tensor([[0]]), negatives="few"),
            "expected negatives to be one of all, hardest, got 'few'",
        ),
    ],
)
def test_what_does_not_go_is_one_line(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
