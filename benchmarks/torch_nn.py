"""LSTM, GRU and RNN against torch.nn's own, over a grid of shapes: forward, forward + backward."""

import math

import torch
from torch import Tensor, nn

import recurra as rc
from benchmarks.registry import Benchmark, Row, register
from benchmarks.timing import Timing, interleaved

# (T, B, I, H): middling, wide, long and thin, one sequence, large, small
SHAPES = (
    (50, 50, 128, 128),
    (100, 32, 256, 256),
    (100, 64, 512, 512),
    (35, 20, 650, 650),
    (784, 64, 1, 128),
    (600, 32, 2, 128),
    (100, 1, 128, 128),
    (100, 1, 512, 512),
    (128, 64, 1024, 1024),
    (25, 8, 64, 64),
)
KINDS = {"LSTM": (rc.LSTM, nn.LSTM), "GRU": (rc.GRU, nn.GRU), "RNN": (rc.RNN, nn.RNN)}
TARGETS = {"LSTM": 1.3, "GRU": 2.0, "RNN": 2.0}


def _pair(kind: str, input_size: int, hidden_size: int) -> tuple[nn.Module, nn.Module]:
    """Ours and torch's with the same weights."""
    ours, theirs = (make(input_size, hidden_size) for make in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def _step(layer: nn.Module, x: Tensor) -> None:
    layer.zero_grad(set_to_none=True)
    layer(x)[0].sum().backward()


def _check() -> None:
    for kind in KINDS:
        torch.manual_seed(0)
        ours, theirs = _pair(kind, 20, 70)
        x = torch.randn(30, 9, 20)
        for layer in (ours, theirs):
            layer(x)[0].square().sum().backward()
        torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-5, atol=1e-5)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


def _run() -> list[Row]:
    rows = []
    for kind in KINDS:
        ratios: dict[str, list[float]] = {"forward": [], "forward + backward": []}
        for shape in SHAPES:
            for what, taken in _timings(kind, shape).items():
                ours, theirs = taken["recurra"], taken["torch.nn"]
                ratios[what].append(theirs.median_ms / ours.median_ms)
                rows.append(
                    Row(
                        job=f"{kind} {what}, T{shape[0]} B{shape[1]} I{shape[2]} H{shape[3]}",
                        sides_ms={"recurra": ours.median_ms, "torch.nn": theirs.median_ms},
                        ratio=ratios[what][-1],
                        details={
                            "recurra fastest..slowest": _spread(ours),
                            "torch.nn fastest..slowest": _spread(theirs),
                        },
                    )
                )
        for what, found in ratios.items():
            mean = math.exp(sum(map(math.log, found)) / len(found))
            rows.append(
                Row(
                    job=f"{kind} {what}, geometric mean (smallest {min(found):.2f})",
                    sides_ms={"recurra": math.nan, "torch.nn": math.nan},
                    ratio=mean,
                    target=TARGETS[kind] if what == "forward + backward" else None,
                )
            )
    return rows


def _timings(kind: str, shape: tuple[int, ...]) -> dict[str, dict[str, Timing]]:
    torch.manual_seed(0)
    steps, batch, input_size, hidden_size = shape
    ours, theirs = _pair(kind, input_size, hidden_size)
    x = torch.randn(steps, batch, input_size)
    work = steps * batch * hidden_size * (input_size + hidden_size)
    rounds = 5 if work > 2e9 else 9
    with torch.no_grad():
        forward = interleaved(
            {"recurra": lambda: ours(x), "torch.nn": lambda: theirs(x)}, rounds=rounds
        )
    both = interleaved(
        {"recurra": lambda: _step(ours, x), "torch.nn": lambda: _step(theirs, x)}, rounds=rounds
    )
    return {"forward": forward, "forward + backward": both}


def _spread(timing: Timing) -> str:
    return f"{timing.fastest_ms:.1f}..{timing.slowest_ms:.1f}"


register(
    Benchmark(
        name="torch_nn",
        doc="the drop-ins against torch.nn, float32",
        check=_check,
        run=_run,
    )
)
