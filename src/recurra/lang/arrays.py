"""Values in equations that are no symbols: numbers, and arrays of numpy's and torch's."""

import math
from numbers import Real
from typing import TypeGuard

import numpy as np
import torch

from recurra.lang.trace import Trace


def is_array(value: object) -> TypeGuard[np.ndarray | torch.Tensor]:
    """Whether a value is numpy's or torch's array, and not a single number."""
    return isinstance(value, np.ndarray | torch.Tensor) and value.ndim > 0


def numbers_of(value: object) -> np.ndarray | None:
    """An array as one of its own of float64, which nobody writes to; None of what is no number."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        value = (plain.double() if plain.is_floating_point() else plain).numpy()
    found = np.array(value)
    if found.dtype.kind not in "biuf":
        return None
    found = found.astype(np.float64)
    found.setflags(write=False)
    return found


def kind_of(value: object) -> str:
    """A value that is no symbol, in a few words: of an array its shape, not its numbers."""
    name, shape = type(value).__name__, getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{name} of shape {tuple(map(int, shape))}"
    text = repr(value)
    return f"{name} {text if len(text) <= 60 else text[:57] + '...'}"


def constant_of(value: Real, trace: Trace) -> float:
    """The number that was meant: 1 - 0.95 is 0.05, whatever its last bit is."""
    try:
        number = float(value)
    except OverflowError:
        trace.fail("expected a number below 1e308, got a larger one. Use a smaller one.")
    if math.isnan(number):
        trace.fail("expected a number, got nan. Equations cannot hold nan.")
    short = float(f"{number:.12g}")
    return short if short == float(f"{number:.15g}") else number
