"""The reference backend: a plan run with torch operations."""

from recurra.backends.reference.engine import ReferenceEngine
from recurra.backends.runtime.backend import PlannedBackend
from recurra.lang import Cell


class ReferenceBackend(PlannedBackend):
    """Runs a cell with torch operations: any dtype, any device, any number of derivatives.

    First derivatives come from the plan's own adjoint; where a second one may follow
    (create_graph=True) the backward pass is replayed under torch's autograd.

    Args:
        gradients: "adjoint", or "autograd" to leave all derivatives to torch, which is slower and
            what the adjoint is tested against.
        memory: "low" to keep states alone for the backward pass and compute the rest again.
    """

    def __init__(self, cell: Cell, *, gradients: str = "adjoint", memory: str = "normal") -> None:
        if gradients not in ("adjoint", "autograd"):
            raise ValueError(
                f"ReferenceBackend: expected gradients 'adjoint' or 'autograd', got {gradients!r}. "
                f"Choose one of them."
            )
        by_adjoint = gradients == "adjoint"
        super().__init__(cell, ReferenceEngine(), low=memory == "low", by_adjoint=by_adjoint)
