"""What this machine has for recurra: versions, CPU, compiler, GPU, and what is missing."""

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from recurra import backends
from recurra.backends.cpu import Compiler, found_compiler

# Flag in /proc/cpuinfo (x86 "flags", Arm "Features") -> vector unit and its bits, widest first.
_VECTOR_UNITS = (
    ("avx512f", "AVX-512", 512),
    ("avx2", "AVX2", 256),
    ("sve", "SVE", 128),  # at least; the true width is the chip's
    ("asimd", "NEON", 128),
    ("sse4_2", "SSE4.2", 128),
)
# Flag -> how the CPU multiplies bfloat16, fastest first.
_BF16_UNITS = (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16"), ("bf16", "Arm BF16"))
_QUERY_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What `doctor` found. `str()` of it is a report to read or to put into an issue."""

    python: str
    torch: str
    recurra: str
    system: str
    cpu: str
    vector: str
    vector_bits: int
    bf16: str | None
    threads: int
    compiler: Compiler | None
    gpu: str | None
    backends: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        bf16 = f"bf16 products by {self.bf16}" if self.bf16 else "no bf16 products"
        width = f" ({self.vector_bits} bits)" if self.vector_bits else ""
        rows = (
            ("recurra", self.recurra),
            ("python", self.python),
            ("torch", self.torch),
            ("system", self.system),
            ("cpu", self.cpu),
            ("vectors", f"{self.vector}{width}, {bf16}"),
            ("threads", str(self.threads)),
            ("compiler", str(self.compiler or "none")),
            ("gpu", self.gpu or "none"),
            ("backends", ", ".join(self.backends)),
            ("missing", "\n".join(self.missing) or "nothing"),
        )
        indent = "\n" + " " * 10
        return "\n".join(f"{name:<10}{value.replace(chr(10), indent)}" for name, value in rows)


def doctor() -> Machine:
    """What this machine has to run recurra with, and what is missing.

    Cost: starts the C++ compiler once, to ask for its version; well under a second.
    """
    cpu, flags = _cpu()
    vector, vector_bits = vector_unit(flags)
    compiler = found_compiler()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Machine(
        python=platform.python_version(),
        torch=torch.__version__,
        recurra=importlib.metadata.version("recurra"),
        system=platform.platform(),
        cpu=cpu,
        vector=vector,
        vector_bits=vector_bits,
        bf16=bf16_unit(flags),
        threads=torch.get_num_threads(),
        compiler=compiler,
        gpu=gpu,
        backends=backends.names(),
        missing=_missing(compiler),
    )


def _missing(compiler: Compiler | None) -> tuple[str, ...]:
    """What would make recurra faster here, each with the command that installs it."""
    missing = []
    if compiler is None:
        missing.append(
            "a C++ compiler, for the fastest code on CPUs: pip install ziglang "
            "(or install g++ or clang++, or set CXX)"
        )
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        missing.append(
            "a torch that can use this machine's GPU: pip install torch "
            "--index-url https://download.pytorch.org/whl/cu128"
        )
    return tuple(missing)


def _cpu() -> tuple[str, frozenset[str]]:
    """The name of the CPU and its feature flags, in the spelling of Linux."""
    if sys.platform == "darwin":
        name = _first_line(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor()
        flags = {"asimd"} if platform.machine() == "arm64" else {"avx2"}
        if _first_line(["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]) == "1":
            flags.add("bf16")
        return name, frozenset(flags)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    return parsed_cpuinfo(text)


def parsed_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """Name and flags from the first processor that /proc/cpuinfo describes."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("CPU part") or platform.machine()
    flags = fields.get("flags") or fields.get("Features") or ""
    return name, frozenset(flags.split())


def vector_unit(flags: frozenset[str]) -> tuple[str, int]:
    """The widest vector unit that `flags` name, and its bits; what torch uses if they name none."""
    for flag, unit, bits in _VECTOR_UNITS:
        if flag in flags:
            return unit, bits
    return torch.backends.cpu.get_cpu_capability(), 0


def bf16_unit(flags: frozenset[str]) -> str | None:
    """How this CPU multiplies bfloat16; None where it must convert."""
    return next((unit for flag, unit in _BF16_UNITS if flag in flags), None)


def _first_line(command: list[str]) -> str | None:
    """The first line that `command` prints; None where it does not run or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None
