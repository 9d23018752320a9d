"""Noise of cameras, quickly."""

from statistics import NormalDist

import numpy as np

# a value of noise is one of 256 of like chance: many times quicker than drawing it in full
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def hiss(random: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Normal noise of this standard deviation, float32, cut off at 2.9 of it."""
    values = (deviation * _QUANTILES).astype(np.float32)
    return values[random.integers(0, 256, shape, dtype=np.uint8)]


def add_noise(random: np.random.Generator, pictures: np.ndarray, deviation: float) -> np.ndarray:
    """Pictures in 0..255 with noise, rounded to uint8."""
    noisy = hiss(random, pictures.shape, deviation)
    noisy += pictures
    return np.rint(noisy, out=noisy).clip(0, 255).astype(np.uint8)
