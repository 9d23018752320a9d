"""Loops that an engine cannot build: another one runs them, and it is tried again later."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from recurra.backends.runtime.call import Call, Values
from recurra.backends.runtime.engine import Engine
from recurra.backends.runtime.execute import Executor
from recurra.backends.runtime.parts import Parts
from recurra.errors import BackendError
from recurra.ir import Node

_FIRST_WAIT_S, _LONGEST_WAIT_S = 30.0, 3600.0


class Attempts:
    """What became of building a cell's loops.

    A build may fail for a moment, of a disk that is full, or for good. So it is tried again, ever
    more rarely.

    Args:
        or_else: called with the reason when something is not run compiled; None where that is an
            error.

    Attributes:
        why_not: why the last build failed; empty where it did not.
    """

    def __init__(self, or_else: Callable[[str], None] | None = None) -> None:
        self._or_else = or_else
        self.why_not = ""
        self._wait_s = _FIRST_WAIT_S
        self._again_at = 0.0

    @property
    def waiting(self) -> bool:
        """Whether there is no use in trying now."""
        return bool(self.why_not) and time.monotonic() < self._again_at

    def failed(self, error: BackendError) -> None:
        """A build failed."""
        if self._or_else is not None:
            self._again_at = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
            self.why_not = str(error)

    def succeeded(self) -> None:
        """A build went well."""
        self.why_not, self._wait_s = "", _FIRST_WAIT_S

    def excused(self, error: BackendError) -> None:
        """Say why something else runs; raises `error` where nothing else may."""
        if self._or_else is None:
            raise error
        self._or_else(str(error))


class AttemptingExecutor(Executor):
    """An executor whose engine may fail to build its loops.

    Args:
        other: the engine that runs the same plan then: what it keeps is what the first one keeps.
        attempts: how often that happened.
    """

    def __init__(
        self,
        engine: Engine,
        parts: Parts,
        sizes: Mapping[str, int],
        like: Tensor,
        *,
        variant: bool,
        other: Engine,
        attempts: Attempts,
    ) -> None:
        super().__init__(engine, parts, sizes, like, variant=variant)
        self._other, self._attempts = other, attempts
        self._instead: Executor | None = None

    def _forward(
        self, leaves: Values, call: Call, keep: bool
    ) -> tuple[Tensor, list[Tensor], Values]:
        if not self._attempts.waiting:
            try:
                return super()._forward(leaves, call, keep)
            except BackendError as error:
                self._attempts.excused(error)
        return self._executor_instead().forward(leaves, call, keep)

    def _backward(
        self,
        leaves: Values,
        kept: Values,
        call: Call,
        d_y: Tensor,
        d_finals: Sequence[Tensor],
        wanted: set[Node],
    ) -> Values:
        rest = (call, d_y, d_finals, wanted)
        if not self._attempts.waiting:
            try:
                return super()._backward(leaves, kept, *rest)
            except BackendError as error:
                self._attempts.excused(error)
        return self._executor_instead().backward(leaves, kept, *rest)

    def _executor_instead(self) -> Executor:
        if self._instead is None:
            parts = Parts(self.plan, writes_output=self._other.writes_output)
            with torch.inference_mode(False):
                self._instead = Executor(self._other, parts, self._sizes, self._like)
        return self._instead
