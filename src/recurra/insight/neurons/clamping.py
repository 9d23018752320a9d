"""What follows when a unit is held at a value: what the model then expects, and what it writes.

Letters: N tokens, P places, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.decoding import Sampler, seeded_generators
from recurra.errors import DataError
from recurra.insight.neurons.properties import Property
from recurra.insight.neurons.reading import Read, Replaced, read
from recurra.insight.neurons.units import Unit
from recurra.insight.replacing import Key, Replacement
from recurra.insight.tracing import trace
from recurra.models import LanguageModel
from recurra.nn.plain import evaluating

MOST_HELD = 20_000  # tokens on which the effect is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamped:
    """What a model expects with a unit held at a value at every step, and without.

    Attributes:
        unit: which; value: what it was held at.
        free, held: [V] the mean probability of each next symbol, over all tokens of a text.
        symbols: [V] how each is written.
    """

    unit: Unit
    value: float
    free: np.ndarray
    held: np.ndarray
    symbols: tuple[str, ...]

    def most_changed(self, count: int = 5, least: float = 1e-3) -> list[tuple[str, float, float]]:
        """The symbols whose probability changes by the largest factor, with both probabilities;
        none that is rarer than `least` in both."""
        factor = np.abs(np.log(np.maximum(self.held, 1e-9) / np.maximum(self.free, 1e-9)))
        factor[np.maximum(self.free, self.held) < least] = -1.0
        best = [i for i in np.argsort(-factor, kind="stable")[:count] if factor[i] >= 0]
        return [(self.symbols[i], float(self.free[i]), float(self.held[i])) for i in best]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The probability of what closes a property, where it holds, with a unit held at a value.

    Attributes:
        which: the property; unit: the one that is held.
        inside, outside: the unit's mean where the property holds, and where it does not: the two
            values that it is held at.
        free: [P] the probability of the closing symbol at each place, with nothing held.
        held_inside, held_outside: [P] the same with the unit held at either value at every step.
        controls: by how much other units change it, each held at its own mean outside, as `fold`.
    """

    which: Property
    unit: Unit
    inside: float
    outside: float
    free: np.ndarray
    held_inside: np.ndarray
    held_outside: np.ndarray
    controls: np.ndarray

    @property
    def fold(self) -> float:
        """By what factor, 1 or more, holding the unit as outside changes the mean probability."""
        return _fold(self.free, self.held_outside)

    @property
    def fold_between(self) -> float:
        """The factor between holding it as inside and as outside."""
        return _fold(self.held_inside, self.held_outside)


def held(*units: tuple[Unit, float]) -> Replaced:
    """What `read` replaces to hold units at values."""
    places: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for unit, value in units:
        places.setdefault((unit.name, unit.layer), []).append((unit.index, value))

    def change(of: list[tuple[int, float]]) -> Callable[[Tensor, int], Tensor]:
        def changed(values: Tensor, _: int) -> Tensor:
            values = values.clone()
            for index, value in of:
                values[:, index] = value
            return values

        return changed

    found: dict[Key, Replacement] = {key: change(of) for key, of in places.items()}
    return found


def clamped(
    model: LanguageModel, ids: np.ndarray | Tensor, unit: Unit, value: float, **how: Any
) -> Clamped:
    """What a model expects over a text with a unit held at a value, beside what it does without.

    Args:
        ids: [T] the text's tokens.
        how: streams and warm_up of `read`.
    """
    ids = ids[:MOST_HELD]
    free = read(model, ids, keep=(unit.name,), **how)
    other = read(model, ids, keep=(unit.name,), replace=held((unit, value)), **how)
    vocabulary = model.needed("vocabulary", "insight")
    return Clamped(
        unit=unit,
        value=value,
        free=np.exp(free.log_probabilities).mean(axis=0),
        held=np.exp(other.log_probabilities).mean(axis=0),
        symbols=symbols_of(vocabulary),
    )


def closing(
    model: LanguageModel,
    ids: np.ndarray | Tensor,
    unit: Unit,
    which: Property,
    *,
    num_controls: int = 0,
    seed: int = 0,
    **how: Any,
) -> Closing:
    """How likely the model takes what closes a property, with the unit that tracks it held.

    Args:
        ids: [T] the text's tokens; the first 20,000 are read.
        which: a property that something closes: quotes, docstrings, comments.
        num_controls: other units of the same name and layer that are held as well, each alone.
        seed: draws those.
        how: streams and warm_up of `read`.
    Raises:
        ValueError: when nothing closes the property.
        DataError: when it never holds in the text, or the model has no symbol for what closes it.
    """
    if which.closers is None:
        raise ValueError(
            f"find: expected a property that something closes, got {which.name!r}. Choose inside "
            f"quotes, inside docstrings or inside comments."
        )
    ids = ids[:MOST_HELD]
    free = read(model, ids, keep=(unit.name,), **how)
    holds = free.property_values(which) > 0
    places, closers = _closing_ids(model, free, which)
    values = free.values[unit.layer, unit.name]
    inside, outside = (values[each].mean(axis=0) for each in (holds, ~holds))

    def probability(found: Read) -> np.ndarray:
        return np.exp(found.log_probabilities[places, closers])

    def of_held(index: int, value: float) -> np.ndarray:
        one = Unit(layer=unit.layer, name=unit.name, index=index)
        return probability(read(model, ids, keep=(unit.name,), replace=held((one, value)), **how))

    others = [index for index in range(values.shape[1]) if index != unit.index]
    controls = np.random.default_rng(seed).permutation(others)[:num_controls]
    before = probability(free)
    return Closing(
        which=which,
        unit=unit,
        inside=float(inside[unit.index]),
        outside=float(outside[unit.index]),
        free=before,
        held_inside=of_held(unit.index, float(inside[unit.index])),
        held_outside=of_held(unit.index, float(outside[unit.index])),
        controls=np.array([_fold(before, of_held(int(i), float(outside[i]))) for i in controls]),
    )


def _closing_ids(
    model: LanguageModel, found: Read, which: Property
) -> tuple[np.ndarray, np.ndarray]:
    """The places at which the property holds, and the symbol that would begin to close it."""
    closers = found.closers(which)
    symbols = {symbol: i for i, symbol in enumerate(symbols_of(model.vocabulary))}
    ids = np.array([symbols.get(kind[0], -1) for kind in closers.kinds] or [-1])
    places = np.flatnonzero((closers.which >= 0) & (ids[closers.which] >= 0))
    if len(places) == 0:
        raise DataError(
            f"text: expected one in which {which.name!r} holds somewhere and is closed by a symbol "
            f"of the model, got none. Give more text."
        )
    return places, ids[closers.which[places]]


def _fold(before: np.ndarray, after: np.ndarray) -> float:
    ratio = float(before.mean() / max(after.mean(), 1e-12))
    return max(ratio, 1 / max(ratio, 1e-12))


def symbols_of(vocabulary: Any) -> tuple[str, ...]:
    """How each symbol of a vocabulary is written by itself."""
    return tuple(vocabulary.decode([i]) for i in range(len(vocabulary)))


def write_held(
    model: LanguageModel,
    prime: str,
    length: int,
    units: Sequence[tuple[Unit, float]] = (),
    *,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """What a model writes behind a text while units are held at values, from its first token on.

    Args:
        prime: what it reads first, with the units held as well.
        length: tokens to be written.
        units: what is held, and where; none to write freely.
        temperature, seed: of the drawing; the same draws are made whatever is held.
    """
    vocabulary = model.needed("vocabulary", "insight")
    replace = held(*units)
    sampler, (generator,) = Sampler(temperature=temperature), seeded_generators(seed)
    ids = vocabulary.encode(prime, where="prime").tolist() or [vocabulary.start_id]
    decoder, written, state, start = vocabulary.decoder(), [], None, 0
    piece = torch.tensor(ids, dtype=torch.int64, device="cpu")[:, None]
    names = model.recurrent.cell.states[:1]
    device = next(model.parameters()).device
    for _ in range(length):
        options: dict[str, Any] = {"start": start} if model.reads_index else {}
        turned = (piece.T if model.batch_first else piece).to(device)
        with evaluating(model), torch.no_grad():
            traced = trace(model, turned, state, keep=names, replace=replace, **options)
        logits, state = traced.result
        start += len(piece)
        last = (logits[0, -1] if model.batch_first else logits[-1, 0]).float()
        drawn = sampler.draw(last[None], generator)
        written.append(decoder.feed(int(drawn)))
        piece = torch.tensor([[int(drawn)]], dtype=torch.int64, device="cpu")
    return "".join(written)
