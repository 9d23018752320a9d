"""What `doctor` finds, on this machine and on machines described by their files."""

import dataclasses
import sys
from pathlib import Path

import pytest

import recurra as rc
from recurra.backends.cpu import compiler
from recurra.nn import machine

X86 = "processor\t: 0\nmodel name\t: Fast Chip 9\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n"
OLD = "model name\t: Old Chip\nflags\t\t: fpu sse4_2\n\nmodel name\t: Other Chip\n"


def test_report_names_everything() -> None:
    found = rc.doctor()
    lines = str(found).splitlines()
    for name in ("recurra", "python", "torch", "cpu", "vectors", "compiler", "gpu", "missing"):
        assert any(line.startswith(name) for line in lines)
    assert found.recurra == rc.__version__
    assert found.threads >= 1
    assert "reference" in found.backends
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.threads = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("text", "cpu", "vector", "bf16"),
    [
        (X86, "Fast Chip 9", ("AVX-512", 512), "AVX-512 BF16"),
        (ARM, "0xd40", ("NEON", 128), "Arm BF16"),
        (OLD, "Old Chip", ("SSE4.2", 128), None),
    ],
)
def test_cpuinfo(text: str, cpu: str, vector: tuple[str, int], bf16: str | None) -> None:
    name, flags = machine.parsed_cpuinfo(text)
    assert name == cpu
    assert machine.vector_unit(flags) == vector
    assert machine.bf16_unit(flags) == bf16


def test_unknown_cpu_says_what_torch_uses() -> None:
    unit, bits = machine.vector_unit(frozenset())
    assert unit
    assert bits == 0


def test_compiler_is_taken_from_cxx_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} -I")  # answers --version, as compilers do
    found = compiler.found_compiler()
    assert found is not None
    assert found.command == (sys.executable, "-I")
    assert found.source == "CXX"
    assert found.version.startswith("Python 3")


def test_without_a_compiler_the_report_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    found = rc.doctor()
    assert found.compiler is None
    assert "pip install ziglang" in str(found)


def test_a_compiler_that_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} -c exit(1)")
    found = compiler.found_compiler()
    assert found is None or found.source != "CXX"
