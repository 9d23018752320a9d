"""Runs as operators that torch can trace: `torch.ops.recurra.forward` and `.backward`.

torch.compile, torch.export and whatever else watches every operation cannot look into a loop that
Python or C++ runs. They see one operator for a layer and direction and one for its backward pass,
and the shapes of what these give. Only tensors, numbers and names pass: `key` finds the backend.
A plain call goes past them, because torch takes longer to call an operator than a function.

Letters: T time, B batch, I input, O output, V vocabulary, C context.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, library
from torch.utils.flop_counter import register_flop_formula

from recurra.backends.runtime.apart import Apart
from recurra.backends.runtime.execute import Bound
from recurra.backends.runtime.flops import backward_flops, forward_flops
from recurra.backends.runtime.gradients import adjoint, replayed
from recurra.backends.runtime.padding import padded
from recurra.errors import BackendError
from recurra.lang import Cell


@runtime_checkable
class Runner(Protocol):
    """What an operator needs of a backend; see `PlannedBackend`."""

    cell: Cell

    @property
    def key(self) -> str:
        """What the backend and its cell are called in a traced graph."""
        ...

    def bound(
        self,
        leaves: Sequence[Tensor],
        active: Tensor | None,
        *,
        reverse: bool,
        start: int,
        blank: bool = False,
    ) -> Bound:
        """A call, ready to run; `blank` for one that only gives shapes."""
        ...


_runners: dict[str, Runner] = {}


def made_known(runner: Runner) -> str:
    """The key under which operators find `runner` from now on, as long as the process lives."""
    return _runners.setdefault(runner.key, runner).key


def runner_of(key: str) -> Runner:
    """The backend of that key.

    Raises:
        BackendError: when this process has traced no layer with that backend and cell.
    """
    if key not in _runners:
        raise BackendError(
            f"recurra operator: expected a backend and cell traced in this process, got {key!r}. "
            f"Make the layer here and trace it again."
        )
    return _runners[key]


def run(
    key: str,
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Sequence[Tensor],
    *,
    inputs: Sequence[Tensor] = (),
    context: Sequence[Tensor] = (),
    memory: Sequence[Tensor] = (),
    embedding: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    start: int = 0,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`Backend.run` through the operators, for T >= 1; parameters in the order of the cell."""
    (x, *inputs), active = padded((x, *inputs), lengths)
    rest = [*context, *memory, *parameters, *([] if embedding is None else [embedding])]
    leaves = [x, *states, *inputs, *rest]
    keep = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves)
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    y, finals, _ = torch.ops.recurra.forward(leaves, active, key, autocast, reverse, start, keep)
    return y, tuple(finals)


# ---- what both operators take --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """The arguments that say what to run.

    Attributes:
        leaves: x ([T, B, I] or int64 [T, B]), the states and so on, as `PlannedBackend.bound`
            takes them.
        active: [T, B, 1] bool, the steps inside their sequence; None means all.
        autocast: the dtype of products where autocast was on: a traced graph runs without it.
    """

    leaves: list[Tensor]
    active: Tensor | None
    key: str
    autocast: torch.dtype | None
    reverse: bool
    start: int

    schema: ClassVar[str] = (
        "Tensor[] leaves, Tensor? active, str key, ScalarType? autocast, bool reverse, SymInt start"
    )

    def bound(self, *, blank: bool = False) -> Bound:
        """What the backend makes of it, which may depend on autocast."""
        runner = runner_of(self.key)
        with self.precision():
            bound = runner.bound(
                self.leaves, self.active, reverse=self.reverse, start=self.start, blank=blank
            )
        if not blank:
            _check_ids(bound, runner.cell)
        return bound

    def forward(self, keep: bool, *, blank: bool = False) -> tuple[Tensor, list[Tensor], list[Any]]:
        """y, the final states, and what the backward pass reads besides the leaves."""
        bound = self.bound(blank=blank)
        executor, leaves, call = bound.executor, bound.leaves, bound.call
        with torch.no_grad(), self.precision():
            y, finals, values = executor.forward(leaves, call, keep)
        return y, finals, [values[node] for node in executor.kept(leaves, call)] if keep else []

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast as it was asked for, whatever it is here."""
        kind = self.leaves[0].device.type
        if self.autocast is None and not torch.is_autocast_enabled(kind):
            return nullcontext()
        return torch.autocast(kind, self.autocast, enabled=self.autocast is not None)


def _check_ids(bound: Bound, cell: Cell) -> None:
    """Raise ValueError for token ids outside the vocabulary.

    A trace cannot look at values, so here is where they are seen first. What lies past a sequence's
    length was replaced by `padded`.
    """
    ids = bound.call.ids
    if ids is None or not ids.numel() or cell.input is None:
        return
    if ids.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # what is captured may not wait for the GPU, whose own lookups check
    vocabulary = bound.executor.vocabulary(bound.leaves, bound.call)
    lowest, highest = (int(value) for value in torch.aminmax(ids))
    if lowest < 0 or highest >= vocabulary:
        raise ValueError(
            f"{cell.name}: expected token ids in 0..{vocabulary - 1}, got "
            f"{lowest if lowest < 0 else highest}. Use the vocabulary that the layer was made for."
        )


def _allocated(like: Tensor) -> Tensor:
    return like.new_empty(like.shape)


# ---- forward -------------------------------------------------------------------------------------

_Result = tuple[Tensor, list[Tensor], list[Tensor]]

library.define(
    "recurra::forward",
    f"({_Request.schema}, bool keep) -> (Tensor y, Tensor[] finals, Tensor[] kept)",
    tags=torch.Tag.pt2_compliant_tag,
)


@library.impl("recurra::forward", "default")
def _forward(*arguments: Any) -> _Result:
    *call, keep = arguments
    request = _Request(*call)
    y, finals, kept = request.forward(keep)
    apart = Apart([*request.leaves, request.active])
    kept = [apart(value) for value in kept]  # the large ones first
    return apart(y), [apart(final) for final in finals], kept


@library.register_fake("recurra::forward")
def _forward_shapes(*arguments: Any) -> _Result:
    *call, keep = arguments
    y, finals, kept = _Request(*call).forward(keep, blank=True)
    return _allocated(y), [_allocated(f) for f in finals], [_allocated(v) for v in kept]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: _Result) -> None:
    leaves, active, *ctx.options, _ = inputs
    kept = output[2]
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(active, *leaves, *kept)
    ctx.num_leaves = len(leaves)


def _differentiate(
    ctx: Any, d_y: Tensor | None, d_finals: Sequence[Tensor | None], _: object
) -> tuple[Any, ...]:
    """The rule for gradients: the other operator, or for a second derivative a replay."""
    active, *saved = ctx.saved_tensors
    leaves, kept = saved[: ctx.num_leaves], saved[ctx.num_leaves :]
    call = (leaves, active, *ctx.options)
    needs = ctx.needs_input_grad[0]
    if torch.is_grad_enabled():
        gradients = _differentiable(_Request(*call), (d_y, *d_finals), needs)
    else:
        found = iter(torch.ops.recurra.backward(*call, kept, d_y, list(d_finals), needs))
        gradients = [next(found) if needed else None for needed in needs]
    return (gradients, *[None] * (len(ctx.options) + 2))


def _differentiable(
    request: _Request, d_outputs: Sequence[Tensor | None], needs: Sequence[bool]
) -> list[Tensor | None]:
    bound = request.bound()
    wanted = bound.wanted(needs)
    found = replayed(bound.executor, bound.call, bound.leaves, wanted, d_outputs)
    return [
        found[node].reshape(leaf.shape) if node in found else None
        for node, leaf in zip(bound.nodes, request.leaves, strict=True)
    ]


library.register_autograd("recurra::forward", _differentiate, setup_context=_keep_for_backward)

# ---- backward ------------------------------------------------------------------------------------

library.define(
    "recurra::backward",
    # d_y and d_finals are None where nothing depends on the value; of the leaves, those that are
    # needed get a cotangent each
    f"({_Request.schema}, Tensor[] kept, Tensor? d_y, Tensor?[] d_finals, bool[] needs)"
    " -> Tensor[]",
    tags=torch.Tag.pt2_compliant_tag,
)


@library.impl("recurra::backward", "default")
def _backward(*arguments: Any) -> list[Tensor]:
    *call, kept, d_y, d_finals, needs = arguments
    request = _Request(*call)
    bound = request.bound()
    executor, leaves = bound.executor, bound.leaves
    with torch.no_grad(), torch.autocast(request.leaves[0].device.type, enabled=False):
        d_outputs = executor.cotangents_or_zeros(bound.call, d_y, d_finals)
        values = dict(zip(executor.kept(leaves, bound.call), kept, strict=True))
        found = adjoint(executor, bound.call, leaves, values, d_outputs, bound.wanted(needs))
    apart = Apart([*request.leaves, request.active, *kept, d_y, *d_finals])
    results = []
    for leaf, node, needed in zip(request.leaves, bound.nodes, needs, strict=True):
        if needed:
            d = None if node is None else found.get(node)
            results.append(torch.zeros_like(leaf) if d is None else apart(d))
    return results


@library.register_fake("recurra::backward")
def _backward_shapes(*arguments: Any) -> list[Tensor]:
    leaves, needs = arguments[0], arguments[-1]
    return [_allocated(leaf) for leaf, needed in zip(leaves, needs, strict=True) if needed]


# ---- counting ------------------------------------------------------------------------------------


@register_flop_formula([torch.ops.recurra.forward], get_raw=True)
def _forward_flops(*arguments: Any, out_val: object) -> int:
    *call, _ = arguments
    return forward_flops(_Request(*call).bound(blank=True))


@register_flop_formula([torch.ops.recurra.backward], get_raw=True)
def _backward_flops(*arguments: Any, out_val: object) -> int:
    *call, _, _, _, needs = arguments
    bound = _Request(*call).bound(blank=True)
    return backward_flops(bound, bound.wanted(needs))
