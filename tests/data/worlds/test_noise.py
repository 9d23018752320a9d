"""Noise of clips: one amount for all, or to each its own."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from recurra.data.worlds import CLIP_WORLDS, Clips

FEW = {"train": 1, "val": 1, "test": 12, "frames": 12}


def roughness(make: Callable[..., Mapping[str, Clips]], **noise: float) -> np.ndarray:
    """Of each clip, how much neighbours differ."""
    frames = make(**FEW, **noise)["test"].frames.astype(np.float32)
    return np.abs(np.diff(frames, axis=-1)).mean(axis=(1, 2, 3, 4))


@pytest.mark.parametrize("world", sorted(CLIP_WORLDS))
def test_each_clip_has_noise_of_its_own_between_both(world: str) -> None:
    make = CLIP_WORLDS[world]
    least, most = roughness(make, noise=0.5), roughness(make, noise=2.0)
    drawn = roughness(make, noise=0.5, noise_to=2.0)
    assert (0.9 * least.mean() < drawn).all()
    assert (drawn < 1.1 * most.mean()).all()
    assert drawn.std() > 2 * max(least.std(), most.std())


@pytest.mark.parametrize("world", sorted(CLIP_WORLDS))
def test_what_is_true_does_not_hang_on_noise(world: str) -> None:
    parts = [
        CLIP_WORLDS[world](**FEW, **more)["test"] for more in ({}, {"noise": 0.5, "noise_to": 2.0})
    ]
    assert parts[0].truth(3) is not None
    np.testing.assert_array_equal(parts[0].truth(3), parts[1].truth(3))
