"""A label, or numbers, at every frame of a clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.errors import DataError
from recurra.models import FrameTagger, Scaling
from recurra.models.frames import framewise, one_thread
from recurra.vision import ConvNet

T, B, C, Y, X, K = 7, 3, 2, 12, 10, 4
LENGTHS = torch.tensor([7, 1, 4])


def tagger(channels: int = C, **options: Any) -> FrameTagger:
    net = ConvNet(channels, (4, 6), 8, pool=2)
    scaling = Scaling(mean=(100.0,) * channels, spread=(50.0,) * channels)
    labels = {} if "output_size" in options else {"num_labels": K}
    return FrameTagger(net, hidden_size=8, scaling=scaling, **labels, **options)


def clips(channels: int = C) -> Tensor:
    return torch.randint(256, (T, B, channels, Y, X), dtype=torch.uint8)


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"delay": 2}, {"batch_first": True}]
)
def test_each_clip_is_tagged_as_it_is_alone(options: dict[str, Any]) -> None:
    model = tagger(**options).eval()
    x = clips()
    scores = model(x.transpose(0, 1) if model.batch_first else x, LENGTHS)
    scores = scores.transpose(0, 1) if model.batch_first else scores
    assert scores.shape == (T, B, K)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(scores[:length, b], model(x[:length, b]))


def test_what_lies_past_the_lengths_is_not_looked_at_and_gets_no_gradient() -> None:
    model = tagger()
    x = clips().float()
    past = torch.arange(T)[:, None] >= LENGTHS
    other = x.clone()
    other[past] = torch.nan
    x.requires_grad_()
    target = torch.randint(K, (T, B))
    model.eval().loss(x, target, LENGTHS).backward()
    assert x.grad is not None
    assert not x.grad[past].any()
    assert x.grad[~past].flatten(1).any(1).all()  # the encoder learns from every frame
    torch.testing.assert_close(model(other, LENGTHS), model(x, LENGTHS), equal_nan=False)


def test_the_encoder_is_called_once_for_all_frames_that_are_there() -> None:
    model = tagger()
    seen: list[tuple[int, ...]] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    model(clips(), LENGTHS)
    assert seen == [(int(LENGTHS.sum()), C, Y, X)]


def test_bytes_are_the_same_numbers_as_floats() -> None:
    model = tagger().eval()
    x = clips()
    assert torch.equal(model(x), model(x.float()))


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"delay": 2}, {"output_size": 2}, {"cell": framewise}])
@torch.no_grad()
def test_a_stream_has_the_state_of_the_whole_clip_to_the_bit(
    channels: int, options: dict[str, Any]
) -> None:
    model = tagger(channels, **options).eval()
    x = clips(channels)
    stream = model.stream()
    said: list[Tensor] = []
    for x_t in x[:, 1]:
        now = stream(x_t[None])
        said += [] if now is None else [now]
    with model.online():
        _, state = model.recurrent(model._read_steps(x)[:, 1:2].contiguous())
    pairs = zip(_several(stream._layer.state), _several(state), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    said += stream.finish()
    [whole] = model.predict([x[:, 1].numpy()])
    if whole.values is not None:  # torch multiplies one row and several in other orders
        np.testing.assert_allclose(torch.cat(said).numpy(), whole.values, rtol=0, atol=1e-6)
    else:
        assert tuple(torch.cat(said).tolist()) == whole.labels


@torch.no_grad()
def test_frames_are_encoded_together_but_one_by_one_online() -> None:
    model = tagger().eval()
    seen: list[int] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    together = model(clips(), LENGTHS)
    assert together.shape == (T, B, K)
    assert seen == [int(LENGTHS.sum())]
    seen.clear()
    with model.online():
        model(clips(), LENGTHS)
    model.predict([clips()[:, 0].numpy()])
    assert seen == [1] * (int(LENGTHS.sum()) + T)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_is_taken_and_all_are_given_back(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def _several(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def test_framewise_says_of_a_frame_what_it_says_of_it_alone() -> None:
    model = tagger(cell=framewise).eval()
    x = clips()
    torch.testing.assert_close(model(x)[3], model(x[3:4])[0])


def test_it_is_saved_with_its_encoder_and_scaling(tmp_path: Path) -> None:
    model = tagger(cell=framewise)
    model.save(tmp_path)
    found = rc.load(tmp_path)
    assert isinstance(found, FrameTagger)
    assert found.scaling == model.scaling
    assert found.encoder.config == model.encoder.config
    x = clips()
    assert torch.equal(found(x), model.eval()(x))


def test_clips_of_other_sizes_are_predicted_in_their_order() -> None:
    model = tagger().eval()
    each = [clips()[:length, 0].numpy() for length in (3, 7, 1)]
    found = model.predict(each, batch_size=2)
    assert [len(tags) for tags in found] == [3, 7, 1]
    assert found[1] == model.predict([each[1]])[0]


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (np.zeros((T, Y, X), np.uint8), "frames [T, 2, rows, columns]"),
        (np.zeros((T, Y, X, C), np.uint8), "Channels come before rows"),
        (np.full((T, C, Y, X), np.nan), "a number for each pixel"),
        ("frames", "frames of numbers"),
    ],
)
def test_what_is_no_clip_is_refused(clip: Any, said: str) -> None:
    with pytest.raises(DataError, match=said.replace("[", r"\[").replace("]", r"\]")):
        tagger().predict([clip])


def test_what_goes_not_together_is_refused() -> None:
    with pytest.raises(ValueError, match="got vocab_size="):
        tagger(vocab_size=10)
    with pytest.raises(ValueError, match="the encoder's channels"):
        tagger().scaling = Scaling(mean=(0.0,), spread=(1.0,))
    with pytest.raises(ValueError, match="rows, columns"):
        tagger()(torch.zeros(T, B, C, dtype=torch.float32))
