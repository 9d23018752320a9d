"""What a layer read and gave when it was looked at: one passage of a batch through it.

Letters: T time, B batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from recurra.lang import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One layer and direction of one recurrent layer of a module.

    Attributes:
        part: what the module calls the recurrent layer, "encoder"; "" for itself.
        layer: the number of the layer.
        reverse: whether it reads sequences from their end.
    """

    part: str
    layer: int
    reverse: bool

    def __str__(self) -> str:
        words = [f"layer {self.layer}", "reverse" if self.reverse else ""]
        return " ".join(filter(None, [self.part, *words]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What one layer and direction read, as it came to it.

    Attributes:
        x: [T, B, I], or token ids [T, B] that stand for one-hot vectors. Of an embedding, what ids
            stand for; of a later layer, what the one below it gave.
        states: the first states, [B, size] each.
        parameters: by the names of the cell, its constant arrays among them.
        lengths: [B], or None for all T.
        inputs: what else is given at each step, [T, B, size] each.
        context: [B, C] each, then the cell's random masks.
        memory: [B, S, K] each, then [B, S], 1 within the memory and 0 past its end.
        start: the index of the first step.
    """

    x: Tensor
    states: tuple[Tensor, ...]
    parameters: Mapping[str, Tensor]
    lengths: Tensor | None = None
    inputs: tuple[Tensor, ...] = ()
    context: tuple[Tensor, ...] = ()
    memory: tuple[Tensor, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One pass of a layer and direction over a batch.

    Attributes:
        cell: the equations; in evaluation those without random masks.
        given: what it read.
        y: [T, B, O], what it gave.
        states: the final states, [B, size] each.
        values: the values of the equations by name, as `recurra.trace` has them.
    """

    cell: Cell
    given: Given
    y: Tensor
    states: tuple[Tensor, ...]
    values: Mapping[str, Tensor]
