"""Text from a language model, one token at a time.

The model is called as `logits, state = model(ids, state)`: ids [T, B] int64, logits [T, B, V].
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from recurra.decoding.sampler import Sampler

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

    def decoder(self) -> StreamDecoder:
        """A fresh incremental decoder."""
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
    """The ids that the model writes after the prime, each as soon as it is drawn.

    The prime is read in one call, then the model takes one step for each token. It runs in
    evaluation mode without gradients, and is in its own mode again whenever the caller has
    control, so a training loop may stop listening at any token.

    Args:
        model: the language model, on any device.
        prime_ids: [T] ids to read first; they are not given back.
        length: how many tokens to draw, 0 or more.
        sampler: how each is drawn.
        generator: makes the draws reproducible; None takes torch's global one.
        start_id: read in place of an empty prime, which needs one.
    Raises:
        ValueError: at the call, when the prime is empty and there is no start_id, is not flat, or
            the length is negative; while generating, when the model's scores are not finite.
    """
    prime = torch.as_tensor(np.asarray(prime_ids), dtype=torch.int64)
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
        prime = torch.tensor([start_id])
    if length < 0:
        raise ValueError(f"length: expected 0 or more tokens, got {length}. Use a positive number.")
    return _tokens(model, prime, length, lambda logits: sampler.draw(logits, generator))


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
) -> Iterator[str]:
    """The text that the model writes after the prime, piece by piece as characters complete.

    The prime is not given back; what follows it is spaced as its continuation. An empty prime
    starts at the vocabulary's `start_id`. `length` counts tokens. Arguments and errors are
    otherwise those of `generate` and of `vocabulary.encode`.
    """
    prime_ids = np.asarray(vocabulary.encode(prime, where="prime"), dtype=np.int64)
    ids = generate(
        model,
        prime_ids,
        length,
        sampler=sampler,
        generator=generator,
        start_id=vocabulary.start_id,
    )
    decoder = vocabulary.decoder()
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
    model: nn.Module, prime: Tensor, length: int, draw: Callable[[Tensor], Tensor]
) -> Iterator[int]:
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    ids = prime.to(device).unsqueeze(1)
    state: Any = None
    for _ in range(length):
        # Entered anew for each token: a mode held across a yield would leak into the caller. And
        # no_grad, not inference_mode: what the model caches now may be used in training later.
        with torch.no_grad(), _evaluating(model):
            logits, state = model(ids, state)
            ids = draw(logits[-1:])
        yield int(ids)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and every module in its own mode again afterwards."""
    training = [module for module in model.modules() if module.training] if model.training else []
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
