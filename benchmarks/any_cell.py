"""A cell that torch.nn does not have against the same equations as a plain PyTorch loop.

`hoisting` times the reference backend: what hoisting, merging and the adjoint bring by themselves.
`any_cell` times the backend that runs by default.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmarks import plain_loops
from benchmarks.registry import Benchmark, Row, register
from benchmarks.timing import interleaved
from recurra import cells
from recurra.backends import load

_T, _B, _I, _H = 100, 32, 256, 256

Run = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]


def _inputs() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"I": _I, "H": _H}
    parameters = {
        name: torch.empty([dim.evaluate(sizes) for dim in shape])
        .uniform_(-(_H**-0.5), _H**-0.5, generator=generator)
        .requires_grad_()
        for name, shape in cells.mut1.parameters.items()
    }
    x = torch.randn(_T, _B, _I, generator=generator).requires_grad_()
    h = torch.zeros(_B, _H, requires_grad=True)
    return x, h, parameters


def _recurra(backend: str) -> Run:
    return lambda x, h, parameters: load(cells.mut1, backend).run(x, (h,), parameters)[0]


def _check(ours: Run) -> None:
    x, h, parameters = _inputs()
    leaves = [x, h, *parameters.values()]
    results = []
    for run in (ours, plain_loops.mut1):
        y = run(x, h, parameters)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def _run(ours: Run, target: float) -> list[Row]:
    x, h, parameters = _inputs()
    leaves = [x, h, *parameters.values()]

    def step(run: Run) -> None:
        torch.autograd.grad(run(x, h, parameters).sum(), leaves)

    taken = interleaved(
        {"recurra": lambda: step(ours), "plain loop": lambda: step(plain_loops.mut1)}
    )
    ratio = taken["plain loop"].median_ms / taken["recurra"].median_ms
    spread = {
        f"{name} fastest..slowest": f"{timing.fastest_ms:.0f}..{timing.slowest_ms:.0f}"
        for name, timing in taken.items()
    }
    return [
        Row(
            job=f"MUT1, T{_T} B{_B} I{_I} H{_H}, forward + backward",
            sides_ms={name: timing.median_ms for name, timing in taken.items()},
            ratio=ratio,
            target=target,
            details=spread,
        )
    ]


def _register(name: str, backend: str, target: float) -> None:
    ours = _recurra(backend)
    register(
        Benchmark(
            name=name,
            doc=f"backend {backend} against the same equations as a plain PyTorch loop",
            check=lambda: _check(ours),
            run=lambda: _run(ours, target),
        )
    )


_register("hoisting", "reference", 1.5)
_register("any_cell", "auto", 5.0)
