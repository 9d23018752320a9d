"""Products in bfloat16, sums and state in float32: against recurra's own float32, and torch.nn."""

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from benchmarks.torch_nn import pair

SHAPES = (Shape(100, 64, 512, 512), Shape(128, 64, 1024, 1024))
OURS, FLOAT32, THEIRS = "recurra bfloat16", "recurra float32", "torch.nn bfloat16"
TARGETS = {FLOAT32: Target(value=1.6), THEIRS: None}


class _Sides:
    """The same weights in both precisions: the float32 ones are rounded to bfloat16 first."""

    def __init__(self, kind: str, shape: Shape) -> None:
        narrow = Job(shape).to(torch.bfloat16)
        wide = narrow.to(torch.float32)
        self.where = f"{kind} {shape}"
        self.layers: dict[str, tuple[Job, nn.Module]] = {}
        ours, theirs = (layer.to(torch.bfloat16) for layer in pair(kind, shape))
        self.layers[OURS], self.layers[THEIRS] = (narrow, ours), (narrow, theirs)
        ours_wide, theirs_wide = pair(kind, shape)
        for layer in (ours_wide, theirs_wide):
            layer.load_state_dict(theirs.state_dict())
        self.layers[FLOAT32] = (wide, ours_wide)
        self._exact = (wide, theirs_wide)

    def check(self) -> None:
        """Hold ours, in both precisions, against torch.nn's float32."""
        job, layer = self._exact
        expected = job.results(layer)
        for side, precision in ((FLOAT32, "float32"), (OURS, "bfloat16")):
            job, layer = self.layers[side]
            check_agreement(self.where, expected, {side: job.results(layer)}, precision)


def _check() -> None:
    for kind in ("LSTM", "GRU"):
        _Sides(kind, SMALL).check()


def _run(settings: Settings) -> Iterator[Row]:
    for kind in ("LSTM", "GRU"):
        for shape in SHAPES[: 1 if settings.quick else None]:
            sides = _Sides(kind, shape)
            sides.check()
            turns = {
                name: local(lambda job=job, layer=layer: job.step(layer))
                for name, (job, layer) in sides.layers.items()
            }
            rounds = interleaved(turns, settings)
            for peer, target in TARGETS.items():
                yield row(rounds, f"{kind}, {shape}", peer, settings, ours=OURS, target=target)


BENCHMARKS = (
    Benchmark(
        name="bfloat16",
        doc="recurra in bfloat16, forward + backward with the input's gradient; ratio: the other "
        "side's time over recurra's in bfloat16",
        check=_check,
        run=_run,
    ),
)
