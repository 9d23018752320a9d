"""C++ source into a loaded library: finding a compiler, targets and flags, building.

A library's name is a hash of everything it depends on: source, runtime, flags, compiler, CPU. It
is built under a lock beside its final name and renamed into place, so that a reader never sees half
of one, and checked when loaded: a damaged file is built again.
"""

import ctypes
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from recurra.backends.cpu import cache as kept
from recurra.errors import BackendError, BuildError

logger = logging.getLogger("recurra")
builds = logging.getLogger("recurra.build")  # what shows a run shows these: they take seconds

RUNTIME = Path(__file__).with_name("runtime.hpp")
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-fno-exceptions", "-fno-threadsafe-statics", "-Wno-psabi", "-Wno-ignored-attributes"),
)
_SCALAR = ("-DLANES_WANTED=1", "-fno-tree-vectorize", "-fno-tree-slp-vectorize")
# by machine: for RECURRA_TARGET the CPU to build for, as GCC and Clang and as zig names it
_TARGETS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "x86_64": {
        "native": (("-march=native",), ("-mcpu=native",)),
        "avx2": (("-march=x86-64", "-mavx2", "-mfma"), ("-mcpu=x86_64_v3",)),
        "generic": (("-march=x86-64",), ("-mcpu=x86_64",)),
        "scalar": (("-march=x86-64", *_SCALAR), ("-mcpu=x86_64", *_SCALAR)),
    },
    "aarch64": {
        "native": (("-mcpu=native",), ("-mcpu=native",)),
        "neon": (("-march=armv8-a",), ("-mcpu=generic",)),
        "generic": (("-march=armv8-a",), ("-mcpu=generic",)),
        "scalar": (("-march=armv8-a", *_SCALAR), ("-mcpu=generic", *_SCALAR)),
    },
}
_OTHER_TARGETS = {"native": ((), ()), "generic": ((), ()), "scalar": (_SCALAR, _SCALAR)}
_MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}
_TAIL_LINES = 20
# zig first builds its own C library: a quarter of a minute, once on a machine
_TIMEOUT_S = 120.0
_TIMEOUT_OF_VERSION_S = 15.0
_AGAIN_AFTER_S = 600.0  # a compiler that hung
_LONG_S = 5.0  # after which it is said that something is built


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C++ compiler that was found, and where."""

    command: tuple[str, ...]
    source: str
    version: str

    @property
    def is_zig(self) -> bool:
        """Whether it is zig, which wraps Clang and has some options of its own."""
        return "zig" in " ".join(self.command)

    def __str__(self) -> str:
        return f"{self.version} ({shlex.join(self.command)}, from {self.source})"


def found_compiler() -> Compiler | None:
    """The first C++ compiler that answers: $CXX, then g++ and clang++ on PATH, then ziglang."""
    return _found(os.environ.get("CXX"), os.environ.get("PATH"))


@cache
def _found(cxx: str | None, _path: str | None) -> Compiler | None:
    candidates: list[tuple[str, tuple[str, ...]]] = []
    if cxx:
        try:
            candidates.append(("CXX", tuple(shlex.split(cxx))))
        except ValueError as error:
            logger.warning("CXX is %r, which is no command (%s): looking further", cxx, error)
    found = (shutil.which(name) for name in ("g++", "clang++"))
    candidates += [("PATH", (path,)) for path in found if path]
    if find_spec("ziglang"):
        candidates.append(("the ziglang package", (sys.executable, "-m", "ziglang", "c++")))
    for source, command in candidates:
        version = _version(command)
        if version is not None:
            return Compiler(command=command, source=source, version=version)
        if source == "CXX":
            logger.warning("CXX is %r, which does not answer to --version: looking further", cxx)
    return None


def _version(command: tuple[str, ...]) -> str | None:
    try:
        failed, said, _ = _run([*command, "--version"], _TIMEOUT_OF_VERSION_S)
    except OSError:
        return None
    return said.splitlines()[0].strip() if said.strip() and not failed else None


def load_library(source: str, symbols: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library built from `source`, from the cache where it is there.

    Args:
        symbols: what it has to have.

    Raises:
        BackendError: when there is no compiler, or RECURRA_TARGET names no target of this machine.
        BuildError: when the compiler fails, and the source is kept, or what it made cannot be
            written or loaded.
    """
    return loader(source, symbols)()


def loader(source: str, symbols: tuple[str, ...] = ()) -> partial[ctypes.CDLL]:
    """`load_library` for whenever it is called, by what the environment says now.

    Raises:
        BackendError: as there.
    """
    compiler = found_compiler()
    if compiler is None:
        raise BackendError(
            "backend 'cpu': expected a C++ compiler, found none. Install one: pip install ziglang, "
            "or g++, or clang++, or set CXX."
        )
    folder = kept.wanted_folder()
    return partial(_loaded, source, compiler, build_flags(compiler), folder, symbols)


@lru_cache(maxsize=1024)
def _loaded(
    source: str,
    compiler: Compiler,
    flags: tuple[str, ...],
    wanted: Path | None,
    symbols: tuple[str, ...],
) -> ctypes.CDLL:
    text = with_headers(source)
    parts = (text, *compiler.command, *flags, compiler.version, platform.machine())
    digest = hashlib.sha256("\0".join((*parts, _cpu_features())).encode()).hexdigest()
    name, here = f"{digest}.so", wanted
    try:
        if wanted is None or not kept.is_whole(wanted / name):
            here = kept.usable_folder()
            _build_once(compiler, flags, text, here / name)
        assert here is not None
        try:
            return _opened(here / name, symbols)
        except OSError as error:  # perhaps of a folder whose files may not be run
            return _opened_elsewhere(compiler, flags, text, here / name, symbols, str(error))
    except OSError as error:  # a full disk, a folder that went away
        raise BuildError(
            f"backend 'cpu': expected to write and load {here}/{name}, got {error}. Make room "
            f"there, or set RECURRA_CACHE to another folder of your own, whose files may be run."
        ) from error


def _build_once(compiler: Compiler, flags: tuple[str, ...], text: str, library: Path) -> None:
    """Build a library unless another thread or process has done so by now."""
    with kept.locked(library):
        if not kept.is_whole(library):
            _build(compiler, flags, text, library)
    kept.prune(library.parent)


def _opened(library: Path, symbols: tuple[str, ...]) -> ctypes.CDLL:
    found = ctypes.CDLL(str(library))
    missing = [symbol for symbol in symbols if not hasattr(found, symbol)]
    if missing:
        raise OSError(f"a library without {missing[0]}")
    kept.note_use(library)
    return found


def _opened_elsewhere(
    compiler: Compiler,
    flags: tuple[str, ...],
    text: str,
    library: Path,
    symbols: tuple[str, ...],
    why: str,
) -> ctypes.CDLL:
    """The same library, in the temporary folder."""
    other = kept.temporary_folder() / library.name
    try:
        if other != library:
            _build_once(compiler, flags, text, other)
        found = _opened(other, symbols)
    except OSError:
        for folder in {library.parent, other.parent}:  # it is no better the next time
            (folder / library.name).unlink(missing_ok=True)
        raise
    kept.say(f"compiled loops are kept for this process only: {library} cannot be loaded ({why})")
    return found


def with_headers(text: str) -> str:
    """`text` with recurra's own headers in place, so that one file is all that is built."""

    def inlined(match: re.Match[str]) -> str:
        return with_headers(RUNTIME.with_name(match[1]).read_text())

    return re.sub(r'#include "(.+)"', inlined, text)


def build_flags(compiler: Compiler) -> tuple[str, ...]:
    """The options that `compiler` is given: for the target, recurra's own, RECURRA_CXXFLAGS.

    Raises:
        BackendError: when RECURRA_TARGET names no target of this machine.
        BuildError: when RECURRA_CXXFLAGS cannot be split.
    """
    machine = platform.machine()
    targets = _TARGETS.get(_MACHINES.get(machine, machine), _OTHER_TARGETS)
    target = os.environ.get("RECURRA_TARGET") or "native"
    if target not in targets:
        raise BackendError(
            f"RECURRA_TARGET: expected one of {', '.join(targets)} on {machine}, got {target!r}. "
            f"Set it to one of them, or leave it out."
        )
    given = os.environ.get("RECURRA_CXXFLAGS") or ""
    try:
        more = shlex.split(given)
    except ValueError as error:
        raise BuildError(
            f"RECURRA_CXXFLAGS: expected options as in a shell, got {given!r} ({error}). Close the "
            f"quote, or leave it out."
        ) from error
    return (*targets[target][compiler.is_zig], *_FLAGS, *more)


@cache
def _cpu_features() -> str:
    """What -march=native depends on: a cache shared by several machines keeps their code apart."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return platform.processor()


def _build(compiler: Compiler, flags: tuple[str, ...], text: str, library: Path) -> None:
    for left in library.parent.glob(f"{library.stem}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{library.stem}-", dir=library.parent) as work:
        source, built = Path(work, "cell.cpp"), Path(work, "cell.so")
        kept.write(source, text.encode())
        builds.info("building kernels with %s", compiler.command[0])
        for command in _commands(compiler, flags, source, built):
            failed, said = _failed(command)
            if failed:
                left = library.with_suffix(".cpp")
                kept.write(left, text.encode())
                last = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
                raise BuildError(
                    f"backend 'cpu': expected the compiler to build the kernel, it failed. The "
                    f"source is in {left}; the command was:\n{shlex.join(command)}\n{last}"
                )
        kept.keep(built, library)


def _commands(
    compiler: Compiler, flags: tuple[str, ...], source: Path, built: Path
) -> list[list[str]]:
    """What builds a library, linked against the OpenMP that torch has loaded: two pools would spin
    against each other."""
    command, link = [*compiler.command, *flags], ["-shared", "-o", str(built), *_openmp()]
    if not compiler.is_zig:
        return [[*command, str(source), *link]]
    # zig's C++ linker first builds a C++ library, which no kernel needs: its C linker does not
    part = str(source.with_suffix(".o"))
    linker = [*compiler.command[:-1], "cc"]
    return [[*command, "-c", str(source), "-o", part], [*linker, part, *link, "-lm"]]


def _failed(command: list[str]) -> tuple[bool, str]:
    """Run a command: whether it failed, and what it said."""
    try:
        failed, _, said = _run(command, _TIMEOUT_S, note="a C++ kernel")
    except OSError as error:
        return True, str(error)
    return failed, said


_hung: dict[str, float] = {}  # compilers that had to be ended, and when
_running: set[subprocess.Popen[str]] = set()


def end_builds() -> None:
    """End the compilers that run: nobody waits for what they make."""
    while _running:
        _kill(_running.pop())


def _run(command: list[str], timeout_s: float, note: str = "") -> tuple[bool, str, str]:
    """Run a command, at most so long: whether it failed, its output, and what it said of errors.

    Args:
        note: what it makes, to say so where that takes long.
    """
    hung = _hung.get(command[0])
    if hung is not None and time.monotonic() - hung < _AGAIN_AFTER_S:
        return True, "", f"{command[0]} did not end when it was last run"
    alone: dict[str, Any] = {} if os.name == "nt" else {"process_group": 0}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        **alone,
    )
    _running.add(process)
    try:
        try:
            output, said = process.communicate(timeout=min(_LONG_S, timeout_s))
        except subprocess.TimeoutExpired:
            if note:
                builds.warning(
                    "compiling %s with %s, which takes a while; the result is kept",
                    note,
                    command[0],
                )
            output, said = process.communicate(timeout=max(timeout_s - _LONG_S, 0.0))
    except subprocess.TimeoutExpired:
        _end(process)
        _hung[command[0]] = time.monotonic()
        return True, "", f"{command[0]} had not ended after {timeout_s:.0f} s"
    except BaseException:
        _end(process)
        raise
    finally:
        ended = process not in _running
        _running.discard(process)
    if ended:
        raise BuildError(f"{command[0]} was ended, because nobody waits for it any more")
    return process.returncode != 0, output, said


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with all that it started, which would keep its pipes open."""
    _kill(process)
    process.communicate()


def _kill(process: subprocess.Popen[str]) -> None:
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


@cache
def _openmp() -> tuple[str, ...]:
    """The OpenMP library that torch has loaded, as the linker is told of it."""
    names = ("libgomp", "libiomp5", "libomp")
    folder = Path(torch.__file__).parent / "lib"
    found = [file for name in names for file in sorted(folder.glob(f"{name}*"))]
    try:  # of a torch that does not bring its own
        maps = Path("/proc/self/maps").read_text().split()
        found += [Path(word) for word in maps if Path(word).name.startswith(names)]
    except OSError:
        pass
    return (str(found[0]),) if found else ("-lgomp",)
