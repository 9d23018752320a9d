"""Cells with matrix states, four heads of 64, against plain PyTorch loops: mLSTM and DeltaNet.

The loops have every product of the input before them, and heads as a dimension of their own.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.any_cell import layer_of, named
from benchmarks.grid import Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from recurra import cells

SHAPE, SMALL = Shape(256, 16, 256, 256), Shape(5, 3, 7, 20)
HEADS = 4
LOOP = "PyTorch loop"


class _Loop(nn.Module):
    """Weights of a cell, by its names."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({n: p.detach().clone() for n, p in parameters.items()})

    def of(self, x: Tensor, name: str) -> Tensor:
        """[T, B, heads, H / heads]: a product with all of the input."""
        bias = self.weights.get(f"b_{name}", None)
        return F.linear(x, self.weights[f"W_{name}"], bias).unflatten(2, (HEADS, -1))


class _MLSTM(_Loop):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output at each step, and the last matrix."""
        q, k, v, o = (self.of(x, name) for name in "qkvo")
        k = k / k.shape[-1] ** 0.5
        log_i, log_f = self.of(x, "i")[..., 0], F.logsigmoid(self.of(x, "f")[..., 0])
        n = torch.zeros_like(q[0])
        m, C = n[..., 0], n.unsqueeze(-1) * n.unsqueeze(-2)
        read = []
        for t in range(len(x)):
            new = torch.maximum(log_f[t] + m, log_i[t])
            f, i = torch.exp(log_f[t] + m - new)[..., None], torch.exp(log_i[t] - new)[..., None]
            C = f[..., None] * C + (i * v[t]).unsqueeze(-1) * k[t].unsqueeze(-2)
            n, m = f * n + i * k[t], new
            size = torch.maximum((n * q[t]).sum(-1).abs(), torch.exp(-m))
            read.append((C @ q[t].unsqueeze(-1)).squeeze(-1) / size[..., None])
        return (torch.sigmoid(o) * torch.stack(read)).flatten(2), C


class _DeltaNet(_Loop):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output at each step, and the last matrix."""
        q, k, v = self.of(x, "q"), self.of(x, "k"), self.of(x, "v")
        q, k = (F.silu(each) for each in (q, k))
        q, k = (e / torch.sqrt((e * e).sum(-1, keepdim=True) + 1e-6) for e in (q, k))
        beta = torch.sigmoid(F.linear(x, self.weights["W"], self.weights["b"]))[..., None]
        S = torch.zeros_like(k[0]).unsqueeze(-1) * k[0].unsqueeze(-2)
        read = []
        for t in range(len(x)):
            new = beta[t] * (v[t] - (S @ k[t].unsqueeze(-1)).squeeze(-1))
            S = S + new.unsqueeze(-1) * k[t].unsqueeze(-2)
            read.append((S @ q[t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(read).flatten(2), S


_LOOPS: dict[str, type[_Loop]] = {"mlstm": _MLSTM, "delta_net": _DeltaNet}


def _checked_sides(name: str, shape: Shape) -> dict[str, Callable[[], object]]:
    job = Job(shape)
    layer = layer_of(cells.get(name), shape)
    loop = _LOOPS[name](layer.parameters_of(0))
    expected = named(job.results(loop), "weights.", "")
    check_agreement(f"{name} {shape}", expected, {"recurra": named(job.results(layer), "", "_l0")})
    return {"recurra": lambda: job.step(layer), LOOP: lambda: job.step(loop)}


def _check() -> None:
    for name in _LOOPS:
        _checked_sides(name, SMALL)


def _run(settings: Settings) -> Iterator[Row]:
    for name in _LOOPS:
        sides = {side: local(step) for side, step in _checked_sides(name, SHAPE).items()}
        rounds = interleaved(sides, settings)
        label = f"{name}, {HEADS} heads, {SHAPE}"
        yield row(rounds, label, LOOP, settings, target=Target(value=5.0))


BENCHMARKS = (
    Benchmark(
        name="matrix_states",
        doc="mLSTM and DeltaNet with four heads of 64, forward + backward; ratio: the loop's time "
        "over recurra's",
        check=_check,
        run=_run,
    ),
)
