"""What runs cells: reference (torch operations, the oracle), cpu (C++), native (torch's kernels).

`load` chooses.
"""

from recurra.backends.choose import (
    AutoBackend,
    Backend,
    known,
    load,
    names,
    traced_keys,
    traced_run,
)
from recurra.backends.cpu import KnownCall
from recurra.backends.forks import settle_after_fork
from recurra.backends.memory import keep_freed_memory
from recurra.backends.native import NativeBackend
from recurra.backends.reference import ReferenceBackend
from recurra.backends.runtime.fingerprint import fingerprint
from recurra.backends.runtime.memories import filled_memories, filled_state, within_memory
from recurra.backends.traced import constant_result
from recurra.backends.watching import (
    has_values,
    is_followed,
    keeps_otherwise,
    refuse_recording,
)

__all__ = [
    "AutoBackend",
    "Backend",
    "KnownCall",
    "NativeBackend",
    "ReferenceBackend",
    "constant_result",
    "filled_memories",
    "filled_state",
    "fingerprint",
    "has_values",
    "is_followed",
    "keep_freed_memory",
    "keeps_otherwise",
    "known",
    "load",
    "names",
    "refuse_recording",
    "settle_after_fork",
    "traced_keys",
    "traced_run",
    "within_memory",
]
