"""Whether to try to compile a cell, after what happened before."""

import time
from collections.abc import Callable

from recurra.errors import BackendError

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
