"""The reference's loops on a GPU: where a call repeats, its kernels are launched all at once.

A loop of torch operations launches several kernels a step, and each launch takes the CPU longer
than a small kernel takes the GPU. A CUDA graph, recorded once, launches them together.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from recurra.backends.runtime.call import Call, Values
from recurra.backends.runtime.execute import Executor
from recurra.backends.watching import is_watched, outliving, transform
from recurra.ir import Node

logger = logging.getLogger("recurra")

_MOST_GRAPHS = 16  # of one executor; each holds memory of its own
_RECORDING = RLock()  # one at a time, on one stream
_MOST_SEEN = 4096  # shapes that are remembered, where they never repeat
_LARGEST = 2**31  # bytes of what a call reads, of which a graph has a copy


class RepeatedExecutor(Executor):
    """An executor on a GPU: what is called with the same shapes a second time is recorded as a CUDA
    graph, and launched as one from then on. Results are copied out of the graph's own memory, which
    threads use in turn, and each stream of the GPU has to itself."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._seen: Counter[Hashable] = Counter()
        self._recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._refused: set[Hashable] = set()
        self._turn = RLock()

    def forward(
        self, leaves: Values, call: Call, keep: bool = False
    ) -> tuple[Tensor, list[Tensor], Values]:
        """See `Executor.forward`."""
        nodes = tuple(leaves)
        kept = self.kept(leaves, call) if keep else ()

        def run(tensors: Sequence[Tensor | None]) -> list[Tensor]:
            ids, active, *rest = tensors
            own = dict(zip(nodes, [tensor for tensor in rest if tensor is not None], strict=True))
            now = call.given(ids, active)
            y, finals, values = super(RepeatedExecutor, self).forward(own, now, keep)
            return [y, *finals, *(values[node] for node in kept)]

        given = [call.ids, call.active, *leaves.values()]
        results = self._repeated(("forward", keep, nodes, _settings(call)), run, given, call)
        if results is None:
            return super().forward(leaves, call, keep)
        y, *others = results.values
        count = len(self.plan.states)
        return y, others[:count], dict(zip(kept, others[count:], strict=True))

    def backward(
        self,
        leaves: Values,
        kept: Values,
        call: Call,
        d_y: Tensor,
        d_finals: Sequence[Tensor],
        wanted: set[Node],
    ) -> Values:
        """See `Executor.backward`."""
        nodes = tuple(leaves)
        read = tuple(node for node in kept if kept[node] is not leaves.get(node))
        order: list[Node] = []

        def run(tensors: Sequence[Tensor | None]) -> list[Tensor]:
            ids, active, *rest = tensors
            given = [tensor for tensor in rest if tensor is not None]
            own = dict(zip(nodes, given, strict=False))
            values = {**own, **dict(zip(read, given[len(nodes) :], strict=False))}
            d_y, *d_finals = given[len(nodes) + len(read) :]
            now = call.given(ids, active)
            found = super(RepeatedExecutor, self).backward(own, values, now, d_y, d_finals, wanted)
            order[:] = list(found)
            return list(found.values())

        given = [call.ids, call.active, *leaves.values(), *(kept[node] for node in read)]
        key = ("backward", frozenset(wanted), nodes, read, _settings(call))
        results = self._repeated(key, run, [*given, d_y, *d_finals], call, order)
        if results is None:
            return super().backward(leaves, kept, call, d_y, d_finals, wanted)
        return dict(zip(results.names, results.values, strict=True))

    def _repeated(
        self,
        what: Hashable,
        run: Callable[[Sequence[Tensor | None]], list[Tensor]],
        given: Sequence[Tensor | None],
        call: Call,
        names: Sequence[Node] = (),
    ) -> "_Results | None":
        """What `run` gives on these tensors, by a graph; None where there is none yet."""
        if call.plain or not _can_record(given):
            return None
        key = self._key(what, given)
        with self._turn:
            if key in self._refused:
                return None
            recorded = self._recorded.get(key)
            if recorded is None:
                if len(self._seen) > _MOST_SEEN:
                    self._seen.clear()
                self._seen[key] += 1
                if self._seen[key] < 2:
                    return None
                recorded = self._record(key, run, given)
                if recorded is None:
                    return None
                recorded.names = tuple(names)
            self._recorded.move_to_end(key)
            return _Results(names=recorded.names, values=recorded(given))

    def _record(
        self,
        key: Hashable,
        run: Callable[[Sequence[Tensor | None]], list[Tensor]],
        given: Sequence[Tensor | None],
    ) -> "_Recorded | None":
        try:
            with _RECORDING:
                recorded = _Recorded(run, given)
        except RuntimeError as error:
            self._refused.add(key)
            logger.info("not recorded as a CUDA graph: %s", error)
            return None
        self._recorded[key] = recorded
        while len(self._recorded) > _MOST_GRAPHS:
            oldest, _ = self._recorded.popitem(last=False)
            self._seen.pop(oldest, None)
        return recorded

    def _key(self, what: Hashable, given: Sequence[Tensor | None]) -> Hashable:
        forms = [None if t is None else (tuple(t.shape), t.dtype, t.device) for t in given]
        return (what, torch.cuda.current_stream(self._like.device).cuda_stream, *forms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What a graph gave.

    Attributes:
        names: what the values are of, where the run alone knows.
    """

    names: tuple[Node, ...]
    values: list[Tensor]


class _Recorded:
    """A run as a CUDA graph, with memory of its own for what goes in and comes out.

    Attributes:
        names: what the results are of, where the run alone knows.
    """

    names: tuple[Node, ...] = ()

    def __init__(
        self,
        run: Callable[[Sequence[Tensor | None]], list[Tensor]],
        given: Sequence[Tensor | None],
    ) -> None:
        device = next(tensor.device for tensor in given if tensor is not None)
        self._graph = torch.cuda.CUDAGraph()
        # a copy that autocast keeps of a weight would be made once, not at each launch
        autocast = torch.autocast(
            "cuda",
            dtype=torch.get_autocast_dtype("cuda"),
            enabled=torch.is_autocast_enabled("cuda"),
            cache_enabled=False,
        )
        # a recording that fails leaves its stream the current one: so the one of now is put back
        now = torch.cuda.stream(torch.cuda.current_stream(device))
        with torch.cuda.device(device), now, outliving(), autocast:
            self._inputs = [None if each is None else each.detach().clone() for each in given]
            beside = _stream_beside(device)
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # libraries make what they need outside the graph
                run(self._inputs)
            torch.cuda.current_stream().wait_stream(beside)
            # other threads may go on meanwhile, on other streams
            with torch.cuda.graph(self._graph, stream=beside, capture_error_mode="thread_local"):
                self._outputs = run(self._inputs)

    def __call__(self, given: Sequence[Tensor | None]) -> list[Tensor]:
        """The results for these tensors, in memory that the caller owns."""
        for own, tensor in zip(self._inputs, given, strict=True):
            if own is not None and tensor is not None:
                own.copy_(tensor)
        self._graph.replay()
        return [output.clone(memory_format=torch.contiguous_format) for output in self._outputs]


@cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    """The stream that graphs are recorded on. torch hands out the same few streams to all who ask,
    and who had this one would be refused meanwhile: so it has another priority than theirs."""
    return torch.cuda.Stream(device, priority=-1)


def _settings(call: Call) -> Hashable:
    """What a call is besides its tensors, and how torch is set to compute it."""
    return (
        *(call.one_hot, call.steps, call.batch, call.reverse, call.start),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )


def _can_record(given: Sequence[Tensor | None]) -> bool:
    """Whether a run on these tensors is kernels alone, which nobody follows."""
    tensors = [tensor for tensor in given if tensor is not None]
    if torch.is_grad_enabled() or is_watched() or transform(tensors) is not None:
        return False
    if torch.cuda.is_current_stream_capturing():
        return False
    return sum(tensor.nbytes for tensor in tensors) <= _LARGEST
