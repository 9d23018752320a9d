"""The list of benchmarks, in the order of the table."""

from benchmarks import (
    any_cell,
    attention,
    bfloat16,
    calls,
    captions,
    char_rnn,
    crowded,
    floor,
    forecasts,
    generation,
    gpu,
    linear,
    matrix_states,
    memory,
    motion,
    multi30k,
    parallel,
    ragged,
    sst2,
    tagging,
    torch_nn,
    trainer_overhead,
    translation,
    vanishing,
    vision,
    zoo,
)
from benchmarks.registry import Benchmark

_MODULES = (
    torch_nn,
    any_cell,
    attention,
    calls,
    translation,
    zoo,
    trainer_overhead,
    vanishing,
    linear,
    matrix_states,
    crowded,
    floor,
    bfloat16,
    generation,
    gpu,
    memory,
    parallel,
    ragged,
    sst2,
    tagging,
    forecasts,
    captions,
    motion,
    multi30k,
    vision,
    char_rnn,
)

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for module in _MODULES for benchmark in module.BENCHMARKS
}
