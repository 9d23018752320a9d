"""What a loop takes at given sizes: the parts of its working memory, and its threads."""

import math

import pytest

from recurra import cells
from recurra.backends.cpu.backend import TARGET
from recurra.backends.cpu.extents import UNWANTED, WANTED, Extents
from recurra.backends.cpu.invocation import Wanted
from recurra.backends.cpu.loop_sizes import padded
from recurra.backends.cpu.schedule import Schedule, schedule
from recurra.passes import plan

SIZES = {"I": 5, "H": 20}
STEPS, BATCH, THREADS = 7, 3, 2
BYTES = 4


def _scheduled(name: str) -> Schedule:
    """The forward loop of a cell, with nothing computed for many steps at once."""
    made = plan(cells.get(name).equations, TARGET)
    return schedule(made.loop.body, made.states, len(made.states))


@pytest.mark.parametrize("name", ["gru", "lstm", "mlstm", "vanilla_lstm"])
def test_no_two_parts_of_the_working_memory_share_a_number(name: str) -> None:
    scheduled = _scheduled(name)
    extents = Extents(scheduled, SIZES, halved=False)
    memory = extents.working_memory(STEPS, BATCH, THREADS, Wanted())
    parts = list(zip(memory.packed, extents.packed_sizes, strict=True))
    for place, width, count in zip(memory.arrays, extents.widths, extents.counts, strict=True):
        parts.append((place, memory.chunk * BATCH * count * padded(width)))
    for place, shape in zip(memory.carried, extents.carried_shapes, strict=True):
        parts.append((place, 2 * BATCH * math.prod(shape)))
    parts.append((memory.space, memory.space_size))
    there = sorted((place, size) for place, size in parts if place not in (WANTED, UNWANTED))
    ends = [place + BYTES * size for place, size in there]
    assert there
    assert all(end <= nxt for end, (nxt, _) in zip(ends[:-1], there[1:], strict=True))
    assert max(ends) <= BYTES * memory.size


def test_what_is_wanted_has_memory_of_its_own() -> None:
    scheduled = _scheduled("gru")
    extents = Extents(scheduled, SIZES, halved=False)
    wanted = Wanted(carried=[0], arrays=[extents.made[0]])
    memory = extents.working_memory(STEPS, BATCH, THREADS, wanted)
    assert memory.carried[0] == WANTED
    assert memory.arrays[0] == WANTED
    assert memory.size < extents.working_memory(STEPS, BATCH, THREADS, Wanted()).size


def test_little_work_runs_on_one_thread_and_much_is_shared() -> None:
    extents = Extents(_scheduled("gru"), {"I": 256, "H": 256}, halved=False)
    assert extents.useful_threads(1, 1, THREADS) == THREADS  # of a single step 400,000 products
    small = Extents(_scheduled("gru"), {"I": 3, "H": 4}, halved=False)
    assert small.useful_threads(10, 2, THREADS) == 1


def test_threads_share_columns_of_few_sequences_and_of_large_matrices() -> None:
    extents = Extents(_scheduled("gru"), {"I": 8, "H": 64}, halved=False)
    assert extents.by_panel(2 * THREADS - 1, THREADS)
    assert not extents.by_panel(2 * THREADS, THREADS)
    assert not extents.by_panel(1, 1)
    large = Extents(_scheduled("gru"), {"I": 8, "H": 1024}, halved=False)
    assert large.by_panel(64, THREADS)
