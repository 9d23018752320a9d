"""Several sequences side by side, each as it would be alone, with the score of every token.

Letters: T time, B sequences, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from recurra.decoding.generate import (
    check_length,
    checked_prime,
    device_of,
    index_of,
    next_logits,
)
from recurra.decoding.sampler import Sampler
from recurra.decoding.uniforms import Uniforms


class Drawn(NamedTuple):
    """One token of each sequence.

    Attributes:
        ids: of the tokens, [B].
        scores: the log probability, in nats, that the model gives each of them: that of its own
            distribution, whatever temperature, top_k, top_p and forbid make of it.
    """

    ids: list[int]
    scores: list[float]


@runtime_checkable
class StepsTokens(Protocol):
    """A model that reads one token of each sequence faster than by being called.

    Its states are [L, B, H], one or a tuple of them.
    """

    def token_steps(self, state: Any, **start: int) -> Callable[[Tensor], Tensor] | None:
        """What gives the logits [B, V] after each ids [B] that it is called with, the first of them
        after `state`; None where that is not possible. `start` as for `token_writer`."""
        ...


def generate_together(
    model: nn.Module,
    primes: Sequence[Sequence[int] | np.ndarray | Tensor],
    length: int,
    *,
    sampler: Sampler,
    generators: Sequence[torch.Generator],
    start_id: int | None = None,
) -> Iterator[Drawn]:
    """What the model writes after each of the primes, a token of all of them at a time.

    Sequence i is what `generate` gives for its prime and its generator, but for rounding: sums are
    taken in another order. Primes of one length are read in one call. Afterwards all are read
    together; but those of a model that reads the index of the step, or has no `token_steps`, only
    with those whose primes are as long.

    Args:
        primes: [T] ids each, of any lengths.
        generators: one for each prime.
        length, sampler, start_id: as for `generate`, the same for all.
    Raises:
        ValueError: as `generate`; or when the generators are not as many as the primes.
    """
    check_length(length)
    rows = [checked_prime(prime, start_id) for prime in primes]
    if len(generators) != len(rows):
        raise ValueError(
            f"generators: expected one for each of {len(rows)} primes, got {len(generators)}. "
            f"Make as many."
        )
    uniforms = [Uniforms(sampler, generator) for generator in generators]
    return _drawn(model, rows, length, sampler, uniforms)


def _drawn(
    model: nn.Module,
    primes: list[Tensor],
    length: int,
    sampler: Sampler,
    uniforms: list[Uniforms],
) -> Iterator[Drawn]:
    if length == 0 or not primes:
        return
    groups = _groups(model, primes)
    for n in range(length):
        ids, scores = [0] * len(primes), [0.0] * len(primes)
        for group in groups:
            numbers = torch.cat([uniforms[member].take(1) for member in group.members])
            drawn = sampler.pick(group.logits, numbers)
            own = group.logits.double().log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
            for member, token, score in zip(
                group.members, drawn.tolist(), own.tolist(), strict=True
            ):
                ids[member], scores[member] = token, score
            if n + 1 < length:
                group.read(drawn)
        yield Drawn(ids, scores)


class _Group:
    """Sequences that are read together, and the logits [B, V] of what follows them."""

    def __init__(
        self, model: nn.Module, members: list[int], logits: Tensor, state: Any, num_read: int
    ) -> None:
        self.members, self.logits, self.state = members, logits, state
        self._model, self._num_read = model, num_read
        self._steps: Callable[[Tensor], Tensor] | None = None
        self._is_new = True

    def read(self, ids: Tensor) -> None:
        """Read a token [B] of each sequence."""
        if self._is_new and isinstance(self._model, StepsTokens):
            self._steps = self._model.token_steps(
                self.state, **index_of(self._model, self._num_read)
            )
        self._is_new = False
        if self._steps is not None:
            self.logits = self._steps(ids)
        else:
            self.logits, self.state = next_logits(
                self._model, ids[None], self.state, self._num_read
            )
        self._num_read += 1


def _groups(model: nn.Module, primes: list[Tensor]) -> list[_Group]:
    """The sequences after their primes."""
    members_of: dict[int, list[int]] = {}
    for i, prime in enumerate(primes):
        members_of.setdefault(len(prime), []).append(i)
    groups = []
    for num_read, members in members_of.items():
        ids = torch.stack([primes[i] for i in members], dim=1).to(device_of(model))  # [T, B]
        groups.append(_Group(model, members, *next_logits(model, ids, None, 0), num_read))
    if not isinstance(model, StepsTokens) or getattr(model, "reads_index", False):
        return groups
    states = [_tensors(group.state) for group in groups]
    state = tuple(torch.cat(each, dim=1) for each in zip(*states, strict=True))
    return [
        _Group(
            model,
            [member for group in groups for member in group.members],
            torch.cat([group.logits for group in groups]),
            state if isinstance(groups[0].state, tuple) else state[0],
            0,
        )
    ]


def _tensors(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
