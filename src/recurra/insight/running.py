"""Running a layer or a model with its recurrent layers step by step, as their equations say.

Letters: T time, B batch.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from recurra.backends.reference.stepped import run_stepped
from recurra.insight.passages import Given, Passage, Place
from recurra.insight.replacing import Replacements, check_names
from recurra.lang import Cell
from recurra.nn.stack import CellStack
from recurra.nn.watched import Run, watched_by

Passages = Mapping[Place, Sequence[Passage]]


class _Watcher:
    """Runs some layers by steps, and keeps what they read and gave."""

    def __init__(
        self,
        layers: Mapping[CellStack, str],
        replacements: Replacements,
        keep: Collection[str] | None,
    ) -> None:
        self._layers, self._replacements, self._keep = layers, replacements, keep
        self.found: dict[Place, list[Passage]] = {}

    def watches(self, layer: nn.Module) -> bool:
        """See `Watcher`."""
        return layer in self._layers

    def run_of(self, layer: nn.Module, number: int, direction: int, cell: Cell) -> Run:
        """See `Watcher`."""
        assert isinstance(layer, CellStack), "others are not watched"
        return partial(self._run, _place(self._layers[layer], layer, number, direction), cell)

    def _run(
        self,
        place: Place,
        cell: Cell,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        embedding: Tensor | None = None,
        reverse: bool = False,
        **options: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        passages = self.found.setdefault(place, [])
        before = sum(len(passage.y) for passage in passages)
        changes = self._replacements.at(place, cell, before, len(x))
        if embedding is not None and not x.is_floating_point():
            x = functional.embedding(x, embedding)
        given = Given(x=x, states=states, parameters=parameters, **options)
        done = run_stepped(
            *(cell, x, states, parameters),
            **options,
            reverse=reverse,
            keep=self._keep,
            changes=changes,
        )
        passages.append(
            Passage(cell=cell, given=given, y=done.y, states=done.finals, values=done.values)
        )
        # copies, which the layer and what follows it may change in place
        return done.y.clone(), tuple(final.clone() for final in done.finals)


def run_watched(
    who: str,
    module: nn.Module,
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    *,
    replacements: Replacements,
    part: str | None = None,
    keep: Collection[str] | None = None,
) -> tuple[Any, Passages]:
    """Call a module, its recurrent layers run step by step.

    Args:
        who: the function that messages name.
        module: a layer, a model, or any module that has recurrent layers.
        inputs, options: what it is called with.
        part: what the module calls the layers that are run so, or what they are in; None for all.
        keep: the names of values to be kept; None for all.

    Returns:
        What the call gave, and each passage through each layer and direction, in order.

    Raises:
        TypeError: when it is no module.
        ValueError: when it has no such layers, or none of them ran.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{who}: expected a layer or a model, got {type(module).__name__}. Pass "
            f"rc.Recurrent(...), or what rc.load gives."
        )
    module = uncompiled(module)
    layers = watched_layers(who, module, part)
    cells = {
        _place(name, layer, *place): layer.cell
        for layer, name in layers.items()
        for place in layer.places
    }
    check_names(who, keep or (), cells.values())
    replacements.check(cells)
    watcher = _Watcher(layers, replacements, keep)
    with watched_by(watcher):
        result = module(*inputs, **options)
    if not watcher.found:
        raise ValueError(
            f"{who}: expected a call that runs a recurrent layer, got one of "
            f"{type(module).__name__} that ran none of {', '.join(map(repr, layers.values()))}. "
            f"Pass other inputs."
        )
    replacements.check_lengths()
    return result, watcher.found


def uncompiled(module: Any) -> Any:
    """What `torch.compile` has wrapped; anything else as it is."""
    return getattr(module, "_orig_mod", module)


def watched_layers(who: str, module: nn.Module, part: str | None) -> dict[CellStack, str]:
    """The recurrent layers of a module, and what it calls them."""
    found = {m: name for name, m in module.named_modules() if isinstance(m, CellStack)}
    if not found:
        raise ValueError(
            f"{who}: expected a module with recurrent layers of recurra, got "
            f"{type(module).__name__}. rc.RNN, rc.LSTM and rc.GRU take torch.nn's weights."
        )
    chosen = {m: name for m, name in found.items() if part is None or is_within(name, part)}
    if not chosen:
        raise ValueError(
            f"{who}: expected part as one of {', '.join(map(repr, found.values()))}, got "
            f"{part!r}. Use what the module calls its layers."
        )
    return chosen


def is_within(name: str, part: str) -> bool:
    """Whether a layer is what a module calls `part`, or is in it."""
    return not part or name == part or name.startswith(f"{part}.")


def _place(name: str, layer: CellStack, number: int, direction: int) -> Place:
    return Place(part=name, layer=number, reverse=layer.reverse or direction == 1)
