"""What hoisting and the adjoint alone bring: the reference backend against a plain PyTorch loop."""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks import plain_loops
from benchmarks.registry import Benchmark, Row, register
from benchmarks.timing import interleaved
from recurra import cells
from recurra.backends import load

_T, _B, _I, _H = 100, 32, 256, 256
_TARGET = 1.5


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


def _ours(x: Tensor, h: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    return load(cells.mut1, "reference").run(x, (h,), parameters)[0]


def _check() -> None:
    x, h, parameters = _inputs()
    leaves = [x, h, *parameters.values()]
    results = []
    for run in (_ours, plain_loops.mut1):
        y = run(x, h, parameters)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def _run() -> list[Row]:
    x, h, parameters = _inputs()
    leaves = [x, h, *parameters.values()]

    def step(run: object) -> None:
        assert callable(run)
        torch.autograd.grad(run(x, h, parameters).sum(), leaves)

    taken = interleaved(
        {"recurra": lambda: step(_ours), "plain loop": lambda: step(plain_loops.mut1)}
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
            target=_TARGET,
            details=spread,
        )
    ]


register(
    Benchmark(
        name="hoisting",
        doc="reference backend against the same equations as a plain PyTorch loop",
        check=_check,
        run=_run,
    )
)
