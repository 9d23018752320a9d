"""Examples of different lengths: a classifier's pass in buckets against one padded to the longest.

Lengths are uniform from T / 10 to T, so padding is 0.45 of what the padded side reads, and no way
to leave it out gains more than 1.8. Both sides train on the same examples, batches of the same
size, with the gradients of every batch computed. One more row has a batch of all lengths by itself,
told its lengths or not: what the loops save that leave out sequences which have ended.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import recurra as rc
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from recurra.data import Buckets, LabelledBatch, LabelledExamples

TARGET = Target(value=1.4)
CLASSES, CHANNELS = 4, 32
# examples, longest, batch size, units
SHAPES = ((512, 200, 32, 128), (512, 100, 64, 256), (512, 100, 64, 512))
SMALL = (24, 20, 5, 9)


def _examples(count: int, longest: int) -> LabelledExamples:
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.linspace(longest / 10, longest, count).astype(int))
    series = [rng.normal(size=(length, CHANNELS)) for length in lengths]
    return LabelledExamples.of(series, rng.integers(0, CLASSES, count).tolist())


def _model(hidden_size: int) -> rc.Classifier:
    torch.manual_seed(0)
    return rc.Classifier(CLASSES, input_size=CHANNELS, hidden_size=hidden_size, pooling="last")


def _padded(batch: LabelledBatch, longest: int) -> LabelledBatch:
    """The same examples as if all were of the longest length."""
    x = functional.pad(batch.x, (0, 0, 0, 0, 0, longest - len(batch.x)))
    return replace(batch, x=x)


def _loss(model: rc.Classifier, batch: LabelledBatch, lengths: Tensor | None) -> Tensor:
    logits = model(batch.x, lengths)
    return functional.cross_entropy(logits, batch.target, reduction="sum")


def _pass(model: rc.Classifier, batches: list[LabelledBatch], told: bool) -> Callable[[], None]:
    def run() -> None:
        for batch in batches:
            model.zero_grad(set_to_none=True)
            _loss(model, batch, batch.lengths if told else None).backward()

    return run


def _gradients(model: rc.Classifier, batches: list[LabelledBatch]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    total = sum((_loss(model, batch, batch.lengths) for batch in batches), torch.zeros(()))
    total.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"y": total.detach(), **grads}


def _batches(
    count: int, longest: int, batch_size: int
) -> tuple[list[LabelledBatch], list[LabelledBatch]]:
    """A pass in buckets, and the same examples in random order, each padded to the longest."""
    examples = _examples(count, longest)
    source = Buckets(examples, batch_size)
    order = np.random.default_rng(1).permutation(count)
    mixed = [
        _padded(examples.gather(order[start : start + batch_size]), longest)
        for start in range(0, count, batch_size)
    ]
    return [source.batch(0, index) for index in range(len(source))], mixed


def _check() -> None:
    count, longest, batch_size, hidden_size = SMALL
    model = _model(hidden_size)
    buckets, mixed = _batches(count, longest, batch_size)
    found = {"buckets": _gradients(model, buckets)}
    check_agreement("a pass", _gradients(model, mixed), found)


def _run(settings: Settings) -> Iterator[Row]:
    for count, longest, batch_size, hidden_size in SHAPES:
        model = _model(hidden_size)
        buckets, mixed = _batches(count, longest, batch_size)
        check_agreement("a pass", _gradients(model, mixed), {"buckets": _gradients(model, buckets)})
        name = f"T {longest // 10}..{longest} B{batch_size} H{hidden_size}"
        sides = {
            "recurra": local(_pass(model, buckets, told=True)),
            "padded": local(_pass(model, mixed, told=False)),
        }
        rounds = interleaved(sides, settings)
        yield row(rounds, f"a pass in buckets, {name}", "padded", settings, target=TARGET)
        one = mixed[:1]
        sides = {
            "recurra": local(_pass(model, one, told=True)),
            "padded": local(_pass(model, one, told=False)),
        }
        rounds = interleaved(sides, settings)
        name = f"a mixed batch told its lengths, {name}"
        yield row(rounds, name, "padded", settings, target=TARGET)


BENCHMARKS = (
    Benchmark(
        name="ragged",
        doc="training on lengths from T/10 to T; ratio: the time of the same padded to T over ours",
        check=_check,
        run=_run,
    ),
)
