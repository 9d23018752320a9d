"""Writing: the loop that draws a token, reads it and draws the next, in C++."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.backends.cpu.steps import Stepper

_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p


class _Writer(ctypes.Structure):
    _fields_ = (
        ("steps", _POINTER),
        ("temperature", ctypes.c_float),
        ("top_k", _LONG),
        ("top_p", ctypes.c_double),
        ("weights", _POINTER),
        ("candidates", _POINTER),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was drawn.

    Attributes:
        ids: the tokens, in order.
        largest: the largest score where drawing stopped because it was not finite, else None.
    """

    ids: list[int]
    largest: float | None


class Writer:
    """Draws tokens from the scores that a stepper of one sequence gives for each token it reads.

    Args:
        stepper: reads token ids; its output [V] are scores of the same vocabulary.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, vocabulary = stepper, stepper.output_size
        self._write = stepper.functions["write_tokens"]
        self._write.restype = _LONG
        self._write.argtypes = (_POINTER, ctypes.c_int64, _POINTER, _LONG, _POINTER, _POINTER)
        self._weights = torch.empty(vocabulary)
        self._candidates = torch.empty(vocabulary, dtype=torch.int32)

    def write(
        self,
        token_id: int,
        uniforms: Tensor,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
    ) -> Written:
        """Read `token_id`, draw a token, read that, and so on.

        Args:
            uniforms: [N] float64 in [0, 1): token i is the first with which the probabilities add
                up to more than uniforms[i].
            temperature: 0 takes the highest score, of equal ones the lowest id.
            top_k: how many of the likeliest tokens to draw from; None for all.
            top_p: of these the likeliest that make up this share; None for all.
        """
        count, vocabulary = len(uniforms), self._stepper.output_size
        writer = _Writer(
            steps=self._stepper.address,
            temperature=temperature,
            top_k=vocabulary if top_k is None else min(top_k, vocabulary),
            top_p=1.0 if top_p is None else top_p,
            weights=self._weights.data_ptr(),
            candidates=self._candidates.data_ptr(),
        )
        ids = torch.empty(count, dtype=torch.int64)
        largest = ctypes.c_float(0.0)
        drawn = self._write(
            ctypes.addressof(writer),
            token_id,
            uniforms.data_ptr(),
            count,
            ids.data_ptr(),
            ctypes.addressof(largest),
        )
        return Written(ids=ids[:drawn].tolist(), largest=None if drawn == count else largest.value)
