"""What a layer remembers of its calls, so that one like it is not worked out again.

A call is checked, arranged and given to a backend by what its arguments are like and by what is
switched on. Of calls that agree in all of that, the first ones go the long way; the others go
straight to what runs them.

Letters: T time, B batch, I input, S size of a state, L layers, D directions (1 or 2).
"""

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recurra import backends
from recurra.lang import Cell
from recurra.nn.watched import watcher_of

_MOST_CALLS = 64  # of a layer; what is forgotten is found again
_PLAIN = (Tensor, nn.Parameter)
_KnownPlace = tuple[backends.KnownCall, tuple[str, ...]]  # its parameters, as the layer calls them
_Known = tuple[_KnownPlace, ...]  # of each layer and direction, in the order of the states


@runtime_checkable
class Layer(Protocol):
    """What is asked of a layer; see `Recurrent`."""

    cell: Cell
    backend: str
    memory: str
    reverse: bool
    batch_first: bool
    bidirectional: bool
    num_layers: int
    dropout: float
    learned_state: bool
    training: bool
    _parameters: dict[str, Any]

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Each layer and direction, in the order of the states."""
        ...

    def names_of(self, layer: int, direction: int = 0) -> tuple[str, ...]:
        """What the parameters of one layer and direction are called."""
        ...

    def first_states(self, batch_size: int, positions: int = 0) -> tuple[Tensor, ...]:
        """What each of the cell's states starts from, [L*D, B, S]."""
        ...


class KnownCalls:
    """The calls of a layer that were run before."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Known | None] = {}
        self._seen: set[Hashable] = set()

    def run(
        self, layer: Layer, x: object, state: object
    ) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """y and the final states, as the layer gives them; None where this call goes the long way.

        Args:
            x: as it was given, without anything besides but a state.
        """
        key = _kind(layer, x, state)
        known = None if key is None else self._calls.get(key)
        if known is None:
            return None
        assert isinstance(x, Tensor), "of others there is no kind"
        x = x.transpose(0, 1) if layer.batch_first else x
        given = _given(layer, state, len(known))
        if given is None:
            return None
        if len(known) == 1:  # nothing to take apart and to join, which small calls would feel
            call, names = known[0]
            found = call([x, *given, *map(layer._parameters.get, names)])
            if found is None:
                return None
            y, *finals = found
        else:
            through = _all_layers(layer, x, given, known)
            if through is None:
                return None
            y, finals = through
        return y.transpose_(0, 1) if layer.batch_first else y, tuple(finals)

    def note(self, layer: Layer, x: object, state: object) -> None:
        """Remember a call that was run; the second one of a kind is worked out."""
        key = _kind(layer, x, state)
        if key is None or key in self._calls:
            return
        if key not in self._seen:
            if len(self._seen) >= _MOST_CALLS:
                self._seen.clear()
            self._seen.add(key)
            return
        if len(self._calls) >= _MOST_CALLS:
            self._calls.clear()
        self._calls[key] = self._worked_out(layer, x, state)

    @staticmethod
    def _worked_out(layer: Layer, x: object, state: object) -> _Known | None:
        assert isinstance(x, Tensor), "of others there is no kind"
        x = x.transpose(0, 1) if layer.batch_first else x
        given, places = _given(layer, state, len(layer.places)), layer.places
        names = [layer.names_of(*place) for place in places]
        parameters: list[list[Any]] = [list(map(layer._parameters.get, own)) for own in names]
        tensors: tuple[Any, ...] = (x, *(given or ()), *chain(*parameters))
        if given is None or not all(type(each) in _PLAIN for each in tensors):
            return None
        if not all(each.dtype is torch.float32 and each.is_cpu for each in tensors):
            return None
        cell = layer.cell if layer.training else layer.cell.evaluation
        backend = backends.load(cell, layer.backend, x.device, memory=layer.memory)
        starts = layer.first_states(x.shape[1]) if state is None else given
        directions = 2 if layer.bidirectional else 1
        known: list[_KnownPlace] = []
        for place, (_, direction) in enumerate(places):
            if place and not direction:  # what a layer reads is what the one before it gives
                below = _one_layer(layer, x, given, place - directions, known[-directions:])
                if below is None:
                    return None
                x = below[0]
            learns = any(e.requires_grad for e in (x, *_of(given, place), *parameters[place]))
            call = backends.known(
                backend,
                x,
                _of(starts, place),
                parameters[place],
                layers=len(places),
                starts=state is not None,
                reverse=layer.reverse or direction == 1,
                keep=torch.is_grad_enabled() and learns,
            )
            if call is None:
                return None
            known.append((call, names[place]))
        return tuple(known)


def _kind(layer: Layer, x: object, state: object) -> Hashable:
    """What a call goes by besides its tensors; None where it always goes the long way."""
    if (
        type(x) is not Tensor
        or x.dim() != 3
        or x.is_nested  # which has no shape
        or not x.numel()
        or backends.is_followed()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_exporting()
        or (layer.num_layers > 1 and layer.dropout > 0 and layer.training)
        or (state is None and layer.learned_state)
        or watcher_of(layer) is not None  # type: ignore[arg-type]
    ):
        return None
    keeps = torch.is_grad_enabled()
    if keeps and backends.keeps_otherwise():
        return None
    return (
        x.shape,
        state is None,
        keeps,
        torch.get_num_threads(),
        layer.training,
        layer.cell,
        layer.backend,
        layer.memory,
        layer.reverse,
        layer.batch_first,
        layer.num_layers,
        layer.bidirectional,
    )


def _given(layer: Layer, state: object, places: int) -> Sequence[Tensor] | None:
    """The state as a tuple; none where it is zeros, and None where it has another form."""
    if state is None:
        return ()
    count = len(layer.cell.states)
    if count == 1:
        given = (state,) if isinstance(state, Tensor) else None
    else:
        given = state if isinstance(state, tuple | list) and len(state) == count else None
    if given is None or places == 1:
        return given
    return given if all(_has_places(each, places) for each in given) else None


def _has_places(state: object, places: int) -> bool:
    """Whether a state may be taken apart into those of each layer and direction."""
    if type(state) not in _PLAIN:
        return False
    assert isinstance(state, Tensor), "of plain ones"
    is_dense = state.layout is torch.strided and not state.is_nested
    return is_dense and state.dim() > 0 and len(state) == places


def _of(states: Sequence[Tensor], place: int) -> list[Tensor]:
    """Those of one layer and direction, [1, B, S] each."""
    return [each[place : place + 1] for each in states]


def _one_layer(
    layer: Layer, x: Tensor, given: Sequence[Tensor], first: int, known: Sequence[_KnownPlace]
) -> tuple[Tensor, list[list[Tensor]]] | None:
    """y of one layer, and the final states of each of its directions; None for another call.

    Args:
        first: the place of its first direction.
    """
    outputs, ends = [], []
    for place, (call, names) in enumerate(known, first):
        found = call([x, *_of(given, place), *map(layer._parameters.get, names)])
        if found is None:
            return None
        y, *final = found
        outputs.append(y)
        ends.append(final)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1), ends


def _all_layers(
    layer: Layer, x: Tensor, given: Sequence[Tensor], known: _Known
) -> tuple[Tensor, list[Tensor]] | None:
    """y and the final states, [L*D, B, S] each; None for another call."""
    directions, ends = 2 if layer.bidirectional else 1, []
    for first in range(0, len(known), directions):
        done = _one_layer(layer, x, given, first, known[first : first + directions])
        if done is None:
            return None
        x, own_ends = done
        ends += own_ends
    return x, [torch.cat(each) for each in zip(*ends, strict=True)]
