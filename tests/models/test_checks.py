"""What models are given is what they take it for, or one line says what was expected."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.errors import DataError

V = 9


@pytest.fixture
def captioner():
    return rc.Captioner(V, image_size=5, hidden_size=4, embedding_size=4).eval()


@pytest.fixture
def aligner():
    return rc.Aligner(V, image_size=5, hidden_size=4, embedding_size=4, joint_size=4).eval()


CAPTIONS = torch.randint(0, V, (4, 3))
VECTORS, GRIDS = torch.randn(3, 5), torch.randn(3, 4, 5)


WRONG_TYPES = """
import numpy as np, torch, recurra as rc
from recurra.text import WordVocabulary

torch.set_num_threads(1)
words = WordVocabulary.build(["a red dog"] * 3)
tagger = rc.Tagger(2, input_size=2, hidden_size=4)
forecaster = rc.Forecaster(1, 3, 6, hidden_size=4, density="gaussian", decoding="recursive")
translator = rc.Translator(9, 9, hidden_size=4, embedding_size=4)
captioner = rc.Captioner(9, image_size=5, hidden_size=4, embedding_size=4)
aligner = rc.Aligner(vocabulary=words, image_size=5, hidden_size=4)
x, ids, images = torch.randn(6, 2, 1), torch.zeros(4, 3, dtype=torch.int64), torch.randn(3, 5)
two, past = x.repeat(1, 1, 2), [np.arange(6.0)]
tensor = "to be a tensor, got"
for said, call in (
    (tensor, lambda: tagger(two.tolist())),
    (tensor, lambda: tagger.loss(two, [[0, 1]] * 6)),
    (tensor, lambda: tagger.stream()(np.zeros((1, 2), dtype=np.float32))),
    (tensor, lambda: forecaster(x.numpy())),
    (tensor, lambda: forecaster.loss(x, x[:3].numpy())),
    (tensor, lambda: translator(ids.tolist(), ids)),
    (tensor, lambda: translator(ids, ids.numpy())),
    (tensor, lambda: captioner(images, ids.tolist())),
    (tensor, lambda: captioner(images.numpy(), ids)),
    (tensor, lambda: captioner(images, ids, which=[0, 1, 2])),
    ("captions [time, batch], got shape (4,)", lambda: captioner(images[:1], ids[:, 0])),
    ("sentences [time, batch], got shape (4,)", lambda: aligner(images[None], ids[:, 0])),
    ("lengths of series of integers", lambda: forecaster.forecast(x, [6.0, 2.5])),
    ("a list of probabilities", lambda: forecaster.predict(past, levels="0.5")),
    ("a list of probabilities", lambda: forecaster.predict(past, levels=0.5)),
    ("seed to be a whole number", lambda: forecaster.predict(past, seed=1.5)),
    ("a list of pairs of a picture and a sentence", lambda: aligner.predict(None)),
    ("a list of pairs of a picture and a sentence", lambda: aligner.predict(["x"])),
):
    try:
        call()
    except (TypeError, ValueError) as error:
        assert said in str(error), f"expected {said}, got {error}"
        assert len(str(error).splitlines()) == 1, error
    else:
        raise SystemExit(f"nothing is said of {said}")
"""


@pytest.mark.medium
def test_what_is_of_another_type_is_told_in_one_line():
    # in a process without jaxtyping's wrappers, which check types themselves
    done = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_mark_stands_at_the_ends_of_captions_alone(captioner):
    with pytest.raises(ValueError, match=r"token ids in 0\.\.8 \(vocabulary: 9\), got 9"):
        captioner(VECTORS, torch.full_like(CAPTIONS, captioner.mark))
    past = CAPTIONS.where(torch.arange(4)[:, None] < 2, captioner.mark)
    captioner(VECTORS, past, [2, 2, 2])  # what stands past a length is not looked at


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        (torch.tensor([0, 1, 3]), ValueError, r"which in 0\.\.2, one of 3 images, got 3"),
        (torch.tensor([0, 1, -1]), ValueError, r"which in 0\.\.2, one of 3 images, got -1"),
        (torch.tensor([0, 1]), ValueError, r"which of shape \(3,\)"),
        (torch.tensor([0.0, 1.0, 2.0]), TypeError, r"which of torch\.int64"),
    ],
)
def test_a_caption_is_of_an_image_that_there_is(captioner, aligner, which, error, said):
    for call in (
        lambda: captioner(VECTORS, CAPTIONS, which=which),
        lambda: aligner.loss(GRIDS, CAPTIONS, which=which),
        lambda: aligner.looked_at(GRIDS, CAPTIONS, which=which),
    ):
        with pytest.raises(error, match=said):
            call()


def test_what_is_read_in_place_of_captions_has_its_shape_and_images_are_as_many(captioner, aligner):
    with pytest.raises(ValueError, match=r"read of shape \(5, 3\).* got \(4, 3\)"):
        captioner(VECTORS, CAPTIONS, read=CAPTIONS)
    with pytest.raises(ValueError, match="an image for each of 3 sentences, got 2"):
        aligner.looked_at(GRIDS[:2], CAPTIONS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.complex64])
def test_images_are_numbers_that_the_encoder_reads(captioner, aligner, dtype):
    for model, images in ((captioner, VECTORS), (aligner, GRIDS)):
        with pytest.raises(TypeError, match=rf"floating-point numbers.* got {dtype}"):
            model(images.to(dtype), CAPTIONS)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_are_shares(captioner, share):
    translator = rc.Translator(V, V, hidden_size=4, embedding_size=4)
    forecaster = rc.Forecaster(1, 3, 6, hidden_size=4)
    for call in (
        lambda: captioner.loss(VECTORS, CAPTIONS, label_smoothing=share),
        lambda: translator.loss(CAPTIONS, CAPTIONS, label_smoothing=share),
        lambda: forecaster(torch.randn(6, 2, 1), truth=share),
    ):
        with pytest.raises(ValueError, match=r"in 0\.\.1, got"):
            call()


@pytest.mark.parametrize("margin", [-1.0, float("nan"), float("inf")])
def test_a_margin_is_a_finite_distance(aligner, margin):
    with pytest.raises(ValueError, match="a margin of 0 or more"):
        aligner.loss(GRIDS, CAPTIONS, margin=margin)


def test_of_a_source_of_no_steps_there_is_no_translation():
    model = rc.Translator(V, V, hidden_size=4, embedding_size=4)
    with pytest.raises(ValueError, match=r"of nothing there is no translation"):
        model(CAPTIONS[:0], CAPTIONS)


def test_no_pictures_have_no_scores():
    from recurra.text import WordVocabulary

    words = WordVocabulary.build(["a red dog"] * 3)
    model = rc.Aligner(vocabulary=words, image_size=5, hidden_size=4).eval()
    assert model.scores([], ["a dog", "red"]).shape == (0, 2)


def test_the_boxes_of_each_image_are_its_own(aligner):
    boxes = aligner.regions(GRIDS).boxes
    before = boxes.clone()
    boxes[0] = 7
    assert torch.equal(boxes[1:], before[1:])


# ---- series


def test_a_masked_number_is_missing_and_a_tensor_is_read_whatever_it_keeps():
    values = np.arange(12.0).reshape(6, 2)
    masked = np.ma.masked_array(values, mask=values == 5)
    model = rc.Tagger(2, input_size=2, hidden_size=4).eval()
    with pytest.raises(DataError, match="1 missing, the first at step 2, channel 1"):
        model.predict([masked])
    with pytest.raises(DataError, match="1 missing"):
        model.predict([masked.astype(np.int64)])
    wanted = model.predict([values])
    given = torch.from_numpy(values)
    for tensor in (given.requires_grad_(), given.detach().bfloat16(), given.detach().T.T):
        assert model.predict([tensor]) == wanted


def test_a_series_of_other_channels_is_named_by_its_place():
    for model in (rc.Tagger(2, input_size=2), rc.Classifier(2, input_size=2)):
        with pytest.raises(DataError, match="input 1: expected 2 channels, as in training, got 3"):
            model.predict([np.zeros((4, 2)), np.zeros((4, 3))])


@pytest.mark.parametrize(
    ("choices", "error", "said"),
    [
        ({"seed": -1}, ValueError, "seed to be a whole number"),
        ({"num_samples": 0}, ValueError, "num_samples >= 1"),
    ],
)
def test_choices_of_a_forecast_are_checked(choices, error, said):
    model = rc.Forecaster(1, 3, 6, hidden_size=4, density="gaussian", decoding="recursive")
    with pytest.raises(error, match=said):
        model.predict([np.arange(6.0)], **choices)


def test_a_forecast_of_no_series_has_its_shape_and_lengths_are_whole():
    model = rc.Forecaster(2, 3, 6, hidden_size=4, density="gaussian", decoding="recursive")
    x = torch.randn(6, 2, 2)
    values, quantiles = model.forecast(x[:, :0], levels=(0.1, 0.5, 0.9))
    assert quantiles is not None
    assert values.shape == (3, 0, 2)
    assert quantiles.shape == (3, 3, 0, 2)
    with pytest.raises(ValueError, match="num_samples >= 1"):
        model.forecast(x, num_samples=0)
    with pytest.raises(DataError, match="series 0: expected an array"):
        model.predict([None])


# ---- weights that are no numbers


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_of_weights_that_are_not_finite_nothing_is_predicted(weight):
    from recurra.text import WordVocabulary

    words = WordVocabulary.build(["a red dog"] * 3)
    translator = rc.Translator(
        source_vocabulary=words, target_vocabulary=words, hidden_size=4, embedding_size=4
    )
    captioner = rc.Captioner(vocabulary=words, image_size=5, hidden_size=4, embedding_size=4)
    forecaster = rc.Forecaster(1, 3, 6, hidden_size=4)
    calls = {
        translator: [lambda n=n: translator.predict(["a dog"], beam_size=n) for n in (1, 3)],
        captioner: [lambda n=n: captioner.predict(VECTORS, beam_size=n) for n in (1, 3)],
        forecaster: [lambda: forecaster.predict([np.arange(6.0)])],
    }
    for kind in ({"labels": ["x", "y"]}, {"labels": ["x", "y"], "crf": True}, {"output_size": 2}):
        tagger = rc.Tagger(input_size=1, hidden_size=4, **kind)  # pyright: ignore
        calls[tagger] = [lambda tagger=tagger: tagger.predict([np.arange(6.0)])]
    classifier = rc.Classifier(2, input_size=1, hidden_size=4)
    calls[classifier] = [lambda: classifier.predict([np.arange(6.0)])]
    for model, own in calls.items():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(weight)
        for call in own:
            with pytest.raises(ValueError, match="use an earlier checkpoint"):
                call()
