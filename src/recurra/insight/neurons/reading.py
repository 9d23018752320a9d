"""A text as a language model reads it: named values at each token, and what it expects next.

Letters: N tokens, S streams, U units, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.errors import DataError
from recurra.insight.neurons.properties import Closers, Property, check_changes
from recurra.insight.neurons.units import Unit
from recurra.insight.replacing import Key, Replacement
from recurra.insight.tracing import trace
from recurra.lang import Cell
from recurra.models import LanguageModel
from recurra.nn.plain import evaluating
from recurra.show.values import named_values

STREAMS = 16
WARM_UP = 300  # tokens that are read before a stream's own: what a model remembers is there
_STEPS_AT_ONCE = 256

# A name of the equations, or it and a layer, with what stands for its value [S, size] at a step.
Replaced = Mapping[Key, Replacement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A text, and what the model was at each of its tokens.

    Attributes:
        ids: [N] the tokens. Those that were read before as a warm-up are not among them.
        pieces: [N] what each token is in the text.
        before: the text of the tokens before these.
        values: by layer and name, [N, size]: after the token was read.
        log_probabilities: [N, V] of the next token, in nats.
    """

    ids: np.ndarray
    pieces: tuple[str, ...]
    before: str
    values: Mapping[tuple[int, str], np.ndarray]
    log_probabilities: np.ndarray

    @property
    def text(self) -> str:
        """All the pieces."""
        return "".join(self.pieces)

    @property
    def units(self) -> tuple[Unit, ...]:
        """What the columns of `matrix` are."""
        return tuple(
            Unit(layer=layer, name=name, index=index)
            for (layer, name), each in self.values.items()
            for index in range(each.shape[1])
        )

    @property
    def matrix(self) -> np.ndarray:
        """[N, U] all the values, one unit a column."""
        return np.concatenate(list(self.values.values()), axis=1)

    def of_unit(self, unit: Unit) -> np.ndarray:
        """[N] the values of one unit."""
        return self.values[unit.layer, unit.name][:, unit.index]

    def property_values(self, which: Property) -> np.ndarray:
        """[N] of a property, after each token; what was read before counts for it.

        Raises:
            DataError: when it is the same everywhere.
        """
        return check_changes(which, self.values_of(which))

    def values_of(self, which: Property) -> np.ndarray:
        """The same, whether or not it changes."""
        return which.values(self.before + self.text)[self._ends()]

    def closers(self, which: Property) -> Closers:
        """What would end the property after each token; it must have closers."""
        assert which.closers is not None
        found = which.closers(self.before + self.text)
        return Closers(kinds=found.kinds, which=found.which[self._ends()])

    def _ends(self) -> np.ndarray:
        """[N] the last character of each token; of one that has none, that before it."""
        ends = len(self.before) - 1 + np.cumsum([len(piece) for piece in self.pieces])
        return np.maximum(ends, 0)


def sizes_of(model: LanguageModel) -> list[dict[str, int]]:
    """For each layer, how many units each named value has, as `read` keeps them: a value that is a
    matrix, or over a memory, has none."""
    names = tuple(named_values(model.recurrent.cell.equations))
    found = read(model, np.zeros(4, dtype=np.int64), keep=names, streams=1, warm_up=0)
    sizes: list[dict[str, int]] = [{} for _ in range(model.recurrent.num_layers)]
    for (layer, name), values in found.values.items():
        sizes[layer][name] = values.shape[1]
    return sizes


def read(
    model: LanguageModel,
    ids: np.ndarray | Tensor,
    *,
    keep: Sequence[str] | None = None,
    replace: Replaced | None = None,
    streams: int = STREAMS,
    warm_up: int = WARM_UP,
) -> Read:
    """A text read by a language model, its values kept at each token.

    The text is cut into streams that are read side by side, each from some tokens before its own,
    so that its states are those of the whole text to what a model remembers of that long ago.

    Args:
        model: of any cell; it has a vocabulary.
        ids: [T] the text's tokens.
        keep: names of values; None keeps all states of each layer, or all values of a cell whose
            states are matrices alone.
        replace: what stands for named values at every step, the warm-up's too.
        streams: S; 1 reads the text token by token. Fewer in a short text.
        warm_up: tokens before each stream; those of the first are the text's own first ones.
    Raises:
        DataError: when the text is too short.
        ValueError: when the model has no vocabulary, or its equations lack a name.
    Cost: (T / S + warm-up) steps of some twenty calls of torch each.
    """
    vocabulary = model.needed("vocabulary", "insight")
    whole = ids if isinstance(ids, Tensor) else torch.from_numpy(np.asarray(ids, dtype=np.int64))
    whole = whole.long().cpu()
    warm_up = min(warm_up, len(whole) // 4)
    streams = max(1, min(streams, (len(whole) - warm_up) // max(2, warm_up)))
    length = (len(whole) - warm_up) // streams
    if length < 2:
        raise DataError(f"text: expected 4 tokens or more, got {len(whole)}. Give a longer text.")
    window = torch.stack(
        [whole[s * length : s * length + warm_up + length] for s in range(streams)], dim=1
    )  # [warm-up + length, S]
    names = _looked_at(model.recurrent.cell) if keep is None else tuple(keep)
    values, expected = _values(model, window, names, replace or {}, warm_up)
    used = whole[: warm_up + streams * length]
    pieces = _pieces(vocabulary, used.numpy())
    return Read(
        ids=used[warm_up:].numpy(),
        pieces=tuple(pieces[warm_up:]),
        before="".join(pieces[:warm_up]),
        values=values,
        log_probabilities=expected,
    )


def _looked_at(cell: Cell) -> tuple[str, ...]:
    """The names of the states that have units; of a cell without any, of all values."""
    pairs = zip(cell.states, cell.state_shapes, strict=True)
    states = tuple(name for name, shape in pairs if len(shape) == 1)
    return states or tuple(named_values(cell.equations))


def _values(
    model: LanguageModel, window: Tensor, names: Sequence[str], replace: Replaced, skip: int
) -> tuple[dict[tuple[int, str], np.ndarray], np.ndarray]:
    """The values after each token of [T, S], one stream behind the other, but for the first
    `skip` steps; and the log probabilities of what follows."""
    device = next(model.parameters()).device
    found: dict[tuple[int, str], list[Tensor]] = {}
    expected: list[Tensor] = []
    state: Any = None
    start = 0
    for piece in window.to(device).split(_STEPS_AT_ONCE):
        options: dict[str, Any] = {"start": start} if model.reads_index else {}
        turned = piece.T if model.batch_first else piece
        with evaluating(model), torch.no_grad():
            traced = trace(model, turned, state, keep=names, replace=replace, **options)
        logits, state = traced.result
        logits = logits.transpose(0, 1) if model.batch_first else logits
        first = max(0, skip - start)
        start += len(piece)
        if first >= len(piece):
            continue
        expected.append(logits[first:].float().log_softmax(dim=-1))
        for place, passages in traced.passages.items():
            (passage,) = passages
            for name in names:
                value = passage.values.get(name)
                # of one vector a sequence: no matrix, and nothing over a memory
                if value is not None and value.dim() == 3 and value.shape[:2] == piece.shape:
                    found.setdefault((place.layer, name), []).append(value[first:].float())
    rows = {key: _one_behind_another(each) for key, each in found.items()}
    return rows, _one_behind_another(expected)


def _one_behind_another(steps: list[Tensor]) -> np.ndarray:
    """[N, size] of pieces [T, S, size]: the streams in the order of the text."""
    whole = torch.cat(steps)
    return whole.transpose(0, 1).reshape(-1, whole.shape[-1]).cpu().numpy()


def _pieces(vocabulary: Any, ids: np.ndarray) -> list[str]:
    """What each token is in the text; a token that ends no character is empty."""
    decoder = vocabulary.decoder()
    return [decoder.feed(int(each)) for each in ids]
