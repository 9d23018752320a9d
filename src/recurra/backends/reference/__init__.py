"""Plans run with torch operations: the oracle that other backends are tested against."""

from recurra.backends.reference.backend import ReferenceBackend

__all__ = ["ReferenceBackend"]
