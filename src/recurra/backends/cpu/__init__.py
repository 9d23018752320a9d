"""Plans as C++: a loop body is scheduled, printed, compiled, cached and called."""

from recurra.backends.cpu.backend import CpuBackend, unsuitable
from recurra.backends.cpu.compiler import Compiler, found_compiler

__all__ = ["Compiler", "CpuBackend", "found_compiler", "unsuitable"]
