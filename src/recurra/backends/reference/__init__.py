"""Plans run with torch operations: the oracle that other backends are tested against."""

from recurra.backends.reference.backend import ReferenceBackend
from recurra.backends.reference.memories import within_memory

__all__ = ["ReferenceBackend", "within_memory"]
