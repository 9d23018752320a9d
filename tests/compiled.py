"""Compiled loops against the reference: one cell, one call, everything that comes out of it.

The reference runs in float64. Of a cell that was drawn at random a result may be further from it
than the tolerance, if the reference itself says that rounding can take it there: at a kink, or in a
cell that magnifies what is small, its own results move as much when its inputs are rounded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor

from oracle import Case, Inputs, Results, results
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import CpuBackend, extents, kept, unsuitable
from recurra.lang import Cell

# float32: of the largest number in a result; bfloat16: of its norm
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
DTYPES = tuple(
    dtype
    for dtype in TOLERANCES
    if unsuitable(torch.empty(0, dtype=dtype), torch.empty(0, dtype=dtype)) is None
)
_ROUNDINGS = 6


class _Leaves(Inputs):
    """Inputs of which only some have a gradient."""

    def leaves(self) -> dict[str, Tensor]:
        return {name: leaf for name, leaf in super().leaves().items() if leaf.requires_grad}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A case, and how it is called: its repr is the Python that makes it.

    Attributes:
        strided: the input and the matrices lie in memory the other way round.
        frozen: names of leaves that need no gradient.
        inference: also without any gradient, which keeps less.
        memory: as `load` takes it.
        chunk_rows: sequences times steps that a loop takes at once.
        cache_bytes: larger matrices are shared out by columns.
    """

    case: Case = field(default_factory=Case)
    dtype: torch.dtype = torch.float32
    threads: int = 1
    strided: bool = False
    frozen: tuple[str, ...] = ()
    inference: bool = False
    memory: str = "normal"
    chunk_rows: int = 256
    cache_bytes: int = 1 << 20

    def inputs(self, cell: Cell, dtype: torch.dtype, rounding: float = 0.0) -> Inputs:
        """The tensors of the call, each number off by about `rounding` of it."""
        drawn = vars(self.case.tensors(cell, dtype))
        if self.strided:
            drawn["x"] = _other_way_round(drawn["x"])
            drawn["parameters"] = {
                name: _other_way_round(value) if value.dim() == 2 else value
                for name, value in drawn["parameters"].items()
            }
        inputs = _Leaves(**drawn)
        for name, leaf in Inputs.leaves(inputs).items():
            with torch.no_grad():
                leaf.mul_(1.0 + rounding * torch.randn_like(leaf))
            leaf.requires_grad_(name not in self.frozen)
        return inputs


def _other_way_round(value: Tensor) -> Tensor:
    turned = value.detach().transpose(0, 1).contiguous().transpose(0, 1)
    return turned.requires_grad_(value.requires_grad)


def compare(cell: Cell, call: Call, message: str = "", *, strict: bool = True) -> None:
    """Outputs, final states and all gradients of the compiled cell agree with the reference's.

    Args:
        strict: hold to the tolerance even what rounding alone takes further.
    """
    reference = ReferenceBackend(cell)
    expected = results(reference, call.inputs(cell, torch.float64))
    backend = CpuBackend(cell, memory=call.memory)
    with _threads(call.threads), _sizes(call):
        found = results(backend, call.inputs(cell, call.dtype))
        if call.inference:
            with torch.no_grad():
                y, finals = call.inputs(cell, call.dtype).run(backend)
            found |= {"y, inference": y}
            found |= {f"final {i}, inference": value for i, value in enumerate(finals)}
            expected |= {n: expected[n.split(",")[0]] for n in found if n.endswith("inference")}
    assert found.keys() == expected.keys(), message
    far = {name: _distance(found[name], expected[name], call.dtype) for name in expected}
    allowed = {name: _allowed(expected[name], call.dtype) for name in expected}
    # a comparison with NaN is False, so NaN fails
    wrong = [name for name in far if not far[name] <= allowed[name]]
    if not wrong:
        return
    spread = dict.fromkeys(expected, 0.0) if strict else _spread(cell, call, expected)
    wrong = [name for name in wrong if not far[name] <= allowed[name] + 4 * spread[name]]
    told = (
        f"{n}: off by {far[n]:.2e}, allowed {allowed[n]:.2e} + 4 x {spread[n]:.2e}" for n in wrong
    )
    assert not wrong, "\n".join((f"{cell.name}, {call}", *told, message))


def _spread(cell: Cell, call: Call, expected: Results) -> dict[str, float]:
    """How far the reference's results move with its inputs rounded."""
    largest = dict.fromkeys(expected, 0.0)
    roundings = [torch.finfo(call.dtype).eps] * _ROUNDINGS
    # in its own narrow dtype too: what cancels, such as the gradient by a scale that is normalised
    # away, is moved by the rounding of what lies between, not of the inputs
    narrow = {torch.float32: 0.0, call.dtype: 0.0}
    for dtype, rounding in (*narrow.items(), *((torch.float64, r) for r in roundings)):
        moved = results(ReferenceBackend(cell), call.inputs(cell, dtype, rounding))
        for name in expected:
            distance = _distance(moved[name.split(",")[0]], expected[name], call.dtype)
            largest[name] = max(largest[name], distance)
    return largest


def _distance(found: Tensor, expected: Tensor, dtype: torch.dtype) -> float:
    assert found.shape == expected.shape, f"{tuple(found.shape)}, not {tuple(expected.shape)}"
    difference = found.detach().to(expected.dtype) - expected
    if not difference.numel():
        return 0.0
    return float(difference.abs().max() if dtype is torch.float32 else difference.norm())


def _allowed(expected: Tensor, dtype: torch.dtype) -> float:
    if not expected.numel():
        return 0.0
    size = expected.abs().max() if dtype is torch.float32 else expected.norm()
    return TOLERANCES[dtype] * (1.0 + float(size))


@contextmanager
def _sizes(call: Call) -> Iterator[None]:
    """The sizes by which loops cut their work, as the call has them.

    Memory for what is kept, however little, comes from the pool.
    """
    rows = {"_CHUNK_ROWS": call.chunk_rows, "_CHUNK_ROWS_OF_LARGE": call.chunk_rows}
    rows |= {"_SHARED_STEP": 0, "_SHARED_CHUNK": 0}  # threads share work however little it is
    pooled = mock.patch.object(kept, "LEAST", 1)
    with pooled, mock.patch.multiple(extents, CACHE_BYTES=call.cache_bytes, **rows):
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
