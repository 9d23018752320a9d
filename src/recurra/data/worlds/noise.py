"""Noise of cameras, quickly."""

from statistics import NormalDist

import numpy as np

# a value of noise is one of 256 of like chance: many times quicker than drawing it in full
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def amounts(random: np.random.Generator, count: int, noise: float, noise_to: float) -> np.ndarray:
    """[N], the noise of each clip: drawn between both, or `noise` where `noise_to` is 0.

    Raises:
        ValueError: when it would be drawn from nothing.
    """
    if not noise_to:
        return np.full(count, noise)
    if noise_to <= noise:
        raise ValueError(
            f"noise_to: expected more than noise={noise:g}, or 0, got {noise_to:g}. Give more, or "
            "less noise."
        )
    return random.uniform(noise, noise_to, count)


def hiss(
    random: np.random.Generator, shape: tuple[int, ...], deviation: float | np.ndarray
) -> np.ndarray:
    """Normal noise of this standard deviation, float32, cut off at 2.9 of it.

    Args:
        deviation: of all, or one for each place along the first axis.
    """
    drawn = random.integers(0, 256, shape, dtype=np.uint8)
    if not isinstance(deviation, np.ndarray):
        return _values(deviation)[drawn]
    return np.stack([_values(own)[one] for own, one in zip(deviation, drawn, strict=True)])


def _values(deviation: float) -> np.ndarray:
    return (deviation * _QUANTILES).astype(np.float32)


def add_noise(
    random: np.random.Generator, pictures: np.ndarray, deviation: float | np.ndarray
) -> np.ndarray:
    """Pictures in 0..255 with noise, rounded to uint8; see `hiss`."""
    noisy = hiss(random, pictures.shape, deviation)
    noisy += pictures
    return np.rint(noisy, out=noisy).clip(0, 255).astype(np.uint8)
