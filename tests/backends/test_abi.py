"""What Python reads from abi.hpp."""

import ctypes
import re

import pytest

from recurra.backends.cpu import abi

TEXT = """
struct Some {  // of one kind
    const float *const *data, **more;  // and a comment; with a semicolon
    long first, last;
    void (*run)(const Call *, long);
    const unsigned char *bytes[2];
    double share;
};
"""


def test_members_are_read_with_their_types() -> None:
    assert abi.fields_of("Some", TEXT) == (
        ("data", ctypes.c_void_p),
        ("more", ctypes.c_void_p),
        ("first", ctypes.c_long),
        ("last", ctypes.c_long),
        ("run", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p * 2),
        ("share", ctypes.c_double),
    )


def test_a_struct_that_is_not_there_is_named() -> None:
    with pytest.raises(AssertionError, match="no struct Other"):
        abi.fields_of("Other", TEXT)


def test_every_struct_is_compared_when_a_library_is_loaded() -> None:
    structs = set(re.findall(r"^struct (\w+) {", abi._TEXT, re.MULTILINE)) - {"Fact"}
    assert {f"sizeof({name})" for name in structs} <= {*abi.FACTS, *abi.FACTS_OF_STEPS}


def test_numbers_written_in_place_of_a_struct_are_in_its_order() -> None:
    abi.written_in_order(abi.Carried, "data", "whole")
    with pytest.raises(AssertionError, match=r"abi.hpp: Carried has \('data', 'whole'\)"):
        abi.written_in_order(abi.Carried, "whole", "data")
