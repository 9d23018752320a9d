"""Tokens from a language model, one at a time.

The model is called as `logits, state = model(ids, state)`: ids [T, B] int64, logits [T, B, V]; one
that is `batch_first`, with [B, T] and [B, T, V]. One whose `reads_index` is true is also given
`start=`, how many tokens were before.
"""

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from recurra.decoding.sampler import Sampler, check_largest
from recurra.decoding.uniforms import Uniforms
from recurra.nn.plain import evaluating

_FIRST_BLOCK, _LARGEST_BLOCK = 4, 32  # tokens that a writer draws in one call

_GREEDY = Sampler(temperature=0)


@runtime_checkable
class Written(Protocol):
    """What a writer has drawn."""

    @property
    def ids(self) -> Sequence[int]:
        """The tokens, in order; fewer than asked for where a score was not finite."""
        ...

    @property
    def largest(self) -> float | None:
        """The largest score where that was not finite, else None."""
        ...


@runtime_checkable
class TokenWriter(Protocol):
    """Reads a token, draws the next, reads that, and so on; keeps the model's state."""

    @property
    def state(self) -> Any:
        """The state after the last token read."""
        ...

    def write(
        self,
        token_id: int,
        uniforms: Tensor,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        forbid: Sequence[int],
    ) -> Written | None:
        """As many tokens as there are uniform numbers, as `Sampler` draws them.

        None when it cannot go on, with nothing read.
        """
        ...


@runtime_checkable
class WritesTokens(Protocol):
    """A model that can draw tokens faster than by being called for each."""

    def token_writer(self, state: Any, **start: int) -> TokenWriter | None:
        """What writes on from `state`; None where that is not possible. A model whose `reads_index`
        is true is given `start=`, how many tokens were before."""
        ...


@runtime_checkable
class ReadsTokens(Protocol):
    """A model that can give the logits after the last token alone."""

    def read(self, ids: Tensor, state: Any = None, *, start: int = 0) -> tuple[Tensor, Any]:
        """As calling it, but of the logits the last ones, [1, B, V]; [B, 1, V] batch first."""
        ...


def generate(
    model: nn.Module,
    prime_ids: Sequence[int] | np.ndarray | Tensor,
    length: int,
    *,
    sampler: Sampler,
    generator: torch.Generator | None = None,
    start_id: int | None = None,
) -> Iterator[int]:
    """The ids that the model writes after the prime.

    The prime is read in one call, then the model takes one step for each token. It runs in
    evaluation mode without gradients, and is in its own mode again whenever the caller has
    control, so a training loop may stop listening at any token. A model that has a `token_writer`
    draws tokens with it, a few at a time; others are called for each, which is given as soon as it
    is drawn. The tokens are the same. Of the prime only the last logits are computed, by a model
    that has a `read` for that.

    Args:
        model: the language model, on any device.
        prime_ids: [T] ids to read first; they are not given back.
        length: how many tokens to draw, 0 or more.
        sampler: how each is drawn.
        generator: makes the draws reproducible, by the one number that is drawn from it; None
            takes torch's global one.
        start_id: read in place of an empty prime, which needs one.
    Raises:
        ValueError: at the call, when the prime is empty and there is no start_id, is not flat, or
            the length is negative; while generating, when the model's scores are not finite.
    """
    prime = checked_prime(prime_ids, start_id)
    check_length(length)
    return _tokens(model, prime, length, sampler, generator)


def checked_prime(
    prime_ids: Sequence[int] | np.ndarray | Tensor, start_id: int | None = None
) -> Tensor:
    """The ids [T] int64 of a prime, at least one; an empty one is `start_id`."""
    prime = torch.as_tensor(np.asarray(prime_ids), dtype=torch.int64, device="cpu")
    if prime.ndim != 1:
        raise ValueError(
            f"prime_ids: expected one dimension, got shape {tuple(prime.shape)}. "
            "Give one sequence; several go to generate_together."
        )
    if len(prime) == 0:
        if start_id is None:
            raise ValueError(
                "prime_ids: expected at least one id, got none, and no start_id. "
                "Give a prime, or the vocabulary's start_id."
            )
        prime = torch.tensor([start_id], dtype=torch.int64, device="cpu")
    return prime


def check_length(length: int) -> None:
    """Raise a ValueError unless so many tokens can be drawn."""
    if not isinstance(length, Integral) or length < 0:
        raise ValueError(f"length: expected 0 or more tokens, got {length}. Use a positive number.")


def greedy(
    model: nn.Module,
    prime_ids: Sequence[int] | np.ndarray | Tensor,
    length: int,
    *,
    start_id: int | None = None,
) -> Iterator[int]:
    """The likeliest id at each step, as `generate` with temperature 0."""
    return generate(model, prime_ids, length, sampler=_GREEDY, start_id=start_id)


def _tokens(
    model: nn.Module,
    prime: Tensor,
    length: int,
    sampler: Sampler,
    generator: torch.Generator | None,
) -> Iterator[int]:
    uniforms = Uniforms(sampler, generator)
    ids = prime.to(device_of(model)).unsqueeze(1)
    state: Any = None
    num_drawn = 0
    while num_drawn < length:
        start = len(prime) + num_drawn - 1 if num_drawn else 0  # tokens read so far
        logits, state = next_logits(model, ids, state, start)
        ids = sampler.pick(logits, uniforms.take(1)).unsqueeze(0)
        num_drawn += 1
        token_id = int(ids)
        yield token_id
        if num_drawn == 1 and num_drawn < length and isinstance(model, WritesTokens):
            writer = model.token_writer(state, **index_of(model, len(prime)))
            if writer is not None:
                for next_id in _written(writer, token_id, length - 1, sampler, uniforms):
                    num_drawn, token_id = num_drawn + 1, next_id
                    yield token_id
                # where it gave up, the model goes on
                ids, state = torch.full_like(ids, token_id), writer.state


def next_logits(model: nn.Module, ids: Tensor, state: Any, start: int) -> tuple[Tensor, Any]:
    """The logits [B, V] of what follows ids [T, B], and the state after them.

    In evaluation mode without gradients, for this call alone: a mode held while the caller has
    control would leak. By no_grad, not inference_mode: what the model caches now may be used in
    training later.

    Args:
        start: how many tokens were read before, for a model that asks.
    """
    batch_first = getattr(model, "batch_first", False)
    ids = ids.T if batch_first else ids
    with torch.no_grad(), evaluating(model):
        if isinstance(model, ReadsTokens):
            logits, state = model.read(ids, state, start=start)
        else:
            logits, state = model(ids, state, **index_of(model, start))
    return (logits[:, -1] if batch_first else logits[-1]), state


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; the CPU for one without."""
    weight = next(model.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def index_of(model: object, start: int) -> dict[str, int]:
    """What tells a model how many tokens were before, if it asks."""
    return {"start": start} if getattr(model, "reads_index", False) else {}


def _written(
    writer: TokenWriter, token_id: int, length: int, sampler: Sampler, uniforms: Uniforms
) -> Iterator[int]:
    """Up to `length` ids that the writer draws after `token_id`; fewer if it gives up."""
    block, num_drawn = _FIRST_BLOCK, 0
    while num_drawn < length:
        numbers = uniforms.take(min(block, length - num_drawn))
        written = writer.write(
            token_id,
            numbers,
            temperature=sampler.divisor,
            top_k=sampler.top_k,
            top_p=sampler.top_p,
            forbid=sampler.forbid,
        )
        if written is None:
            uniforms.give_back(numbers)
            return
        yield from written.ids
        if written.largest is not None:
            check_largest(written.largest)
        token_id = written.ids[-1]
        num_drawn += len(written.ids)
        block = min(2 * block, _LARGEST_BLOCK)
