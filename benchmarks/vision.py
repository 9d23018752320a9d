"""VGG-16 on one picture, beside the same layers written out; and epochs over features kept on disk.

The second epoch reads what a frozen VGG-16 said in the first. Both times go over the same pictures
in batches, as a trainer does; the other side of the second row is the first epoch.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from recurra.data.features import cached_features
from recurra.vision import ConvNet, Encoder, Preprocessing, Vgg16, imagenet

SECONDS = 0.5  # for one picture, at most
SPEEDUP = Target(value=10.0)
PICTURES, BATCH = 24, 8


def written_out(network: Vgg16) -> nn.Sequential:
    """Torch's layers one behind the other, with the same weights."""
    return nn.Sequential(*network.features, nn.Flatten(), *list(network.classifier)[:6]).eval()


def _checked(images: Tensor) -> tuple[Vgg16, nn.Sequential]:
    torch.manual_seed(0)
    network = Vgg16().eval()
    whole = written_out(network)
    with torch.inference_mode():
        expected = {"y": whole(images)}
        check_agreement("VGG-16", expected, {"recurra": {"y": network(images)}})
    return network, whole


def _epochs(
    encoder: Encoder, preprocessing: Preprocessing, pictures: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Seconds of the first epoch, in which features are made, and of the second; their features
    agree with the encoder's."""
    names = list(pictures)
    batches = [range(at, min(at + BATCH, len(names))) for at in range(0, len(names), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        kept = cached_features(Path(folder), encoder, preprocessing, pictures, batch_size=BATCH)
        made = torch.cat([kept.vectors(batch) for batch in batches])
        between = time.perf_counter()
        read = torch.cat([kept.vectors(batch) for batch in batches])
        first, second = between - start, time.perf_counter() - between
    with torch.inference_mode():
        some = torch.stack([preprocessing(pictures[name]) for name in names[:2]])
        expected = {"y": encoder(some)}
    check_agreement("features", expected, {"made": {"y": made[:2]}, "read": {"y": read[:2]}})
    return first, second


def _pictures(count: int, side: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {str(number): each for number, each in enumerate(pixels)}


def _check() -> None:
    """The sides agree; of features a small network's."""
    _checked(torch.randn(1, 3, 224, 224))
    torch.manual_seed(0)
    _epochs(ConvNet(3, (4, 8), 6).eval(), Preprocessing(size=16), _pictures(10, 16))


def _run(settings: Settings) -> Iterator[Row]:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 224, 224)
    network, whole = _checked(image)
    with torch.inference_mode():
        rounds = interleaved(
            {"recurra": local(lambda: network(image)), "torch.nn": local(lambda: whole(image))},
            settings,
        )
    yield row(rounds, "VGG-16, one picture of 224 x 224", "torch.nn", settings)
    median = rounds.median_ms("recurra")
    yield Row(
        job="VGG-16, one picture of 224 x 224",
        peer=f"{SECONDS} s",
        ours=median,
        theirs=1e3 * SECONDS,
        ratio=1e3 * SECONDS / median,
        low=1e3 * SECONDS / max(rounds.ms["recurra"]),
        high=1e3 * SECONDS / min(rounds.ms["recurra"]),
        target=Target(value=1.0),
        rounds=len(rounds),
        threads=settings.threads,
        details={"ms": rounds.ms},
    )
    count = BATCH if settings.quick else PICTURES
    first, second = _epochs(network, imagenet(), _pictures(count, 256))
    yield Row(
        job=f"epoch over features of VGG-16, {count} pictures: the second",
        peer="the first epoch",
        ours=1e3 * second,
        theirs=1e3 * first,
        ratio=first / second,
        target=SPEEDUP,
        rounds=1,
        threads=settings.threads,
    )


BENCHMARKS = (
    Benchmark(
        name="vision",
        doc="VGG-16 on one picture, and features kept on disk; ratio: the other side's time over "
        "recurra's",
        check=_check,
        run=_run,
        needs=("PIL",),
    ),
)
