"""The compiled loops against the reference: every registered cell, and random ones."""

import random
from pathlib import Path

import pytest
import torch

from oracle import Case, assert_same, results
from random_cells import random_case, random_cell, source_of
from recurra import cells
from recurra.backends import ReferenceBackend, load
from recurra.backends.choose import AutoBackend
from recurra.backends.cpu import CpuBackend, found_compiler
from recurra.backends.cpu import compiler as compiling
from recurra.errors import BackendError, BuildError
from recurra.lang import Cell

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

TOLERANCE = 2e-5
CASES = {
    "small": Case(),
    "one step": Case(T=1, B=1),
    "wide": Case(T=3, B=17, sizes={"I": 33, "H": 70}),
    "narrow input": Case(T=4, B=18, sizes={"I": 2, "H": 34}, lengths=(4, 2, 3) * 6),
    "one sequence": Case(T=5, B=1, sizes={"I": 7, "H": 130}),
    "ragged": Case(T=5, B=4, lengths=(5, 1, 3, 2)),
    "ragged, reverse": Case(T=5, B=4, lengths=(5, 1, 3, 2), reverse=True),
    "ids": Case(T=6, B=5, ids="embedding", vocabulary=7),
    "one-hot, reverse": Case(T=3, B=5, ids="one-hot", reverse=True),
}


def check(of: Cell, case: Case, message: str = "") -> None:
    """Compiled float32 agrees with the reference in float64, as reference float32 does."""
    expected = results(ReferenceBackend(of), case.tensors(of))
    found = results(CpuBackend(of), case.tensors(of, torch.float32))
    assert_same(found, expected, TOLERANCE, f"{of.name}, {case}\n{message}")


@pytest.mark.medium
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("name", cells.names())
def test_cell_of_the_registry(name: str, case: Case) -> None:
    of = cells.get(name)
    if of.input is None and case.ids is not None:
        pytest.skip("the cell takes no input")
    sizes = {**dict.fromkeys(of.size_names, 4), **case.sizes}
    check(of, Case(**{**vars(case), "sizes": sizes}))


def check_seed(seed: int) -> None:
    rng = random.Random(seed)
    of = random_cell(rng)
    case = random_case(of, rng)
    threads = torch.get_num_threads()
    torch.set_num_threads(rng.choice((1, 2, 3)))
    try:
        check(of, case, f"seed {seed}\n{source_of(of)}")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(20))
def test_random_cell(seed: int) -> None:
    check_seed(seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", range(10_000, 12_000, 100))
def test_many_random_cells(first: int) -> None:
    for seed in range(first, first + 100):
        check_seed(seed)


def test_threads_and_one_thread_agree() -> None:
    case = Case(T=7, B=9, sizes={"I": 5, "H": 40})
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(results(CpuBackend(cells.gru), case.tensors(cells.gru, torch.float32)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert_same(other, found[0], 1e-6)


def test_no_gradients_gives_the_same_output() -> None:
    inputs = CASES["small"].tensors(cells.lstm, torch.float32)
    y, _ = inputs.run(CpuBackend(cells.lstm))
    with torch.no_grad():
        again, _ = inputs.run(CpuBackend(cells.lstm))
    torch.testing.assert_close(again, y)


# ---- what it refuses, and what may go wrong ------------------------------------------------------


def test_other_dtypes_are_refused_by_name_and_run_by_auto() -> None:
    inputs = CASES["small"].tensors(cells.rnn)
    with pytest.raises(BackendError, match=r"float32 on the CPU, got torch.float64.*reference"):
        inputs.run(load(cells.rnn, "cpu"))
    expected = results(ReferenceBackend(cells.rnn), CASES["small"].tensors(cells.rnn))
    found = results(load(cells.rnn), CASES["small"].tensors(cells.rnn))
    assert_same(found, expected, 1e-12)


def test_second_derivative_names_the_backend_that_has_it() -> None:
    inputs = CASES["small"].tensors(cells.rnn, torch.float32)
    y, _ = inputs.run(CpuBackend(cells.rnn))
    with pytest.raises(BackendError, match="backend='reference'"):
        torch.autograd.grad(y.sum(), [inputs.x], create_graph=True)


def test_damaged_library_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    source = '#include "runtime.hpp"\nextern "C" int answer() { return 41 + 1; }\n'
    compiling.load_library.cache_clear()
    assert compiling.load_library(source)["answer"]() == 42
    (library,) = tmp_path.glob("*.so")
    whole = library.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-1] + b"?"):
        library.unlink()  # the one that is loaded must not change under its process
        library.write_bytes(damaged)
        compiling.load_library.cache_clear()
        assert compiling.load_library(source)["answer"]() == 42
        assert len(library.read_bytes()) == len(whole)


def test_failing_compiler_keeps_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    compiling.load_library.cache_clear()
    with pytest.raises(BuildError, match="the command was") as caught:
        compiling.load_library('extern "C" int broken( {\n')
    (kept,) = tmp_path.glob("*.cpp")
    assert str(kept) in str(caught.value)
    assert "broken" in kept.read_text()


def test_full_disk_is_a_build_error_and_auto_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling, "_build", full)
    compiling.load_library.cache_clear()
    inputs = CASES["small"].tensors(cells.rnn, torch.float32)
    with pytest.raises(BuildError, match=r"No space left on device.*RECURRA_CACHE"):
        inputs.run(CpuBackend(cells.rnn))
    auto = AutoBackend(cells.rnn)
    y, _ = inputs.run(auto)
    torch.testing.assert_close(y, inputs.run(ReferenceBackend(cells.rnn))[0])
    assert auto.name == "reference"
    assert "No space left" in auto.explain({"I": 3, "H": 5})


def test_read_only_cache_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("RECURRA_CACHE", str(blocked / "cache"))
    assert compiling.cache_folder() == compiling._temporary_cache()
