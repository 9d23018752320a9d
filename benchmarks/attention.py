"""A decoder that attends: a GRU that reads a memory at each step, and feeds what it read to itself.

Against a plain PyTorch loop of GRUCell and bmm, forward and backward. Letters: S positions of the
memory, K size of its vectors, A size of the layer that scores them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import recurra as rc
from benchmarks.oracle import Results, check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from recurra.lang import cell, concat, sigmoid, softmax, split, tanh

LOOP = "PyTorch loop"


class Shape(NamedTuple):
    """Steps, sequences, positions of the memory, and one size for all vectors."""

    T: int
    B: int
    S: int
    H: int

    def __str__(self) -> str:
        return f"T{self.T} B{self.B} S{self.S} H{self.H}"


SMALL = Shape(5, 3, 6, 19)  # for checks: nothing fits a vector's width
SHAPES = {Shape(14, 64, 14, 256): 3.0, Shape(14, 1, 14, 256): 4.0}  # with the ratio to reach
LONG = (Shape(40, 16, 400, 256), Shape(40, 1, 400, 256))


@cell(memory="m", sizes={"v": "A"})
def decoder(x, h, m, W_a, U_a, v, W_i, b_i, W_h, b_h):  # pyright: ignore[reportMissingParameterType]
    """Additive attention (Bahdanau et al., 2015, arXiv:1409.0473) with the GRU of torch."""
    alpha = softmax(tanh(W_a @ h + U_a @ m) @ v)
    r_i, z_i, n_i = split(W_i @ concat(x, alpha @ m) + b_i, 3)
    r_h, z_h, n_h = split(W_h @ h + b_h, 3)
    z = sigmoid(z_i + z_h)
    return (1 - z) * tanh(n_i + sigmoid(r_i + r_h) * n_h) + z * h


class _Loop(nn.Module):
    """The same by hand; what depends on the memory alone is before the loop."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({n: p.detach().clone() for n, p in parameters.items()})
        size, inputs = parameters["W_h"].shape[1], parameters["W_i"].shape[1]
        self.gru = nn.GRUCell(inputs, size)
        pairs = {"weight_ih": "W_i", "weight_hh": "W_h", "bias_ih": "b_i", "bias_hh": "b_h"}
        for own, name in pairs.items():
            setattr(self.gru, own, self.weights[name])

    def forward(self, x: Tensor, *, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The output at each step, and the last."""
        p, memory = self.weights, memory.transpose(0, 1)
        keys = memory @ p["U_a"].t()  # [B, S, A]
        h = x.new_zeros(x.shape[1], p["W_h"].shape[1])
        outputs = []
        for x_t in x:
            score = torch.tanh(keys + (h @ p["W_a"].t()).unsqueeze(1)) @ p["v"]
            alpha = torch.softmax(score, dim=1)
            read = torch.bmm(alpha.unsqueeze(1), memory).squeeze(1)
            h = self.gru(torch.cat((x_t, read), dim=1), h)
            outputs.append(h)
        return torch.stack(outputs), h


class _Job:
    """One training step: the gradients of parameters, input and memory."""

    def __init__(self, shape: Shape) -> None:
        T, B, S, H = shape
        generator = torch.Generator().manual_seed(0)
        self.shape = shape
        self.x, self.memory = (
            torch.randn(n, B, H, generator=generator).requires_grad_() for n in (T, S)
        )
        self.d_y = torch.randn(T, B, H, generator=generator)

    def step(self, layer: nn.Module) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output and the gradients, of the parameters in order, of x and of the memory."""
        leaves = [*layer.parameters(), self.x, self.memory]
        y = layer(self.x, memory=self.memory)[0]
        return y, torch.autograd.grad(y, leaves, self.d_y)

    def results(self, layer: nn.Module) -> Results:
        """What `step` gives, by name."""
        y, gradients = self.step(layer)
        names = [
            n.removeprefix("weights.").removesuffix("_l0") for n, _ in layer.named_parameters()
        ]
        return {"y": y.detach(), **dict(zip((*names, "x", "m"), gradients, strict=True))}


def _sides(job: _Job) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    H = job.shape.H
    ours = rc.Recurrent(decoder, H, H, sizes={"A": H, "K": H})
    theirs = _Loop(dict(ours.parameters_of(0)))
    check_agreement(f"{job.shape}", job.results(theirs), {"recurra": job.results(ours)})
    return ours, theirs


def _check() -> None:
    _sides(_Job(SMALL))


def _run(settings: Settings) -> Iterator[Row]:
    for shape in (*SHAPES, *(() if settings.quick else LONG)):
        job = _Job(shape)
        ours, theirs = _sides(job)
        turns = {"recurra": local(lambda j=job, m=ours: j.step(m))}
        turns[LOOP] = local(lambda j=job, m=theirs: j.step(m))
        least = SHAPES.get(shape)
        target = None if least is None else Target(value=least)
        rounds = interleaved(turns, settings)
        yield row(rounds, f"additive attention, GRU, {shape}", LOOP, settings, target=target)


BENCHMARKS = (
    Benchmark(
        name="attention",
        doc="a decoder that feeds its read back, forward + backward; ratio: the loop's time over "
        "recurra's",
        check=_check,
        run=_run,
    ),
)
