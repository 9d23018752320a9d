"""The captioner: what each injection is, its search against trying everything, its way to disk."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import recurra as rc
from recurra.decoding import Hypothesis, beam_search
from recurra.decoding.beam import length_norm
from recurra.models.captioner import INJECTIONS
from recurra.models.captioning import CaptionRows, attention_of, searched, whole_words
from recurra.models.captions import CaptionWriting
from recurra.models.seeing import COORDINATES, coordinates
from recurra.text import CharacterVocabulary, WordVocabulary
from recurra.vision import Preprocessing, open_picture

pytestmark = pytest.mark.medium

WORDS = WordVocabulary.of_words(["red", "the"])
SIZE, POSITIONS = 5, 6
KINDS: dict[str, dict[str, Any]] = {
    **{inject: {"inject": inject} for inject in INJECTIONS},
    "first, gru, layers": {"cell": "gru", "num_layers": 2},
    "v as it is": {"image_features": 0},
    "attend by dot": {"inject": "attend", "attention": "dot", "cell": "gru"},
    "attend by general, layers": {"inject": "attend", "attention": "general", "num_layers": 2},
    "attend from the max": {"inject": "attend", "start": "max"},
    "memory of gru": {"inject": "memory", "cell": "gru"},
}


def captioner(**options: Any) -> rc.Captioner:
    torch.manual_seed(3)
    sizes = {"embedding_size": 6, "hidden_size": 7, "image_size": SIZE}
    model = rc.Captioner(vocabulary=WORDS, **{**sizes, **options})
    with torch.no_grad():  # far from uniform, so that what is searched differs
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model.eval()


@pytest.fixture(params=KINDS, scope="module")
def model(request: pytest.FixtureRequest) -> rc.Captioner:
    return captioner(**KINDS[request.param])


def images(model: rc.Captioner, count: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    shape = (count, POSITIONS, SIZE) if model.inject == "attend" else (count, SIZE)
    return torch.randn(shape, generator=draw)


def batch() -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """Captions of two images, their lengths, and which image each is of."""
    draw = torch.Generator().manual_seed(2)
    captions = torch.randint(0, len(WORDS), (4, 3), generator=draw)
    return captions, [4, 0, 2], torch.tensor([1, 0, 1])


def test_a_batch_is_each_caption_by_itself(model: rc.Captioner) -> None:
    """What lies past the lengths counts for nothing, and all parameters learn."""
    seen, (captions, lengths, which) = images(model), batch()
    logits = model(seen, captions, lengths, which=which)
    assert logits.shape == (5, 3, len(WORDS) + 1)
    for m, T in enumerate(lengths):
        of = int(which[m])
        alone = model(seen[of : of + 1], captions[:T, m : m + 1])
        torch.testing.assert_close(logits[: T + 1, m], alone[:, 0], rtol=1e-4, atol=1e-5)
    captions[3, 2] = 10**6
    again = model(seen, captions, lengths, which=which)
    for m, T in enumerate(lengths):
        assert again[: T + 1, m].equal(logits[: T + 1, m])
    packed = model(seen, captions, lengths, which=which, packed=True)
    within = torch.arange(5)[:, None] <= torch.tensor(lengths)
    torch.testing.assert_close(packed, logits[within])
    loss = model.loss(seen, captions, lengths, which=which)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()


def test_the_image_counts_but_for_the_language_model(model: rc.Captioner) -> None:
    seen, (captions, lengths, which) = images(model), batch()
    one = model(seen, captions, lengths, which=which)
    other = model(seen.flip(0), captions, lengths, which=which)
    assert one.equal(other) == (model.inject == "none")


def test_at_the_first_step_alone_v_is_added_before_the_nonlinearity() -> None:
    """h = tanh(W_xh x + W_hh h + W_ih v + b), v at the step of START and at no other."""
    model = captioner(cell="rnn", image_features=0)
    seen, (captions, _, which) = images(model), batch()
    logits = model(seen, captions, which=which)
    own = dict(model.decoder.named_parameters())
    W_x, W_h, b = (own[f"{name}_l0"] for name in ("W_xh", "W_hh", "b_h"))
    W_xh, W_ih = W_x[:, :6], W_x[:, 6:]
    h = torch.zeros(3, 7)
    read = torch.cat([torch.full((1, 3), model.mark), captions])
    for t, tokens in enumerate(read):
        pre = model.embedding(tokens) @ W_xh.T + h @ W_h.T + b
        if t == 0:
            pre = pre + seen[which] @ W_ih.T
        h = torch.tanh(pre)
        torch.testing.assert_close(logits[t], model.output(h), rtol=1e-4, atol=1e-5)


def test_step_by_step_it_is_what_it_is_at_once(model: rc.Captioner) -> None:
    seen, (captions, _, which) = images(model), batch()
    with torch.no_grad():
        whole = model(seen, captions, which=which)
        rows = CaptionRows(model, model.seen(model.features(seen))[which])
        read = torch.cat([torch.full((1, 3), model.mark), captions])
        for t, tokens in enumerate(read[:3]):
            torch.testing.assert_close(rows(tokens), whole[t], rtol=1e-4, atol=1e-4)
        order = torch.tensor([2, 0])  # fewer rows, of one image
        rows.reorder(order)
        torch.testing.assert_close(rows(read[3][order]), whole[3][order], rtol=1e-4, atol=1e-4)
        rows.reorder(torch.tensor([1, 0]))
        found = rows(read[4][order.flip(0)])
    torch.testing.assert_close(found, whole[4][order.flip(0)], rtol=1e-4, atol=1e-4)


def test_searched_wide_enough_it_says_the_best_of_all(model: rc.Captioner) -> None:
    seen, longest, penalty = images(model)[:1], 3, 0.8
    scored = []
    with torch.no_grad():
        for steps in range(longest + 1):
            for tokens in itertools.product(range(model.mark), repeat=steps):
                captions = torch.tensor(tokens, dtype=torch.int64)[:, None]
                total = float(model.log_probabilities(seen, captions))
                scored.append((total / float(length_norm(steps + 1, penalty)), tokens))
        K = (model.mark + 1) ** 3
        found = beam_search(
            CaptionRows(model, model.seen(model.features(seen)).repeat_interleave(K, dim=0)),
            [longest],
            beam_size=K,
            mark=model.mark,
            length_penalty=penalty,
            num_best=5,
            exact=True,
        )[0]
    best = sorted(scored, reverse=True)[:5]
    assert [each.tokens for each in found] == [tokens for _, tokens in best]
    scores = torch.tensor([each.score for each in found])
    torch.testing.assert_close(scores, torch.tensor([s for s, _ in best]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("writing", [{}, {"beam_size": 1}, {"temperature": 1.0, "seed": 5}])
def test_a_caption_has_its_own_log_probability_and_depends_on_no_other(
    model: rc.Captioner, writing: dict[str, Any]
) -> None:
    seen = images(model, 4)
    writing = {"max_length": 6, **writing}
    together = model.predict(seen, **writing)
    assert [c.text for c in model.predict(seen, batch_size=3, **writing)] == [
        c.text for c in together
    ]
    for number, each in enumerate(together):
        if "temperature" not in writing:  # what is drawn depends on the place of the image
            (alone,) = model.predict(seen[number : number + 1], **writing)
            assert alone.text == each.text
        ids = torch.tensor([_ids(each.tokens)], dtype=torch.int64).T
        with torch.no_grad():
            log_p = model.log_probabilities(seen[number : number + 1], ids)
        assert each.log_probability == pytest.approx(float(log_p), abs=1e-3)


def _ids(tokens: tuple[str, ...]) -> list[int]:
    known = {WORDS.decode([n]).strip(): n for n in range(len(WORDS))}
    return [known[token] for token in tokens]


def test_no_run_of_words_twice_and_no_bad_ending() -> None:
    model = captioner(inject="every")
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([-9.0, -9.0, 1.0, 2.0, 0.0]))  # the, red, end
        seen = images(model)
        for beams in (1, 3):
            free = model.predict(seen, beam_size=beams, max_length=8, length_penalty=5.0)[0]
            assert free.tokens == ("the",) * 8
            assert not free.finished
            how = CaptionWriting(beam_size=beams, no_repeat_ngram=2, max_length=9)
            tokens = searched(model, seen, how)[0][0].tokens
            pairs = list(itertools.pairwise(tokens))
            assert len(pairs) == len(set(pairs))
            ended = model.predict(seen, beam_size=beams, no_bad_ending=True, max_length=4)[0]
            assert not ended.tokens or ended.tokens[-1] != "the" or not ended.finished
        ids = torch.tensor([_ids(ended.tokens)], dtype=torch.int64).T
        log_p = float(model.log_probabilities(seen[:1], ids))
    assert ended.log_probability == pytest.approx(log_p, abs=1e-4)


def test_where_it_looks_is_what_its_attention_weighs() -> None:
    model = captioner(inject="attend")
    seen = torch.randn(2, 9, SIZE, generator=torch.Generator().manual_seed(4))
    captions = model.predict(seen, attention=True, max_length=5)
    for each in captions:
        assert each.attention is not None
        assert each.attention.shape == (len(each.tokens) + 1, 3, 3)
        torch.testing.assert_close(each.attention.sum((1, 2)), torch.ones(len(each.tokens) + 1))
    with torch.no_grad():
        (first,) = attention_of(model, model.features(seen[:1]), [()])
        # the weights of the first step by hand, from the state that is made of the mean
        assert model.image is not None
        lines = torch.tensor([-1.0, 0.0, 1.0])
        where = torch.cartesian_prod(lines, lines)  # row and column
        waves = [of(k * torch.pi * where) for k in (1, 2, 3) for of in (torch.sin, torch.cos)]
        rows = model.image(torch.cat([seen[0], where, *waves], dim=1))
        own = dict(model.decoder.named_parameters())
        h = model.first_state(rows[None])[0][0, 0]
        score = torch.tanh(own["W_a_l0"] @ h + rows @ own["U_a_l0"].T) @ own["v_a_l0"]
    torch.testing.assert_close(first.flatten(), score.softmax(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected a model with attention .* got inject='first'"):
        attention_of(captioner(), torch.zeros(1, SIZE), [(0,)])


SMALL = {"name": "convnet", "widths": [4, 8], "size": 6, "pool": 2}


@pytest.mark.parametrize("rows", [1, 3, 6, 7])
def test_weights_of_a_row_tell_it_from_all_others(rows: int) -> None:
    """What is 1 in one row of a grid and 0 in others is linear in its coordinates."""
    like = torch.zeros(0, dtype=torch.float64)
    where = coordinates(rows, 2, like)
    assert where.shape == (2 * rows, COORDINATES)
    with_bias = torch.cat([where, torch.ones(len(where), 1, dtype=like.dtype)], dim=1)
    wanted = torch.eye(rows, dtype=like.dtype).repeat_interleave(2, dim=0)
    weights = torch.linalg.pinv(with_bias) @ wanted
    torch.testing.assert_close(with_bias @ weights, wanted)


@pytest.mark.parametrize("inject", ["first", "memory", "attend", "none"])
def test_pictures_are_read_by_its_own_encoder(inject: str, tmp_path: Path) -> None:
    """Paths, images and arrays give one caption; a saved model has encoder and preprocessing."""
    model = captioner(
        inject=inject,
        encoder=SMALL,
        image_size=None,
        preprocessing=Preprocessing(size=(16, 24), mean=0.4),
    )
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    how = {"max_length": 5, "attention": inject == "attend"}
    said = model.predict(paths, **how)
    if inject == "attend":
        assert said[0].attention is not None
        assert said[0].attention.shape[1:] == (4, 6)
    model.save(tmp_path / "model")
    again = rc.Captioner.load(tmp_path / "model")
    assert again.preprocessing == model.preprocessing
    assert again.encoder is not None
    for other in (again.predict(list(pictures), **how), model.predict([*map(str, paths)], **how)):
        assert other == said
    assert model.predict([open_picture(path) for path in paths[:2]], **how) == said[:2]
    pixels = model.pixels(paths)
    assert model.predict(pixels, **how) == said
    captions = torch.tensor([[0, 1, 0], [0, 0, 1]])
    model.train().loss(pixels, captions).backward()
    assert model.encoder is not None
    learned = [p.grad is not None for p in model.encoder.parameters()]
    if inject == "attend":  # the layer that makes one vector is not read
        learned = learned[:-2]
    assert all(learned) == (inject != "none")
    with pytest.raises(ValueError, match="expected a list of pictures, got"):
        model.predict(paths[0])


def test_words_say_the_image_back() -> None:
    """With a memory sentences find images: what is imagined comes close to what is spoken of."""
    torch.manual_seed(0)
    model = rc.Captioner(
        vocabulary=WORDS, image_size=SIZE, inject="memory", embedding_size=6, hidden_size=12
    )
    seen = torch.eye(SIZE)[:3]
    captions = torch.tensor([[0, 1, 0], [0, 0, 1]])
    step = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        loss = model.loss(seen, captions)
        step.zero_grad()
        loss.backward()
        step.step()
    said = model.imagined(captions)
    assert (said @ seen.T).argmax(1).tolist() == [0, 1, 2]
    torch.testing.assert_close(
        model(seen, captions, imagined=True)[1][2], said, rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="expected inject='memory' to imagine images"):
        captioner().imagined(captions)


def test_it_comes_back_from_disk(model: rc.Captioner, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = rc.Captioner.load(tmp_path)
    assert again.config == model.config
    seen = images(model)
    said, expected = again.predict(seen, max_length=6), model.predict(seen, max_length=6)
    assert [c.text for c in said] == [c.text for c in expected]
    assert [c.log_probability for c in said] == [c.log_probability for c in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inject": "last"}, "expected inject to be one of first, input, .*, got 'last'"),
        ({"image_size": None}, "expected an encoder, or image_size, the .* vector, got neither"),
        ({"encoder": "convnet"}, "expected image_size=128, as of the encoder, got 5"),
        (
            {"preprocessing": Preprocessing(size=24)},
            "expected an encoder beside preprocessing, got none",
        ),
        (
            {"encoder": "convnet", "image_size": None, "preprocessing": Preprocessing()},
            "expected preprocessing to one size, of 3 channels, got size=None and 3",
        ),
        (
            {"inject": "input", "image_features": 4},
            r"expected image_features=6, as many as embedding_size, for inject='input', got 4",
        ),
        (
            {"inject": "attend", "attention": "dot", "image_features": 0},
            r"expected image_features=7, as many as hidden_size, .* by dot, got 5",
        ),
        ({"start": "last"}, r"expected start to be one of mean, max, got 'last'"),
        ({"vocab_size": 9}, r"expected vocabulary of 9 tokens, got 4"),
    ],
)
def test_what_does_not_go_together_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        captioner(**options)


def test_attention_starts_from_the_mean_of_the_grid_or_from_its_max() -> None:
    for start, of in (("mean", lambda seen: seen.mean(1)), ("max", lambda seen: seen.amax(1))):
        model = captioner(inject="attend", start=start)
        seen = model.seen(images(model))
        assert model.start is not None
        expected = torch.tanh(model.start(of(seen))).split(7, dim=1)
        for state, own in zip(model.first_state(seen), expected, strict=False):
            torch.testing.assert_close(state[0], own)


def test_images_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected vectors \[images, 5\], got shape \(2, 6, 5\)"):
        captioner().predict(torch.zeros(2, POSITIONS, SIZE))
    with pytest.raises(ValueError, match=r"expected grids \[images, positions, 5\], got shape"):
        captioner(inject="attend").predict(torch.zeros(2, SIZE))
    with pytest.raises(ValueError, match="expected an image for each of 3 captions, got 2"):
        captioner()(torch.zeros(2, SIZE), torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected num_best of at most beam_size, 3"):
        captioner().predict(torch.zeros(2, SIZE), num_best=4)


def test_what_is_drawn_depends_on_the_place_of_an_image(model: rc.Captioner) -> None:
    drawn: dict[str, Any] = {"temperature": 1.0, "max_length": 8}
    alike = images(model, 1).repeat_interleave(40, dim=0)
    whole = [each.tokens for each in model.predict(alike, **drawn)]
    parts = [
        each.tokens
        for first in (0, 25)
        for each in model.predict(alike[first : first + 25], first=first, **drawn)
    ]
    assert parts == whole
    assert len(set(whole)) > 1


@pytest.mark.parametrize("lengths", [[-1, 2, 2], [1, 2, 99], [1, 2]])
def test_lengths_of_captions_are_checked(model: rc.Captioner, lengths: list[int]) -> None:
    captions = torch.zeros(3, 3, dtype=torch.int64)
    for call in (
        lambda: model(images(model, 3), captions, lengths),
        lambda: model.log_probabilities(images(model, 3), captions, lengths),
        lambda: model.wanted(captions, lengths),
    ):
        with pytest.raises(ValueError, match="lengths of captions"):
            call()


def test_a_caption_that_is_cut_ends_with_a_whole_word() -> None:
    """Where tokens are parts of words; of words each is whole, and one alone stays as it is."""
    letters = CharacterVocabulary.build(["a big dog"])
    for vocabulary, text, finished, kept in (
        (letters, "a big do", False, "a big"),
        (letters, "a big do", True, "a big do"),
        (letters, "do", False, "do"),
        (WORDS, "the red", False, "the red"),
    ):
        said = Hypothesis(
            tokens=tuple(vocabulary.encode(text).tolist()),
            log_probability=0.0,
            score=0.0,
            finished=finished,
        )
        assert whole_words(vocabulary, said) == kept
