"""Plans run with torch operations: the oracle that other engines are tested against."""

from recurra.backends.reference.backend import ReferenceBackend
from recurra.backends.reference.engine import ReferenceEngine

__all__ = ["ReferenceBackend", "ReferenceEngine"]
