"""Plans into running code: reference (torch operations, the oracle) so far; `load` chooses."""

from recurra.backends.choose import Backend, load, names
from recurra.backends.reference import ReferenceBackend

__all__ = ["Backend", "ReferenceBackend", "load", "names"]
