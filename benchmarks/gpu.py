"""On a GPU: the drop-ins beside torch.nn's, and a cell that torch has no kernel for, whose loop is
launched as one CUDA graph, beside the same loop launched kernel by kernel and one in plain PyTorch.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import recurra as rc
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row

SHAPES = ((50, 32, 128), (100, 64, 256), (100, 64, 512))  # T, B, I = H
KINDS = {"LSTM": (rc.LSTM, nn.LSTM), "GRU": (rc.GRU, nn.GRU), "RNN": (rc.RNN, nn.RNN)}
NATIVE, GRAPH = Target(value=0.95), Target(value=3.0)


class PlainGRU(nn.Module):
    """The GRU of Cho et al. (2014) as one writes it by hand, products with the input merged."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.of_x = nn.Linear(size, 3 * size)
        self.of_h = nn.Linear(size, 2 * size, bias=False)
        self.of_reset = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """y [T, B, H] of x [T, B, I]."""
        h = torch.zeros_like(x[0])
        outputs = []
        for r_x, z_x, n_x in (step.chunk(3, -1) for step in self.of_x(x)):
            r_h, z_h = self.of_h(h).chunk(2, -1)
            r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
            h = z * h + (1 - z) * torch.tanh(n_x + self.of_reset(r * h))
            outputs.append(h)
        return torch.stack(outputs)


def _with_weights_of(plain: PlainGRU, size: int, device: str) -> rc.Recurrent:
    layer = rc.Recurrent("gru", size, size, device=device)
    with torch.no_grad():
        of_x, biases = plain.of_x.weight.chunk(3), plain.of_x.bias.chunk(3)
        of_h = (*plain.of_h.weight.chunk(2), plain.of_reset.weight)
        for gate, W_x, W_h, b in zip("rzh", of_x, of_h, biases, strict=True):
            layer.get_parameter(f"W_x{gate}_l0").copy_(W_x)
            layer.get_parameter(f"W_h{gate}_l0").copy_(W_h)
            layer.get_parameter(f"b_{gate}_l0").copy_(b)
    return layer


def _stepped(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        layer.zero_grad(set_to_none=True)
        found = layer(x)
        (found if isinstance(found, Tensor) else found[0]).sum().backward()
        torch.cuda.synchronize()

    return step


def _agree(job: str, x: Tensor, ours: nn.Module, theirs: nn.Module) -> None:
    y = {name: layer(x) for name, layer in (("recurra", ours), ("theirs", theirs))}
    values = {n: {"y": v if isinstance(v, Tensor) else v[0]} for n, v in y.items()}
    check_agreement(job, values.pop("theirs"), values)


def _check() -> None:
    x = torch.randn(5, 3, 8)
    plain = PlainGRU(8)
    _agree("plain GRU", x, _with_weights_of(plain, 8, "cpu"), plain)


def _run(settings: Settings) -> Iterator[Row]:
    if not torch.cuda.is_available():
        raise RuntimeError("gpu: expected a CUDA device, got none. Run it where there is one.")
    card = torch.cuda.get_device_name()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for steps, batch, size in SHAPES:
        x = torch.randn(steps, batch, size, device="cuda")
        shape = f"T{steps} B{batch} I{size} H{size}, {card}"
        for kind, (make, torchs) in KINDS.items():
            theirs = torchs(size, size).cuda()
            ours = make(size, size).cuda()
            ours.load_state_dict(theirs.state_dict())
            _agree(kind, x, ours, theirs)
            sides = {"recurra": local(_stepped(ours, x)), "torch.nn": local(_stepped(theirs, x))}
            rounds = interleaved(sides, settings)
            yield row(rounds, f"{kind}, {shape}", "torch.nn", settings, target=NATIVE)
        plain = PlainGRU(size).cuda()
        ours = _with_weights_of(plain, size, "cuda")
        _agree("plain GRU", x, ours, plain)
        sides = {"recurra": local(_stepped(ours, x)), "plain loop": local(_stepped(plain, x))}
        rounds = interleaved(sides, settings)
        job = f"GRU of Cho et al., {shape}"
        yield row(rounds, job, "plain loop", settings, target=GRAPH)


BENCHMARKS = (
    Benchmark(
        name="gpu",
        doc="layers on a GPU, forward + backward, float32; ratio: the other's time over recurra's",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
