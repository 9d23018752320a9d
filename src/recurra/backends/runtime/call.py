"""What a run of a cell is asked for, and what its time loop gives.

Letters: T time, B batch, S positions of a memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from recurra.ir import POSITIONS, Node

Values = dict[Node, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one run over a sequence is, besides the tensors that may have gradients.

    Attributes:
        ids: [T, B] int64 when the input is token ids, else None.
        one_hot: ids stand for one-hot vectors, not for rows of an embedding.
        active: [T, B, 1] bool, True inside each sequence's length; None when all are.
        steps: T.
        batch: B.
        reverse: run from the last step to the first.
        start: index of the first step, for cells that read it.
        plain: only operations that torch can transform, none of which writes to memory in place.
        positions: S, how many vectors the memory has; 0 where there is none.
    """

    ids: Tensor | None
    one_hot: bool
    active: Tensor | None
    steps: int
    batch: int
    reverse: bool
    start: int
    plain: bool = False
    positions: int = 0

    def given(self, ids: Tensor | None, active: Tensor | None) -> "Call":
        """The same with these tensors."""
        if ids is self.ids and active is self.active:
            return self
        return replace(self, ids=ids, active=active)

    @property
    def order(self) -> range:
        """The steps in the order in which they run."""
        return range(self.steps - 1, -1, -1) if self.reverse else range(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What a loop gave.

    Attributes:
        carried: the values after the last step.
        records: what was recorded, [T, B, size], by node; of rows of a memory [T, B, S, size], and
            of a sum of them over time the sum.
        cleared: what was recorded of steps past a sequence's end is zero.
    """

    carried: list[Tensor]
    records: dict[Node, Tensor]
    cleared: bool = False


def shape_of(node: Node, sizes: Mapping[str, int], positions: int) -> tuple[int, ...]:
    """The shape of a node's value, without time and batch, where a memory has so many positions."""
    shape = tuple(positions if d == POSITIONS else d.evaluate(sizes) for d in node.shape)
    return shape or (1,)
