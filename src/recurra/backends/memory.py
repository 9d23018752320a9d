"""How the C library treats freed memory: for programs that train, not for a library to decide."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks of up to 1 GiB for reuse; whether that was possible.

    PyTorch asks the C library anew for every tensor on the CPU. By default large blocks go back to
    the system when they are freed, and come back page by page, which takes time. The setting holds
    for the whole process and cannot be undone, and memory in use never shrinks.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # the trim threshold first: setting either one stops glibc from adapting both
    trimmed = mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BYTES - 1)
    return bool(trimmed and mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES))
