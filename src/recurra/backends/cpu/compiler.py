"""C++ source into a loaded library: finding a compiler, flags, the cache.

A library's name is a hash of everything it depends on: source, runtime, flags, compiler, CPU. It
is built under a lock beside its final name and renamed into place, so that a reader never sees half
of one, and checked when loaded: a damaged file is built again.
"""

import ctypes
import fcntl
import hashlib
import os
import platform
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

RUNTIME = Path(__file__).with_name("runtime.hpp")
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-ffp-contract=fast"),
    *("-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-Wno-ignored-attributes"),
)
_TAIL_LINES = 20
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C++ compiler that was found, and where."""

    command: tuple[str, ...]
    source: str
    version: str

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
    base = os.environ.get("RECURRA_CACHE")
    folder = Path(base) if base else _user_cache() / "recurra"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder):
            return folder
    except OSError:
        return _temporary_cache()


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def _temporary_cache() -> Path:
    return Path(tempfile.mkdtemp(prefix="recurra-"))


@lru_cache(maxsize=1024)
def load_library(source: str) -> ctypes.CDLL:
    """The library built from `source`, from the cache where it is there.

    Raises:
        BackendError: when there is no compiler.
        BuildError: when the compiler fails; the source is kept.
    """
    compiler = found_compiler()
    if compiler is None:
        raise BackendError(
            "backend 'cpu': expected a C++ compiler, found none. Install one: pip install ziglang, "
            "or g++, or clang++, or set CXX."
        )
    command = (*compiler.command, *_target_flags(compiler), *_FLAGS)
    text = source.replace('#include "runtime.hpp"', RUNTIME.read_text())
    key = "\0".join((text, *command, compiler.version, platform.machine(), _cpu_features()))
    name = hashlib.sha256(key.encode()).hexdigest()
    folder = cache_folder()
    library = folder / f"{name}.so"
    try:
        with _locked(folder / f"{name}.lock"):
            if not _is_whole(library):
                _build(command, text, library)
        return ctypes.CDLL(str(library))
    except OSError as error:  # a full disk, a folder that went away
        raise BuildError(
            f"backend 'cpu': expected to write and load {library}, got {error}. Make room there, "
            f"or set RECURRA_CACHE to another folder."
        ) from error


def _is_whole(library: Path) -> bool:
    """Whether the library is there as it was built: the loader crashes on one that is cut short."""
    try:
        return _digest(library) == library.with_suffix(".sha256").read_text()
    except OSError:
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _target_flags(compiler: Compiler) -> tuple[str, ...]:
    if "zig" in " ".join(compiler.command):
        return ("-mcpu=native",)
    return ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ("-mcpu=native",)


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


def _build(command: tuple[str, ...], text: str, library: Path) -> None:
    """Compile, then link against the OpenMP that torch has loaded: two pools would spin against
    each other."""
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        source, built = Path(work, "cell.cpp"), Path(work, "cell.so")
        source.write_text(text)
        link = ["-shared", "-o", str(built), *_openmp()]
        full = [*command, str(source), *link]
        try:
            done = subprocess.run(
                full, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
            failed, said = done.returncode != 0, done.stderr
        except (OSError, subprocess.TimeoutExpired) as error:
            failed, said = True, str(error)
        if failed:
            kept = library.with_suffix(".cpp")
            kept.write_text(text)
            last = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
            raise BuildError(
                f"backend 'cpu': expected the compiler to build the kernel, it failed. The source "
                f"is in {kept}; the command was:\n{shlex.join(full)}\n{last}"
            )
        note = Path(work, "cell.sha256")
        note.write_text(_digest(built))
        os.replace(note, library.with_suffix(".sha256"))
        os.replace(built, library)


def _openmp() -> list[str]:
    libraries = sorted(Path(torch.__file__).parent.glob("lib/libgomp*"))
    return [str(libraries[0])] if libraries else []
