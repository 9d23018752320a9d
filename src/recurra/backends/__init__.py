"""Plans into running code: reference (torch, the oracle) and cpu (C++); `load` chooses."""

from recurra.backends.choose import Backend, load, names, traced_keys, traced_run
from recurra.backends.forks import settle_after_fork
from recurra.backends.memory import keep_freed_memory
from recurra.backends.reference import ReferenceBackend
from recurra.backends.reference.fingerprint import fingerprint
from recurra.backends.traced import constant_result
from recurra.backends.watching import has_values, is_followed, refuse_recording

__all__ = [
    "Backend",
    "ReferenceBackend",
    "constant_result",
    "fingerprint",
    "has_values",
    "is_followed",
    "keep_freed_memory",
    "load",
    "names",
    "refuse_recording",
    "settle_after_fork",
    "traced_keys",
    "traced_run",
]
