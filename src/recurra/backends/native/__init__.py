"""The native backend: torch's own recurrent kernels, for the cells that torch has."""

from recurra.backends.native.backend import NativeBackend
from recurra.backends.native.form import Form, form_of

__all__ = ["Form", "NativeBackend", "form_of"]
