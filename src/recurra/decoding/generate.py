"""Text from a language model, one token at a time.

The model is called as `logits, state = model(ids, state)`: ids [T, B] int64, logits [T, B, V]. One
whose `reads_index` is true is also given `start=`, how many tokens were before.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from recurra.decoding.sampler import Sampler, check_largest
from recurra.errors import argument
from recurra.nn.plain import evaluating

_FIRST_BLOCK, _LARGEST_BLOCK = 4, 32  # tokens that a writer draws in one call
_NUM_UNIFORMS = 1024

_GREEDY = Sampler(temperature=0)


@runtime_checkable
class StreamDecoder(Protocol):
    """Turns ids into text as they come."""

    def feed(self, token_id: int) -> str:
        """The text that this token completes."""
        ...

    def flush(self) -> str:
        """What is left at the end."""
        ...


@runtime_checkable
class TextCodec(Protocol):
    """What `generate_text` needs of a vocabulary."""

    @property
    def start_id(self) -> int:
        """The id to start from where there is no priming text."""
        ...

    def encode(self, text: str, *, where: str = ...) -> Sequence[int] | np.ndarray:
        """The ids of a text, which an error calls `where`."""
        ...

    def decoder(self, *, exact: bool = False) -> StreamDecoder:
        """A fresh incremental decoder; called with `exact` only where that was asked for."""
        ...


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
        """As calling it, but of the logits the last ones, [1, B, V]."""
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
    prime = torch.as_tensor(np.asarray(prime_ids), dtype=torch.int64, device="cpu")
    if prime.ndim != 1:
        raise ValueError(
            f"prime_ids: expected one dimension, got shape {tuple(prime.shape)}. "
            "Generate one sequence at a time."
        )
    if len(prime) == 0:
        if start_id is None:
            raise ValueError(
                "prime_ids: expected at least one id, got none, and no start_id. "
                "Give a prime, or the vocabulary's start_id."
            )
        prime = torch.tensor([start_id], dtype=torch.int64, device="cpu")
    if length < 0:
        raise ValueError(f"length: expected 0 or more tokens, got {length}. Use a positive number.")
    return _tokens(model, prime, length, sampler, generator)


def greedy(
    model: nn.Module,
    prime_ids: Sequence[int] | np.ndarray | Tensor,
    length: int,
    *,
    start_id: int | None = None,
) -> Iterator[int]:
    """The likeliest id at each step, as `generate` with temperature 0."""
    return generate(model, prime_ids, length, sampler=_GREEDY, start_id=start_id)


def generate_text(
    model: nn.Module,
    vocabulary: TextCodec,
    prime: str,
    length: int,
    *,
    sampler: Sampler,
    generator: torch.Generator | None = None,
    exact: bool = False,
) -> Iterator[str]:
    """The text that the model writes after the prime, piece by piece as characters complete.

    The prime is not given back; what follows it is spaced as its continuation. An empty prime
    starts at the vocabulary's `start_id`. `length` counts tokens. With `exact` the pieces are the
    tokens, for a file: encoded as UTF-8 with surrogateescape they are the very bytes of those.
    Arguments and errors are otherwise those of `generate` and of `vocabulary.encode`.
    """
    prime_ids = np.asarray(vocabulary.encode(prime, where=argument("prime")), dtype=np.int64)
    ids = generate(
        model,
        prime_ids,
        length,
        sampler=sampler,
        generator=generator,
        start_id=vocabulary.start_id,
    )
    decoder = vocabulary.decoder(exact=True) if exact else vocabulary.decoder()
    for token_id in prime_ids.tolist():
        decoder.feed(token_id)
    return _pieces(decoder, ids)


def _pieces(decoder: StreamDecoder, ids: Iterator[int]) -> Iterator[str]:
    for token_id in ids:
        if piece := decoder.feed(token_id):
            yield piece
    if rest := decoder.flush():
        yield rest


def _tokens(
    model: nn.Module,
    prime: Tensor,
    length: int,
    sampler: Sampler,
    generator: torch.Generator | None,
) -> Iterator[int]:
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    uniforms = _Uniforms(sampler, generator)
    ids = prime.to(device).unsqueeze(1)
    state: Any = None
    num_drawn = 0
    while num_drawn < length:
        # Entered anew for each token: a mode held across a yield would leak into the caller. And
        # no_grad, not inference_mode: what the model caches now may be used in training later.
        start = len(prime) + num_drawn - 1 if num_drawn else 0  # tokens read so far
        with torch.no_grad(), evaluating(model):
            if isinstance(model, ReadsTokens):
                logits, state = model.read(ids, state, start=start)
            else:
                logits, state = model(ids, state, **_at(model, start))
            ids = sampler.pick(logits[-1:], uniforms.take(1).reshape(1, 1))
        num_drawn += 1
        token_id = int(ids)
        yield token_id
        if num_drawn == 1 and num_drawn < length and isinstance(model, WritesTokens):
            writer = model.token_writer(state, **_at(model, len(prime)))
            if writer is not None:
                for next_id in _written(writer, token_id, length - 1, sampler, uniforms):
                    num_drawn, token_id = num_drawn + 1, next_id
                    yield token_id
                # where it gave up, the model goes on
                ids, state = torch.full_like(ids, token_id), writer.state


def _at(model: object, start: int) -> dict[str, int]:
    """What tells a model how many tokens were before, if it asks."""
    return {"start": start} if getattr(model, "reads_index", False) else {}


def _written(
    writer: TokenWriter, token_id: int, length: int, sampler: Sampler, uniforms: "_Uniforms"
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


class _Uniforms:
    """Uniform numbers, number i for token i, whatever the counts in which they are taken.

    They come from a generator of their own, seeded by one draw from the caller's: how many tokens
    are listened to does not change what the caller draws next. Where the sampler draws nothing
    they are zeros.
    """

    def __init__(self, sampler: Sampler, generator: torch.Generator | None) -> None:
        self._numbers = torch.zeros(0, dtype=torch.float64, device="cpu")
        self._own: torch.Generator | None = None
        if sampler.temperature > 0:
            device = torch.device("cpu") if generator is None else generator.device
            seed = torch.randint(2**62, (), generator=generator, dtype=torch.int64, device=device)
            self._own = torch.Generator().manual_seed(int(seed))

    def take(self, count: int) -> Tensor:
        """The next numbers, [count] float64."""
        if self._own is None:
            return torch.zeros(count, dtype=torch.float64, device="cpu")
        while len(self._numbers) < count:
            # always as many at once: what a generator gives may depend on how many are asked for
            more = torch.rand(_NUM_UNIFORMS, generator=self._own, dtype=torch.float64, device="cpu")
            self._numbers = torch.cat([self._numbers, more])
        taken, self._numbers = self._numbers[:count], self._numbers[count:]
        return taken

    def give_back(self, numbers: Tensor) -> None:
        """These, the last that were taken, were not used."""
        self._numbers = torch.cat([numbers, self._numbers])
