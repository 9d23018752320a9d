"""Writing: the loop that draws a token, reads it and draws the next, in C++."""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.backends.cpu import abi, gate
from recurra.backends.cpu.steps import Stepper

_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was drawn.

    Attributes:
        ids: the tokens, in order.
        largest: the largest score where drawing stopped because it was not finite, else None.
        outdated: whether it stopped because the weights are not those that were packed.
    """

    ids: list[int]
    largest: float | None
    outdated: bool = False


class TokenWriter:
    """Draws tokens from the scores that a stepper of one sequence gives for each token it reads.

    Args:
        stepper: reads token ids; its output [V] are scores of the same vocabulary.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, vocabulary = stepper, stepper.output_size
        if stepper.vocabulary != vocabulary:
            raise ValueError(
                f"TokenWriter: expected scores of the vocabulary that is read, "
                f"{stepper.vocabulary} tokens, got {vocabulary}. Use a decoder to that size."
            )
        self._write = stepper.functions["write_tokens"]
        self._write.restype = _LONG
        self._write.argtypes = (_POINTER, ctypes.c_int64, _POINTER, _LONG, _POINTER, _POINTER)
        self._weights, self._weights_at = gate.fresh(vocabulary)
        self._scores, self._scores_at = gate.fresh(vocabulary)
        self._candidates, self._candidates_at = gate.fresh(vocabulary, dtype=torch.int32)

    def write(
        self,
        token_id: int,
        uniforms: Tensor,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        forbid: Sequence[int] = (),
    ) -> Written:
        """Read `token_id`, draw a token, read that, and so on.

        Args:
            uniforms: [N] float64 in [0, 1): token i is the first with which the probabilities add
                up to more than uniforms[i].
            temperature: 0 takes the highest score, of equal ones the lowest id.
            top_k: how many of the likeliest tokens to draw from; None for all.
            top_p: of these the likeliest that make up this share; None for all.
            forbid: ids that are never drawn.
        """
        count, vocabulary = len(uniforms), self._stepper.output_size
        for id_given in (token_id, *forbid):
            if not 0 <= id_given < vocabulary:
                raise ValueError(
                    f"TokenWriter: expected a token id in 0..{vocabulary - 1}, got {id_given}. Use "
                    f"the vocabulary that the model was made for."
                )
        forbidden, forbidden_at = gate.fresh(len(forbid), dtype=torch.int64)
        forbidden.copy_(torch.tensor(list(forbid), dtype=torch.int64, device="cpu"))
        writer = abi.TokenWriter(
            steps=self._stepper.address,
            temperature=temperature,
            top_k=vocabulary if top_k is None else max(min(top_k, vocabulary), 1),
            top_p=1.0 if top_p is None else top_p,
            weights=self._weights_at,
            candidates=self._candidates_at,
            forbidden=forbidden_at,
            num_forbidden=len(forbid),
            scores=self._scores_at,
        )
        uniforms, uniforms_at = gate.bound(uniforms.contiguous(), "uniforms", torch.float64)
        ids, ids_at = gate.fresh(count, dtype=torch.int64)
        largest = ctypes.c_float(0.0)
        drawn = self._write(
            ctypes.addressof(writer),
            token_id,
            uniforms_at,
            count,
            ids_at,
            ctypes.addressof(largest),
        )
        stopped = drawn < count
        bad = stopped and not math.isfinite(largest.value)
        return Written(
            ids=ids[:drawn].tolist(),
            largest=largest.value if bad else None,
            outdated=stopped and not bad,
        )
