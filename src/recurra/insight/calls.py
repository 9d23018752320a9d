"""What a layer is called with while a model runs: its arguments after every check, and its output.

Letters: T time, B batch, O output, S size of a state, L layers, D directions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.nn.stack import CellStack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerCall:
    """One call of a layer, in the form that `CellStack.run_layers` takes.

    Attributes:
        x: [T, B, I] features or [T, B] token ids.
        states: the first states, [L*D, B, S] each.
        lengths: [B] int64, or None for all T.
        inputs: what else the cell reads at each step, [T, B, size] each.
        context: [B, C] each.
        memory: [B, S, K] each.
        memory_lengths: [B] int64, or None.
        embedding: [V, I], or None.
        start: the index of the first step.
        y: [T, B, D*O], a leaf: what follows in the model can be differentiated by it.
        finals: the final states, [L*D, B, S] each, leaves too.
    """

    layer: CellStack
    x: Tensor
    states: tuple[Tensor, ...]
    lengths: Tensor | None
    inputs: tuple[Tensor, ...]
    context: tuple[Tensor, ...]
    memory: tuple[Tensor, ...]
    memory_lengths: Tensor | None
    embedding: Tensor | None
    start: int
    y: Tensor
    finals: tuple[Tensor, ...]

    @property
    def positions(self) -> int:
        """S, how many vectors the memory has; 0 where there is none."""
        return self.memory[0].shape[1] if self.memory else 0


@contextmanager
def captured(layer: CellStack) -> Iterator[list[LayerCall]]:
    """The calls of `layer` within the block, in order; it runs as in evaluation.

    Its outputs are leaves: gradients of what is computed from them end there.
    """
    calls: list[LayerCall] = []
    run = layer.run_layers

    def recording(
        x: Tensor, states: tuple[Tensor, ...], **options: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.no_grad():
            y, finals = run(x, states, **{**options, "dropout": 0.0, "random": False})
        y = y.detach().requires_grad_()
        finals = tuple(final.detach().requires_grad_() for final in finals)
        calls.append(_layer_call(layer, x, states, options, y, finals))
        # copies, of which the layer may change the form in place
        return y.clone(), tuple(final.clone() for final in finals)

    vars(layer)["run_layers"] = recording  # hides that of the class
    try:
        yield calls
    finally:
        del vars(layer)["run_layers"]


def _layer_call(
    layer: CellStack,
    x: Tensor,
    states: tuple[Tensor, ...],
    options: dict[str, Any],
    y: Tensor,
    finals: tuple[Tensor, ...],
) -> LayerCall:
    embedding = options.get("embedding")
    return LayerCall(
        layer=layer,
        x=x.detach(),
        states=tuple(state.detach() for state in states),
        lengths=options.get("lengths"),
        inputs=tuple(each.detach() for each in options.get("inputs", ())),
        context=tuple(each.detach() for each in options.get("context", ())),
        memory=tuple(each.detach() for each in options.get("memory", ())),
        memory_lengths=options.get("memory_lengths"),
        embedding=None if embedding is None else embedding.detach(),
        start=options.get("start", 0),
        y=y,
        finals=finals,
    )


def call_of(layer: CellStack, x: Any, *given: Any, **options: Any) -> LayerCall:
    """The call that `layer(x, ...)` is."""
    with captured(layer) as calls:
        layer(x, *given, **options)
    (call,) = calls
    return call
