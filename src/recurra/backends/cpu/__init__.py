"""Plans as C++: a loop body is scheduled, printed, compiled, cached and called."""

from recurra.backends.cpu.backend import CpuBackend, unsuitable
from recurra.backends.cpu.compiler import Compiler, found_compiler
from recurra.backends.cpu.execute import TARGET
from recurra.backends.cpu.gate import address_of_step, bound
from recurra.backends.cpu.known import KnownCall
from recurra.backends.cpu.measure import measure
from recurra.backends.cpu.snapshot import Snapshot
from recurra.backends.cpu.step_layer import StepLayer, Tokens, affine_layer, obstacle
from recurra.backends.cpu.steps import Stepper
from recurra.backends.cpu.unstepped import why_not_stepped
from recurra.backends.cpu.writing import TokenWriter, Written

__all__ = [
    "TARGET",
    "Compiler",
    "CpuBackend",
    "KnownCall",
    "Snapshot",
    "StepLayer",
    "Stepper",
    "TokenWriter",
    "Tokens",
    "Written",
    "address_of_step",
    "affine_layer",
    "bound",
    "found_compiler",
    "measure",
    "obstacle",
    "unsuitable",
    "why_not_stepped",
]
