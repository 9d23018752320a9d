"""C++ source into a loaded library: finding a compiler, targets and flags, the cache.

A library's name is a hash of everything it depends on: source, runtime, flags, compiler, CPU. It
is built under a lock beside its final name and renamed into place, so that a reader never sees half
of one, and checked when loaded: a damaged file is built again.
"""

import atexit
import ctypes
import fcntl
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch

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
_TIMEOUT_S = 300  # zig first builds its own C library: a quarter of a minute, once on a machine


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
        candidates.append(("CXX", tuple(shlex.split(cxx))))
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
        asked = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.splitlines()[0].strip() if asked.stdout else None


def cache_folder() -> Path:
    """Where libraries are kept: RECURRA_CACHE, else the user's cache folder; mode 0700.

    A folder that cannot be written gives way to a temporary one of this process.
    """
    folder = _wanted_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder):
            return folder
    except OSError:
        return _temporary_cache()


def _wanted_folder() -> Path:
    base = os.environ.get("RECURRA_CACHE")
    return Path(base) if base else _user_cache() / "recurra"


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def _temporary_cache() -> Path:
    folder = tempfile.mkdtemp(prefix="recurra-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def load_library(source: str) -> ctypes.CDLL:
    """The library built from `source`, from the cache where it is there.

    Raises:
        BackendError: when there is no compiler, or RECURRA_TARGET names no target of this machine.
        BuildError: when the compiler fails; the source is kept.
    """
    compiler = found_compiler()
    if compiler is None:
        raise BackendError(
            "backend 'cpu': expected a C++ compiler, found none. Install one: pip install ziglang, "
            "or g++, or clang++, or set CXX."
        )
    return _loaded(source, compiler, build_flags(compiler), _wanted_folder())


@lru_cache(maxsize=1024)
def _loaded(source: str, compiler: Compiler, flags: tuple[str, ...], wanted: Path) -> ctypes.CDLL:
    text = with_headers(source)
    parts = (text, *compiler.command, *flags, compiler.version, platform.machine())
    name = hashlib.sha256("\0".join((*parts, _cpu_features())).encode()).hexdigest()
    library = wanted / f"{name}.so"
    try:
        if not _is_whole(library):
            library = cache_folder() / library.name
            with _locked(library.with_suffix(".lock")):
                if not _is_whole(library):
                    _build(compiler, flags, text, library)
        return ctypes.CDLL(str(library))
    except OSError as error:  # a full disk, a folder that went away
        raise BuildError(
            f"backend 'cpu': expected to write and load {library}, got {error}. Make room there, "
            f"or set RECURRA_CACHE to another folder."
        ) from error


def with_headers(text: str) -> str:
    """`text` with recurra's own headers in place, so that one file is all that is built."""

    def inlined(match: re.Match[str]) -> str:
        return with_headers(RUNTIME.with_name(match[1]).read_text())

    return re.sub(r'#include "(.+)"', inlined, text)


def _is_whole(library: Path) -> bool:
    """Whether the library is there as it was built: the loader crashes on one that is cut short."""
    try:
        return _digest(library) == library.with_suffix(".sha256").read_text()
    except OSError:
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def build_flags(compiler: Compiler) -> tuple[str, ...]:
    """The options that `compiler` is given: for the target, recurra's own, RECURRA_CXXFLAGS.

    Raises:
        BackendError: when RECURRA_TARGET names no target of this machine.
    """
    machine = platform.machine()
    targets = _TARGETS.get(_MACHINES.get(machine, machine), _OTHER_TARGETS)
    target = os.environ.get("RECURRA_TARGET") or "native"
    if target not in targets:
        raise BackendError(
            f"RECURRA_TARGET: expected one of {', '.join(targets)} on {machine}, got {target!r}. "
            f"Set it to one of them, or leave it out."
        )
    more = shlex.split(os.environ.get("RECURRA_CXXFLAGS") or "")
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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(compiler: Compiler, flags: tuple[str, ...], text: str, library: Path) -> None:
    for left in library.parent.glob(f"{library.stem}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{library.stem}-", dir=library.parent) as work:
        source, built = Path(work, "cell.cpp"), Path(work, "cell.so")
        source.write_text(text)
        builds.info("building kernels with %s", compiler.command[0])
        for command in _commands(compiler, flags, source, built):
            failed, said = _failed(command)
            if failed:
                kept = library.with_suffix(".cpp")
                kept.write_text(text)
                last = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
                raise BuildError(
                    f"backend 'cpu': expected the compiler to build the kernel, it failed. The "
                    f"source is in {kept}; the command was:\n{shlex.join(command)}\n{last}"
                )
        note = Path(work, "cell.sha256")
        note.write_text(_digest(built))
        os.replace(note, library.with_suffix(".sha256"))
        os.replace(built, library)


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
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return True, str(error)
    return done.returncode != 0, done.stderr


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
