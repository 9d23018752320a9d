"""The native backend: torch's own recurrent kernels, for the cells that torch has."""

from recurra.backends.native.backend import NativeBackend
from recurra.backends.native.form import KernelForm, form_of

__all__ = ["KernelForm", "NativeBackend", "form_of"]
