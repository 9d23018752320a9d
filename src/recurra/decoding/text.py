"""Text from a language model: as it is written, or several texts at once; where it stops."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from recurra.decoding.generate import generate
from recurra.decoding.sampler import Sampler
from recurra.decoding.together import generate_together
from recurra.errors import argument
from recurra.text import Vocabulary


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


class Continuation(NamedTuple):
    """What a model wrote after a prime.

    Attributes:
        text: without the prime, and without the stop that ended it.
        ids: of all tokens that were drawn, those of the stop included.
        scores: of each of them, the log probability in nats that the model gives it; see `Drawn`.
    """

    text: str
    ids: tuple[int, ...]
    scores: tuple[float, ...]


def generate_text(
    model: nn.Module,
    vocabulary: TextCodec,
    prime: str,
    length: int,
    *,
    sampler: Sampler,
    generator: torch.Generator | None = None,
    stop: str | Sequence[str] = (),
    exact: bool = False,
) -> Iterator[str]:
    """The text that the model writes after the prime, piece by piece as characters complete.

    The prime is not given back; what follows it is spaced as its continuation. An empty prime
    starts at the vocabulary's `start_id`. `length` counts tokens. The text ends before the first
    `stop` in it, of one string or several; what may become a stop is held back until that is known.
    With `exact` the pieces are the tokens, for a file: encoded as UTF-8 with surrogateescape they
    are the very bytes of those. Arguments and errors are otherwise those of `generate` and of
    `vocabulary.encode`.
    """
    prime_ids = _encoded(vocabulary, prime)
    ids = generate(
        model,
        prime_ids,
        length,
        sampler=sampler,
        generator=generator,
        start_id=vocabulary.start_id,
    )
    writing = _Writing(_decoder(vocabulary, prime_ids, exact), _stops(stop), exact)
    return _pieces(writing, ids)


def generate_texts(
    model: nn.Module,
    vocabulary: TextCodec,
    primes: Sequence[str],
    length: int,
    *,
    sampler: Sampler,
    generators: Sequence[torch.Generator],
    stop: str | Sequence[str] = (),
) -> list[Continuation]:
    """What the model writes after each of the primes, with its scores; see `generate_together`.

    Each text is the one that `generate_text` writes with its prime and its generator, but for
    rounding.
    """
    prime_ids = [_encoded(vocabulary, prime) for prime in primes]
    drawn = generate_together(
        model,
        prime_ids,
        length,
        sampler=sampler,
        generators=generators,
        start_id=vocabulary.start_id,
    )
    stops = _stops(stop)
    writings = [_Writing(_decoder(vocabulary, ids), stops) for ids in prime_ids]
    texts = ["" for _ in primes]
    tokens: list[list[tuple[int, float]]] = [[] for _ in primes]
    for ids, scores in drawn:
        for i, writing in enumerate(writings):
            if not writing.is_over:
                tokens[i].append((ids[i], scores[i]))
                texts[i] += writing.feed(ids[i])
        if all(writing.is_over for writing in writings):
            break
    return [
        Continuation(
            text + writing.flush(),
            tuple(token_id for token_id, _ in own),
            tuple(score for _, score in own),
        )
        for text, writing, own in zip(texts, writings, tokens, strict=True)
    ]


def symbol_ids(vocabulary: Vocabulary, symbols: str | Iterable[str]) -> tuple[int, ...]:
    """The ids of symbols of the vocabulary, such as "<unk>"; a single string is one symbol.

    Raises:
        ValueError: when one is no symbol, or more than one.
        DataError: when the vocabulary cannot spell it.
    """
    found = []
    for symbol in (symbols,) if isinstance(symbols, str) else symbols:
        ids = vocabulary.encode(symbol, unknown="error", where=argument("forbid"))
        if len(ids) != 1:
            raise ValueError(
                f"{argument('forbid')}: expected symbols of the vocabulary, got {symbol!r}, which "
                f"is {len(ids)} of them. Give each by itself."
            )
        found.append(int(ids[0]))
    return tuple(dict.fromkeys(found))


def seeded_generators(seed: int | None, count: int = 1) -> list[torch.Generator]:
    """Generators for sequences of one call: of sequence i seeded by seed + i; by None, at random.

    torch's global generator is neither read nor moved.
    """
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0):
        raise ValueError(
            f"{argument('seed')}: expected a whole number, 0 or more, or None for another text "
            f"each time, got {seed!r}. Use 0."
        )
    generators = [torch.Generator() for _ in range(count)]
    for i, generator in enumerate(generators):
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(int(seed) + i)
    return generators


def _encoded(vocabulary: TextCodec, prime: str) -> np.ndarray:
    return np.asarray(vocabulary.encode(prime, where=argument("prime")), dtype=np.int64)


def _decoder(vocabulary: TextCodec, prime_ids: np.ndarray, exact: bool = False) -> StreamDecoder:
    """A decoder that has been given the prime."""
    decoder = vocabulary.decoder(exact=True) if exact else vocabulary.decoder()
    for token_id in prime_ids.tolist():
        decoder.feed(token_id)
    return decoder


def _stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(stops):
        raise ValueError(
            f"{argument('stop')}: expected text that ends what is written, got an empty string. "
            f"Leave it out to write to the full length."
        )
    return stops


def _pieces(writing: "_Writing", ids: Iterator[int]) -> Iterator[str]:
    for token_id in ids:
        if piece := writing.feed(token_id):
            yield piece
        if writing.is_over:
            return
    if rest := writing.flush():
        yield rest


class _Writing:
    """Tokens as text, up to the first stop, which is left out.

    What is held back is the longest end of the text that a stop begins with. `exact` text is
    compared as bytes, each as one character: its tokens may be parts of characters.
    """

    def __init__(self, decoder: StreamDecoder, stops: tuple[str, ...], exact: bool = False) -> None:
        self._decoder = decoder
        self._as_bytes = exact and bool(stops)
        self._stops = tuple(map(self._taken, stops))
        self._held = ""
        self.is_over = False

    def feed(self, token_id: int) -> str:
        """The text that is certain with this token."""
        if not self._stops:
            return self._decoder.feed(token_id)
        return self._given(self._certain(self._taken(self._decoder.feed(token_id))))

    def flush(self) -> str:
        """What is left at the end; nothing after a stop."""
        if self.is_over:
            return ""
        text = self._certain(self._taken(self._decoder.flush()))
        return self._given(text + ("" if self.is_over else self._held))

    def _certain(self, piece: str) -> str:
        text, self._held = self._held + piece, ""
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.is_over = True
            return text[: min(places)]
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                self._held = text[-size:]
                return text[:-size]
        return text

    def _taken(self, text: str) -> str:
        return text.encode("utf-8", "surrogateescape").decode("latin-1") if self._as_bytes else text

    def _given(self, text: str) -> str:
        return text.encode("latin-1").decode("utf-8", "surrogateescape") if self._as_bytes else text
