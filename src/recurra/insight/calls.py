"""What a layer is called with while a model runs: its arguments after every check, and its output.

Letters: T time, B batch, O output, S size of a state, L layers, D directions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.nn.stack import CellStack
from recurra.nn.watched import Run


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
    run = checked_layer(layer).run_layers

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

    with run_by(layer, recording):
        yield calls


@contextmanager
def run_by(layer: CellStack, run: Run) -> Iterator[None]:
    """`run` stands for the layer's `run_layers` within the block, and what stood there before it
    again behind it."""
    before = vars(layer).get("run_layers")
    vars(layer)["run_layers"] = run  # hides that of the class
    try:
        yield
    finally:
        del vars(layer)["run_layers"]
        if before is not None:
            vars(layer)["run_layers"] = before


def checked_layer(layer: object) -> CellStack:
    """The layer, where it is one; else TypeError."""
    if not isinstance(layer, CellStack):
        raise TypeError(
            f"layer: expected rc.Recurrent, rc.RNN, rc.LSTM or rc.GRU, got "
            f"{type(layer).__name__}. Of a model give the layer in it, such as model.recurrent; of "
            f"rc.Bidirectional its `forwards` or `backwards`."
        )
    return layer


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
    return checked_call(call)


def checked_call(call: LayerCall) -> LayerCall:
    """The call, where it is of a step and a sequence at least; else ValueError."""
    steps, batch = call.x.shape[:2]
    if not steps or not batch:
        raise ValueError(
            f"{call.layer.where}: expected a step and a sequence at least, got {steps} steps of "
            f"{batch} sequences. Nothing goes through time there."
        )
    return call


def chosen_steps(what: str, chosen: Sequence[int], count: int) -> list[int]:
    """Steps of `count` by their numbers, which from the end are -1 and less; else ValueError."""
    wrong = [k for k in chosen if not -count <= k < count]
    if wrong or not len(chosen):
        raise ValueError(
            f"{what}: expected steps in 0..{count - 1}, or from -{count} on counted from the end, "
            f"got {wrong[0] if wrong else 'none'}. Leave it out for all."
        )
    return [range(count)[k] for k in chosen]
