"""Teams of threads whose cores are taken by other programs: on one thread, with the same bits."""

import ctypes
from collections.abc import Iterator

import pytest
import torch

from oracle import Case, results
from recurra import cells, compose
from recurra.backends.cpu import CpuBackend, abi, extents, found_compiler
from recurra.backends.cpu.compiler import load_library
from recurra.lang import Cell

SOURCE = """
#include "runtime.hpp"

// each of a team notes itself, three times, and who runs it
extern "C" void meet(long threads, bool crowded, long *noted, long *runs_on) {
    Crowding crowding;
    for (int i = 0; crowded && i < 10; ++i) crowding.met(500000000, 0);
    std::atomic<long> count{0};
    on_threads(threads, crowding, [&](Barrier &barrier, int threads, int me) {
        for (int i = 0; i < 3; ++i) {
            noted[count++] = me;
            runs_on[me] = omp_in_parallel();
            barrier.wait(threads);
        }
    });
}

// whether a team is found to be short of cores, of whose members one works and then sleeps
extern "C" bool is_stalled(long works_ns, long sleeps_ns) {
    Crowding crowding;
    on_threads(2, crowding, [&](Barrier &barrier, int threads, int me) {
        const long start = nanoseconds(CLOCK_MONOTONIC);
        while (me && nanoseconds(CLOCK_MONOTONIC) - start < works_ns) {}
        if (me && sleeps_ns) usleep(sleeps_ns / 1000);
        barrier.wait(threads);
    });
    return crowding.lasts();
}

// how long a pause is after so many teams in a row that took so long for so much work
extern "C" long pause_ns(long teams, long taken, long work) {
    Crowding crowding;
    for (long i = 0; i < teams; ++i) crowding.met(taken, work);
    if (!crowding.lasts()) return 0;
    const long start = nanoseconds(CLOCK_MONOTONIC);
    while (crowding.lasts()) {}
    return nanoseconds(CLOCK_MONOTONIC) - start;
}

extern "C" void crowd(const Kernels *kernels, bool stalled) {
    const long taken = 500000000;
    for (int i = 0; i < (stalled ? 10 : 1); ++i) kernels->crowding->met(taken, stalled ? 0 : taken);
}
extern "C" bool is_crowded(const Kernels *kernels) { return kernels->crowding->lasts(); }
""".replace(
    '#include "runtime.hpp"', '#include "runtime.hpp"\nextern "C" int omp_in_parallel();', 1
)
CELLS = (cells.gru, compose.layer_norm(cells.lstm))
SHAPES = {
    "sequences of its own": (9, 12, {"I": 24, "H": 40}, None),
    "columns of its own": (9, 3, {"I": 64, "H": 160}, None),
    "lengths": (9, 12, {"I": 24, "H": 40}, (9, 9, 8, 8, 7, 5, 5, 4, 2, 2, 1, 1)),
}

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return load_library(SOURCE, ("meet", "is_stalled", "pause_ns", "crowd", "is_crowded"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_members_take_turns_on_one_thread(library: ctypes.CDLL) -> None:
    noted, parallel = (ctypes.c_long * 9)(), (ctypes.c_long * 3)()
    library["meet"](ctypes.c_long(3), True, noted, parallel)
    assert list(noted) == [0, 1, 2] * 3
    assert list(parallel) == [0, 0, 0]
    library["meet"](ctypes.c_long(3), False, noted, parallel)
    assert [sorted(noted[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert list(parallel) == [1, 1, 1]


def test_who_has_more_to_do_is_no_lack_of_cores(library: ctypes.CDLL) -> None:
    is_stalled = library["is_stalled"]
    is_stalled.argtypes, is_stalled.restype = (ctypes.c_long, ctypes.c_long), ctypes.c_bool
    assert is_stalled(0, 20_000_000)
    # on a machine with other work a member may truly lose its core: once of many times it does not
    assert any(not is_stalled(2_000_000, 0) for _ in range(50))


def test_a_short_loss_of_a_core_is_no_lack_of_cores(library: ctypes.CDLL) -> None:
    is_stalled = library["is_stalled"]
    is_stalled.argtypes, is_stalled.restype = (ctypes.c_long, ctypes.c_long), ctypes.c_bool
    assert any(not is_stalled(20_000_000, 1_000_000) for _ in range(20))


def test_pauses_are_as_long_as_what_was_lost_and_longer_in_a_row(library: ctypes.CDLL) -> None:
    function, ms = library["pause_ns"], 1_000_000
    function.argtypes, function.restype = (ctypes.c_long,) * 3, ctypes.c_long

    def pause_ns(teams: int, taken: int, work: int) -> int:
        """The shortest of some: who looks at the clock may lose its core as well."""
        return min(function(teams, taken, work) for _ in range(5))

    assert pause_ns(1, 10 * ms, 11 * ms) == 0
    assert pause_ns(1, 10 * ms, 10 * ms) == 0
    assert 6 * ms < pause_ns(1, 2 * ms, ms) < 9 * ms
    assert 12 * ms < pause_ns(1, 3 * ms, ms) < 17 * ms
    assert 12 * ms < pause_ns(2, 2 * ms, ms) < 17 * ms
    assert 24 * ms < pause_ns(9, 2 * ms, ms) < 33 * ms


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # tiles are the thread's, not a member's
@pytest.mark.parametrize("of", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_turns_give_the_same_bits(
    of: Cell,
    shape: str,
    dtype: str,
    library: ctypes.CDLL,
    two_threads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extents, "_SHARED_STEP", 0)
    monkeypatch.setattr(extents, "_SHARED_CHUNK", 0)
    steps, batch, sizes, lengths = SHAPES[shape]
    case = Case(T=steps, B=batch, sizes=sizes, lengths=lengths)
    inputs = case.tensors(of, getattr(torch, dtype))
    backend = CpuBackend(of)
    table = ctypes.c_void_p(abi.Kernels(torch.float32, sums=False).load()[0])  # as of all kinds
    crowd, is_crowded = library["crowd"], library["is_crowded"]
    is_crowded.restype = ctypes.c_bool
    apart = results(backend, inputs)
    crowd(table, True)
    try:
        in_turn = results(backend, inputs)
        assert is_crowded(table)
    finally:
        crowd(table, False)
    assert not is_crowded(table)
    assert apart.keys() == in_turn.keys()
    assert all(torch.equal(apart[name], in_turn[name]) for name in apart)
