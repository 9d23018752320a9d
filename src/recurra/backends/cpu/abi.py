"""What compiled loops and Python both know of each other: structs, and sizes of blocks.

abi.hpp describes it; it is read here, and what the compiler made of it is compared when a library
is loaded.
"""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from recurra.backends.cpu import gate
from recurra.backends.cpu.building import Building

LONG = ctypes.c_long
POINTER = ctypes.c_void_p
LONG_BYTES = ctypes.sizeof(LONG)
_TEXT = Path(__file__).with_name("abi.hpp").read_text()
# the struct that has products of operands of a dtype, in a file that is named for the dtype
_KINDS = {torch.float32: "Float32", torch.bfloat16: "BFloat16"}
_TYPES = {
    "long": LONG,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "uint64_t": ctypes.c_uint64,
}


def fields_of(struct: str, text: str = _TEXT) -> tuple[tuple[str, Any], ...]:
    """Names and types of a struct's members, as ctypes has them; of pointers nothing but that they
    are."""
    found = re.search(rf"^struct {struct} {{(.*?)^}};", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"abi.hpp has no struct {struct}"
    body = re.sub(r"//.*", "", found[1])
    return tuple(field for line in body.split(";") if line.strip() for field in _members(line))


def _members(declaration: str) -> Iterator[tuple[str, Any]]:
    """`long a, *b` is a number and a pointer."""
    function = re.search(r"\(\*(\w+)\)", declaration)
    if function is not None:
        yield function[1], POINTER
        return
    first, *rest = declaration.split(",")
    base = re.sub(r"\b(const|struct|unsigned)\b", "", first).split()[0].rstrip("*")
    for member in (first, *rest):
        name, count = re.findall(r"(\w+)(?:\[(\d+)\])?\s*$", member)[0]
        kind = POINTER if "*" in member else _TYPES[base]
        yield name, kind * int(count) if count else kind


def _number(name: str) -> int:
    """A constant of abi.hpp."""
    found = re.search(rf"^constexpr long {name} = (\d+)(?: << (\d+))?;", _TEXT, re.MULTILINE)
    assert found is not None, f"abi.hpp has no constant {name}"
    return int(found[1]) << int(found[2] or 0)


PANEL, TILE = _number("PANEL"), _number("TILE")
BLOCK_ROWS, MAX_DEPTH, LARGE_SUM = map(_number, ("BLOCK_ROWS", "MAX_DEPTH", "LARGE_SUM"))
_PART_NAMES = {
    "PACKING": "packing",
    "BEFORE": "products before steps",
    "PRODUCTS": "products",
    "ELEMENTWISE": "elementwise",
    "WAITING": "waiting",
    "AFTER": "after steps",
}
# what a thread's time goes to
PARTS = tuple(
    _PART_NAMES[name] for name in re.findall(r"(\w+), ", re.findall(r"enum Part {(.*)}", _TEXT)[0])
)


class Array(ctypes.Structure):
    """A value at every step."""

    _fields_ = fields_of("Array")


class Matrix(ctypes.Structure):
    """A matrix, and where it is packed."""

    _fields_ = fields_of("Matrix")


class Carried(ctypes.Structure):
    """What a step hands on to the next."""

    _fields_ = fields_of("Carried")


class LoopCall(ctypes.Structure):
    """The struct `Call`: all that a run of a loop is given."""

    _fields_ = fields_of("Call")


class Watched(ctypes.Structure):
    """A piece of memory that is looked at."""

    _fields_ = fields_of("Watched")


class WatchedPieces(ctypes.Structure):
    """The struct `Watch`."""

    _fields_ = fields_of("Watch")


class Lookup(ctypes.Structure):
    """An input that is looked up by token."""

    _fields_ = fields_of("Lookup")


class Layer(ctypes.Structure):
    """A layer of a step."""

    _fields_ = fields_of("Layer")


class Steps(ctypes.Structure):
    """All layers of a step."""

    _fields_ = fields_of("Steps")


class TokenWriter(ctypes.Structure):
    """How tokens are drawn."""

    _fields_ = fields_of("TokenWriter")


def _sizes(**structs: type[ctypes.Structure]) -> dict[str, int]:
    return {f"sizeof({name})": ctypes.sizeof(struct) for name, struct in structs.items()}


FACTS = {
    **_sizes(Array=Array, Matrix=Matrix, Carried=Carried, Call=LoopCall),
    "offsetof(Call, kernels)": LoopCall.kernels.offset,
    "NUM_PARTS": len(PARTS),
}
FACTS_OF_STEPS = _sizes(
    Lookup=Lookup,
    Layer=Layer,
    Steps=Steps,
    Watch=WatchedPieces,
    Watched=Watched,
    TokenWriter=TokenWriter,
)


def written_in_order(struct: type[ctypes.Structure], *members: str) -> None:
    """Where numbers are written one after the other in the place of a struct: that it has these."""
    found = tuple(name for name, *_ in struct._fields_)
    assert found == members, f"abi.hpp: {struct.__name__} has {found}"


class Kernels:
    """The products of one kind, and where loops find them: shared libraries, which are being built
    from when it is made on.

    Args:
        dtype: of the operands; sums and results are float32.
        sums: whether sums over steps are wanted too.

    Raises:
        BackendError: when nothing can be built.
    """

    _first: ctypes.CDLL | None = None  # whose loops say for all of them how many cores there are

    def __init__(self, dtype: torch.dtype, *, sums: bool) -> None:
        self._products = Building(_unit(dtype, "products"), ("kernels", "facts", "first_outside"))
        self._sums = Building(_unit(dtype, "sums"), ("give_sums",)) if sums else None

    def load(self) -> tuple[int, Any]:
        """The address of the table of functions, and the one that looks for a wrong token id.

        Raises:
            BuildError: when they cannot be built, or disagree with this module on what stands in
                both.
        """
        library = self._products.loaded()
        gate.check_facts(library, FACTS)
        at = _table_of(library)
        if Kernels._first is None:
            Kernels._first = library
        library["agree"](POINTER(_table_of(Kernels._first)))
        if self._sums is not None:
            self._sums.loaded()["give_sums"](POINTER(at))
        first_outside = library["first_outside"]
        first_outside.restype = LONG
        first_outside.argtypes = (POINTER, LONG, LONG)
        return at, first_outside


def _unit(dtype: torch.dtype, part: str) -> str:
    kind = _KINDS[dtype]
    return (
        f'#include "runtime.hpp"\n#include "{kind.lower()}.hpp"\n'
        f'namespace {{ using Products = {kind}; }}\n#include "{part}.hpp"\n'
    )


def _table_of(library: ctypes.CDLL) -> int:
    return ctypes.addressof(LONG.in_dll(library, "kernels"))
