"""Plans into running code: reference (torch, the oracle) and cpu (C++); `load` chooses."""

from recurra.backends.choose import Backend, load, names, traced_keys, traced_run
from recurra.backends.forks import settle_after_fork
from recurra.backends.memory import keep_freed_memory
from recurra.backends.reference import ReferenceBackend
from recurra.backends.reference.fingerprint import fingerprint
from recurra.backends.traced import constant_result

__all__ = [
    "Backend",
    "ReferenceBackend",
    "constant_result",
    "fingerprint",
    "keep_freed_memory",
    "load",
    "names",
    "settle_after_fork",
    "traced_keys",
    "traced_run",
]
