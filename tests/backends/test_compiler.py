"""From C++ source to a loaded library: compilers, targets, the cache, and all that may go wrong."""

import ctypes
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import recurra as rc
from compiled import Call, compare
from oracle import Case, assert_same, results
from recurra import backends, cells
from recurra.backends import ReferenceBackend
from recurra.backends.choose import AutoBackend
from recurra.backends.cpu import CpuBackend, building, found_compiler
from recurra.backends.cpu import cache as kept
from recurra.backends.cpu import compiler as compiling
from recurra.backends.runtime import attempts
from recurra.errors import BackendError, BuildError
from recurra.nn.machine import _cpu, vector_unit

SOURCE = '#include "runtime.hpp"\nextern "C" int answer() { return 41 + 1; }\n'
ASK = (
    "from recurra.backends.cpu.compiler import load_library\n"
    f"print(load_library({SOURCE!r})['answer']())"
)
CASE = Case(T=5, B=7, sizes={"I": 9, "H": 37}, lengths=(5, 1, 3, 2, 5, 5, 4))
COMPILERS = {
    "g++": shutil.which("g++"),
    "clang++": shutil.which("clang++"),
    "zig": f"{sys.executable} -m ziglang c++" if find_spec("ziglang") else None,
}

needs_compiler = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
pytestmark = needs_compiler


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and nothing loaded."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RECURRA_CACHE", str(folder))
    compiling._loaded.cache_clear()
    yield folder
    compiling._loaded.cache_clear()


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The compiler behind a script that notes each build, and waits while a file `wait` exists."""
    compiler = found_compiler()
    assert compiler is not None
    script, log, wait = tmp_path / "c++", tmp_path / "builds", tmp_path / "wait"
    real = shlex.join(compiler.command)
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *cell.cpp*) echo $$ >> {log} ;; *) exec {real} "$@" ;; esac\n'
        f"while [ -e {wait} ]; do sleep 0.05; done\n"
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    return log


def answer() -> int:
    return compiling.load_library(SOURCE)["answer"]()


def asking(**options: object) -> "subprocess.Popen[str]":
    """Another process that builds, or finds, the same library."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", ASK], **pipes, **options)  # type: ignore[call-overload]


def fake_compiler(path: Path, then: str) -> str:
    """A compiler that answers to --version, and does `then` when it is to build."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "fake 1.0" && exit 0\n{then}\n')
    path.chmod(0o755)
    return str(path)


# ---- compilers and targets -----------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COMPILERS)
def test_compilers_build_the_same_cell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = COMPILERS[name]
    if command is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("CXX", command)
    compiler = found_compiler()
    assert compiler is not None
    assert compiler.source == "CXX"
    for threads in (1, 2):
        compare(cells.gru, Call(case=CASE, threads=threads))


@pytest.mark.medium
@pytest.mark.parametrize("cell", ["lstm", "mut1", "driven_system"])
@pytest.mark.parametrize("target", ["avx2", "generic", "scalar"])
def test_targets_build_the_same_cell(
    target: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_target(target, monkeypatch)
    of = cells.get(cell)
    for case in (CASE, Case(T=3, B=18, sizes={"I": 2, "H": 70}, reverse=True)):
        sizes = {**dict.fromkeys(of.size_names, 4), **case.sizes}
        compare(of, Call(case=Case(**{**vars(case), "sizes": sizes}), threads=2))


@pytest.mark.parametrize(
    ("target", "lanes"), [("native", None), ("avx2", 8), ("generic", 4), ("scalar", 1)]
)
def test_target_sets_the_width_of_a_vector(
    target: str, lanes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_target(target, monkeypatch)
    source = '#include "runtime.hpp"\nextern "C" int lanes() { return VL; }\n'
    found = compiling.load_library(source)["lanes"]()
    assert found == lanes if lanes else found in (4, 8, 16)


def use_target(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build for a target from here on; skips where this machine could not run that."""
    if target == "avx2" and vector_unit(_cpu()[1])[1] < 256:
        pytest.skip("needs a CPU with AVX2")
    monkeypatch.setenv("RECURRA_TARGET", target)


def test_unknown_target_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECURRA_TARGET", "avx9")
    with pytest.raises(BackendError, match=r"RECURRA_TARGET: expected one of native.*'avx9'"):
        answer()


@pytest.mark.medium
def test_further_flags_make_another_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = '#include "runtime.hpp"\n#ifndef SET\n#define SET 1\n#endif\n'
    source = head + 'extern "C" int n() { return SET; }\n'
    assert compiling.load_library(source)["n"]() == 1
    monkeypatch.setenv("RECURRA_CXXFLAGS", "-DSET=2 -O1")
    assert compiling.load_library(source)["n"]() == 2
    assert len(list(cache.glob("*.so"))) == 2


NEON = {
    "g++": shutil.which("aarch64-linux-gnu-g++"),
    "zig": COMPILERS["zig"] and f"{COMPILERS['zig']} -target aarch64-linux-gnu",
}


@pytest.mark.medium
@pytest.mark.parametrize("command", NEON.values(), ids=list(NEON))
def test_kernels_compile_for_neon(
    command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as an object file: it cannot run here."""
    if command is None:
        pytest.skip("no such compiler for aarch64")
    sources: list[str] = []
    real = building.loader
    monkeypatch.setattr(
        building, "loader", lambda text, *more: sources.append(text) or real(text, *more)
    )
    for dtype in (torch.float32, torch.bfloat16):
        results(CpuBackend(cells.peephole_lstm), CASE.tensors(cells.peephole_lstm, dtype))
    results(CpuBackend(cells.gru), CASE.tensors(cells.gru, torch.float32))
    sources = [*dict.fromkeys(sources)]
    own = [text for text in sources if "using Products" not in text]
    assert len(own) >= 4
    assert len(sources) - len(own) == 4, "products and sums of two kinds"
    assert all("on_threads(c.threads" in text for text in own)
    assert not any("#pragma omp" in text for text in sources)
    for i, text in enumerate(sources):
        source = tmp_path / f"{i}.cpp"
        source.write_text(compiling.with_headers(text))
        made = source.with_suffix(".o")
        subprocess.run(
            [*command.split(), *compiling._FLAGS, "-c", source, "-o", made], check=True, timeout=60
        )
        assert made.stat().st_size > 0


def test_kernels_run_on_the_threads_asked_for() -> None:
    source = (
        '#include "runtime.hpp"\nextern "C" int team(long n) {\n    std::atomic<int> seen{0};\n'
        "    Crowding none;\n"
        "    on_threads(n, none, [&](Barrier &, int threads, int me) {\n"
        "        seen += threads * 10 + me;\n    });\n"
        "    return seen;\n}\n"
    )
    team = compiling.load_library(source)["team"]
    assert [team(ctypes.c_long(n)) for n in (1, 2, 3)] == [10, 41, 93]


def test_compiler_that_does_not_answer_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++ -O9")
    with caplog.at_level(logging.WARNING, "recurra"):
        compiler = found_compiler()
        assert found_compiler() is compiler
    assert compiler is None or compiler.source != "CXX"
    assert caplog.text.count("/nowhere/c++ -O9") == 1


def test_without_a_compiler_the_reference_runs_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiling, "find_spec", lambda _: None)
    assert found_compiler() is None
    with pytest.raises(BackendError, match=r"found none\. Install one: pip install ziglang"):
        answer()
    auto = AutoBackend(cells.mgu)
    inputs = CASE.tensors(cells.mgu, torch.float32)
    with caplog.at_level(logging.WARNING, "recurra"):
        for _ in range(3):
            y, _ = inputs.run(auto)
    torch.testing.assert_close(y, inputs.run(ReferenceBackend(cells.mgu))[0])
    assert auto.name == "reference"
    assert "no C++ compiler" in auto.explain({"I": 9, "H": 37})
    assert caplog.text.count("no C++ compiler was found; see `recurra doctor`") == 1
    assert "pip install ziglang" in str(rc.doctor())


# ---- the cache -----------------------------------------------------------------------------------


@pytest.mark.medium
def test_damaged_library_is_built_again(cache: Path) -> None:
    assert answer() == 42
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-1] + b"?"):
        library.unlink()  # the one that is loaded must not change under its process
        library.write_bytes(damaged)
        compiling._loaded.cache_clear()
        assert answer() == 42
        assert len(library.read_bytes()) == len(whole)


@pytest.mark.medium
def test_two_processes_build_once(cache: Path, counted: Path) -> None:
    counted.with_name("wait").touch()
    both = [asking(), asking()]
    wait_for(counted)
    time.sleep(0.5)  # the other one is at the lock by now, or comes to it later
    counted.with_name("wait").unlink()
    for process in both:
        said, failed = process.communicate(timeout=60)
        assert said == "42\n", failed
    assert len(counted.read_text().split()) == 1
    assert len(list(cache.glob("*.so"))) == 1


@pytest.mark.medium
def test_threads_build_once(cache: Path, counted: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: answer(), range(4))) == [42] * 4
    assert len(counted.read_text().split()) == 1


@pytest.mark.medium
def test_process_that_is_killed_while_it_builds_leaves_nothing(cache: Path, counted: Path) -> None:
    counted.with_name("wait").touch()
    killed = asking(start_new_session=True)
    wait_for(counted)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not list(cache.glob("*.so"))
    assert [path for path in cache.iterdir() if path.is_dir()]
    counted.with_name("wait").unlink()
    assert answer() == 42
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".lock", ".sha256", ".so"]


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, f"{file} has not come"
        time.sleep(0.02)


@pytest.mark.medium
@pytest.mark.parametrize("where", ["a file/cache", "/proc/recurra"])
def test_folder_that_cannot_be_made_gives_way(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("not a folder")
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / where))
    compiling._loaded.cache_clear()
    assert kept.usable_folder() == kept.temporary_folder()
    assert answer() == 42


@pytest.mark.medium
def test_library_is_found_in_a_folder_that_cannot_be_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written() -> Path:
        raise AssertionError("it was there")

    assert answer() == 42
    compiling._loaded.cache_clear()
    monkeypatch.setattr(kept, "usable_folder", written)
    assert answer() == 42


# ---- builds that fail ----------------------------------------------------------------------------


def test_source_is_kept_when_it_does_not_compile(cache: Path) -> None:
    with pytest.raises(BuildError, match="the command was") as caught:
        compiling.load_library('extern "C" int broken( {\n')
    (kept,) = cache.glob("*.cpp")
    assert str(kept) in str(caught.value)
    assert "broken" in kept.read_text()


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("echo 'internal error: out of cheese' >&2; exit 4", "out of cheese"),
        ("kill -SEGV $$", "the command was"),
        ("exit 0", "No such file"),  # it says that all is well, and made nothing
        ("while [ $# -gt 1 ]; do [ $1 = -o ] && echo junk > $2; shift; done", "invalid ELF|short"),
    ],
    ids=["fails", "crashes", "makes nothing", "makes junk"],
)
def test_compiler_that_fails_is_a_build_error_and_auto_goes_on(
    then: str,
    said: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "fake", then))
    with pytest.raises(BuildError, match=said):
        answer()
    auto = AutoBackend(cells.mgu)
    inputs = CASE.tensors(cells.mgu, torch.float32)
    with caplog.at_level(logging.WARNING, "recurra"):
        y, _ = inputs.run(auto)
    torch.testing.assert_close(y, inputs.run(ReferenceBackend(cells.mgu))[0])
    assert auto.name == "reference"
    assert len(caplog.records) == 1


def test_full_disk_is_a_build_error_and_auto_goes_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiling, "_build", full)
    inputs = CASE.tensors(cells.mgu, torch.float32)
    with pytest.raises(BuildError, match=r"No space left on device.*RECURRA_CACHE"):
        inputs.run(CpuBackend(cells.mgu))
    auto = AutoBackend(cells.mgu)
    y, _ = inputs.run(auto)
    torch.testing.assert_close(y, inputs.run(ReferenceBackend(cells.mgu))[0])
    assert auto.name == "reference"
    assert "No space left" in auto.explain({"I": 9, "H": 37})


@pytest.mark.medium
@pytest.mark.parametrize("kibibytes", [0, 4, 64])
def test_file_that_cannot_grow_is_a_build_error(kibibytes: int, cache: Path) -> None:
    """A disk that is full at the source, at the object file, or nowhere before the library."""
    limited = (
        "import resource, signal\nfrom recurra.errors import BuildError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kibibytes * 1024},) * 2)\n"
        f"try:\n    exec({ASK!r})\nexcept BuildError as error:\n    print('BuildError')\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stdout == ("42\n" if kibibytes == 64 else "BuildError\n"), said.stderr
    assert answer() == 42, "once there is room"


# ---- whose code is run ---------------------------------------------------------------------------

needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away"
)


def loaded_from(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/maps").read_text()


@pytest.mark.medium
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777])
def test_folder_that_others_can_write_to_gives_way_and_is_named_once(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("RECURRA_CACHE", str(folder))
    with caplog.at_level(logging.WARNING, "recurra"):
        for _ in range(2):
            compiling._loaded.cache_clear()
            assert answer() == 42
    assert not loaded_from(folder)
    assert not list(folder.iterdir())
    assert caplog.text.count(f"{folder}: others can write to it (mode {mode:04o})") == 1


@pytest.mark.medium
@needs_root
@pytest.mark.parametrize("what", ["folder", "library", "note"])
def test_what_belongs_to_another_user_is_not_loaded(
    what: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer() == 42
    (library,) = cache.glob("*.so")
    evil = ctypes.CDLL(str(library))._name  # it is a good library; whose it is counts
    assert kept.is_whole(library)
    chosen = {"folder": cache, "library": library, "note": library.with_suffix(".sha256")}[what]
    os.chown(chosen, 12345, 12345)
    assert not kept.is_whole(Path(evil))
    compiling._loaded.cache_clear()
    assert answer() == 42
    if what == "folder":
        assert kept.usable_folder() == kept.temporary_folder()
    else:
        assert chosen.stat().st_uid == 0, "built again"


@pytest.mark.medium
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_library_that_others_can_write_to_is_built_again(mode: int, cache: Path) -> None:
    assert answer() == 42
    (library,) = cache.glob("*.so")
    library.chmod(mode)
    assert not kept.is_whole(library)
    compiling._loaded.cache_clear()
    assert answer() == 42
    assert library.stat().st_mode & 0o022 == 0


@pytest.mark.medium
def test_nothing_is_written_through_a_link(cache: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    assert answer() == 42
    (library,) = cache.glob("*.so")
    name = library.stem
    for file in cache.iterdir():
        file.unlink()
    for link in (f"{name}.cpp", f"{name}.sha256", f"{name}.so", f"{name[:2]}.lock", "pruned"):
        (cache / link).symlink_to(precious)
    compiling._loaded.cache_clear()
    with pytest.raises(BuildError, match="RECURRA_CACHE"):  # of a lock that is a link
        answer()
    (cache / f"{name[:2]}.lock").unlink()
    assert answer() == 42
    with pytest.raises(BuildError, match="the command was"):
        compiling.load_library('extern "C" int broken( {\n')
    (source,) = (file for file in cache.glob("*.cpp") if not file.is_symlink())
    for file in cache.glob("*"):
        if file.name.startswith(source.stem):
            file.unlink()
    source.symlink_to(precious)
    with pytest.raises(BuildError, match="the command was"):
        compiling.load_library('extern "C" int broken( {\n')
    assert precious.read_text() == "mine"


@pytest.mark.medium
def test_folder_whose_libraries_cannot_be_loaded_gives_way(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ctypes.CDLL

    def not_from_there(path: str, *args: object) -> ctypes.CDLL:
        if path.startswith(str(cache)):
            raise OSError(f"{path}: failed to map segment from shared object")
        return real(path)

    monkeypatch.setattr(ctypes, "CDLL", not_from_there)
    with caplog.at_level(logging.WARNING, "recurra"):
        assert answer() == 42
    assert caplog.text.count("failed to map segment") == 1

    def from_nowhere(path: str, *args: object) -> ctypes.CDLL:
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", from_nowhere)
    compiling._loaded.cache_clear()
    with pytest.raises(BuildError, match=r"failed to map segment.*RECURRA_CACHE"):
        answer()


@pytest.mark.medium
def test_user_without_a_home_has_a_temporary_cache(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("RECURRA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    compiling._loaded.cache_clear()
    kept.say.cache_clear()
    with caplog.at_level(logging.WARNING, "recurra"):
        assert answer() == 42
    assert caplog.text.count("has no home folder") == 1
    compiling._loaded.cache_clear()


@pytest.mark.medium
def test_what_is_not_used_is_deleted(cache: Path) -> None:
    assert answer() == 42
    (library,) = cache.glob("*.so")
    day = 86_400
    for stem, days in (("old", 61), ("young", 59)):
        for suffix in (".so", ".sha256"):
            other = (cache / stem).with_suffix(suffix)
            other.write_bytes(b"")
            os.utime(other, (time.time() - days * day,) * 2)
    kept.prune(cache)
    assert (cache / "old.so").exists(), "once a day"
    (cache / "pruned").unlink()
    kept.prune(cache)
    assert sorted(file.stem for file in cache.glob("*.so")) == sorted([library.stem, "young"])
    assert not (cache / "old.sha256").exists()
    os.utime(library, (0, 0))
    compiling._loaded.cache_clear()
    assert answer() == 42
    assert library.stat().st_mtime > time.time() - day, "it was used today"


def test_too_much_is_deleted_from_the_least_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    for days in range(2, 8):
        file = cache / f"{days}.so"
        file.write_bytes(bytes(100))
        os.utime(file, (time.time() - days * 86_400,) * 2)
    monkeypatch.setattr(kept, "_LARGEST_BYTES", 250)
    kept.prune(cache)
    assert sorted(file.name for file in cache.glob("*.so")) == ["2.so", "3.so"]


# ---- what the environment says -------------------------------------------------------------------


def runs_by_torch(caplog: pytest.LogCaptureFixture, why: str) -> None:
    """`auto` runs a layer, forward and backward, and says why it is not compiled, once."""
    auto = AutoBackend(cells.mgu)
    inputs = CASE.tensors(cells.mgu, torch.float32)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "recurra"):
        found = [results(auto, inputs) for _ in range(2)][-1]
    assert_same(found, results(ReferenceBackend(cells.mgu), inputs), 1e-5)
    assert auto.name == "reference"
    assert why in auto.explain({"I": 9, "H": 37})
    assert sum("runs on the reference backend" in r.getMessage() for r in caplog.records) == 1


def test_flags_with_an_open_quote(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECURRA_CXXFLAGS", "-DNAME='x")
    with pytest.raises(BuildError, match=r"RECURRA_CXXFLAGS: expected.*No closing quotation"):
        answer()
    runs_by_torch(caplog, "RECURRA_CXXFLAGS")


def test_compiler_with_an_open_quote_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "g++ '-O1")
    with caplog.at_level(logging.WARNING, "recurra"):
        assert found_compiler() is not None
    assert caplog.text.count("No closing quotation") == 1
    assert str(rc.doctor())


def test_compiler_whose_version_is_in_another_encoding(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "c++"
    script.write_bytes(
        b'#!/bin/sh\n[ "$1" = --version ] && printf "Compilateur \\351 1.0\\n" && exit 0\n'
        b'printf "erreur \\351\\n" >&2; exit 3\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    compiler = found_compiler()
    assert compiler is not None
    assert compiler.version.startswith("Compilateur")
    with pytest.raises(BuildError, match="erreur"):
        answer()


@pytest.mark.medium
def test_compiler_that_hangs_is_ended_and_not_asked_again(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "hung", "sleep 1000"))
    monkeypatch.setattr(compiling, "_TIMEOUT_S", 0.6)
    monkeypatch.setattr(compiling, "_LONG_S", 0.2)
    with caplog.at_level(logging.WARNING, "recurra"), pytest.raises(BuildError, match="not ended"):
        answer()
    assert caplog.text.count("compiling a C++ kernel") == 1
    monkeypatch.setattr(compiling, "_TIMEOUT_S", 1000.0)
    start = time.monotonic()
    with pytest.raises(BuildError, match="did not end when it was last run"):
        answer()
    assert time.monotonic() - start < 60


@pytest.mark.medium
def test_library_without_its_function_is_a_build_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "empty.cpp"
    empty.write_text("int nothing;\n")
    compiler = found_compiler()
    assert compiler is not None
    real = shlex.join(compiler.command)
    then = (
        f"while [ $# -gt 1 ]; do [ $1 = -o ] && {real} -shared -fPIC {empty} -o $2; shift; done; "
        "exit 0"
    )
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "fake", then))
    with pytest.raises(BuildError, match="without answer"):
        compiling.load_library(SOURCE, ("answer",))
    assert not list(cache.glob("*.so")), "it is no better the next time"
    runs_by_torch(caplog, "without")


@pytest.mark.medium
def test_build_that_fails_for_a_moment_is_tried_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = [True]
    real = compiling._build

    def build(*args: object) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(compiling, "_build", build)
    now = [1000.0]
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now[0])
    auto, inputs = AutoBackend(cells.mgu), CASE.tensors(cells.mgu, torch.float32)
    with caplog.at_level(logging.WARNING, "recurra"):
        inputs.run(auto)
        full[0] = False
        inputs.run(auto)
        assert auto.name == "reference", "not at every call"
        now[0] += 31
        inputs.run(auto)
    assert auto.name == "cpu"
    assert "not compiled" not in auto.explain({"I": 9, "H": 37})
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.medium
@pytest.mark.parametrize("low", ["normal", "low"])
def test_backward_loop_that_cannot_be_built_is_run_by_torch(
    low: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    compiler = found_compiler()
    assert compiler is not None
    then = (  # of a reverse loop, where nothing flows through a step past a sequence's end
        f'[ -e {broken} ] && for of in "$@"; do case $of in *cell.cpp) '
        "grep -qE '^ *clear\\(r, true\\);' $of && exit 1; esac; done; "
        f'exec {shlex.join(compiler.command)} "$@"'
    )
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "fake", then))
    layer, ids = rc.GRU(9, 5, memory=low), torch.randint(9, (12, 3))
    x, embedding = torch.randn(7, 3, 9), torch.randn(9, 9, requires_grad=True)
    backends.choose._automatic.cache_clear()

    def results_of() -> list[torch.Tensor]:
        losses = [layer(x)[0].square().sum(), layer(ids, embedding=embedding)[0].square().sum()]
        return [*torch.autograd.grad(sum(losses), [*layer.parameters(), embedding])]

    broken.touch()
    found = results_of()
    assert "not compiled" in layer.explain()
    broken.unlink()
    backends.choose._automatic.cache_clear()
    for a, b in zip(found, results_of(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert "not compiled" not in layer.explain()


@pytest.mark.medium
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_builds_does_not_keep_the_lock(
    cache: Path, counted: Path
) -> None:
    """Children that live on do not stop others from building, and build what they need."""
    program = (
        "import os, sys, threading, time\nfrom pathlib import Path\n"
        f"{ASK.splitlines()[0]}\nsource = {SOURCE!r}\n"
        "thread = threading.Thread(target=load_library, args=(source,))\nthread.start()\n"
        f"while not Path({str(counted)!r}).exists(): time.sleep(0.02)\n"
        "child = os.fork()\n"
        "if child == 0:\n    time.sleep(30)\n    os._exit(0)\n"
        f"Path({str(counted.with_name('wait'))!r}).unlink()\nthread.join()\n"
        "from recurra.backends.cpu import cache\n"
        f"(library,) = Path({str(cache)!r}).glob('*.so')\n"
        "with cache.locked(library, timeout_s=10.0): print('free')\n"
        "other = os.fork()\n"
        "if other == 0:\n    os._exit(load_library(source)['answer']() != 42)\n"
        "print(os.waitpid(other, 0)[1])\nos.kill(child, 9)\n"
    )
    counted.with_name("wait").touch()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == ["free", "0"], done.stderr


# ---- sanitizers ----------------------------------------------------------------------------------


@pytest.mark.skipif(
    "-fsanitize" not in os.environ.get("RECURRA_CXXFLAGS", ""), reason="run by make sanitize"
)
@pytest.mark.parametrize(
    ("statement", "said"),
    [("p[n] = 1;", "heap-buffer-overflow"), ("p[0] = (float)(n << (n + 60));", "shift exponent")],
    ids=["address", "undefined"],
)
def test_sanitizer_finds_what_it_is_run_for(statement: str, said: str) -> None:
    source = f'#include "runtime.hpp"\nextern "C" void wrong(float *p, long n) {{ {statement} }}\n'
    program = (
        "import ctypes, torch\nfrom recurra.backends.cpu.compiler import load_library\n"
        f"x = torch.zeros(8)\nload_library({source!r})['wrong'](ctypes.c_void_p(x.data_ptr()), "
        "ctypes.c_long(8))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr
