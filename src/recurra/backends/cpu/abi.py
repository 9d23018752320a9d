"""What compiled loops and Python both know of each other: structs, and sizes of blocks.

It is compared when the products are loaded: files that do not belong together are found out there.
"""

import ctypes
from pathlib import Path

from recurra.backends.cpu import gate
from recurra.backends.cpu.compiler import load_library

LONG = ctypes.c_long
POINTER = ctypes.c_void_p
LONG_BYTES = ctypes.sizeof(LONG)
# what a thread's time goes to, in the order of the enum `Part` of runtime.hpp
PARTS = ("packing", "products before steps", "products", "elementwise", "waiting", "after steps")
PANEL = 64  # rows are rounded up to this many numbers, whatever the target's panels
LARGE_SUM = 2 << 20  # numbers of a sum that does not stay in the L2
MAX_DEPTH = 1024  # rows that are packed at once, at most
BLOCK_ROWS = 192  # of kernels.cpp
TILE = 32  # what bfloat16.hpp rounds the depth of products up to
_KERNELS = Path(__file__).with_name("kernels.cpp")
_SYMBOLS = ("float32", "bfloat16", "facts", "first_outside")


class Call(ctypes.Structure):
    """The struct `Call` of runtime.hpp."""

    _fields_ = (
        ("steps", LONG),
        ("batch", LONG),
        ("first", LONG),
        ("direction", LONG),
        ("chunk", LONG),
        ("sizes", POINTER),
        ("arrays", POINTER),
        ("matrices", POINTER),
        ("biases", POINTER),
        ("carried", POINTER),
        ("sums", POINTER),
        ("scratch", POINTER),
        ("space", POINTER),
        ("space_size", LONG),
        ("ids", POINTER),
        ("lengths", POINTER),
        ("live", POINTER),
        ("threads", LONG),
        ("by_panel", LONG),
        ("packed_already", LONG),
        ("spent", POINTER),
        ("kernels", POINTER),
    )


FACTS = {
    "sizeof(Array)": 5 * LONG_BYTES,
    "sizeof(Matrix)": 4 * LONG_BYTES,
    "sizeof(Carried)": 2 * LONG_BYTES,
    "sizeof(Call)": ctypes.sizeof(Call),
    "offsetof(Call, kernels)": Call.kernels.offset,
    "NUM_PARTS": len(PARTS),
    f"{PANEL} % PW": 0,
    f"BLOCK_COLUMNS <= {PANEL}": 1,
    "BLOCK_ROWS": BLOCK_ROWS,
    "LARGE_SUM": LARGE_SUM,
    f"Float32::depth(1, LARGE_SUM + 1) <= {MAX_DEPTH}": 1,
    "BFloat16::depth(1, 1)": MAX_DEPTH,
    "in_tiles(1)": TILE,
}


def kernels() -> ctypes.CDLL:
    """The products, which agree with this module on all that stands in both."""
    library = load_library(_KERNELS.read_text(), _SYMBOLS)
    gate.check_facts(library, FACTS)
    return library
