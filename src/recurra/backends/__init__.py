"""Plans into running code: reference (torch operations, the oracle) so far; `load` chooses."""

from recurra.backends.choose import Backend, load, names
from recurra.backends.memory import keep_freed_memory
from recurra.backends.reference import ReferenceBackend

__all__ = ["Backend", "ReferenceBackend", "keep_freed_memory", "load", "names"]
