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

// what a team of two reports, of whose members one works, by its own clock, and then sleeps
extern "C" void report(long works_ns, long sleeps_ns, long *taken_and_work) {
    struct Noted {
        long *const taken_and_work;
        bool lasts() const { return false; }
        void met(long taken, long work) {
            taken_and_work[0] = taken;
            taken_and_work[1] = work;
        }
    } noted = {taken_and_work};
    on_threads(2, noted, [&](Barrier &barrier, int threads, int me) {
        const long start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        while (me && nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start < works_ns) {}
        if (me && sleeps_ns) usleep(sleeps_ns / 1000);
        barrier.wait(threads);
    });
}

// how long a pause is after so many teams in a row that took so long for so much work
extern "C" long pause_ns(long teams, long taken, long work) {
    Crowding crowding;
    for (long i = 0; i < teams; ++i) crowding.met(taken, work);
    return crowding.left();
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
    return load_library(SOURCE, ("meet", "report", "pause_ns", "crowd", "is_crowded"))


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


def test_a_team_reports_what_its_members_worked_and_not_what_they_waited(
    library: ctypes.CDLL,
) -> None:
    """Else one who has more to do than the others would seem to lack a core. On a machine with
    other work a member may lose its core while it waits, and waits for longer than it ran: once of
    many times it does not."""
    ms, taken_and_work = 1_000_000, (ctypes.c_long * 2)()
    reports = []
    for works, sleeps in [(2, 0), (20, 0), (20, 5)] * 20:
        library["report"](
            ctypes.c_long(works * ms), ctypes.c_long(sleeps * ms), ctypes.byref(taken_and_work)
        )
        taken, work = taken_and_work
        assert taken >= (works + sleeps) * ms
        reports.append((works, sleeps, work / ms))
    for works, sleeps in [(2, 0), (20, 0), (20, 5)]:
        work_ms = [work for *of, work in reports if of == [works, sleeps]]
        assert any(works <= each < works + 0.5 for each in work_ms), work_ms


def test_a_longer_pause_for_who_lost_more_and_loses_again(library: ctypes.CDLL) -> None:
    function, ms = library["pause_ns"], 1_000_000
    function.argtypes, function.restype = (ctypes.c_long,) * 3, ctypes.c_long

    def pause_ms(teams: int, taken: float, work: float) -> float:
        """The longest of some: what is left of it is less for who loses its core in between."""
        return max(function(teams, int(taken * ms), int(work * ms)) for _ in range(20)) / ms

    def nearly(expected: float) -> object:
        return pytest.approx(expected, abs=0.5)

    assert pause_ms(1, 10, 11) == 0
    assert pause_ms(1, 10, 10) == 0
    assert pause_ms(1, 21, 20) == 0  # a short loss is no lack of cores
    assert pause_ms(1, 2, 1) == nearly(8 * (1 - 1 / 16))
    assert pause_ms(1, 3, 1) == nearly(8 * (2 - 1 / 16))
    assert pause_ms(2, 2, 1) == nearly(16 * (1 - 1 / 16))
    assert pause_ms(9, 2, 1) == nearly(32 * (1 - 1 / 16))


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
